//! Why no head could be signed.

use std::path::PathBuf;

use tidecast_proto::codec::CodecError;
use tidecast_proto::id::{ObjectId, ReleaseNumber};

use crate::chain_log::ChainLogError;
use crate::durable::FileError;

/// Why no head could be signed. The last one stays in use.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadsError {
    /// The disk or its permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// The log of heads cannot be read or added to.
    #[error(transparent)]
    Log(#[from] ChainLogError),
    /// The log's chain is whole, but somebody who is no head signer added to it.
    #[error("{}: record {record}: {why}", path.display())]
    NoHead {
        path: PathBuf,
        record: u64,
        why: &'static str,
    },
    /// The file an earlier version kept its last number in holds something else.
    #[error("{}: not a number", path.display())]
    BadCounter { path: PathBuf },
    /// The store was restored from an older backup than the log of heads.
    #[error(
        "the newest release in the store is {got}, but this master has announced release {announced}"
    )]
    OlderThanAnnounced {
        got: ReleaseNumber,
        announced: ReleaseNumber,
    },
    /// The same, and a release was made since: under a number that was used.
    #[error(
        "release {release} in the store is manifest {got}, but this master has announced it as {announced}"
    )]
    OtherThanAnnounced {
        release: ReleaseNumber,
        got: ObjectId,
        announced: ObjectId,
    },
    /// Every number is used up: somebody raised it by hand.
    #[error("no number is left for this head key")]
    Exhausted,
    /// The system gave no random bytes.
    #[error("no random bytes: {0}")]
    Randomness(getrandom::Error),
    /// Settings that make no head.
    #[error("cannot make a head: {0}")]
    Head(#[from] CodecError),
}

impl HeadsError {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::File(_) => "check that its disk works, has room, and belongs to this user".into(),
            Self::Log(error) => error.advice().into(),
            Self::NoHead { .. } => {
                "somebody wrote into this master's state: `tidecast audit` says what else; then rotate the head key".into()
            }
            Self::BadCounter { .. } => {
                "write the last number this master used into it, in digits; a master that begins again at any number might contradict itself".into()
            }
            Self::OlderThanAnnounced { announced, .. } => format!(
                "restore the store that goes up to release {announced}; where it is lost, make a release above it: `tidecast publish --above {announced} TREE`"
            ),
            Self::OtherThanAnnounced { release, .. } => format!(
                "mirrors that took the other one refuse this one: make a release above it, `tidecast publish --above {release} TREE`"
            ),
            Self::Exhausted => "replace the head key: a new root with another epoch".into(),
            Self::Randomness(_) => {
                "the system gives no random bytes: look at its log, then restart it".into()
            }
            Self::Head(_) => "report this".into(),
        }
    }

    /// Whether the head that was signed last says nothing wrong, only no new one can follow: the disk, or a release
    /// that would contradict what this master has said.
    #[must_use]
    pub fn leaves_the_last(&self) -> bool {
        let disk = matches!(
            self,
            Self::File(_) | Self::Log(ChainLogError::File(_) | ChainLogError::Unsure { .. })
        );
        disk || self.is_contradiction()
    }

    /// Whether signing would contradict what this master has said: then the head it signed last is served on.
    #[must_use]
    pub fn is_contradiction(&self) -> bool {
        matches!(
            self,
            Self::OlderThanAnnounced { .. } | Self::OtherThanAnnounced { .. }
        )
    }
}
