//! `tidecast master`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tidecast_engine::clock::SystemClock;
use tidecast_engine::http::{Health, HealthHandle, HttpOptions, SiteHandle};
use tidecast_engine::master::{self, MasterStatus};
use tidecast_engine::metrics::Metrics;
use tidecast_engine::quic::Bind;
use tidecast_proto::wire::DEFAULT_PORT;

use crate::daemon::{self, Background, MetricsPage, Web};
use crate::exit::{Diagnose as _, Exit};
use crate::failure::{Failure, Outcome};
use crate::shell::Shell;
use crate::signals::{self, Stop};
use crate::text;

/// How often `/healthz` looks at the master again.
const HEALTH_CHECK: Duration = Duration::from_secs(1);

/// Announce releases and serve mirrors, until told to stop.
///
/// TERM and INT end it, HUP makes it look at the state again. Exit status: 0 stopped, 69 the address is taken,
/// 75 another daemon runs on this state, 78 there is no feed.
#[derive(Debug, clap::Args)]
pub(crate) struct Master {
    /// Where mirrors connect, over UDP. Default: as configured, otherwise every address, port 4873.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where /healthz and /status.json are served over HTTP. Default: as configured, otherwise nowhere.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Where /metrics is served for Prometheus. Default: as configured, otherwise nowhere.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
}

#[derive(Debug, Serialize)]
struct Started {
    role: &'static str,
    feed: String,
    fingerprint: String,
    node_key: String,
    listen: SocketAddr,
    http: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    pid: u32,
}

impl Master {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let master = Arc::new(master::Master::open(&shell.state, Arc::new(SystemClock))?);
        let config = &master.feed().config;
        let (bind, listen) = bind(self.listen.or(config.listen))?;
        let endpoint = master.listen(bind)?;
        let socket = daemon::control_socket(&shell.state).await?;
        let stop = Stop::on_signal()?;

        let health = HealthHandle::default();
        let web = match self.http.or(config.http) {
            None => None,
            Some(address) => {
                let options = HttpOptions {
                    health: health.clone(),
                    status: Some(Arc::new({
                        let master = master.clone();
                        move || serde_json::to_value(master.status()).unwrap_or_default()
                    })),
                    ..HttpOptions::default()
                };
                let stop = stop.clone().asked();
                Some(Web::start(address, SiteHandle::default(), options, stop).await?)
            }
        };

        let metrics = match self.metrics.or(config.metrics) {
            None => None,
            Some(address) => {
                Some(MetricsPage::start(address, Metrics::of_master(master.clone())).await?)
            }
        };

        let status = master.status();
        let started = Started {
            role: "master",
            feed: status.feed.clone(),
            fingerprint: status.fingerprint.clone(),
            node_key: status.node_key.clone(),
            listen,
            http: web.as_ref().map(|web| web.address),
            metrics: metrics.as_ref().map(|page| page.address),
            pid: std::process::id(),
        };
        shell.result(&started, &render(&started, &status))?;
        daemon::tell_ready();

        let mut hangup = signals::hangup()?;
        let mut serving = std::pin::pin!(master.clone().serve(endpoint, stop.asked()));
        let answering = Background::spawn(socket.serve(master.clone()));
        let mut looking = tokio::time::interval(HEALTH_CHECK);
        loop {
            tokio::select! {
                () = &mut serving => break,
                _ = looking.tick() => health.set(health_of(&master.status())),
                _ = hangup.recv() => {
                    daemon::tell_reloading();
                    match master.reload() {
                        Ok(()) => tracing::info!("looked at the state again"),
                        Err(error) => tracing::error!(%error, "cannot use the state; going on as before"),
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

/// A socket for mirrors, and its address with the port the system chose if 0 was asked for.
fn bind(asked: Option<SocketAddr>) -> Result<(Bind, SocketAddr), Failure> {
    let failed = |address: SocketAddr, error: std::io::Error| {
        let failure = Failure::new(
            error.exit(),
            format!("cannot listen on UDP {address}: {error}"),
        );
        match error.kind() {
            std::io::ErrorKind::AddrInUse => failure.hint(
                "another master or another program listens there; stop it, or name another with --listen",
            ),
            _ => failure.hint("name an address of this machine with --listen"),
        }
    };
    let everywhere: SocketAddr = (Ipv6Addr::UNSPECIFIED, DEFAULT_PORT).into();
    let mut address = asked.unwrap_or(everywhere);
    let mut bound = Bind::udp(address);
    if asked.is_none()
        && bound
            .as_ref()
            .is_err_and(|error| error.kind() != std::io::ErrorKind::AddrInUse)
    {
        // A machine without IPv6.
        address = (Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into();
        bound = Bind::udp(address);
    }
    let bind = bound.map_err(|error| failed(address, error))?;
    let address = bind
        .socket
        .local_addr()
        .map_err(|error| failed(address, error))?;
    Ok((bind, address))
}

fn health_of(status: &MasterStatus) -> Health {
    let Some(release) = status.newest.as_ref().map(|newest| newest.release) else {
        return Health::NoRelease;
    };
    match status.stale_since_ms {
        None => Health::Serving { release },
        Some(since_ms) => Health::Stale {
            release,
            since_s: since_ms / 1000,
        },
    }
}

fn render(started: &Started, status: &MasterStatus) -> String {
    let newest = match &status.newest {
        Some(newest) => format!("release {}", newest.release),
        None => "no release yet".into(),
    };
    let http = match started.http {
        Some(address) => format!(", status on http://{address}/status.json"),
        None => String::new(),
    };
    let admitted = status.nodes.iter().filter(|node| node.state == "admitted");
    format!(
        "master of {} ({newest}, {}) listens on UDP {}{http}\n",
        started.feed,
        text::plural(admitted.count() as u64, "admitted node"),
        started.listen,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_engine::master::ReleaseStatus;

    #[test]
    fn a_stale_master_says_since_when() {
        let status = |stale_since_ms| MasterStatus {
            newest: Some(ReleaseStatus {
                release: 3,
                ..ReleaseStatus::default()
            }),
            stale_since_ms,
            ..MasterStatus::default()
        };
        let stale = Health::Stale {
            release: 3,
            since_s: 2,
        };
        assert_eq!(health_of(&status(None)), Health::Serving { release: 3 });
        assert_eq!(health_of(&status(Some(2_000))), stale);
        assert_eq!(health_of(&MasterStatus::default()), Health::NoRelease);
    }

    #[tokio::test]
    async fn a_port_of_the_systems_choice_is_told() {
        let (_bind, address) = bind(Some("127.0.0.1:0".parse().unwrap())).unwrap();
        assert_ne!(address.port(), 0);
    }
}
