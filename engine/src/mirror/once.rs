//! One look, then the end: `tidecast sync`.

use std::sync::Arc;
use std::time::Duration;

use tidecast_proto::key::PublicKey;
use tidecast_proto::wire::Refused;
use tokio::sync::mpsc;

use super::course::Running;
use super::events::Notice;
use super::{Mirror, MirrorError, SyncError, SyncReport};
use crate::quic::LinkError;

/// How long a receipt may hold up the end of a look that has done its work.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(1);

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
    /// What it comes to when every upstream failed: a refusal is told as such.
    fn of_all(mut tried: Vec<(String, SyncError)>) -> Self {
        if let [(_, SyncError::Link(LinkError::Refused(_)))] = tried.as_slice()
            && let Some((_, SyncError::Link(LinkError::Refused(refused)))) = tried.pop()
        {
            return Self::Refused(refused);
        }
        Self::Unreachable { tried }
    }

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

impl Notice {
    /// How the look ended.
    pub(super) fn into_result(self, mirror: &Mirror) -> Result<SyncReport, SyncFailure> {
        match self {
            Self::Pending => Err(SyncFailure::Pending {
                key: mirror.node_key(),
            }),
            Self::NoRelease => Ok(SyncReport {
                reason: "no_release".into(),
                ..SyncReport::default()
            }),
            Self::Synced { report, .. } => Ok(*report),
            Self::SyncFailed(error) => Err(SyncFailure::Sync(*error)),
            Self::AllFailed(tried) => Err(SyncFailure::of_all(tried)),
        }
    }
}

impl Mirror {
    /// Brings the docroot to the newest release once, asking each upstream at most once, and mends what is wrong
    /// with a docroot that has it already.
    ///
    /// # Errors
    /// [`SyncFailure`].
    pub async fn sync_once(self: &Arc<Self>) -> Result<SyncReport, SyncFailure> {
        let started = tokio::time::Instant::now();
        // Where no daemon runs, this is when a next key that was admitted is taken.
        if self.is_rotating()
            && let Err(error) = self.show_keys().await
        {
            tracing::warn!(%error, "the next node key cannot be used");
        }
        let (notices, mut noticed) = mpsc::unbounded_channel();
        let (wishes, wished) = mpsc::channel(1);
        let running = tokio::spawn(Running::new(self.clone(), notices, true).run(wished));
        let mut result = match noticed.recv().await {
            Some(notice) => notice.into_result(self),
            None => Err(SyncFailure::Interrupted),
        };
        if let Ok(report) = &mut result {
            // One look is one connection: its handshake counts, in time and in bytes.
            report.seconds = started.elapsed().as_secs_f64();
            let link = self.present().link.clone();
            if let Some(link) = link {
                if report.switched
                    && let Some(frame) = self.receipt().await
                {
                    // The next look says it again if this one is lost.
                    let _ = tokio::time::timeout(RECEIPT_TIMEOUT, link.tell(&frame)).await;
                }
                (report.received_bytes, report.sent_bytes) = link.traffic();
            }
        }
        drop(wishes);
        let _ = running.await;
        self.look_at_doubted().await;
        // For those whose only word on this mirror is `timestamp`.
        self.mark_timestamp().await;
        if let Err(error) = self.work().show().await {
            tracing::warn!(%error, "web clients may see an old `timestamp`");
        }
        // Also of a switch that this start completed, whatever became of the look.
        let failed = self.follow_up().await;
        if let Ok(report) = &mut result {
            report.warnings.extend(failed);
        }
        result
    }
}
