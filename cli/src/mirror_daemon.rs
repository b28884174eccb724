//! The running mirror as its operator sees it: the engine's mirror and the web server beside it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidecast_engine::control::{Command, Handler};
use tidecast_engine::http::{FileAccessLog, HttpReport, HttpStats};
use tidecast_engine::mirror::{Mirror, MirrorStatus};

/// How old `/status.json` may be: programs ask for it, and it is made of many parts.
const STATUS_REFRESH: Duration = Duration::from_secs(1);

/// How a mirror and its web server are. SPEC §10.3.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MirrorReport {
    #[serde(flatten)]
    pub(crate) status: MirrorStatus,
    /// `None` where tidecast serves no clients itself.
    pub(crate) http: Option<HttpReport>,
}

/// Counters of a web server.
#[derive(Debug)]
pub(crate) struct WebCounters {
    pub(crate) stats: Arc<HttpStats>,
    pub(crate) access_log: Option<Arc<FileAccessLog>>,
}

/// Answers on the control socket for both.
#[derive(Debug)]
pub(crate) struct MirrorDaemon {
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) web: Option<WebCounters>,
    /// What `/status.json` shows; `null` before it was first made.
    pub(crate) shown: Arc<Mutex<Value>>,
}

impl MirrorDaemon {
    pub(crate) async fn report(&self) -> MirrorReport {
        MirrorReport {
            status: self.mirror.status().await,
            http: self.web.as_ref().map(|web| HttpReport {
                served: web.stats.snapshot(),
                lines_dropped: web.access_log.as_ref().map_or(0, |log| log.lines_dropped()),
            }),
        }
    }

    /// Keeps what is shown fresh. Never ends.
    pub(crate) async fn keep_shown(self: Arc<Self>) {
        let mut refreshing = tokio::time::interval(STATUS_REFRESH);
        refreshing.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            refreshing.tick().await;
            let report = serde_json::to_value(self.report().await).unwrap_or_default();
            *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = report;
        }
    }
}

impl Handler for MirrorDaemon {
    async fn handle(&self, command: Command) -> Result<Value, String> {
        match command {
            Command::Status => {
                serde_json::to_value(self.report().await).map_err(|error| error.to_string())
            }
            other => self.mirror.handle(other).await,
        }
    }
}
