//! Replays what a master announced, or what a mirror came to believe, and says whether every step was authorised.
//! SPEC §10.4. Reads only, and may run beside the daemon.
//!
//! Nothing that lies on the disk is taken at its word: roots are walked from the fingerprint, and heads and manifests are
//! held against the root they were made under.

mod heads;
mod ledger;
mod master;
mod mirror;
mod releases;
mod roots;

use std::path::{Path, PathBuf};

use tidecast_proto::id::Timestamp;

use crate::config::ConfigError;
use crate::durable::FileError;
use crate::master::MASTER_CONFIG;
use crate::mirror::MIRROR_CONFIG;
use crate::roots::RootsError;

use ledger::Ledger;
pub use ledger::{AuditReport, FINDINGS_LISTED, Finding};

/// Why nothing could be replayed.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// There is neither a master nor a mirror.
    #[error("{} holds neither a master nor a mirror", state.display())]
    Nobody { state: PathBuf },
    /// The configuration names no feed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The disk or its permissions.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Replays the state of the master or mirror in `state`.
///
/// # Errors
/// [`AuditError`]; nothing was judged.
pub fn audit(state: &Path, now: Timestamp) -> Result<AuditReport, AuditError> {
    let report = once(state, now)?;
    if report.is_authorised() {
        return Ok(report);
    }
    // A daemon that runs may have taken a step between two of our looks; it takes no two so fast.
    once(state, now)
}

fn once(state: &Path, now: Timestamp) -> Result<AuditReport, AuditError> {
    let mut ledger = Ledger::default();
    if state.join(MASTER_CONFIG).exists() {
        master::audit(&mut ledger, state)?;
    } else if state.join(MIRROR_CONFIG).exists() {
        mirror::audit(&mut ledger, state, now)?;
    } else {
        return Err(AuditError::Nobody {
            state: state.to_owned(),
        });
    }
    Ok(ledger.report)
}

/// What to do about a file that was changed.
const RESTORE: &str = "find out who can write there; restore the file from a backup";

impl From<RootsError> for ledger::Trouble {
    fn from(error: RootsError) -> Self {
        match error {
            RootsError::File(error) => Self::Disk(error),
            error => Self::Wrong(error.to_string()),
        }
    }
}
