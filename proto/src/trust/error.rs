//! Why a head is refused. SPEC §3.7.

use crate::id::{Epoch, FeedId, ObjectId, ReleaseNumber, RootVersion, Seq, Timestamp};
use crate::key::PublicKey;
use crate::signed::SignedError;

/// Why a head was refused. What is installed keeps being served.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// Malformed, or signed by no head key of the root.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// The root's life is over; only a newer root helps.
    #[error(
        "root {version} expired; nothing new is accepted until the feed publishes a newer root"
    )]
    RootExpired { version: RootVersion },
    /// Of another feed.
    #[error("head of feed {got}, expected {expected}")]
    WrongFeed { got: FeedId, expected: FeedId },
    /// The root's and the head's epoch differ.
    #[error("head of epoch {got}, the root has {have}")]
    WrongEpoch { got: Epoch, have: Epoch },
    /// A newer root must be fetched first.
    #[error("head speaks of root {got}, we have {have}")]
    NewerRoot { got: RootVersion, have: RootVersion },
    /// Its life is over: the upstream is cut off, frozen, or our clock is ahead.
    #[error(
        "head expired {minutes} minutes ago by this machine's clock",
        minutes = minutes(*expires, *now)
    )]
    Expired { expires: Timestamp, now: Timestamp },
    /// Signed in the future: their clock or ours is wrong.
    #[error(
        "head was issued {minutes} minutes after this machine's time: is the clock right?",
        minutes = minutes(*now, *issued)
    )]
    FromTheFuture { issued: Timestamp, now: Timestamp },
    /// Its life is longer than the root allows.
    #[error("head lives {got_ms} ms, the root allows {max_ms}")]
    LivesTooLong { got_ms: u64, max_ms: u64 },
    /// An older head again.
    #[error("head {got} of key {key} is older than {have}, seen before")]
    Replayed { key: PublicKey, got: Seq, have: Seq },
    /// Two different heads under one number: that key's holder is lying or was robbed.
    #[error(
        "key {key} signed two different heads under number {seq}: evidence kept, nothing installed"
    )]
    Equivocation { key: PublicKey, seq: Seq },
    /// Points below what is installed.
    #[error("head points at release {got}, installed is {have}")]
    Rollback {
        got: ReleaseNumber,
        have: ReleaseNumber,
    },
    /// Names another manifest for the release we have.
    #[error("head names manifest {got} for release {release}, installed is {have}")]
    OtherManifest {
        release: ReleaseNumber,
        got: ObjectId,
        have: ObjectId,
    },
    /// Points below the root's floor.
    #[error("head points at release {got}, below the feed's floor {floor}")]
    BelowFloor {
        got: ReleaseNumber,
        floor: ReleaseNumber,
    },
    /// Points at a manifest the root revoked.
    #[error("head points at manifest {0}, which the feed's root revoked")]
    Revoked(ObjectId),
}

/// Whole minutes between two moments: Unix milliseconds tell nobody anything.
fn minutes(from: Timestamp, to: Timestamp) -> u64 {
    to.0.saturating_sub(from.0) / 60_000
}
