//! What a mirror remembers of whom it trusts, on disk: `roots/` and `counters`. SPEC §8.2.

use std::path::{Path, PathBuf};

use tidecast_proto::id::FeedId;
use tidecast_proto::root::{RootError, SignedRoot};
use tidecast_proto::trust::Trust;

use crate::durable::{self, Access, FileError};
use crate::roots::{self, RootsError};

/// Why the memory cannot be used.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The disk or its permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// A root's file.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The files do not hold together: damaged, or of another feed.
    #[error("the trust state in {} is not usable: {source}", folder.display())]
    Trust { folder: PathBuf, source: RootError },
}

/// The memory's place.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    state: PathBuf,
}

impl Memory {
    pub(super) fn new(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
        }
    }

    fn roots(&self) -> PathBuf {
        self.state.join("roots")
    }

    /// What is remembered; nothing before the first contact.
    ///
    /// # Errors
    /// [`MemoryError`]; the operator must restore the state or join again.
    pub(super) fn load(&self, feed: &FeedId) -> Result<Option<Trust>, MemoryError> {
        let roots = roots::load(&self.roots())?;
        let counters = durable::read_optional(&self.state.join("counters"), Trust::BYTES_MAX)?;
        Trust::resume(feed, roots, counters.as_deref()).map_err(|source| MemoryError::Trust {
            folder: self.state.clone(),
            source,
        })
    }

    /// Keeps a newly accepted root, to be called before anything is done in its name.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub(super) fn keep_root(&self, root: &SignedRoot, trust: &Trust) -> Result<(), MemoryError> {
        roots::store(&self.roots(), trust.root().version, root)?;
        self.keep_counters(trust)
    }

    /// Keeps the counters, to be called before anything is done by them.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub(super) fn keep_counters(&self, trust: &Trust) -> Result<(), MemoryError> {
        let path = self.state.join("counters");
        durable::write(&path, &trust.to_bytes(), Access::OwnerOnly)?;
        Ok(())
    }
}
