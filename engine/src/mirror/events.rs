//! What happens to a mirror's loop, what it is asked, and what it tells.

use tidecast_proto::wire::Welcome;

use super::care::Cared;
use super::error::SyncError;
use super::status::SyncReport;
use super::upstream::Opinion;
use crate::quic::{Link, News};

/// Something that happened, with the number of the connection it happened on.
#[derive(Debug)]
pub(super) struct Happened {
    pub(super) connection: u64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Dialled(Link),
    Greeted(Result<Welcome, SyncError>),
    News(News),
    Polled(Result<Option<Vec<u8>>, SyncError>),
    Synced(Result<SyncReport, SyncError>),
    /// What that upstream says beside the present one.
    Probed(usize, Opinion),
    /// So many files are damaged.
    Mended(usize),
    /// What the docroot was found to be.
    Cared(Cared),
    Lost(SyncError),
}

/// How a look for news ended, for whoever waits for that.
#[derive(Debug)]
pub(super) enum Notice {
    /// We wait to be admitted.
    Pending,
    /// The upstream has no release yet.
    NoRelease,
    /// A sync ended well.
    Synced {
        /// What it came to.
        report: Box<SyncReport>,
        /// Whether it also checked a docroot that was current.
        thorough: bool,
    },
    /// A sync ended badly, and no other upstream would do better.
    SyncFailed(Box<SyncError>),
    /// Every upstream failed, each for its reason; the mirror pauses.
    AllFailed(Vec<(String, SyncError)>),
}

/// What the loop is asked from outside.
#[derive(Debug)]
pub(super) enum Wish {
    /// Look for news now, and at the docroot.
    Look,
    /// The operator may have said to stay, or to go on.
    LookAtHold,
    /// Leave the connection and come back: this node has another key.
    Redial,
    /// Stop.
    Stop,
}
