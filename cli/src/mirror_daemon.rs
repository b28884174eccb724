//! The running mirror as its operator sees it: the engine's mirror and the web server beside it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidecast_engine::control::{Command, Handler, Refusal};
use tidecast_engine::http::{FileAccessLog, HttpReport, HttpStats};
use tidecast_engine::mirror::{Mirror, MirrorStatus};

/// How a mirror and its web server are. SPEC §10.3.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MirrorReport {
    #[serde(flatten)]
    pub(crate) status: MirrorStatus,
    /// `None` where tidecast serves no clients itself.
    pub(crate) http: Option<HttpReport>,
}

/// Counters of a web server.
#[derive(Debug, Clone)]
pub(crate) struct WebCounters {
    pub(crate) stats: Arc<HttpStats>,
    pub(crate) access_log: Option<Arc<FileAccessLog>>,
}

impl WebCounters {
    /// What was counted so far.
    pub(crate) fn report(&self) -> HttpReport {
        let log = self.access_log.as_ref();
        HttpReport {
            served: self.stats.snapshot(),
            lines_dropped: log.map_or(0, |log| log.lines_dropped()),
        }
    }
}

/// Answers on the control socket for both.
#[derive(Debug)]
pub(crate) struct MirrorDaemon {
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) web: Option<WebCounters>,
}

impl MirrorDaemon {
    /// How both are now; waits for nothing.
    pub(crate) fn report(&self) -> MirrorReport {
        MirrorReport {
            status: self.mirror.status(),
            http: self.web.as_ref().map(WebCounters::report),
        }
    }
}

impl Handler for MirrorDaemon {
    async fn handle(&self, command: Command) -> Result<Value, Refusal> {
        match command {
            Command::Status => serde_json::to_value(self.report())
                .map_err(|error| Refusal::from(error.to_string())),
            other => self.mirror.handle(other).await,
        }
    }
}
