//! Why there is no bundle.

use std::io;

use tidecast_proto::manifest::ManifestError;

use crate::durable::FileError;
use crate::store::StoreError;

/// Why no bundle was built. Mirrors fetch what they lack chunk by chunk instead.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleBuildError {
    /// Expired by retention, or damaged on disk.
    #[error("the store no longer holds {what}")]
    Gone { what: String },
    /// It would save nothing.
    #[error("it would have over {limit} bytes, which is what the whole files cost")]
    TooLarge { limit: u64 },
    /// So many files changed that the list of them is too long for a bundle.
    #[error("the manifest's changes have {got} bytes, the limit is {limit}")]
    ManifestTooLarge { got: usize, limit: usize },
    /// zstd had no memory, or the bundle cannot be written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The cache folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored manifest was changed on disk.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl BundleBuildError {
    /// What an operator can do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Gone { .. } => {
                "start from a newer release, or publish a tree that has the files again"
            }
            Self::TooLarge { .. } | Self::ManifestTooLarge { .. } => "copy the files themselves",
            Self::Io(_) => "check memory and disk space, then try again",
            Self::File(_) => "check that the folder exists, has room and belongs to this user",
            Self::Store(error) => error.advice(),
            Self::Manifest(_) => "restore the store from a backup or from the other master",
        }
    }
}
