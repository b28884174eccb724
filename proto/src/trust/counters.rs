//! What a mirror keeps of whom it believes, as it lies on disk. SPEC §8.2.

use alloc::vec::Vec;

use crate::codec::{Decode, Encode};
use crate::head::SignedHead;
use crate::id::{Epoch, FeedId, ObjectId, ReleaseNumber, RootVersion, Seq, Timestamp};
use crate::key::PublicKey;

/// The release a mirror has installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Installed {
    /// Its number; it only rises.
    pub release: ReleaseNumber,
    /// Its manifest.
    pub manifest: ObjectId,
    /// The newest release that the whole threshold signed and that it goes back to; itself, unless it is an addition.
    /// It only rises.
    pub anchored: ReleaseNumber,
}

/// The newest head of one key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct HeldHead {
    pub(super) seq: Seq,
    pub(super) bytes: Vec<u8>,
    /// Kept for as long as the key stands in the root: later heads do not undo what its holder did.
    pub(super) evidence: Option<Evidence>,
}

impl HeldHead {
    /// Whether `key` signed it: what lies on disk is served on, so it is checked like what came over the wire.
    pub(super) fn is_of(&self, key: &PublicKey, feed: &FeedId) -> bool {
        SignedHead::from_bytes(&self.bytes)
            .ok()
            .and_then(|signed| signed.verify_with(core::slice::from_ref(key), 1).ok())
            .is_some_and(|head| head.seq == self.seq && head.feed == *feed)
    }

    /// Whether this very head is one of two under its number.
    pub(super) fn is_disputed(&self) -> bool {
        self.evidence.as_ref().is_some_and(|e| e.seq == self.seq)
    }
}

/// Two different heads that one key signed under one number, as received.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Evidence {
    /// The number.
    pub seq: Seq,
    /// The one seen first.
    pub first: Vec<u8>,
    /// The other.
    pub second: Vec<u8>,
}

/// A head that names another manifest for the release that is installed: two bodies under one number.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Contested {
    /// The number.
    pub release: ReleaseNumber,
    /// What is installed under it.
    pub installed: ObjectId,
    /// The signed head, as received.
    pub head: Vec<u8>,
}

impl Contested {
    /// Whether `key` signed it.
    pub(super) fn is_of(&self, key: &PublicKey) -> bool {
        SignedHead::from_bytes(&self.head)
            .ok()
            .and_then(|signed| signed.verify_with(core::slice::from_ref(key), 1).ok())
            .is_some_and(|head| head.release == self.release && head.manifest != self.installed)
    }
}

/// The counters on disk.
#[derive(Debug, Encode, Decode)]
pub(super) struct Counters {
    pub(super) feed: FeedId,
    pub(super) root_version: RootVersion,
    pub(super) epoch: Epoch,
    pub(super) heads: Vec<(PublicKey, HeldHead)>,
    /// For each key the first head of its kind.
    pub(super) contested: Vec<(PublicKey, Contested)>,
    pub(super) installed: Option<Installed>,
    /// The latest `issued` of an accepted head: our clock is never believed to be before it.
    pub(super) issued_floor: Timestamp,
}
