//! Why a proposal was not made, signed or taken.

use std::path::PathBuf;

use tidecast_proto::codec::CodecError;
use tidecast_proto::id::{FeedId, ObjectId, ReleaseNumber};
use tidecast_proto::key::PublicKey;
use tidecast_proto::manifest::ManifestError;
use tidecast_proto::name::ReleasePath;
use tidecast_proto::signed::SignedError;

use crate::durable::FileError;
use crate::publish::PublishError;
use crate::store::StoreError;
use crate::store::proposals::PROPOSALS_MAX;
use crate::vouched::UnacceptableError;

/// Why nothing was proposed, signed or released. The newest release is what it was.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The contents cannot be a release.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The manifest cannot be made.
    #[error("the manifest cannot be made: {0}")]
    Codec(#[from] CodecError),
    /// Mirrors would refuse it.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Neither a file nor the name of an open proposal.
    #[error("there is no proposal {what}")]
    NotThere { what: String },
    /// More digits are needed.
    #[error("{what} may be one of {count} proposals")]
    Ambiguous { what: String, count: usize },
    /// No signed manifest, or damaged on the way.
    #[error("{} is no proposal: {source}", path.display())]
    Malformed { path: PathBuf, source: SignedError },
    /// What it says is not what it said when it was named.
    #[error("{} was changed since it was proposed: its content makes it {is}", path.display())]
    Tampered { path: PathBuf, is: String },
    /// Another copy than the one that was meant.
    #[error("that is proposal {got}, not {expected}")]
    OtherProposal { got: ObjectId, expected: ObjectId },
    /// Made for another feed.
    #[error("the proposal is for feed {got}, not for {expected}")]
    WrongFeed { got: FeedId, expected: FeedId },
    /// Nothing new is accepted under it.
    #[error("the feed's root has expired: no mirror installs a release before a newer root")]
    RootExpired,
    /// Not one of the root's.
    #[error("{0} is no release key of this feed")]
    NotAReleaseKey(PublicKey),
    /// Once is all that counts.
    #[error("{0} has signed it already")]
    SignedAlready(PublicKey),
    /// Another release was made since.
    #[error("proposal {id} is stale: it was to follow {}, the newest release is {newest}", previous.as_deref().unwrap_or("none"))]
    Stale {
        id: ObjectId,
        previous: Option<String>,
        newest: ReleaseNumber,
    },
    /// It is a release.
    #[error("release {0} is just this proposal: it is announced already")]
    Released(ReleaseNumber),
    /// It holds what the newest release holds.
    #[error("nothing would change: release {0} holds the same files")]
    Unchanged(ReleaseNumber),
    /// Named to be removed.
    #[error("{0} is not in the newest release")]
    NoSuchFile(ReleasePath),
    /// Sigmakers have to decide about those first.
    #[error("{PROPOSALS_MAX} proposals are open already")]
    TooMany,
    /// Somebody removed it from the store.
    #[error("the store no longer holds the content of {path}, as release {release} had it")]
    ContentGone {
        path: ReleasePath,
        release: ReleaseNumber,
    },
    /// Collected, or never made.
    #[error("release {0} is not in the store")]
    NoRelease(ReleaseNumber),
    /// What it replaced is not known any more.
    #[error("the release before {0} is not in the store: what was there before cannot be put back")]
    NothingBefore(ReleaseNumber),
    /// Later releases changed all of it.
    #[error("nothing that release {0} did is left in the newest one")]
    NothingLeft(ReleaseNumber),
    /// A release without files is never meant.
    #[error("without what release {0} brought no file would be left")]
    Empties(ReleaseNumber),
}

impl ProposalError {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::File(_) => "check the path and its permissions".into(),
            Self::Store(error) => error.advice().into(),
            Self::Publish(error) => error.advice().into(),
            Self::Codec(_) => "shorten the notes, or publish fewer files in one feed".into(),
            Self::Manifest(_) => "propose it anew".into(),
            Self::NotThere { .. } => "`tidecast release list` shows what is open".into(),
            Self::Ambiguous { .. } => "give more digits of its id".into(),
            Self::Malformed { .. } => "copy the file again from the machine it was proposed on".into(),
            Self::Tampered { .. } | Self::OtherProposal { .. } => {
                "sign nothing; copy the file again from the machine it was proposed on, and compare its id over the telephone".into()
            }
            Self::WrongFeed { .. } => "name the state folder, or the roots, of the proposal's feed".into(),
            Self::RootExpired => "make a newer root first: `tidecast root rotate`".into(),
            Self::NotAReleaseKey(_) => {
                "name the file of a key that stands in the feed's root; `tidecast root show` lists them".into()
            }
            Self::SignedAlready(_) => "another sigmaker must sign".into(),
            Self::Stale { .. } => {
                "propose it anew on top of the newest release, and drop this one".into()
            }
            Self::Released(_) => "nothing is left to do".into(),
            Self::Unchanged(_) => "nothing is left to do; --force proposes it all the same".into(),
            Self::NoSuchFile(_) => "check the path".into(),
            Self::TooMany => "drop those that nobody will sign: `tidecast release drop`".into(),
            Self::ContentGone { .. } | Self::NothingBefore(_) => {
                "propose a tree that holds what clients should have: `tidecast release propose TREE`".into()
            }
            Self::NoRelease(_) => "`tidecast release list` shows what is there".into(),
            Self::NothingLeft(_) => "nothing is left to withdraw".into(),
            Self::Empties(_) => "publish what should be there instead".into(),
        }
    }
}

impl From<UnacceptableError> for ProposalError {
    fn from(error: UnacceptableError) -> Self {
        match error {
            UnacceptableError::Manifest(error) => error.into(),
            UnacceptableError::Store(error) => error.into(),
        }
    }
}
