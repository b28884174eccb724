//! The tree to publish, seen through a held directory: no link in it is ever followed.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, accessat, openat, statat};
use rustix::io::Errno;
use tidecast_proto::{limits, name::ReleasePath};

use super::error::{Offences, PublishError, Rule};
use super::stamp::Stamp;
use crate::beneath::{self, Links};
use crate::durable::FileError;

/// A file of the tree, not read yet.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: ReleasePath,
    pub(crate) stamp: Stamp,
    pub(crate) executable: bool,
}

#[derive(Debug)]
pub(crate) struct Tree {
    /// For messages.
    folder: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Folder(OwnedFd),
    /// Files from anywhere, under the names they are to have.
    Single(BTreeMap<ReleasePath, PathBuf>),
}

impl Tree {
    pub(crate) fn open(folder: &Path) -> Result<Self, PublishError> {
        // The one link that may be followed is the path the operator typed.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let tree = || folder.to_owned();
        let top = openat(CWD, folder, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => PublishError::NoTree { tree: tree() },
            Errno::NOTDIR => PublishError::NotAFolder { tree: tree() },
            other => FileError::at("open", folder)(other).into(),
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            content: Content::Folder(top),
        })
    }

    /// Single files, wherever each lies; the links that lead to them may be followed, as the operator typed them.
    pub(crate) fn of_files(files: BTreeMap<ReleasePath, PathBuf>) -> Self {
        Self {
            folder: PathBuf::new(),
            content: Content::Single(files),
        }
    }

    /// Every file, sorted by path.
    ///
    /// # Errors
    /// [`PublishError`], naming everything that cannot be published.
    pub(crate) fn walk(&self) -> Result<Vec<Found>, PublishError> {
        let mut walk = Walk::default();
        match &self.content {
            Content::Folder(top) => walk.folder(top.as_fd(), "", &self.folder)?,
            Content::Single(files) => {
                for (path, at) in files {
                    walk.single(path, at)?;
                }
                return Ok(walk.files);
            }
        }
        let tree = || self.folder.clone();
        if walk.offences.count() > 0 {
            walk.offences.sort();
            return Err(PublishError::Tree {
                tree: tree(),
                offences: walk.offences,
            });
        }
        if walk.too_many {
            return Err(PublishError::TooManyFiles {
                tree: tree(),
                limit: limits::FILES_PER_RELEASE,
            });
        }
        if walk.files.is_empty() {
            return Err(PublishError::Empty { tree: tree() });
        }
        walk.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(walk.files)
    }

    /// Opens a file; a link put in its way since the walk is refused as well.
    pub(crate) fn open_file(&self, path: &ReleasePath) -> Result<File, FileError> {
        // NONBLOCK: opening a pipe that took the file's place must not wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let opened = match &self.content {
            Content::Folder(top) => beneath::open(top, path.as_str(), flags, Links::Refuse),
            Content::Single(_) => openat(
                CWD,
                self.path_of(path),
                flags | OFlags::CLOEXEC,
                Mode::empty(),
            ),
        };
        opened
            .map(File::from)
            .map_err(FileError::at("open", &self.path_of(path)))
    }

    /// For messages.
    pub(crate) fn path_of(&self, path: &ReleasePath) -> PathBuf {
        match &self.content {
            Content::Folder(_) => self.folder.join(path.as_str()),
            Content::Single(files) => files.get(path).cloned().unwrap_or_default(),
        }
    }
}

#[derive(Debug, Default)]
struct Walk {
    files: Vec<Found>,
    offences: Offences,
    too_many: bool,
}

impl Walk {
    fn single(&mut self, path: &ReleasePath, at: &Path) -> Result<(), PublishError> {
        let stat = statat(CWD, at, AtFlags::empty()).map_err(FileError::at("look at", at))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.files.push(Found {
                path: path.clone(),
                stamp: Stamp::of(&stat),
                executable: stat.st_mode & 0o111 != 0,
            }),
            other => {
                self.offences
                    .add(path.as_str(), Rule::Kind(kind_name(other)));
                return Err(PublishError::Tree {
                    tree: at.to_owned(),
                    offences: std::mem::take(&mut self.offences),
                });
            }
        }
        Ok(())
    }

    /// Depth, and with it recursion and open directories, is bounded by what [`ReleasePath`] allows.
    fn folder(
        &mut self,
        folder: BorrowedFd<'_>,
        prefix: &str,
        top: &Path,
    ) -> Result<(), PublishError> {
        let listing = |error: Errno| FileError::at("list", &top.join(prefix))(error);
        for entry in Dir::read_from(folder).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if self.files.len() == limits::FILES_PER_RELEASE {
                self.too_many = true;
                return Ok(());
            }
            self.entry(folder, name, prefix, top)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        prefix: &str,
        top: &Path,
    ) -> Result<(), PublishError> {
        let Ok(text) = name.to_str() else {
            let path = format!("{prefix}{}", name.to_string_lossy());
            self.offences.add(&path, Rule::NotText);
            return Ok(());
        };
        let path = format!("{prefix}{text}");
        let release_path = match ReleasePath::new(path.as_str()) {
            Ok(release_path) => release_path,
            Err(broken) => {
                self.offences.add(&path, broken.into());
                return Ok(());
            }
        };
        let mut unreadable = |error: Errno| {
            let what = std::io::Error::from(error).to_string();
            self.offences.add(&path, Rule::Unreadable(what));
        };
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(error) => {
                unreadable(error);
                return Ok(());
            }
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                // Found out now, not after gigabytes of other files were read.
                match accessat(folder, name, Access::READ_OK, AtFlags::empty()) {
                    Ok(()) => self.files.push(Found {
                        path: release_path,
                        stamp: Stamp::of(&stat),
                        executable: stat.st_mode & 0o111 != 0,
                    }),
                    Err(error) => unreadable(error),
                }
            }
            FileType::Directory => match open_folder(folder, name) {
                Ok(below) => self.folder(below.as_fd(), &format!("{path}/"), top)?,
                Err(error) => unreadable(error),
            },
            other => self.offences.add(&path, Rule::Kind(kind_name(other))),
        }
        Ok(())
    }
}

fn open_folder<N: rustix::path::Arg>(below: BorrowedFd<'_>, name: N) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(below, name, flags, Mode::empty())
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a folder",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_this_user_may_not_read_is_found_by_the_walk() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("good"), "x").unwrap();
        fs::write(path("secret"), "x").unwrap();
        fs::create_dir(path("closed")).unwrap();
        for name in ["secret", "closed"] {
            fs::set_permissions(path(name), Permissions::from_mode(0o000)).unwrap();
        }
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let tree = Tree::open(folder.path()).unwrap();
        let walk = || {
            // Nothing is unreadable for root, so this thread stops being root.
            let nobody = rustix::thread::Uid::from_raw(65_534);
            if rustix::process::geteuid().is_root() {
                rustix::thread::set_thread_uid(nobody).unwrap();
            }
            tree.walk()
        };
        let outcome = std::thread::scope(|scope| scope.spawn(walk).join()).unwrap();
        let Err(PublishError::Tree { offences, .. }) = outcome else {
            panic!("{outcome:?}");
        };
        let named: Vec<&str> = offences.listed().iter().map(|o| o.path.as_str()).collect();
        assert_eq!(named, ["closed", "secret"]);
        let denied = |rule: &Rule| matches!(rule, Rule::Unreadable(why) if why.contains("denied"));
        assert!(
            offences.listed().iter().all(|o| denied(&o.rule)),
            "{offences}"
        );
        fs::set_permissions(path("closed"), Permissions::from_mode(0o755)).unwrap();
    }
}
