//! The receipt: a mirror's signed statement of what it serves since when. SPEC §3.5.

use crate::codec::{CodecError, Decode, Encode};
use crate::extension::{Extension, Extensions};
use crate::id::{FeedId, ObjectId, ReleaseNumber, Timestamp};
use crate::key::PublicKey;
use crate::limits;
use crate::signed::{Body, Signed, SignedError, Verified};

/// What a mirror is doing with the release it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ServingState(pub u8);

impl ServingState {
    /// Serves it and knows of nothing newer.
    pub const LIVE: Self = Self(0);
    /// Serves it, but no fresh head or root was to be had.
    pub const STALE: Self = Self(1);
    /// Serves it because its operator said to stay.
    pub const HELD: Self = Self(2);

    /// The word every output uses.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::LIVE => "live",
            Self::STALE => "stale",
            Self::HELD => "held",
            _ => "unknown",
        }
    }
}

/// What a receipt says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReceiptBody {
    /// The feed.
    pub feed: FeedId,
    /// The release in the docroot.
    pub release: ReleaseNumber,
    /// Its manifest.
    pub manifest: ObjectId,
    /// What the mirror does with it.
    pub state: ServingState,
    /// When the docroot was switched to it.
    pub switched: Timestamp,
    /// When this was signed.
    pub issued: Timestamp,
    /// Room to grow.
    pub extensions: Extensions,
}

/// A receipt as received.
pub type SignedReceipt = Signed<ReceiptBody>;
/// A receipt signed by the node it came from.
pub type Receipt = Verified<ReceiptBody>;

impl Body for ReceiptBody {
    const NAME: &'static str = "receipt";
    const BYTES_MAX: usize = limits::SMALL_OBJECT_BYTES;

    fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    fn check(&self) -> Result<(), CodecError> {
        Ok(())
    }
}

/// Why a receipt was refused. The mirror is at fault; its last good receipt stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Malformed, or not signed by the node it came from.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// Signed well, but about another feed.
    #[error("receipt for feed {0}")]
    WrongFeed(FeedId),
}

impl SignedReceipt {
    /// A receipt signed by `node`, the key of the connection it came over.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn verify(self, node: &PublicKey, feed: &FeedId) -> Result<Receipt, ReceiptError> {
        let receipt = self.verify_with(core::slice::from_ref(node), 1)?;
        if receipt.feed != *feed {
            return Err(ReceiptError::WrongFeed(receipt.feed));
        }
        Ok(receipt)
    }
}
