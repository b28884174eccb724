//! Why the store cannot be used.

use std::path::PathBuf;

use tidecast_proto::{
    codec::CodecError,
    id::{ObjectId, ReleaseNumber},
    manifest::ManifestError,
    name::ReleasePath,
};

use super::record::RecordError;
use crate::durable::FileError;

/// Why the store cannot be read or written. What was sealed before is untouched.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk or its permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// A sealed pack was changed, cut short, or is not ours.
    #[error("pack {}: {source}", path.display())]
    Pack { path: PathBuf, source: PackError },
    /// A release file was changed, cut short, or is not ours.
    #[error("release file {}: {source}", path.display())]
    Release { path: PathBuf, source: ReleaseError },
    /// Another process publishes into this store right now.
    #[error("{} is being written by process {}", store.display(), holder.as_deref().unwrap_or("unknown"))]
    Locked {
        store: PathBuf,
        holder: Option<String>,
    },
    /// Stored bytes do not have the name they are stored under: the disk lies.
    #[error("stored {kind} {id} does not have that content any more")]
    WrongContent { kind: &'static str, id: ObjectId },
    /// A pack was lost or moved away.
    #[error("{kind} {id} is missing")]
    Missing { kind: &'static str, id: ObjectId },
    /// What a release needs cannot be told, so nothing may be removed.
    #[error("release {release}, {path}: {source}")]
    Incomplete {
        release: ReleaseNumber,
        path: ReleasePath,
        source: Box<StoreError>,
    },
    /// Packs come faster than they can be listed.
    #[error("{} changes whenever it is read", folder.display())]
    Unsettled { folder: PathBuf },
    /// A caller's mistake or a bug: nothing of this length may be stored.
    #[error("a {kind} of {got} bytes cannot be stored (1 to {limit})")]
    Length {
        kind: &'static str,
        got: usize,
        limit: usize,
    },
    /// Releases are never replaced.
    #[error("release {0} exists already")]
    ReleaseExists(ReleaseNumber),
}

impl StoreError {
    /// What an operator can do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::File(error) if error.source.kind() == std::io::ErrorKind::StorageFull => {
                "make room on that disk, then publish again: nothing half-made is visible"
            }
            Self::File(_) => "check that the folder exists and belongs to this user",
            Self::Pack { .. } | Self::Release { .. } | Self::WrongContent { .. } => {
                "restore that file from a backup or from the other master; or move it away and publish the tree again"
            }
            Self::Missing { .. } | Self::Incomplete { .. } => {
                "put the missing pack back; or, if it is lost, move that release's file away, which mirrors cannot fetch any more"
            }
            Self::Locked { .. } | Self::Unsettled { .. } => "wait until it is done",
            Self::Length { .. } | Self::ReleaseExists(_) => "this is a bug: please report it",
        }
    }
}

/// What is wrong with a pack.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// Shorter than an empty pack or longer than any.
    #[error("{0} bytes cannot be a pack")]
    Size(u64),
    /// Not a pack, or one of a later version.
    #[error("it does not begin like a pack of this version")]
    Head,
    /// Not sealed, or cut short.
    #[error("it does not end like a sealed pack: cut short?")]
    Trailer,
    /// The trailer's numbers do not fit the file.
    #[error("an index of {count} entries cannot begin at byte {offset}")]
    IndexPlace { count: u32, offset: u32 },
    /// The index was changed.
    #[error("its index was changed")]
    IndexHash,
    /// An entry cannot be.
    #[error("index entry {entry}: {source}")]
    Entry { entry: usize, source: RecordError },
    /// An entry points outside the records.
    #[error("index entry {entry} points outside the pack")]
    Outside { entry: usize },
    /// Entries out of order or twice.
    #[error("index entry {entry} is out of order")]
    Order { entry: usize },
    /// The whole file does not have the hash in its name.
    #[error("its content does not have the hash in its name")]
    Name,
}

/// What is wrong with a release file.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Cut short, or longer than its head says.
    #[error("{got} bytes instead of {expected}")]
    Size { got: u64, expected: u64 },
    /// Its head cannot be.
    #[error("head: {0}")]
    Record(#[from] RecordError),
    /// A chunk or a list in the place of a manifest.
    #[error("holds no manifest")]
    NotAManifest,
    /// Its packed content does not open.
    #[error("does not open")]
    Packing,
    /// It opens to something else than a signed manifest.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// It opens to another manifest than its head says.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file renamed by hand.
    #[error("holds release {0}")]
    OtherNumber(ReleaseNumber),
}
