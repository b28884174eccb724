//! The head: a short-lived signed pointer to the newest manifest. SPEC §3.4.

use alloc::vec::Vec;

use crate::codec::{CodecError, Decode, Encode};
use crate::extension::{Extension, Extensions};
use crate::id::{Epoch, FeedId, ObjectId, ReleaseNumber, RootVersion, Seq, Timestamp};
use crate::key::PublicKey;
use crate::limits;
use crate::root::Root;
use crate::signed::{Body, Signed, Verified};

/// Whether mirrors may switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Phase(pub u8);

impl Phase {
    /// Fetch, but do not switch yet.
    pub const PREPARE: Self = Self(0);
    /// Switch.
    pub const LIVE: Self = Self(1);
}

/// What a head says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HeadBody {
    /// The feed.
    pub feed: FeedId,
    /// Must equal the root's.
    pub epoch: Epoch,
    /// Rises with every head of one key.
    pub seq: Seq,
    /// When it was signed.
    pub issued: Timestamp,
    /// When it stops being believed.
    pub expires: Timestamp,
    /// The newest release.
    pub release: ReleaseNumber,
    /// Its manifest.
    pub manifest: ObjectId,
    /// Length of the manifest's body in bytes.
    pub manifest_bytes: u64,
    /// The newest root.
    pub root_version: RootVersion,
    /// Whether to switch.
    pub phase: Phase,
    /// Room to grow.
    pub extensions: Extensions,
}

/// A head as received.
pub type SignedHead = Signed<HeadBody>;
/// A head that [`crate::trust::Trust`] accepted.
pub type Head = Verified<HeadBody>;

impl SignedHead {
    /// What it says, **before** anybody has looked who signed it: for messages that name what was refused, and for
    /// nothing else.
    #[must_use]
    pub fn claims(&self) -> Option<HeadBody> {
        self.open().ok()
    }

    /// The distinct head keys of `root` whose signatures hold, ascending; whatever else is wrong with the head.
    #[must_use]
    pub fn signed_by(&self, root: &Root) -> Vec<PublicKey> {
        self.good_signers(&root.head_keys)
    }
}

impl Body for HeadBody {
    const NAME: &'static str = "head";
    const BYTES_MAX: usize = limits::SMALL_OBJECT_BYTES;

    fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    fn check(&self) -> Result<(), CodecError> {
        let bad = |field, why| Err(CodecError::BadField { field, why });
        if self.expires <= self.issued {
            return bad("expires", "not after issued");
        }
        if self.release.0 == 0 {
            return bad("release", "releases count from 1");
        }
        if self.phase != Phase::PREPARE && self.phase != Phase::LIVE {
            return bad("phase", "neither prepare (0) nor live (1)");
        }
        Ok(())
    }
}
