//! `tidecast mirror`.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use tidecast_engine::clock::SystemClock;
use tidecast_engine::config::{self, MirrorConfig};
use tidecast_engine::http::{AccessLog, FileAccessLog, HttpOptions, HttpStats};
use tidecast_engine::metrics::{Metrics, WebReport};
use tidecast_engine::mirror::{self, MIRROR_CONFIG};

use crate::daemon::{self, Background, MetricsPage, Web};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::mirror_daemon::{MirrorDaemon, WebCounters};
use crate::shell::Shell;
use crate::signals::{self, Stop};

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
    /// Where /metrics is served for Prometheus. Default: as configured, otherwise nowhere.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
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
    metrics: Option<SocketAddr>,
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
        let metrics = self.metrics.or(config.metrics);
        let access_log = match &config.access_log {
            None => None,
            Some(path) => {
                Some(Arc::new(FileAccessLog::open(path).map_err(|error| {
                    Failure::file("open the access log", path, &error)
                })?))
            }
        };
        let (mirror, recovery) = mirror::Mirror::open(&shell.state, config, Arc::new(SystemClock))?;
        tracing::info!("{recovery}");
        let stop = Stop::on_signal()?;
        let mut hangup = signals::hangup()?;
        let mut running = std::pin::pin!(mirror.clone().run(stop.clone().asked()));
        let stats: Arc<HttpStats> = Arc::default();
        let daemon = Arc::new(MirrorDaemon {
            mirror: mirror.clone(),
            web: http.map(|_| WebCounters {
                stats: stats.clone(),
                access_log: access_log.clone(),
            }),
        });
        // Apart from what is polled below: whatever waits for the disk there must not hold up the signals.
        let answering = Background::spawn(socket.serve(daemon.clone()));

        // So that the first client after a restart is served, not asked to come back.
        mirror.publish_site().await;
        let web = match http {
            None => None,
            Some(address) => {
                let options = HttpOptions {
                    access_log: access_log.clone().map(|log| log as Arc<dyn AccessLog>),
                    health: mirror.health(),
                    stats,
                    status: Some(Arc::new({
                        let daemon = daemon.clone();
                        move || serde_json::to_value(daemon.report()).unwrap_or_default()
                    })),
                    ..HttpOptions::default()
                };
                let stop = stop.clone().asked();
                Some(Web::start(address, mirror.site(), options, stop).await?)
            }
        };

        let metrics = match metrics {
            None => None,
            Some(address) => {
                let web = daemon.web.clone();
                let web = web.map(|web| Arc::new(move || web.report()) as WebReport);
                Some(MetricsPage::start(address, Metrics::of_mirror(mirror.clone(), web)).await?)
            }
        };

        let status = mirror.status();
        let started = Started {
            role: "mirror",
            fingerprint: status.fingerprint,
            node_key: status.node_key,
            docroot: status.docroot,
            upstreams: mirror.config().upstreams.clone(),
            release: status.release,
            http: web.as_ref().map(|web| web.address),
            metrics: metrics.as_ref().map(|page| page.address),
            pid: std::process::id(),
        };
        shell.result(&started, &render(&started))?;
        daemon::tell_ready();

        loop {
            tokio::select! {
                () = &mut running => break,
                _ = hangup.recv() => {
                    daemon::tell_reloading();
                    if let Some(Err(error)) = access_log.as_ref().map(|log| log.reopen()) {
                        tracing::error!(%error, "cannot open the access log again; going on with the old file");
                    }
                    daemon::tell_ready();
                }
            }
        }
        daemon::tell_stopping();
        if let Some(web) = web {
            web.drained().await?;
        }
        answering.end().await;
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
            metrics: None,
            pid: 1,
        };
        assert_eq!(
            render(&started),
            "mirror in /srv/mirror (no release yet) asks master.example.org, serves http://127.0.0.1:8080/\nnode key ab\n"
        );
    }
}
