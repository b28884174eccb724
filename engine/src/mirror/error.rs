//! Why a sync did not bring the docroot to the newest release, and whose fault that is.

use tidecast_proto::codec::CodecError;
use tidecast_proto::id::{ReleaseNumber, Timestamp};
use tidecast_proto::key::PublicKey;
use tidecast_proto::list::ListError;
use tidecast_proto::manifest::ManifestError;
use tidecast_proto::mirror::SyncOutcome;
use tidecast_proto::recipe::RecipeError;
use tidecast_proto::root::RootError;
use tidecast_proto::trust::HeadError;

use super::disk::DiskGone;
use super::memory::MemoryError;
use super::status::Fault;
use crate::docroot::DocrootError;
use crate::genuine::Unproved;
use crate::quic::LinkError;

/// Why a sync failed. What was served before is still served, and what was verified is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The upstream, or the network on the way.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Its head is not acceptable.
    #[error("head refused: {0}")]
    Head(#[from] HeadError),
    /// A root it sent is not acceptable.
    #[error("root refused: {0}")]
    Root(#[from] RootError),
    /// The release's manifest is not acceptable.
    #[error("release refused: {0}")]
    Manifest(#[from] ManifestError),
    /// It is signed as an addition, and what it adds is not what ClamAV signed.
    #[error("release refused: {0}")]
    NotGenuine(#[from] Unproved),
    /// It adds to a release that nobody can be asked for.
    #[error("this release adds to release {0}, whose manifest is not on this machine")]
    NoAnchor(ReleaseNumber),
    /// A chunk list is wrong.
    #[error("list refused: {0}")]
    List(#[from] ListError),
    /// A recipe is wrong.
    #[error("recipe refused: {0}")]
    Recipe(#[from] RecipeError),
    /// Something else it sent is not readable.
    #[error("the upstream sent something unreadable: {0}")]
    Codec(#[from] CodecError),
    /// The server's key belongs to no master of this feed.
    #[error("the server's key {0} belongs to no master of this feed")]
    NotAMaster(PublicKey),
    /// What this mirror has is no longer vouched for, and the upstream says there is nothing new.
    #[error("the upstream has no head that is still good")]
    NothingFresh,
    /// The disk or the docroot.
    #[error(transparent)]
    Docroot(#[from] DocrootError),
    /// Our own state.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A bug.
    #[error(transparent)]
    Disk(#[from] DiskGone),
}

impl SyncError {
    /// What the mirror's course should make of it.
    pub(super) fn outcome(&self) -> SyncOutcome {
        match self {
            Self::Link(_)
            | Self::Root(_)
            | Self::List(_)
            | Self::Recipe(_)
            | Self::Codec(_)
            | Self::NotAMaster(_)
            | Self::NothingFresh
            | Self::Manifest(ManifestError::NotTheHeads { .. }) => SyncOutcome::UpstreamAtFault,
            Self::Docroot(DocrootError::Successor(_))
            | Self::Manifest(_)
            | Self::NotGenuine(_)
            | Self::NoAnchor(_)
            | Self::Head(_) => SyncOutcome::HeadRefused,
            Self::Docroot(_) | Self::Memory(_) | Self::Disk(_) => SyncOutcome::LocalFault,
        }
    }

    /// Who is at fault, in one word.
    #[must_use]
    pub fn whose(&self) -> &'static str {
        match self {
            Self::Link(
                LinkError::NoAnswer
                | LinkError::Connect(_)
                | LinkError::Lost(_)
                | LinkError::Timeout { .. }
                | LinkError::TooSlow(_),
            ) => "network",
            Self::Link(LinkError::Refused(_)) => "operator",
            Self::Docroot(DocrootError::Successor(_)) | Self::Manifest(_) | Self::NotGenuine(_) => {
                "feed"
            }
            Self::NoAnchor(_) => "operator",
            Self::Head(HeadError::Expired { .. } | HeadError::FromTheFuture { .. }) => "clock",
            Self::Head(HeadError::RootExpired { .. }) => "feed",
            Self::Link(_)
            | Self::Head(_)
            | Self::Root(_)
            | Self::List(_)
            | Self::Recipe(_)
            | Self::Codec(_)
            | Self::NotAMaster(_)
            | Self::NothingFresh => "upstream",
            Self::Docroot(_) | Self::Memory(_) => "disk",
            Self::Disk(_) => "tidecast",
        }
    }

    /// What its operator can do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Link(LinkError::NoAnswer | LinkError::Connect(_)) => {
                "check that the master runs, that the address is right, and that UDP to that port is let through".into()
            }
            Self::Link(LinkError::Refused(_)) => "ask the master's operator to admit this node's key".into(),
            Self::Link(LinkError::Corrupt { .. } | LinkError::Protocol(_)) => {
                "nothing wrong was kept; the next upstream is asked. Tell the master's operator if it repeats".into()
            }
            Self::Link(_) => "nothing to do: what was fetched is kept, and it is tried again".into(),
            Self::Head(HeadError::FromTheFuture { .. } | HeadError::Expired { .. }) => {
                "check this machine's clock; if it is right, the upstream is cut off from its feed".into()
            }
            Self::Head(HeadError::Equivocation { .. }) => {
                "tell the feed's operators: a master's key is in wrong hands".into()
            }
            Self::Head(_) | Self::Root(_) | Self::Manifest(_) | Self::List(_)
            | Self::Recipe(_)
            | Self::Codec(_) => {
                "nothing was installed; tell the feed's operators if it repeats".into()
            }
            Self::NothingFresh => {
                "the next upstream is asked; if it repeats with all of them, the feed's masters are down".into()
            }
            Self::NotGenuine(_) => {
                "nothing was installed; tell the feed's operators at once: whoever signed this release can sign releases alone, and put into it what ClamAV did not sign".into()
            }
            Self::NoAnchor(_) => {
                "sync once over the network: then the anchor is kept for later bundles".into()
            }
            Self::NotAMaster(_) => "check the upstream's address and the fingerprint".into(),
            Self::Docroot(error) => error.advice().unwrap_or("see the message").into(),
            Self::Memory(MemoryError::Log(error)) => error.advice().into(),
            Self::Memory(_) => "restore the state folder, or join again with the fingerprint".into(),
            Self::Disk(_) => "restart the daemon and report this".into(),
        }
    }

    /// For status and JSON.
    pub(super) fn fault(&self, at: Timestamp) -> Fault {
        let mut what = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            let text = error.to_string();
            if !what.contains(&text) {
                what = format!("{what}: {text}");
            }
            source = error.source();
        }
        Fault {
            whose: self.whose().into(),
            what,
            advice: self.advice(),
            at_ms: at.0,
        }
    }
}
