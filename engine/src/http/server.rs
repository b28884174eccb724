//! The accept loop: admits connections, serves them, drains them. SPEC §9.1.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::access_log::AccessLog;
use super::admission::{Admission, AdmissionLimits, Admitted, Place};
use super::answer::{Answers, Mode};
use super::connection::Connection;
use super::health::{HealthHandle, StatusSource};
use super::ledger::{Ledger, Recorder};
use super::site::SiteHandle;
use super::stats::HttpStats;

/// Least request head hyper can be limited to.
const HEADER_BYTES_MIN: usize = 8192;

/// Most header lines of one request; freshclam sends seven, a browser some twenty.
const HEADER_LINES_MAX: usize = 64;

/// Longest a connection over a cap is kept to be told so: its request must be read first, or the
/// reset that follows an unread one would overtake the answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// First and longest pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(20);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Unsent bytes the kernel holds per client. It calls the socket writable again at half of this, so
/// within the write stall of 60 s a client that reads 1.1 kB/s still shows that it lives; with the
/// send buffer's own size (4 MiB when it has grown) that would take 20 times as much.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// Timeouts and caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// From the start of a connection, or the end of an answer, to the end of the next request's
    /// headers.
    pub header_timeout: Duration,
    /// From the end of an answer to the first byte of the next request; only below
    /// `header_timeout` does it make a difference.
    pub idle_timeout: Duration,
    /// How long a client may take no byte of its answer.
    pub write_stall_timeout: Duration,
    /// How long downloads may go on after the shutdown was asked for.
    pub drain_timeout: Duration,
    /// Most bytes of a request's line and headers; 431 past it. Not below 8192.
    pub header_bytes_max: usize,
    /// Most connections; 503 past it.
    pub connections_max: usize,
    /// Most connections of one IPv4 address or IPv6 /64; 503 past it, because freshclam comes back
    /// from a 503 in 5 s and from a 429 in hours. Enough for an office behind one address: freshclam
    /// opens one connection at a time.
    pub connections_per_address_max: usize,
    /// Whether loopback has the cap per address too. A reverse proxy there speaks for everybody.
    pub count_loopback: bool,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(5),
            write_stall_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            header_bytes_max: 16 * 1024,
            connections_max: 1024,
            connections_per_address_max: 64,
            count_loopback: false,
        }
    }
}

/// What a server is told besides its listener and its site. The default logs nowhere, reports
/// `NoRelease` and has no `/status.json`.
#[derive(Clone, Default)]
pub struct HttpOptions {
    /// Timeouts and caps.
    pub limits: HttpLimits,
    /// Takes a record of each request.
    pub access_log: Option<Arc<dyn AccessLog>>,
    /// Counted into.
    pub stats: Arc<HttpStats>,
    /// Answers `/healthz`.
    pub health: HealthHandle,
    /// Answers `/status.json` to clients on this machine; 404 to others, and to all without.
    pub status: Option<Arc<dyn StatusSource>>,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeSummary {
    /// Connections that were still busy after the drain timeout and were closed.
    pub connections_cut: usize,
}

/// Serves `site` over HTTP/1 on `listener` until `shutdown` is ready, then lets requests under way
/// end for at most [`HttpLimits::drain_timeout`]. Dropping the future closes every connection.
///
/// Nothing a client does and no failed accept ends it: such errors are `tracing` events. A file of
/// the release that is missing, unreadable or of the wrong size on disk is answered 503, counted in
/// [`HttpStats`] and reported as an error event `released file not served`.
pub async fn serve(
    listener: TcpListener,
    site: SiteHandle,
    options: HttpOptions,
    shutdown: impl Future<Output = ()>,
) -> ServeSummary {
    let (drain, draining) = watch::channel(false);
    let server = Server::new(site, options, draining);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut pause = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            // Reaps what ended, so that the set holds open connections only.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, pause) => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                pause = None;
                server.spawn(&mut connections, stream, remote);
            }
            Err(error) => {
                pause = pause_after(&error, pause);
                tracing::warn!(%error, ?pause, "cannot take a client's connection; trying again");
            }
        }
    }
    drop(listener);
    // Nobody may be listening any more, which is as good.
    let _ = drain.send(true);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    let drained = tokio::time::timeout(server.limits.drain_timeout, all_ended).await;
    let connections_cut = if drained.is_ok() {
        0
    } else {
        connections.len()
    };
    // Waits for the cut ones, so that their log lines are written when this returns.
    connections.shutdown().await;
    ServeSummary { connections_cut }
}

async fn accept(
    listener: &TcpListener,
    pause: Option<Duration>,
) -> io::Result<(TcpStream, IpAddr)> {
    if let Some(pause) = pause {
        tokio::time::sleep(pause).await;
    }
    let (stream, remote) = listener.accept().await?;
    Ok((stream, remote.ip().to_canonical()))
}

/// How long to wait after a failed accept: not at all if only that connection failed, else twice as
/// long as before, for the listener stays readable and would be asked again at once.
fn pause_after(error: &io::Error, previous: Option<Duration>) -> Option<Duration> {
    let of_connection = matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTUNREACH
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
        )
    );
    if of_connection {
        return None;
    }
    Some(previous.map_or(ACCEPT_PAUSE_MIN, |pause| (pause * 2).min(ACCEPT_PAUSE_MAX)))
}

struct Server {
    answers: Arc<Answers>,
    admission: Admission,
    recorder: Recorder,
    limits: HttpLimits,
    builder: http1::Builder,
    draining: watch::Receiver<bool>,
}

impl Server {
    fn new(site: SiteHandle, options: HttpOptions, draining: watch::Receiver<bool>) -> Self {
        let limits = options.limits;
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_headers(HEADER_LINES_MAX)
            // Also keeps hyper from taking a second block of a body while the first waits.
            .max_buf_size(limits.header_bytes_max.max(HEADER_BYTES_MIN))
            // Clients may shut their sending half after the request.
            .half_close(true)
            // Clients of 2003 to 2006 compare header names with strstr (freshclam/manager.c).
            .title_case_headers(true);
        Self {
            answers: Arc::new(Answers {
                site,
                health: options.health,
                status: options.status,
                stats: Arc::clone(&options.stats),
            }),
            admission: Admission::new(AdmissionLimits {
                connections_max: limits.connections_max,
                per_address_max: limits.connections_per_address_max,
                count_loopback: limits.count_loopback,
            }),
            recorder: Recorder {
                stats: options.stats,
                log: options.access_log,
            },
            limits,
            builder,
            draining,
        }
    }

    fn spawn(&self, connections: &mut JoinSet<()>, stream: TcpStream, remote: IpAddr) {
        let (mode, place) = match self.admission.admit(remote) {
            Admitted::Serve(place) => {
                self.recorder.stats.count_connection();
                (Mode::Serve, place)
            }
            Admitted::Refuse(place) => {
                self.recorder.stats.count_refused();
                (Mode::Busy, place)
            }
            Admitted::Drop => {
                self.recorder.stats.count_dropped();
                return;
            }
        };
        connections.spawn(self.connection(mode, place, stream, remote));
    }

    fn connection(
        &self,
        mode: Mode,
        place: Place,
        stream: TcpStream,
        remote: IpAddr,
    ) -> impl Future<Output = ()> + Send + 'static {
        tune(&stream);
        let ledger = Arc::new(Mutex::new(Ledger::new(self.recorder.clone(), remote)));
        let stream = Connection::new(
            stream,
            Arc::clone(&ledger),
            self.limits.idle_timeout,
            self.limits.write_stall_timeout,
        );
        let answers = Arc::clone(&self.answers);
        let service = service_fn(move |request| {
            let (answers, ledger) = (Arc::clone(&answers), Arc::clone(&ledger));
            async move { Ok::<_, Infallible>(answers.answer(mode, &ledger, remote, request).await) }
        });
        let mut builder = self.builder.clone();
        builder.keep_alive(mode == Mode::Serve);
        let mut draining = self.draining.clone();
        async move {
            let _place = place;
            let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
            let served = async {
                tokio::select! {
                    outcome = connection.as_mut() => return outcome,
                    _ = draining.wait_for(|draining| *draining) => {}
                }
                connection.as_mut().graceful_shutdown();
                connection.await
            };
            let outcome = match mode {
                Mode::Serve => served.await,
                Mode::Busy => match tokio::time::timeout(REFUSAL_TIMEOUT, served).await {
                    Ok(outcome) => outcome,
                    Err(_) => return,
                },
            };
            if let Err(error) = outcome {
                let source = std::error::Error::source(&error);
                tracing::debug!(%remote, %error, source, "connection ended early");
            }
        }
    }
}

/// Settings that make answers prompt and stalls visible. A kernel without them serves all the same.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_descriptors_pauses_longer_each_time_up_to_a_second() {
        let full = io::Error::from(Errno::MFILE);
        let mut pause = None;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pause = pause_after(&full, pause);
            pauses.push(pause.unwrap().as_millis());
        }
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn a_connection_that_died_in_the_queue_costs_no_pause() {
        let aborted = io::Error::from(Errno::CONNABORTED);
        assert_eq!(pause_after(&aborted, Some(ACCEPT_PAUSE_MAX)), None);
    }
}
