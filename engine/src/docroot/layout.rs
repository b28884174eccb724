//! What lies where in a docroot, and whose a name is. SPEC §8.3.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidecast_proto::id::ReleaseNumber;
use tidecast_proto::manifest::ManifestBody;

use super::error::DocrootError;
use super::files;

/// Everything of ours, in the docroot so that every step is a rename on one file system. The web server's user
/// must be able to pass through, so it is 0755.
pub(super) const STATE: &str = ".tidecast";
/// The tree being built, 0700 until it is complete.
pub(super) const NEW: &str = "new";
/// Files being built again for the live tree.
pub(super) const MEND: &str = "mend";
/// The link whose rename is the switch.
pub(super) const CURRENT: &str = "current";
pub(super) const CURRENT_TMP: &str = "current.tmp";
/// The release that is about to become the live one.
pub(super) const INTENT: &str = "intent";
/// Held locked by the process that works here; holds its process id.
pub(super) const LOCK: &str = "lock";
/// The feed the docroot belongs to.
pub(super) const FEED: &str = "feed";
/// Chunk lists of the kept trees and of the one being built.
pub(super) const LISTS: &str = "lists";
/// Recipes of the same trees.
pub(super) const RECIPES: &str = "recipes";
/// Chunks of opened contents that wait for their file to be rebuilt.
pub(super) const SPOOL: &str = "spool";
/// What was moved out of the docroot, by day.
pub(super) const REMOVED: &str = "removed";
/// Between docroot and [`REMOVED`]: a link here changes places with what stands in the docroot, which is judged here.
pub(super) const SWAP: &str = "swap";
/// The tree an older mirror script left, served as it was until the first release replaces it in one instant.
pub(super) const ADOPTED: &str = "r0";
/// Trees that are being deleted.
pub(super) const TRASH: &str = "trash";
/// Reserved at the top of the docroot, and the file of ours it points to.
pub(super) const TIMESTAMP: &str = "timestamp";

/// Names at the top of a docroot that belong to the file system itself.
const OF_THE_FILE_SYSTEM: &[&[u8]] = &[b"lost+found"];

/// Whether our code may link, move or remove the top-level docroot name at all. `local_*` and hidden names are
/// the operator's; this is the only place that decides it, and every change of a docroot name asks here.
pub(super) fn may_touch(name: &OsStr) -> bool {
    let name = name.as_bytes();
    !name.starts_with(b"local_") && !name.starts_with(b".") && !OF_THE_FILE_SYSTEM.contains(&name)
}

/// Where the link of a top-level name points while nothing is being switched.
pub(super) fn settled_target(name: &str) -> String {
    format!("{STATE}/{CURRENT}/{name}")
}

/// Where a new name's link points until `current` has moved: never through `current`, where it would dangle.
pub(super) fn direct_target(release: ReleaseNumber, name: &str) -> String {
    format!("{STATE}/{}/{name}", tree_name(release))
}

/// Whether a link was made by us.
pub(super) fn is_our_target(target: &str) -> bool {
    target.starts_with(".tidecast/")
}

pub(super) fn tree_name(release: ReleaseNumber) -> String {
    format!("r{release}")
}

pub(super) fn manifest_name(release: ReleaseNumber) -> String {
    format!("r{release}.manifest")
}

pub(super) fn index_name(release: ReleaseNumber) -> String {
    format!("r{release}.index")
}

/// The release whose tree is named `name`; [`ADOPTED`] is none.
pub(super) fn release_of_tree(name: &str) -> Option<ReleaseNumber> {
    let number = name.strip_prefix('r')?.parse().ok()?;
    (number > 0 && name == format!("r{number}")).then_some(ReleaseNumber(number))
}

/// The top-level names of a release, ascending, each once.
pub(super) fn top_names(manifest: &ManifestBody) -> Vec<&str> {
    // Not simply deduplicated: "a/b" and "a-b" sort between each other's names.
    let mut names: Vec<&str> = manifest.files.iter().map(|file| file.path.top()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The two folders everything happens in, held open.
#[derive(Debug)]
pub(super) struct Folders {
    pub(super) path: PathBuf,
    pub(super) docroot: Arc<OwnedFd>,
    pub(super) state: OwnedFd,
}

impl Folders {
    /// Opens both without changing anything; `None` for the docroot of a stranger.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, DocrootError> {
        let docroot = open_docroot(path)?;
        match files::open_folder(&docroot, STATE) {
            Ok(state) => Ok(Some(Self {
                path: path.to_owned(),
                docroot: Arc::new(docroot),
                state,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DocrootError::at("open", &path.join(STATE))(error)),
        }
    }

    /// Opens both and makes our folder where there is none.
    pub(super) fn make(path: &Path) -> Result<Self, DocrootError> {
        let docroot = open_docroot(path)?;
        let state =
            files::make_folder(&docroot, STATE, 0o755).map_err(|source| match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    DocrootError::NotWritable {
                        path: path.to_owned(),
                        source,
                    }
                }
                _ => DocrootError::at("make", &path.join(STATE))(source),
            })?;
        Ok(Self {
            path: path.to_owned(),
            docroot: Arc::new(docroot),
            state,
        })
    }

    /// The path of something of ours, for messages.
    pub(super) fn state_path(&self, name: &str) -> PathBuf {
        match name {
            "." => self.path.join(STATE),
            name => self.path.join(STATE).join(name),
        }
    }

    /// For `map_err` after an operation on something of ours.
    pub(super) fn fault<E: Into<io::Error>>(
        &self,
        action: &'static str,
        name: &str,
    ) -> impl FnOnce(E) -> DocrootError {
        // The path only when it is needed: this stands beside every system call.
        move |source| DocrootError::at(action, &self.state_path(name))(source)
    }

    /// For `map_err` after a file of ours of `need_bytes` could not be written.
    pub(super) fn write_fault<E: Into<io::Error>>(
        &self,
        name: &str,
        need_bytes: usize,
    ) -> impl FnOnce(E) -> DocrootError {
        move |source| DocrootError::writing(&self.state_path(name), need_bytes as u64)(source)
    }

    /// For `map_err` after an operation on a top-level name.
    pub(super) fn name_fault<E: Into<io::Error>>(
        &self,
        action: &'static str,
        name: &OsStr,
    ) -> impl FnOnce(E) -> DocrootError {
        move |source| DocrootError::at(action, &self.path.join(name))(source)
    }

    pub(super) fn sync_state(&self) -> Result<(), DocrootError> {
        rustix::fs::fsync(&self.state).map_err(self.fault("sync", "."))
    }

    pub(super) fn sync_docroot(&self) -> Result<(), DocrootError> {
        rustix::fs::fsync(&self.docroot).map_err(DocrootError::at("sync", &self.path))
    }

    /// Opens a subfolder of ours, made where it is missing.
    pub(super) fn subfolder(&self, name: &str, mode: u32) -> Result<OwnedFd, DocrootError> {
        files::make_folder(&self.state, name, mode).map_err(self.fault("make", name))
    }

    /// Refuses to go on when the file system has fewer than `need_bytes` free.
    pub(super) fn check_free(&self, need_bytes: u64) -> Result<(), DocrootError> {
        let free_bytes = self.free_bytes()?;
        if need_bytes > free_bytes {
            return Err(DocrootError::NoSpace {
                action: "build the release in",
                path: self.path.clone(),
                need_bytes,
                free_bytes,
            });
        }
        Ok(())
    }

    /// Free bytes for this user.
    pub(super) fn free_bytes(&self) -> Result<u64, DocrootError> {
        let stat = rustix::fs::fstatvfs(&self.docroot)
            .map_err(DocrootError::at("ask the free space of", &self.path))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// The docroot itself may be reached through links: its path is the operator's.
pub(super) fn open_docroot(path: &Path) -> Result<OwnedFd, DocrootError> {
    use rustix::fs::{Mode, OFlags};
    use rustix::io::Errno;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => DocrootError::Missing {
            path: path.to_owned(),
        },
        Errno::NOTDIR | Errno::LOOP => DocrootError::NotAFolder {
            path: path.to_owned(),
        },
        other => DocrootError::at("open", path)(other),
    })
}
