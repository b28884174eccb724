//! Staying on one release because the operator said so: `tidecast hold`. SPEC §8.14.
//!
//! The file `hold` is the truth, for commands without a daemon and through restarts. It is read again before every switch.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tidecast_proto::id::{ObjectId, Timestamp};
use tidecast_proto::root::Root;
use tidecast_proto::trust::Trust;
use tokio::sync::MutexGuard;

use super::disk::DiskGone;
use super::events::Wish;
use super::{Mirror, MirrorError};
use crate::clock::Clock;
use crate::config::MirrorConfig;
use crate::docroot::DocrootError;
use crate::durable::{self, Access, FileError};

/// The file's name in the state folder.
const HOLD: &str = "hold";

/// Longest reason, in bytes: a line or two.
pub const HOLD_REASON_BYTES: usize = 500;

/// Longest file that is read, in bytes: a reason of which each byte is escaped, and the rest.
const HOLD_BYTES: usize = 8 * 1024;

/// That a mirror stays, as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// The release it stays on; 0 if the file does not tell.
    release: u64,
    /// Its manifest, 64 hex digits: the only one that may be installed meanwhile.
    manifest: String,
    since_ms: u64,
    #[serde(default)]
    reason: String,
}

/// That a mirror stays, as `status` shows it. SPEC §10.3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldStatus {
    /// The release it stays on; 0 if the state folder does not tell.
    pub release: u64,
    /// Since when, in Unix milliseconds.
    pub since_ms: u64,
    /// What the operator said why.
    pub reason: String,
    /// Whether the newest root forbids the release: its manifest is revoked, or it is below the lowest allowed.
    #[serde(default)]
    pub forbidden: bool,
}

/// What `hold` and `unhold` came to. SPEC §10.4.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldReport {
    /// Whether the mirror stays on its release from now on.
    pub held: bool,
    /// The release that is served.
    pub release: u64,
    /// Since when it is held, or was, in Unix milliseconds; 0 if it was not.
    pub since_ms: u64,
    /// The operator's reason.
    pub reason: String,
    /// Whether the command changed anything.
    pub changed: bool,
}

/// Why a mirror could not be told to stay. It goes on as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HoldError {
    /// There is nothing to stay on.
    #[error("this mirror has no release yet that it could stay on")]
    NothingLive,
    /// Too long, or not one line of plain text.
    #[error("a reason has at most {HOLD_REASON_BYTES} bytes of plain text in one line")]
    Reason,
    /// The file `hold`.
    #[error(transparent)]
    File(#[from] FileError),
    /// What an interrupted switch left could not be put right first.
    #[error(transparent)]
    Docroot(#[from] DocrootError),
    /// Before it began.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// A bug.
    #[error(transparent)]
    Disk(#[from] DiskGone),
}

impl HoldError {
    /// What the operator can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NothingLive => Some("install a release with `tidecast sync` first"),
            Self::Reason => Some("say it shorter, and without line breaks"),
            Self::Docroot(error) => error.advice(),
            Self::File(_) | Self::Mirror(_) | Self::Disk(_) => None,
        }
    }

    /// What kind of failure it is, for whoever asked a daemon. SPEC §10.1.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NothingLive => "no_input",
            Self::Reason => "content",
            Self::Disk(_) => "tidecast",
            Self::File(_) | Self::Docroot(_) | Self::Mirror(_) => "disk",
        }
    }
}

impl Held {
    /// What the file says. One that cannot be read holds all the same: whoever wrote it wanted no switch, and a switch
    /// cannot be taken back.
    pub(super) fn read(state: &Path) -> Option<Self> {
        let unreadable = |why: String| {
            Some(Self {
                release: 0,
                manifest: String::new(),
                since_ms: 0,
                reason: format!(
                    "the file `{HOLD}` in the state folder cannot be read ({why}); `tidecast unhold` removes it"
                ),
            })
        };
        match durable::read_optional(&state.join(HOLD), HOLD_BYTES) {
            Ok(None) => None,
            Ok(Some(bytes)) => match serde_json::from_slice(&bytes) {
                Ok(held) => Some(held),
                Err(error) => unreadable(error.to_string()),
            },
            Err(error) => unreadable(error.to_string()),
        }
    }

    /// As `status` shows it to whoever believes `root`.
    pub(super) fn status(&self, root: Option<&Root>) -> HoldStatus {
        HoldStatus {
            release: self.release,
            since_ms: self.since_ms,
            reason: self.reason.clone(),
            forbidden: root.is_some_and(|root| self.is_forbidden(root)),
        }
    }

    /// Whether the feed's root keys have taken this release back.
    fn is_forbidden(&self, root: &Root) -> bool {
        let revoked = &root.revoked_manifests;
        self.release > 0
            && (self.release < root.release_min.0
                || revoked.iter().any(|id| id.to_string() == self.manifest))
    }

    /// What an operator is told when release `offered` is out and not installed.
    pub(super) fn withholds(&self, offered: u64, root: &Root) -> Vec<String> {
        let why = match self.reason.as_str() {
            "" => String::new(),
            reason => format!(" ({reason})"),
        };
        let at = match self.release {
            0 => String::new(),
            release => format!(" at release {release}"),
        };
        let mut lines = vec![format!(
            "held{at}{why}: release {offered} is out and is not installed; `tidecast unhold` lets it in"
        )];
        if self.is_forbidden(root) {
            lines.push(self.forbidden());
        }
        lines
    }

    fn forbidden(&self) -> String {
        format!(
            "the feed has taken release {} back: its root forbids it, and this mirror is held on it; `tidecast unhold` lets the newest in",
            self.release
        )
    }
}

/// The hold of a running mirror.
#[derive(Debug)]
pub(super) struct Hold {
    state: PathBuf,
    /// As it was read last.
    held: Mutex<Option<Held>>,
    /// Held by whoever switches, and by whoever changes the hold: when `hold` answers, no switch is under way.
    gate: tokio::sync::Mutex<()>,
}

impl Hold {
    pub(super) fn of(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
            held: Mutex::new(Held::read(state)),
            gate: tokio::sync::Mutex::default(),
        }
    }

    /// Reads the file again.
    pub(super) fn look(&self) -> Option<Held> {
        let held = Held::read(&self.state);
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&held);
        held
    }

    /// What was read last.
    pub(super) fn now(&self) -> Option<Held> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The hold that stands against installing this manifest, if any.
    pub(super) fn forbids(&self, manifest: &ObjectId) -> Option<Held> {
        self.look()
            .filter(|held| held.manifest != manifest.to_string())
    }

    /// To be held from the last look at the hold to the end of the switch.
    pub(super) async fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().await
    }

    fn write(&self, held: &Held) -> Result<(), FileError> {
        let path = self.state.join(HOLD);
        // Strings and numbers always make JSON.
        let mut bytes = serde_json::to_vec(held).unwrap_or_default();
        bytes.push(b'\n');
        durable::write(&path, &bytes, Access::Everyone)?;
        self.look();
        Ok(())
    }

    fn remove(&self) -> Result<bool, FileError> {
        let removed = remove(&self.state)?;
        self.look();
        Ok(removed)
    }
}

/// Removes the file; false when there was none.
fn remove(state: &Path) -> Result<bool, FileError> {
    let path = state.join(HOLD);
    match std::fs::remove_file(&path) {
        Ok(()) => durable::sync_folder_of(&path).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::at("remove", &path)(error)),
    }
}

impl Mirror {
    /// Has this mirror stay on the release it serves. No switch is under way when this returns. A second time it only
    /// changes the reason, if one is given.
    ///
    /// # Errors
    /// [`HoldError`]; it goes on as before.
    pub async fn hold(&self, reason: Option<String>) -> Result<HoldReport, HoldError> {
        let plain = |reason: &String| {
            reason.len() <= HOLD_REASON_BYTES && !reason.contains(char::is_control)
        };
        if !reason.as_ref().is_none_or(plain) {
            return Err(HoldError::Reason);
        }
        let gate = self.hold.gate().await;
        let live = self
            .disk
            .run(|disk| {
                let live = disk.docroot.current().cloned();
                // A switch that failed half-way must not be completed by the next start.
                disk.docroot.give_up_switch().map(|()| live)
            })
            .await??
            .ok_or(HoldError::NothingLive)?;
        let before = self.hold.look().filter(|held| held.release > 0);
        let held = Held {
            release: live.release().0,
            manifest: live.manifest().id().to_string(),
            since_ms: before.as_ref().map_or(self.clock.now().0, |b| b.since_ms),
            reason: reason
                .or_else(|| before.as_ref().map(|b| b.reason.clone()))
                .unwrap_or_default(),
        };
        let changed = before.as_ref() != Some(&held);
        if changed {
            self.hold.write(&held)?;
        }
        drop(gate);
        self.told_of_hold().await;
        Ok(HoldReport {
            held: true,
            release: held.release,
            since_ms: held.since_ms,
            reason: held.reason,
            changed,
        })
    }

    /// Lets this mirror follow its feed again; it looks for news at once.
    ///
    /// # Errors
    /// [`HoldError`]; it is held as before.
    pub async fn unhold(&self) -> Result<HoldReport, HoldError> {
        let gate = self.hold.gate().await;
        let before = self.hold.look();
        let changed = self.hold.remove()?;
        drop(gate);
        self.told_of_hold().await;
        let live = self
            .disk
            .run(|disk| disk.docroot.current().cloned())
            .await?;
        Ok(HoldReport {
            held: false,
            release: live.map_or(0, |live| live.release().0),
            since_ms: before.as_ref().map_or(0, |held| held.since_ms),
            reason: before.map(|held| held.reason).unwrap_or_default(),
            changed,
        })
    }

    /// Has the running loop act on what the file says now.
    async fn told_of_hold(&self) {
        // Not told while the daemon shuts down; the next start reads the file.
        self.wish(Wish::LookAtHold).await;
    }

    /// Says in the log that this mirror stays, and whether the feed still allows what it stays on.
    pub(super) fn log_hold(&self) {
        let Some(held) = self.hold.now() else {
            tracing::info!("no longer held: the newest release is installed");
            return;
        };
        tracing::warn!(
            release = held.release,
            reason = held.reason,
            "held: nothing newer is installed until `tidecast unhold`"
        );
        let forbidden = |trust: &Trust| held.is_forbidden(trust.root());
        if self.beliefs.with(forbidden) == Some(true) {
            tracing::error!("{}", held.forbidden());
        }
    }
}

/// Has the mirror of `state` stay on the release it serves, where no daemon runs. An interrupted switch is completed
/// first, as every start does.
///
/// # Errors
/// [`HoldError`]; nothing was changed, except that the docroot may have been recovered.
pub async fn hold(
    state: &Path,
    config: MirrorConfig,
    reason: Option<String>,
    clock: Arc<dyn Clock>,
) -> Result<HoldReport, HoldError> {
    let (mirror, _) = Mirror::open(state, config, clock)?;
    mirror.hold(reason).await
}

/// Lets the mirror of `state` follow its feed again, where no daemon runs. Nothing but the file is looked at, so that
/// this works whatever is wrong with the docroot.
///
/// # Errors
/// [`HoldError`]; it is held as before.
pub fn unhold(state: &Path) -> Result<HoldReport, HoldError> {
    let before = Held::read(state);
    let changed = remove(state)?;
    let before = before.as_ref();
    Ok(HoldReport {
        held: false,
        release: before.map_or(0, |held| held.release),
        since_ms: before.map_or(0, |held| held.since_ms),
        reason: before.map(|held| held.reason.clone()).unwrap_or_default(),
        changed,
    })
}

/// How long a hold may last before a mirror that is behind is no longer well: a day, after which clients have databases
/// that are a day old, whoever meant it.
pub const HOLD_DELIBERATE_MS: u64 = 24 * 3600 * 1000;

impl HoldStatus {
    /// Whether it has lasted longer than anybody plans.
    #[must_use]
    pub fn is_old(&self, now: Timestamp) -> bool {
        now.0.saturating_sub(self.since_ms) > HOLD_DELIBERATE_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_read_holds_all_the_same() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(Held::read(state.path()), None);
        for bytes in [&b""[..], b"\n", b"{\"release\":1}", &[b'x'; HOLD_BYTES + 1]] {
            std::fs::write(state.path().join(HOLD), bytes).unwrap();
            let held = Held::read(state.path()).unwrap();
            assert_eq!(held.release, 0);
            assert!(held.reason.contains("tidecast unhold"), "{held:?}");
        }
        assert!(unhold(state.path()).unwrap().changed);
        assert!(!unhold(state.path()).unwrap().changed);
        assert_eq!(Held::read(state.path()), None);
    }

    #[test]
    fn only_the_manifest_that_is_held_may_be_installed() {
        let state = tempfile::tempdir().unwrap();
        let (held, other) = (ObjectId::of(b"held"), ObjectId::of(b"other"));
        let hold = Hold::of(state.path());
        assert_eq!(hold.forbids(&other), None);
        let file = Held {
            release: 7,
            manifest: held.to_string(),
            since_ms: 1,
            reason: "\"why\"".into(),
        };
        // As another process would.
        Hold::of(state.path()).write(&file).unwrap();
        assert_eq!(hold.forbids(&held), None);
        assert_eq!(hold.forbids(&other), Some(file));
    }
}
