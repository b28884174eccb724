//! Looking after a docroot that others can write to: every half minute somebody's accident is noticed, said and mended.
//! SPEC §8.11.

use serde::{Deserialize, Serialize};
use tidecast_proto::id::Timestamp;

use super::status::Fault;
use super::work::moved_away;
use super::{Mirror, SyncError};
use crate::docroot::{DocrootError, Glance, MendReport};

/// Sentences about one mending that the status keeps; the log has all.
const LINES_KEPT: usize = 20;

/// What an operator is told whenever something was mended.
const ADVICE: &str = "find out who or what writes into the docroot: a person, or an old job such as rsync; files of your own belong under names that begin with local_";

/// That something in the docroot was not as we left it, and was mended. SPEC §10.3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MendedStatus {
    /// When it was found, in Unix milliseconds.
    pub at_ms: u64,
    /// What, in sentences; at most 20.
    pub what: Vec<String>,
    /// What to do.
    pub advice: String,
}

/// What a look came to, for the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cared {
    /// Nothing to do.
    Nothing,
    /// So many files are damaged.
    Damaged(usize),
    /// The docroot was begun anew: the release may have to be built again.
    BegunAnew,
}

impl Mirror {
    /// Looks whether the docroot is as we left it, and mends it if not.
    pub(super) async fn look_after(&self) -> Cared {
        // Not while somebody builds: that looks by itself, and its tree must not be swept away.
        let Ok(turn) = self.turn.clone().try_lock_owned() else {
            return Cared::Nothing;
        };
        let looked = self
            .disk
            .run(|disk| match disk.docroot.glance() {
                Err(DocrootError::Replaced { what, .. }) => {
                    let recovery = disk.docroot.reopen()?;
                    disk.build = None;
                    Ok(Err((what, recovery)))
                }
                other => other.map(Ok),
            })
            .await;
        drop(turn);
        match looked {
            Ok(Ok(Ok(Glance::Sound))) => {
                self.show().await;
                Cared::Nothing
            }
            Ok(Ok(Ok(Glance::Touched))) => Cared::Damaged(self.mend().await),
            Ok(Ok(Err((what, recovery)))) => {
                let line = format!(
                    "{what} was removed or replaced by somebody; it was begun anew: {recovery}"
                );
                tracing::error!(advice = ADVICE, "{line}");
                self.was_mended(vec![line]);
                self.docroot_is(None);
                self.publish_site().await;
                Cared::BegunAnew
            }
            Ok(Err(error)) => {
                self.docroot_is(Some(error));
                Cared::Nothing
            }
            Err(error) => {
                tracing::error!(%error, "disk");
                Cared::Nothing
            }
        }
    }

    /// Checks and mends names, links and sizes; returns how many files must be fetched again.
    pub(super) async fn mend(&self) -> usize {
        match self.disk.run(|disk| disk.docroot.mend()).await {
            Ok(Ok(report)) => {
                self.docroot_is(None);
                self.tell_mended(&report);
                report.damaged.len()
            }
            Ok(Err(error)) => {
                self.docroot_is(Some(error));
                0
            }
            Err(error) => {
                tracing::error!(%error, "disk");
                0
            }
        }
    }

    /// Sees to it that web clients see what is live, where that is another folder.
    async fn show(&self) {
        match self.disk.run(|disk| disk.docroot.show()).await {
            Ok(Ok(shown)) => {
                self.docroot_is(None);
                if shown.exchanged {
                    let mut lines = vec![
                        "the docroot was not the live release as a whole; it was made anew"
                            .to_owned(),
                    ];
                    lines.extend(moved_away(&shown.moved_away));
                    for line in &lines {
                        tracing::warn!(advice = ADVICE, "{line}");
                    }
                    self.was_mended(lines);
                }
            }
            Ok(Err(error)) => self.docroot_is(Some(error)),
            Err(error) => tracing::error!(%error, "disk"),
        }
    }

    fn tell_mended(&self, report: &MendReport) {
        let lines = report.lines();
        for line in &lines {
            tracing::warn!("{line}");
        }
        if !lines.is_empty() {
            tracing::warn!("the docroot was mended: {ADVICE}");
            self.was_mended(lines);
        }
    }

    fn was_mended(&self, mut lines: Vec<String>) {
        let more = lines.len().saturating_sub(LINES_KEPT);
        if more > 0 {
            lines.truncate(LINES_KEPT - 1);
            lines.push(format!("and {} more", more + 1));
        }
        self.present().mended = Some(MendedStatus {
            at_ms: self.clock.now().0,
            what: lines,
            advice: ADVICE.into(),
        });
    }

    /// Whether the docroot can be worked with, for log and status. What stays wrong is logged once.
    fn docroot_is(&self, error: Option<DocrootError>) {
        let now: Timestamp = self.clock.now();
        let fault = error.map(|error| SyncError::from(error).fault(now));
        let mut present = self.present();
        let same = |had: &Fault, has: &Fault| had.what == has.what;
        match (&present.docroot_fault, &fault) {
            (Some(had), Some(has)) if same(had, has) => return,
            (_, Some(fault)) => tracing::error!(advice = fault.advice, "{}", fault.what),
            (Some(_), None) => tracing::info!("the docroot can be worked with again"),
            (None, None) => {}
        }
        present.docroot_fault = fault;
    }
}
