//! Whether what is served is still vouched for, and telling everybody when that changes. SPEC §3.7, §9.7.

use std::sync::Arc;
use std::time::Duration;

use tidecast_proto::id::Timestamp;
use tidecast_proto::trust::Trust;

use super::Mirror;
use crate::docroot::DocrootError;
use crate::warning::Warning;

/// How often the clock is compared with when head and root expire. Not one timer to that moment: wall clocks jump, and
/// machines sleep. A look costs microseconds, and a minute is what everybody is promised to know within.
pub(super) const LOOK: Duration = Duration::from_secs(5);

/// Since when nobody vouches for the newest release any more; `None` while somebody does. `clock` is what time it is.
pub(super) fn stale_since(trust: &Trust, clock: Timestamp) -> Option<Timestamp> {
    let now = trust.now(clock);
    if !trust.is_stale(now) {
        return None;
    }
    let root = trust.root().expires;
    Some(match trust.heads_expire() {
        Some(expires) => expires.min(root),
        // The heads of another epoch are forgotten with everything they said.
        None => root.min(now),
    })
}

impl Mirror {
    /// Since when what is served is no longer vouched for, in Unix milliseconds; `None` while it is.
    pub(super) fn stale_since_ms(&self) -> Option<u64> {
        let clock = self.clock.now();
        let since = self.beliefs.with(|trust| stale_since(trust, clock))??;
        Some(since.0)
    }

    /// Compares the clock with what is believed; when that changes what is served into something nobody vouches for, or
    /// back, says so everywhere. Returns whether it did: then the upstream is owed a receipt.
    pub(super) fn look_at_clock(self: &Arc<Self>) -> bool {
        let since = self.stale_since_ms();
        let release = self.site.pin().map(|site| site.release);
        let (changed, unmarked) = {
            let mut present = self.present();
            // What was never served cannot become stale.
            let changed = release.is_some() && present.stale != since.is_some();
            if changed {
                present.stale = since.is_some();
            }
            (changed, present.marked_stale != Some(since.is_some()))
        };
        if changed {
            let release = release.unwrap_or_default();
            match since {
                Some(_) => tracing::warn!(
                    release,
                    "stale: no fresh head or root has come, so nobody vouches for what is newest; it is served on"
                ),
                None => tracing::info!(release, "vouched for again"),
            }
            self.publish_health();
        }
        if unmarked && release.is_some() {
            // On a task of its own: it waits for the disk, and the loop must not.
            let mirror = self.clone();
            tokio::spawn(async move { mirror.mark_timestamp().await });
        }
        self.remind();
        changed
    }

    /// Tells the log of a root that expires.
    fn remind(&self) {
        let now = self.clock.now();
        let warning = self
            .beliefs
            .with(|t| Warning::of_root(t.root(), t.now(now)));
        if let Some(warning) = warning.flatten()
            && self.present().reminder.is_due(&warning, now)
        {
            warning.log();
        }
    }

    /// Makes `timestamp` say whether what is served is stale.
    pub(super) async fn mark_timestamp(&self) {
        let (beliefs, clock) = (self.beliefs.clone(), self.clock.clone());
        let marked = self.disk.run(move |disk| {
            // Judged here: a fresh head may have come while this waited for its turn.
            let clock = clock.now();
            let since = beliefs.with(|trust| stale_since(trust, clock)).flatten();
            let changed = disk.docroot.mark_timestamp(since.map(Timestamp::seconds))?;
            Ok::<_, DocrootError>((since.is_some(), changed))
        });
        match marked.await {
            Ok(Ok((stale, changed))) => {
                self.present().marked_stale = Some(stale);
                if changed {
                    self.publish_site().await;
                }
            }
            Ok(Err(error)) => {
                // Not again at once: the disk is looked after every half minute.
                self.present().marked_stale = Some(self.stale_since_ms().is_some());
                tracing::warn!(%error, "`timestamp` does not say whether this mirror is stale");
            }
            Err(error) => tracing::error!(%error, "disk"),
        }
    }
}
