//! File operations relative to a held folder: no path is ever resolved through a link we did not make.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, StatxFlags};
use rustix::io::Errno;
use tidecast_proto::id::FileHash;

use crate::beneath::{self, Links};

/// Folders held open at once by a [`FolderCache`]; far below the usual limit of 1,024 descriptors.
const FOLDERS_OPEN_MAX: usize = 128;
/// How much is read at once when a file is hashed.
pub(super) const READ_BYTES: usize = 1024 * 1024;
/// Up to this many files are synced one by one; more of them by one sync of the file system, which also waits for
/// what other programs wrote but does not pay a journal commit per file.
pub(super) const FSYNC_EACH_MAX: usize = 64;

/// Identity and times of a file. Whoever edits a file in place cannot leave all of them as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileRecord {
    /// Inode number.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// Modification time, whole seconds since 1970: what HTTP says as Last-Modified.
    pub mtime_s: i64,
    /// Its nanoseconds.
    pub mtime_ns: u32,
    /// Time of the last change of content, mode or link count, seconds since 1970.
    pub ctime_s: i64,
    /// Its nanoseconds.
    pub ctime_ns: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    Other,
}

/// What stands under a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) record: FileRecord,
    pub(super) links: u32,
    pub(super) mode: u32,
    pub(super) device: (u32, u32),
}

/// What stands under `name`, itself a link if it is one; `None` when there is nothing.
pub(super) fn look(at: impl AsFd, name: impl rustix::path::Arg) -> io::Result<Option<Found>> {
    match rustix::fs::statx(at, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
        Ok(stat) => Ok(Some(found(&stat))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the operator's own path leads to, through links.
pub(super) fn look_through(path: &Path) -> io::Result<Found> {
    let flags = AtFlags::empty();
    let stat = rustix::fs::statx(rustix::fs::CWD, path, flags, StatxFlags::BASIC_STATS)?;
    Ok(found(&stat))
}

/// What an open file or folder is.
pub(super) fn look_at(fd: impl AsFd) -> io::Result<Found> {
    let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    Ok(found(&stat))
}

fn found(stat: &rustix::fs::Statx) -> Found {
    let mode = u32::from(stat.stx_mode);
    Found {
        kind: match rustix::fs::FileType::from_raw_mode(mode) {
            rustix::fs::FileType::RegularFile => Kind::File,
            rustix::fs::FileType::Directory => Kind::Folder,
            rustix::fs::FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        },
        record: FileRecord {
            inode: stat.stx_ino,
            size: stat.stx_size,
            mtime_s: stat.stx_mtime.tv_sec,
            mtime_ns: stat.stx_mtime.tv_nsec,
            ctime_s: stat.stx_ctime.tv_sec,
            ctime_ns: stat.stx_ctime.tv_nsec,
        },
        links: stat.stx_nlink,
        mode: mode & 0o7777,
        device: (stat.stx_dev_major, stat.stx_dev_minor),
    }
}

/// Opens `path` below `at` without following any link on the way.
pub(super) fn open_below(at: impl AsFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(beneath::open(at, path, flags, Links::Refuse)?)
}

/// Opens the folder `name`, which must be one itself and not a link to one.
pub(super) fn open_folder(at: impl AsFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(
        at,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Makes the folder `name` with exactly `mode`, whatever the umask, or opens the one that is there.
pub(super) fn make_folder(at: impl AsFd, name: &str, mode: u32) -> io::Result<OwnedFd> {
    let made = match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(mode)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let folder = open_folder(&at, name)?;
    // Whoever made the other one may have been killed before it got its mode: then nobody else can look into it.
    if made || look_at(&folder)?.mode & mode != mode {
        rustix::fs::fchmod(&folder, Mode::from_raw_mode(mode))?;
    }
    Ok(folder)
}

/// The names in a folder, in no order, without `.` and `..`.
pub(super) fn names(folder: impl AsFd) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Where the link `name` points; `None` when it is no link or points to something that is no text.
pub(super) fn link_target(
    at: impl AsFd,
    name: impl rustix::path::Arg,
) -> io::Result<Option<String>> {
    match rustix::fs::readlinkat(at, name, Vec::new()) {
        Ok(target) => Ok(target.into_string().ok()),
        Err(Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes the link `name`.
pub(super) fn symlink(target: &str, at: impl AsFd, name: &str) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, at, name)?)
}

/// Renames, over whatever file or link stands there.
pub(super) fn rename(from: impl AsFd, name: &str, to: impl AsFd, new: &str) -> io::Result<()> {
    Ok(rustix::fs::renameat(from, name, to, new)?)
}

/// Lets two names change places in one instant.
pub(super) fn exchange(a: impl AsFd, name: &str, b: impl AsFd, other: &str) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(
        a,
        name,
        b,
        other,
        RenameFlags::EXCHANGE,
    )?)
}

/// Removes a name that may not be there.
pub(super) fn unlink(at: impl AsFd, name: impl rustix::path::Arg) -> io::Result<()> {
    match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes whatever stands under `name`, with everything below it.
pub(super) fn remove_all(at: impl AsFd, name: impl rustix::path::Arg + Copy) -> io::Result<()> {
    match look(&at, name)?.map(|found| found.kind) {
        None => Ok(()),
        Some(Kind::Folder) => {
            let folder = open_folder(&at, name)?;
            for inner in names(&folder)? {
                remove_all(&folder, inner.as_os_str())?;
            }
            rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR)?;
            Ok(())
        }
        Some(_) => unlink(at, name),
    }
}

/// Puts `bytes` under `name`, whole: temporary beside it, sync, rename, sync the folder. As
/// [`crate::durable::write`], but below a held folder, which stays right when the docroot's path is renamed.
pub(super) fn write_whole(at: impl AsFd, name: &str, bytes: &[u8]) -> io::Result<()> {
    write_unsynced(&at, name, bytes, true)?;
    rustix::fs::fsync(at)?;
    Ok(())
}

/// Like [`write_whole`]; without `sync` a power cut may leave a damaged file, for what is checked when read.
pub(super) fn write_unsynced(
    at: impl AsFd,
    name: &str,
    bytes: &[u8],
    sync: bool,
) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    let mode = Mode::from_raw_mode(0o644);
    let mut file = create_new(&at, &temporary, mode)?;
    rustix::fs::fchmod(&file, mode)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    rustix::fs::renameat(&at, &*temporary, &at, name)?;
    Ok(())
}

/// Makes the file `name`, which is nobody else's: what stood there, a leftover or a link that somebody planted, is
/// removed and not written to.
fn create_new(at: impl AsFd, name: &str, mode: Mode) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::openat(&at, name, flags, mode) {
        Err(Errno::EXIST) => {
            remove_all(&at, name)?;
            Ok(rustix::fs::openat(&at, name, flags, mode)?.into())
        }
        other => Ok(other?.into()),
    }
}

/// Opens the file `name` for reading and writing, and makes it where it is missing. One with another name, in a tree or
/// anywhere else, is replaced and never written to. It is judged once it is open: before, it could become another.
pub(super) fn open_own(at: impl AsFd, name: &str, mode: Mode) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::openat(&at, name, flags, Mode::empty()) {
        Ok(opened) => {
            let found = look_at(&opened)?;
            if found.kind == Kind::File && found.links == 1 {
                return Ok(opened.into());
            }
        }
        // It may be whole: what it holds is not thrown away for want of a descriptor.
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO | Errno::ROFS)) => {
            return Err(error.into());
        }
        Err(_) => {}
    }
    create_new(at, name, mode)
}

/// A whole file of at most `limit` bytes; `None` when there is none.
pub(super) fn read_whole(at: impl AsFd, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
    use std::io::Read;
    let file = match open_below(at, name, OFlags::RDONLY) {
        Ok(file) => File::from(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(bytes))
}

/// BLAKE3 of everything in `file`, from its start. `buffer` is scratch space.
pub(super) fn hash_file(file: &File, buffer: &mut Vec<u8>) -> io::Result<FileHash> {
    use std::os::unix::fs::FileExt;
    buffer.resize(READ_BYTES, 0);
    let mut hasher = blake3::Hasher::new();
    let mut at = 0_u64;
    loop {
        match file.read_at(buffer, at) {
            Ok(0) => return Ok(FileHash(*hasher.finalize().as_bytes())),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Fills `buffer` from `offset`; false when the file ends before.
pub(super) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets the modification time, and with it the access time, to whole seconds or to an earlier record's.
pub(super) fn set_mtime(at: impl AsFd, name: &str, mtime_s: i64, mtime_ns: u32) -> io::Result<()> {
    let time = rustix::fs::Timespec {
        tv_sec: mtime_s,
        tv_nsec: mtime_ns.into(),
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(at, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Brings the file at `path` to the disk. Where that fails it is removed: the system tells of a failed write once and then
/// takes what it still holds in memory for written, so a file that is found right when read may be lost all the same.
pub(super) fn sync_or_discard(cache: &mut FolderCache, path: &str) -> io::Result<()> {
    let file = cache.open(path)?;
    file.sync_all().inspect_err(|_| {
        // The error that matters is the first one.
        let _ = cache
            .place(path)
            .and_then(|(folder, name)| unlink(folder, name));
    })
}

/// Has what is read of `file` come from the disk, as far as it is there: memory may hold what a failed write left.
pub(super) fn forget_cached(file: &File) {
    // Only advice; where it is not taken, content is still compared with its hash.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

/// The folders of one tree, opened once each: 50,000 files in a few folders cost a few opens.
#[derive(Debug)]
pub(super) struct FolderCache {
    root: Arc<OwnedFd>,
    open: HashMap<String, Arc<OwnedFd>>,
    /// Whether missing folders are made, mode 0755.
    make: bool,
}

impl FolderCache {
    pub(super) fn reading(root: Arc<OwnedFd>) -> Self {
        Self {
            root,
            open: HashMap::new(),
            make: false,
        }
    }

    pub(super) fn making(root: Arc<OwnedFd>) -> Self {
        Self {
            make: true,
            ..Self::reading(root)
        }
    }

    /// The folder that holds `path`, and the name in it.
    pub(super) fn place<'p>(&mut self, path: &'p str) -> io::Result<(Arc<OwnedFd>, &'p str)> {
        match path.rsplit_once('/') {
            None => Ok((self.root.clone(), path)),
            Some((folder, name)) => Ok((self.folder(folder)?, name)),
        }
    }

    /// Opens the file at `path` for reading.
    pub(super) fn open(&mut self, path: &str) -> io::Result<File> {
        let (folder, name) = self.place(path)?;
        Ok(open_below(folder, name, OFlags::RDONLY | OFlags::NONBLOCK)?.into())
    }

    /// What stands at `path`.
    pub(super) fn look(&mut self, path: &str) -> io::Result<Option<Found>> {
        match self.place(path) {
            Ok((folder, name)) => look(folder, name),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
                _ => Err(error),
            },
        }
    }

    pub(super) fn folder(&mut self, path: &str) -> io::Result<Arc<OwnedFd>> {
        if let Some(folder) = self.open.get(path) {
            return Ok(folder.clone());
        }
        let folder = if self.make {
            let (parent, name) = self.place(path)?;
            make_folder(parent, name, 0o755)?
        } else {
            open_below(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY)?
        };
        if self.open.len() >= FOLDERS_OPEN_MAX {
            self.open.clear();
        }
        let folder = Arc::new(folder);
        self.open.insert(path.to_owned(), folder.clone());
        Ok(folder)
    }
}
