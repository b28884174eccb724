//! What both daemons share: listening for HTTP, telling systemd.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;

use tidecast_engine::control::{ControlError, ControlSocket};
use tidecast_engine::http::{HttpOptions, SiteHandle, serve};
use tidecast_engine::metrics::{self, Metrics};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::exit::{Diagnose as _, Exit};
use crate::failure::Failure;

/// An HTTP server that runs.
#[derive(Debug)]
pub(crate) struct Web {
    /// Where it really listens, with the port the system chose if 0 was asked for.
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Web {
    /// Takes the address and serves until `stop`.
    pub(crate) async fn start(
        address: SocketAddr,
        site: SiteHandle,
        options: HttpOptions,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, Failure> {
        let (listener, address) = listen(address, "HTTP", "--http").await?;
        let task = tokio::spawn(async move {
            let summary = serve(listener, site, options, stop).await;
            if summary.connections_cut > 0 {
                tracing::warn!(
                    connections = summary.connections_cut,
                    "downloads were cut off: they took longer than the drain time"
                );
            }
        });
        Ok(Self { address, task })
    }

    /// Waits until every download has ended or been cut off.
    pub(crate) async fn drained(self) -> Result<(), Failure> {
        self.task
            .await
            .map_err(|_| Failure::new(Exit::Internal, "the HTTP server ended by a bug"))
    }
}

/// Takes a TCP address for `what`, which `option` names; also returns the one that it came to.
async fn listen(
    address: SocketAddr,
    what: &str,
    option: &str,
) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |error: std::io::Error| {
        let failure = Failure::new(
            error.exit(),
            format!("cannot serve {what} on {address}: {error}"),
        );
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => failure.hint(format!(
                "ports below 1024 need root or CAP_NET_BIND_SERVICE; or name another with {option}"
            )),
            _ => match error.hint() {
                Some(hint) => failure.hint(hint),
                None => failure,
            },
        }
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Metrics that are served, until dropped.
#[derive(Debug)]
pub(crate) struct MetricsPage {
    /// Where, with the port the system chose if 0 was asked for.
    pub(crate) address: SocketAddr,
    _task: Background,
}

impl MetricsPage {
    /// Takes the address and serves.
    pub(crate) async fn start(address: SocketAddr, metrics: Metrics) -> Result<Self, Failure> {
        let (listener, address) = listen(address, "metrics", "--metrics").await?;
        let serving = metrics::serve(listener, metrics, std::future::pending());
        Ok(Self {
            address,
            _task: Background::spawn(serving),
        })
    }
}

/// A task beside the main one, ended with it.
#[derive(Debug)]
pub(crate) struct Background(JoinHandle<()>);

impl Background {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Ends it, and returns when what it held is let go of.
    pub(crate) async fn end(mut self) {
        self.0.abort();
        // It was told to stop: how it did is of no interest.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes the control socket of `state`.
///
/// # Errors
/// [`Exit::Temporary`] when another daemon has it.
pub(crate) async fn control_socket(state: &Path) -> Result<ControlSocket, Failure> {
    ControlSocket::bind(state)
        .await
        .map_err(|error| match error {
            ControlError::Failed(what) => Failure::new(Exit::Temporary, what)
                .hint("ask it with `tidecast status`, or stop it first"),
            other => other.into(),
        })
}

/// Tells systemd that the daemon is up, when it was started by it.
pub(crate) fn tell_ready() {
    tell(&[sd_notify::NotifyState::Ready]);
}

/// Tells systemd that the daemon is going down.
pub(crate) fn tell_stopping() {
    tell(&[sd_notify::NotifyState::Stopping]);
}

/// Tells systemd that the configuration is being read again; [`tell_ready`] ends that.
pub(crate) fn tell_reloading() {
    if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
        tell(&[sd_notify::NotifyState::Reloading, now]);
    }
}

fn tell(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
