//! One look, then the end: `tidecast sync`.

use std::sync::Arc;

use tidecast_proto::key::PublicKey;
use tidecast_proto::mirror::SyncOutcome;
use tidecast_proto::wire::Refused;
use tokio::sync::mpsc;

use super::course::{Notice, Running};
use super::{Mirror, MirrorError, SyncError, SyncReport};

/// Why one look did not bring the docroot to the newest release. What was served is still served.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncFailure {
    /// The master's operator has not admitted this node yet.
    #[error("pending: waiting to be admitted as {key}")]
    Pending { key: PublicKey },
    /// The master does not want this node.
    #[error("the upstream refuses this node: {0}")]
    Refused(Refused),
    /// No upstream could be worked with.
    #[error("no upstream could be used: {}", list(.tried))]
    Unreachable { tried: Vec<(String, SyncError)> },
    /// An upstream answered, but the sync failed.
    #[error(transparent)]
    Sync(SyncError),
    /// Before it began.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The loop ended without a word.
    #[error("interrupted")]
    Interrupted,
}

fn list(tried: &[(String, SyncError)]) -> String {
    let each: Vec<String> = tried
        .iter()
        .map(|(upstream, why)| format!("{upstream}: {why}"))
        .collect();
    each.join("; ")
}

impl SyncFailure {
    /// What the operator can do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Pending { key } => {
                format!("on the master, type: tidecast node admit {key}")
            }
            Self::Refused(_) => "ask the master's operator why".into(),
            Self::Unreachable { tried } => tried
                .first()
                .map(|(_, why)| why.advice())
                .unwrap_or_default(),
            Self::Sync(error) => error.advice(),
            Self::Mirror(_) | Self::Interrupted => String::new(),
        }
    }
}

/// What a notice decides about a look, if it decides anything.
pub(super) fn decisive(notice: Notice, mirror: &Mirror) -> Option<Result<SyncReport, SyncFailure>> {
    match notice {
        Notice::Pending => Some(Err(SyncFailure::Pending {
            key: mirror.node_key.public(),
        })),
        Notice::Refused(refused) => Some(Err(SyncFailure::Refused(refused))),
        Notice::NoRelease => Some(Ok(SyncReport {
            reason: "no_release".into(),
            ..mirror.nothing_new()
        })),
        Notice::Synced(report) => Some(Ok(*report)),
        // The next upstream may do better.
        Notice::SyncFailed(error) if error.outcome() == SyncOutcome::UpstreamAtFault => None,
        Notice::SyncFailed(error) => Some(Err(SyncFailure::Sync(*error))),
        Notice::UpstreamFailed { .. } => None,
        Notice::AllFailed => Some(Err(SyncFailure::Unreachable { tried: Vec::new() })),
    }
}

impl Mirror {
    /// Brings the docroot to the newest release once, asking each upstream at most once.
    ///
    /// # Errors
    /// [`SyncFailure`].
    pub async fn sync_once(self: &Arc<Self>) -> Result<SyncReport, SyncFailure> {
        let started = tokio::time::Instant::now();
        let (notices, mut noticed) = mpsc::unbounded_channel();
        let (wishes, wished) = mpsc::channel(1);
        let running = tokio::spawn(Running::new(self.clone(), notices).asked().run(wished));
        let mut tried = Vec::new();
        let mut result = Err(SyncFailure::Interrupted);
        while let Some(notice) = noticed.recv().await {
            match notice {
                Notice::UpstreamFailed { upstream, why } => tried.push((upstream, *why)),
                Notice::SyncFailed(why) if why.outcome() == SyncOutcome::UpstreamAtFault => {
                    let upstream = self.present().connection.upstream.clone();
                    tried.push((upstream, *why));
                }
                Notice::AllFailed => {
                    result = Err(SyncFailure::Unreachable { tried });
                    break;
                }
                other => {
                    if let Some(decided) = decisive(other, self) {
                        result = decided;
                        break;
                    }
                }
            }
        }
        if let Ok(report) = &mut result {
            // One look is one connection: its handshake counts, in time and in bytes.
            report.seconds = started.elapsed().as_secs_f64();
            let link = self.present().link.clone();
            if let Some(link) = link {
                if report.switched
                    && let Some(frame) = self.receipt().await
                {
                    // The next look says it again if this one is lost.
                    let _ = link.tell(&frame).await;
                }
                (report.received_bytes, report.sent_bytes) = link.traffic();
            }
        }
        drop(wishes);
        let _ = running.await;
        result
    }
}
