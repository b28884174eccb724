//! Why the docroot could not be used or changed.

use std::io;
use std::path::{Path, PathBuf};

use tidecast_proto::id::{FeedId, ListId, ReleaseNumber};
use tidecast_proto::manifest::ManifestError;

use super::front::Obstacle;

/// Why the docroot could not be used or changed. What is served stays what it was, whole, whenever one comes back.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocrootError {
    /// The configuration names a folder that is not there, or a mount is missing.
    #[error("docroot {} does not exist", path.display())]
    Missing { path: PathBuf },
    /// A file, device or dangling link stands where the docroot should be.
    #[error("docroot {} is not a folder", path.display())]
    NotAFolder { path: PathBuf },
    /// The process may not write there.
    #[error("docroot {} is not writable for this user", path.display())]
    NotWritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Two feeds must never share a docroot: each would remove the other's files.
    #[error("docroot {} belongs to feed {has}, not to feed {wanted}", path.display())]
    OtherFeed {
        path: PathBuf,
        has: FeedId,
        wanted: FeedId,
    },
    /// Another process works on this docroot.
    #[error("docroot {} is in use by another tidecast ({holder})", path.display())]
    InUse { path: PathBuf, holder: String },
    /// The folder under the docroot's path is no longer the one that was opened and locked.
    #[error("docroot {} was replaced while it was in use: {what} is another one now", path.display())]
    Replaced { path: PathBuf, what: &'static str },
    /// The layout without links was asked for where it cannot be had.
    #[error("docroot {} cannot change places with another as a whole: {obstacle}", path.display())]
    NotExchangeable { path: PathBuf, obstacle: Obstacle },
    /// A file system error that has no variant of its own.
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The disk or a quota is full.
    #[error("no space to {action} {}: {need_bytes} bytes needed, {free_bytes} free", path.display())]
    NoSpace {
        action: &'static str,
        path: PathBuf,
        need_bytes: u64,
        free_bytes: u64,
    },
    /// The file system is mounted read-only, often after a disk error.
    #[error("cannot {action} {}: the file system is read-only", path.display())]
    ReadOnly { action: &'static str, path: PathBuf },
    /// A file or folder inside belongs to somebody else.
    #[error("cannot {action} {}: permission denied", path.display())]
    Denied {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The disk itself failed.
    #[error("cannot {action} {}: the disk reports an error", path.display())]
    DiskFault {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A release no newer than the one that is served.
    #[error("release {got} is not newer than release {have}, which is served")]
    NotNewer {
        got: ReleaseNumber,
        have: ReleaseNumber,
    },
    /// A manifest of another feed.
    #[error("release is of feed {got}, the docroot of feed {have}")]
    WrongFeed { got: FeedId, have: FeedId },
    /// The release does to the previous one what its signers did not allow.
    #[error("release refused")]
    Successor(#[from] ManifestError),
    /// The caller started without a list it was told is missing.
    #[error("the chunk list {list} of {path} has not been added")]
    ListMissing { list: ListId, path: String },
    /// All chunks are there but they are not the file: the list lies, or the disk does.
    #[error("{path}: built from its chunks, but its content is not what the manifest says")]
    WrongContent { path: String },
    /// The caller finished a build whose chunks are not all there.
    #[error("{files} files are not complete, the first is {path}")]
    Incomplete { files: usize, path: String },
    /// A repair was asked for where nothing is served.
    #[error("no release is served from {}", path.display())]
    NothingLive { path: PathBuf },
    /// A name that no code path of ours may touch.
    #[error("refusing to touch {name}: it belongs to the operator")]
    Operators { name: String },
    /// What we keep in `.tidecast` was changed by somebody else.
    #[error("{} is damaged: {what}", path.display())]
    State { path: PathBuf, what: String },
    /// The test's power cut.
    #[cfg(test)]
    #[error("stopped after {0}")]
    Stopped(String),
}

impl DocrootError {
    /// For use with `map_err`: sorts what the system said into the variants an operator can act on.
    pub(super) fn at<'a, E: Into<io::Error>>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(E) -> Self + 'a {
        move |source| Self::sort(action, path, 0, source.into())
    }

    /// Like [`Self::at`] for a write of `need_bytes`.
    pub(super) fn writing<'a, E: Into<io::Error>>(
        path: &'a Path,
        need_bytes: u64,
    ) -> impl FnOnce(E) -> Self + 'a {
        move |source| Self::sort("write", path, need_bytes, source.into())
    }

    fn sort(action: &'static str, path: &Path, need_bytes: u64, source: io::Error) -> Self {
        use rustix::io::Errno;
        let path = path.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace {
                action,
                need_bytes,
                free_bytes: free_bytes_near(&path),
                path,
            },
            Some(Errno::ROFS) => Self::ReadOnly { action, path },
            Some(Errno::ACCESS | Errno::PERM) => Self::Denied {
                action,
                path,
                source,
            },
            Some(Errno::IO) => Self::DiskFault {
                action,
                path,
                source,
            },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// What an operator can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::Missing { .. } => {
                "create it, mount it, or correct `docroot` in the configuration"
            }
            Self::NotAFolder { .. } => "name a folder that holds nothing but the databases",
            Self::NotWritable { .. } | Self::Denied { .. } => {
                "give the folder and everything in it to the user tidecast runs as"
            }
            Self::OtherFeed { .. } => "give each feed a docroot of its own",
            Self::InUse { .. } => "talk to the running daemon (`tidecast status`) or stop it first",
            Self::Replaced { .. } => {
                "put it back, or unmount what lies over it, and look for jobs that still write there (an old rsync with --delete); the daemon goes on by itself, and needs a restart only if this is the docroot from now on"
            }
            Self::NotExchangeable { obstacle, .. } => obstacle.advice(),
            Self::NoSpace { .. } => {
                "free some space; a release needs room for its new files beside the old ones"
            }
            Self::ReadOnly { .. } => "look for disk errors in the kernel log, then remount",
            Self::DiskFault { .. } => {
                "look for disk errors in the kernel log; the disk may be failing"
            }
            Self::Successor(_) => "ask the feed's operators; the old release stays in service",
            Self::WrongContent { .. } => "run `tidecast sync` again; if it repeats, check the disk",
            Self::State { .. } => "run `tidecast verify`; the next sync repairs what it can",
            Self::Io { source, .. } if source.kind() == io::ErrorKind::ResourceBusy => {
                "something is mounted there: unmount it; what was served before still is"
            }
            _ => return None,
        })
    }
}

/// Free bytes for this user on the file system of `path`, or of the nearest folder above that exists.
fn free_bytes_near(path: &Path) -> u64 {
    path.ancestors()
        .find_map(|folder| rustix::fs::statvfs(folder).ok())
        .map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}
