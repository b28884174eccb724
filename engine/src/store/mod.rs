//! The release store of a master or relay: chunks and lists in packs, one file per release. SPEC §7.6, §7.7, §7.11.
//!
//! ```text
//! <store>/lock                    held by the one writer; holds its process id
//! <store>/packs/<64 hex>.pack     sealed, named by the BLAKE3 hash of the whole file, never changed
//! <store>/packs/open              the pack being written; after a crash its good records are kept
//! <store>/releases/<N>.manifest   one release, written after everything it needs is sealed
//! <store>/proposals/<...>         releases that wait for signatures
//! <store>/bundles/<A>-<N>.bundle  cached, can be made again
//! <store>/collected               when what nothing needs was last removed
//! <store>/explain/<N>.json        why it costs what it costs, for people
//! ```
//!
//! Readers take no lock: they look things up in a snapshot that [`Store::refresh`] replaces whole. What is in
//! a pack is named by its hash, so a reader that looks at an older snapshot misses new things and never sees
//! a wrong one. What a [`Collection`] removes stays mapped, and on the disk, until a reader refreshes.

pub(crate) mod bundle_files;
mod content;
mod error;
pub mod explain;
pub mod explained;
mod gc;
pub(crate) mod open_pack;
pub(crate) mod pack;
pub(crate) mod proposals;
pub(crate) mod record;
pub(crate) mod release_file;
pub(crate) mod snapshot;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tidecast_proto::{
    id::{ChunkId, ListId, ObjectId, RecipeId, ReleaseNumber},
    manifest::SignedManifest,
    wire::Encoding,
};

use crate::packing;

pub use error::{PackError, ReleaseError, StoreError};
pub use gc::{
    Collection, ExpiredBy, Fate, Files, GcPlan, GcProblem, GcReport, HOLD_MARGIN_MS, KeptFor,
    PACK_GRACE_MS, Retention, Verdict,
};
pub use pack::{PACK_BYTES, PACK_RECORDS};
pub use record::{Kind, RecordError};
pub use verify::{PROBLEMS_LISTED, VerifyReport};
pub use writer::StoreWriter;

pub(crate) use pack::map;
pub(crate) use snapshot::list;

#[cfg(test)]
pub(crate) use open_pack::full_disk;

use snapshot::Snapshot;

/// A thing as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBytes {
    /// How [`Self::bytes`] are packed.
    pub encoding: Encoding,
    /// Bytes of the thing itself.
    pub opened_len: u32,
    /// A view into the mapped file; cloning it copies nothing.
    pub bytes: Bytes,
}

impl StoredBytes {
    /// The thing itself.
    ///
    /// # Errors
    /// [`std::io::Error`] when the stored bytes do not open to [`Self::opened_len`]: the disk is at fault.
    pub fn open(&self) -> std::io::Result<Vec<u8>> {
        packing::open(self.encoding, self.opened_len as usize, &self.bytes).map(Into::into)
    }
}

/// A release the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRelease {
    /// Its number.
    pub release: ReleaseNumber,
    /// Its manifest.
    pub manifest: ObjectId,
}

/// Read access to a store; cloning it is cheap and clones see the same.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    current: ArcSwap<Snapshot>,
    /// Two refreshes at once could put an older snapshot over a newer one.
    refreshing: Mutex<()>,
}

impl Store {
    /// Opens the store in `folder` for reading. A folder that is not there is an empty store.
    ///
    /// # Errors
    /// [`StoreError`], naming the file; nothing is written.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let snapshot = Snapshot::read(folder, &Snapshot::default())?;
        Ok(Self {
            shared: Arc::new(Shared {
                folder: folder.to_owned(),
                current: ArcSwap::from_pointee(snapshot),
                refreshing: Mutex::new(()),
            }),
        })
    }

    /// Picks up what was sealed since, by this process or another. Returns whether there is a new release.
    ///
    /// # Errors
    /// [`StoreError`]; what was visible before stays so.
    pub fn refresh(&self) -> Result<bool, StoreError> {
        let _one = self
            .shared
            .refreshing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let old = self.shared.current.load_full();
        let new = Snapshot::read(&self.shared.folder, &old)?;
        let newer = new.newest() != old.newest();
        self.shared.current.store(Arc::new(new));
        Ok(newer)
    }

    /// Where the store lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// A chunk.
    #[must_use]
    pub fn chunk(&self, id: &ChunkId) -> Option<StoredBytes> {
        self.shared.current.load().find(Kind::Chunk, &id.0)
    }

    /// A chunk list, as [`tidecast_proto::list::List::encode`] made it.
    #[must_use]
    pub fn list(&self, id: &ListId) -> Option<StoredBytes> {
        self.shared.current.load().find(Kind::List, &id.0)
    }

    /// A recipe, as [`tidecast_proto::recipe::Recipe::encode`] made it.
    #[must_use]
    pub fn recipe(&self, id: &RecipeId) -> Option<StoredBytes> {
        self.shared.current.load().find(Kind::Recipe, &id.0)
    }

    /// The signed bytes of a manifest, packed when it was published.
    #[must_use]
    pub fn manifest_bytes_packed(&self, id: &ObjectId) -> Option<StoredBytes> {
        let snapshot = self.shared.current.load();
        // From the newest backwards: that is the one mirrors ask for.
        let file = snapshot.releases().rev().find(|r| r.manifest_id() == *id)?;
        Some(file.stored().clone())
    }

    /// The signed manifest of a release; its signatures are for the caller to check. Opens and decodes it, so
    /// keep the result.
    ///
    /// # Errors
    /// [`StoreError`] when the file is damaged.
    pub fn manifest(&self, release: ReleaseNumber) -> Result<Option<SignedManifest>, StoreError> {
        let snapshot = self.shared.current.load();
        snapshot.release(release).map(|r| r.signed()).transpose()
    }

    /// All releases, oldest first.
    #[must_use]
    pub fn releases(&self) -> Vec<StoredRelease> {
        let snapshot = self.shared.current.load();
        let stored = |file: &Arc<release_file::ReleaseFile>| StoredRelease {
            release: file.release(),
            manifest: file.manifest_id(),
        };
        snapshot.releases().map(stored).collect()
    }

    /// The newest release.
    #[must_use]
    pub fn newest(&self) -> Option<StoredRelease> {
        self.shared.current.load().newest()
    }

    /// Reads and hashes everything: every pack, chunk, list and manifest, and whether each release has all it
    /// needs. Reads the whole disk; memory stays bounded.
    #[must_use]
    pub fn verify(&self) -> VerifyReport {
        verify::verify(&self.shared.current.load_full())
    }
}
