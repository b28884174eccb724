//! Files whose content rots while everything that shows from outside stays as it was. SPEC §8.11.
//!
//! A file whose identity and times are as recorded is believed without being read (SPEC §8.4), so a disk that forgets a
//! bit is found only by whoever reads it all. What was found must then be *doubted*: its record is spoiled, so that it is
//! neither linked into the next tree nor left alone by a mending before it has been read again.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{Advice, AtFlags};
use rustix::io::Errno;
use tidecast_proto::id::{ChunkId, FileHash, ReleaseNumber};
use tidecast_proto::limits;
use tidecast_proto::list::List;
use tidecast_proto::manifest;
use tidecast_proto::name::ReleasePath;

use super::error::DocrootError;
use super::files::{self, FileRecord, FolderCache};
use super::index::Index;
use super::layout::{self, Folders};
use super::tree::{self, Kept};
use super::{Docroot, build, reuse, switch};

/// What is wrong inside of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its path.
    pub path: ReleasePath,
    /// Bytes it should have.
    pub bytes: u64,
    /// Chunks it should consist of; `None` when its list is not on this disk.
    pub chunks: Option<u64>,
    /// Those of them that are not there as signed; `None` as well.
    pub bad_chunks: Option<u64>,
    /// Their bytes, which is what has to be fetched; those of the whole file where its chunks are not known.
    pub bad_bytes: u64,
}

/// A file on its way through a hash, read from the disk and not from memory where the system allows.
#[derive(Debug)]
pub(crate) struct Fresh {
    file: File,
    inode: u64,
    at: u64,
    hasher: blake3::Hasher,
}

impl Fresh {
    /// Lets go of what memory holds of `file`: clean pages would be read back as they once were, whatever has become of
    /// the disk below them. Pages somebody has mapped or not written yet stay (`posix_fadvise(2)`). `O_DIRECT` would pass
    /// them all by, but not on every file system, and clients are served from those very pages: this way they get what
    /// was read.
    pub(crate) fn new(file: File) -> std::io::Result<Self> {
        // Only advice: where it is refused, the file is read all the same.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        Ok(Self {
            inode: files::look_at(&file)?.record.inode,
            file,
            at: 0,
            hasher: blake3::Hasher::new(),
        })
    }

    /// The file's inode number.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// Reads and hashes up to `piece` bytes more. Returns how many; 0 at the end.
    pub(crate) fn step(&mut self, buffer: &mut Vec<u8>, piece: usize) -> std::io::Result<usize> {
        use std::os::unix::fs::FileExt;
        buffer.resize(piece, 0);
        loop {
            match self.file.read_at(buffer, self.at) {
                Ok(count) => {
                    self.hasher.update(&buffer[..count]);
                    self.at += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The hash of what was read.
    pub(crate) fn hash(&self) -> FileHash {
        FileHash(*self.hasher.finalize().as_bytes())
    }
}

/// Whether an error says that what lies on the disk cannot be had back: to be fetched again, like wrong bytes.
pub(crate) fn is_lost(error: &std::io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        // Bad sectors; failed checksums of btrfs and zfs; of xfs and ext4's own structures; of fs-verity.
        Some(Errno::IO | Errno::NODATA | Errno::UCLEAN | Errno::BADMSG | Errno::ILSEQ)
    )
}

/// Whether an error says that no file stands where one should, or one that nobody may read.
fn is_gone(error: &std::io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::NXIO)
    )
}

/// The hash of `file`; `None` when a part of it cannot be had back from the disk.
pub(super) fn hash_of(file: &File, buffer: &mut Vec<u8>) -> std::io::Result<Option<FileHash>> {
    match files::hash_file(file, buffer) {
        Err(error) if is_lost(&error) => Ok(None),
        other => other.map(Some),
    }
}

/// Which chunks of a file that is not as signed are damaged. A file that is longer than it should be may have none.
pub(super) fn examine(file: Option<&File>, of: &manifest::File, list: Option<&List>) -> Damage {
    let whole = Damage {
        path: of.path.clone(),
        bytes: of.size,
        chunks: None,
        bad_chunks: None,
        bad_bytes: of.size,
    };
    let Some(list) = list else {
        return whole;
    };
    let chunks = list.entries().len() as u64;
    let (mut bad_chunks, mut bad_bytes) = (0, 0);
    let mut chunk = vec![0; limits::CHUNK_BYTES];
    for (offset, entry) in list.with_offsets() {
        let chunk = &mut chunk[..entry.len as usize];
        let sound = file.is_some_and(|file| {
            // What cannot be read is damaged, whatever keeps it from being read.
            files::read_exact_at(file, chunk, offset).unwrap_or(false)
                && ChunkId::of(chunk) == entry.id
        });
        if !sound {
            bad_chunks += 1;
            bad_bytes += u64::from(entry.len);
        }
    }
    Damage {
        chunks: Some(chunks),
        bad_chunks: Some(bad_chunks),
        bad_bytes,
        ..whole
    }
}

/// A record nothing on disk looks like. Its modification time is kept: the healed file is served with it.
pub(super) fn doubt(record: &mut FileRecord) {
    (record.ctime_s, record.ctime_ns) = (0, 0);
}

fn is_doubted(record: &FileRecord) -> bool {
    (record.ctime_s, record.ctime_ns) == (0, 0)
}

/// A file of the live tree to be read.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) path: ReleasePath,
    pub(crate) hash: FileHash,
    /// `None` where the file is missing or no file.
    pub(crate) fresh: Option<Fresh>,
}

impl Docroot {
    /// Has `paths` read again before they are believed: by the next mending, and before anything is linked or built on
    /// them. Older trees that share the files doubt them, too. Returns those of them that are files of the live release.
    ///
    /// # Errors
    /// [`DocrootError`]: the docroot was replaced, or the disk fails.
    pub fn doubt(&mut self, paths: &[ReleasePath]) -> Result<Vec<ReleasePath>, DocrootError> {
        self.check_still_ours()?;
        let Some(live) = self.live.clone() else {
            return Ok(Vec::new());
        };
        let folders = self.folders.clone();
        let mut records = live.records().to_vec();
        let mut others = OlderTrees::read(&folders, live.release())?;
        let mut doubted = Vec::new();
        let found = &live.manifest().files;
        for path in paths {
            let Ok(at) = found.binary_search_by(|file| file.path.cmp(path)) else {
                continue;
            };
            if let Some(record) = records.get_mut(at) {
                doubt(record);
                doubted.push(path.clone());
                others.doubt(&found[at], record.inode);
            }
        }
        if !doubted.is_empty() {
            others.record(&folders)?;
            live.replace_records(records);
            switch::record_live(&folders, &live)?;
        }
        Ok(doubted)
    }

    /// Whether a file of the live release is still doubted; a file of no release is not.
    #[must_use]
    pub fn is_doubted(&self, path: &ReleasePath) -> bool {
        self.live.as_ref().is_some_and(|live| {
            let at = live.manifest().files.binary_search_by(|f| f.path.cmp(path));
            let records = live.records();
            at.is_ok_and(|at| records.get(at).is_some_and(is_doubted))
        })
    }

    /// Opens the file of the live tree at `path` to be read from the disk.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub(crate) fn candidate(&self, path: &ReleasePath) -> Result<Option<Candidate>, DocrootError> {
        let Some(live) = &self.live else {
            return Ok(None);
        };
        let all = &live.manifest().files;
        let Ok(at) = all.binary_search_by(|file| file.path.cmp(path)) else {
            return Ok(None);
        };
        let fresh = match FolderCache::reading(live.folder()).open(path.as_str()) {
            Ok(file) => {
                let fresh = Fresh::new(file);
                Some(fresh.map_err(self.folders.fault("look at", path.as_str()))?)
            }
            // As bad as wrong bytes, and mended the same way.
            Err(error) if is_lost(&error) || is_gone(&error) => None,
            Err(error) => return Err(self.folders.fault("open", path.as_str())(error)),
        };
        Ok(Some(Candidate {
            path: path.clone(),
            hash: all[at].hash,
            fresh,
        }))
    }

    /// Whether the file of the live tree at `path` is still the one with `inode`, signed as `hash`.
    pub(crate) fn is_still(&self, path: &ReleasePath, hash: &FileHash, inode: Option<u64>) -> bool {
        let Some(live) = &self.live else {
            return false;
        };
        let all = &live.manifest().files;
        let Ok(at) = all.binary_search_by(|file| file.path.cmp(path)) else {
            return false;
        };
        let found = FolderCache::reading(live.folder()).look(path.as_str());
        let found = found.ok().flatten().map(|found| found.record.inode);
        all[at].hash == *hash && found == inode
    }
}

/// The trees before the live one, which share files with it by hard links.
#[derive(Debug)]
pub(super) struct OlderTrees(Vec<Older>);

#[derive(Debug)]
struct Older {
    release: ReleaseNumber,
    manifest: std::sync::Arc<manifest::Manifest>,
    index: Index,
    folder: std::sync::Arc<OwnedFd>,
    changed: bool,
}

impl OlderTrees {
    /// Those whose manifest and index can be read; the others are never believed anyway.
    pub(super) fn read(folders: &Folders, live: ReleaseNumber) -> Result<Self, DocrootError> {
        let mut trees = Vec::new();
        for release in tree::releases_on_disk(folders)? {
            if release >= live {
                continue;
            }
            if let Some(Kept {
                manifest,
                index: Some(index),
            }) = tree::read_kept(folders, release)?
            {
                trees.push(Older {
                    release,
                    manifest,
                    index,
                    folder: tree::open_tree(folders, release)?,
                    changed: false,
                });
            }
        }
        Ok(Self(trees))
    }

    /// Those that hold `file` as the very inode.
    fn sharing(
        &mut self,
        file: &manifest::File,
        inode: u64,
    ) -> impl Iterator<Item = (&mut Older, usize)> {
        self.0.iter_mut().filter_map(move |older| {
            let at = older
                .manifest
                .files
                .binary_search_by(|old| old.path.cmp(&file.path))
                .ok()?;
            let same = file.same_as(&older.manifest.files[at])
                && older.index.records.get(at)?.inode == inode;
            same.then_some((older, at))
        })
    }

    fn doubt(&mut self, file: &manifest::File, inode: u64) {
        for (older, at) in self.sharing(file, inode) {
            if let Some(record) = older.index.records.get_mut(at) {
                doubt(record);
                older.changed = true;
            }
        }
    }

    /// Gives the trees that shared the damaged inode of `file` the healed one, which stands under `name` in `healed`. It
    /// goes through `spare`, so that no reader finds the name absent. A tree that cannot have it keeps doubting its own.
    pub(super) fn heal(
        &mut self,
        file: &manifest::File,
        damaged: u64,
        name: &str,
        healed: &OwnedFd,
        spare: &OwnedFd,
    ) {
        for (older, at) in self.sharing(file, damaged) {
            let mut cache = FolderCache::reading(older.folder.clone());
            let given = cache.place(file.path.as_str()).and_then(|(folder, own)| {
                rustix::fs::linkat(healed, name, spare, name, AtFlags::empty())?;
                files::rename(spare, name, &folder, own)
            });
            if let Some(record) = older.index.records.get_mut(at) {
                doubt(record);
                older.changed = true;
                if given.is_ok() {
                    // Only for now; the last link decides the record.
                    record.inode = 0;
                }
            }
        }
    }

    /// Notes what the healed file looks like after its last link was made.
    pub(super) fn healed(&mut self, file: &manifest::File, record: &FileRecord) {
        for (older, at) in self.sharing(file, 0) {
            if let Some(old) = older.index.records.get_mut(at) {
                *old = *record;
            }
        }
    }

    /// Writes the indexes that changed.
    pub(super) fn record(&self, folders: &Folders) -> Result<(), DocrootError> {
        for older in self.0.iter().filter(|older| older.changed) {
            let name = layout::index_name(older.release);
            files::write_whole(&folders.state, &name, &older.index.encode())
                .map_err(folders.fault("write", &name))?;
        }
        Ok(())
    }

    /// Manifest and folder of each, the newest first.
    pub(super) fn newest_first(
        &self,
    ) -> impl Iterator<Item = (&manifest::Manifest, &std::sync::Arc<OwnedFd>)> {
        let trees = self.0.iter().rev();
        trees.map(|older| (&*older.manifest, &older.folder))
    }
}

impl build::Build {
    /// Takes chunks of damaged files out of older trees.
    pub(super) fn reuse_older_trees(&mut self) -> Result<(), DocrootError> {
        let folders = self.folders.clone();
        let older = OlderTrees::read(&folders, self.manifest.release)?;
        for (manifest, folder) in older.newest_first() {
            reuse::from_tree(self, manifest, folder, None)?;
        }
        Ok(())
    }
}
