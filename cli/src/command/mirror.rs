//! `tidecast mirror`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tidecast_engine::clock::SystemClock;
use tidecast_engine::config::{self, MirrorConfig};
use tidecast_engine::http::{AccessLog, FileAccessLog, HttpOptions};
use tidecast_engine::mirror::{self, MIRROR_CONFIG};

use crate::daemon::{self, Web};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::Shell;
use crate::signals::{self, Stop};

/// How old `/status.json` may be: it is asked for by programs, and making it waits for the disk.
const STATUS_REFRESH: Duration = Duration::from_secs(1);

/// Keep the docroot at the newest release, until told to stop.
///
/// Stays connected to the master, so that a release arrives the moment it is published, and serves clients over
/// HTTP if asked to. A mirror that is not admitted yet waits. TERM and INT end it, HUP opens the access log again.
/// Exit status: 0 stopped, 69 the address is taken, 75 another tidecast uses the state or the docroot, 78 no usable
/// configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct Mirror {
    /// Where clients download over HTTP. Default: as configured, otherwise nowhere.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
}

#[derive(Debug, Serialize)]
struct Started {
    role: &'static str,
    fingerprint: String,
    node_key: String,
    docroot: String,
    upstreams: Vec<String>,
    release: u64,
    http: Option<SocketAddr>,
    pid: u32,
}

impl Mirror {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let path = shell.state.join(MIRROR_CONFIG);
        let config: MirrorConfig = config::load(&path)?;
        config.feed_id(&path)?;
        // Before the docroot, so that a second daemon on one state is told what it is.
        let socket = daemon::control_socket(&shell.state).await?;
        let http = self.http.or(config.http);
        let access_log = match &config.access_log {
            None => None,
            Some(path) => {
                Some(Arc::new(FileAccessLog::open(path).map_err(|error| {
                    Failure::file("open the access log", path, &error)
                })?))
            }
        };
        let (mirror, recovery) = mirror::Mirror::open(&shell.state, config, Arc::new(SystemClock))?;
        if !recovery.is_empty() {
            tracing::info!("{recovery}");
        }
        let stop = Stop::on_signal()?;
        let mut hangup = signals::hangup()?;
        let mut running = std::pin::pin!(mirror.clone().run(stop.clone().asked()));
        let mut answering = std::pin::pin!(socket.serve(mirror.clone()));

        // So that the first client after a restart is served, not asked to come back.
        mirror.publish_site().await;
        let shown: Arc<Mutex<Value>> = Arc::default();
        let web = match http {
            None => None,
            Some(address) => {
                let options = HttpOptions {
                    access_log: access_log.clone().map(|log| log as Arc<dyn AccessLog>),
                    health: mirror.health(),
                    status: Some(Arc::new({
                        let shown = shown.clone();
                        move || shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
                    })),
                    ..HttpOptions::default()
                };
                let stop = stop.clone().asked();
                Some(Web::start(address, mirror.site(), options, stop).await?)
            }
        };

        let status = mirror.status().await;
        let started = Started {
            role: "mirror",
            fingerprint: status.fingerprint,
            node_key: status.node_key,
            docroot: status.docroot,
            upstreams: mirror.config().upstreams.clone(),
            release: status.release,
            http: web.as_ref().map(|web| web.address),
            pid: std::process::id(),
        };
        shell.result(&started, &render(&started))?;
        daemon::tell_ready();

        let mut refreshing = tokio::time::interval(STATUS_REFRESH);
        let ran = loop {
            tokio::select! {
                ran = &mut running => break ran,
                () = &mut answering => {}
                _ = refreshing.tick(), if web.is_some() => {
                    let status = serde_json::to_value(mirror.status().await).unwrap_or_default();
                    *shown.lock().unwrap_or_else(PoisonError::into_inner) = status;
                }
                _ = hangup.recv() => {
                    daemon::tell_reloading();
                    if let Some(Err(error)) = access_log.as_ref().map(|log| log.reopen()) {
                        tracing::error!(%error, "cannot open the access log again; going on with the old file");
                    }
                    daemon::tell_ready();
                }
            }
        };
        daemon::tell_stopping();
        if let Some(web) = web {
            web.drained().await?;
        }
        ran?;
        Ok(Exit::Ok)
    }
}

fn render(started: &Started) -> String {
    let release = match started.release {
        0 => "no release yet".into(),
        release => format!("release {release}"),
    };
    let http = match started.http {
        Some(address) => format!(", serves http://{address}/"),
        None => String::new(),
    };
    format!(
        "mirror in {} ({release}) asks {}{http}\nnode key {}\n",
        started.docroot,
        started.upstreams.join(", "),
        started.node_key,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_where_it_serves_and_whom_it_asks() {
        let started = Started {
            role: "mirror",
            fingerprint: String::new(),
            node_key: "ab".into(),
            docroot: "/srv/mirror".into(),
            upstreams: vec!["master.example.org".into()],
            release: 0,
            http: Some("127.0.0.1:8080".parse().unwrap()),
            pid: 1,
        };
        assert_eq!(
            render(&started),
            "mirror in /srv/mirror (no release yet) asks master.example.org, serves http://127.0.0.1:8080/\nnode key ab\n"
        );
    }
}
