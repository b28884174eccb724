//! QUIC on the simulator's sockets, and the weather on the way.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, TokioRuntime, UdpPoller};
use tidecast_engine::network::Network;
use tidecast_engine::quic::Bind;
use turmoil::net::UdpSocket;

use crate::chance::Chance;
use crate::trace;

/// What becomes of datagrams; the same for all. Each is one in so many, 0 for never.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    /// Lost.
    pub(crate) lost: AtomicU64,
    /// Delivered twice.
    pub(crate) doubled: AtomicU64,
    /// Delivered with a byte changed.
    pub(crate) damaged: AtomicU64,
}

impl Weather {
    pub(crate) fn set(&self, lost: u64, doubled: u64, damaged: u64) {
        self.lost.store(lost, Ordering::Relaxed);
        self.doubled.store(doubled, Ordering::Relaxed);
        self.damaged.store(damaged, Ordering::Relaxed);
    }
}

/// A host's network.
#[derive(Debug)]
pub(crate) struct HostNetwork {
    name: String,
    weather: Arc<Weather>,
    chance: Mutex<Chance>,
}

impl HostNetwork {
    pub(crate) fn new(name: &str, weather: &Arc<Weather>, seed: u64) -> Self {
        Self {
            name: name.into(),
            weather: weather.clone(),
            chance: Mutex::new(Chance::of(seed, name)),
        }
    }

    /// To be called on a host of the simulation.
    pub(crate) fn bind(&self, port: u16) -> io::Result<Bind> {
        let socket = UdpSocket::bind(("0.0.0.0", port))
            .now_or_never()
            .ok_or(io::ErrorKind::WouldBlock)??;
        let mut chance = self.chance.lock().unwrap();
        let rng_seed = Some(chance.seed());
        let luck = Chance::of(chance.next(), "socket");
        Ok(Bind {
            socket: Arc::new(Socket {
                name: self.name.clone(),
                inner: Arc::new(socket),
                weather: self.weather.clone(),
                luck: Mutex::new(luck),
                readable: Mutex::new(None),
            }),
            // Its timers and tasks are those of the host's runtime, whose time is the simulator's.
            runtime: Arc::new(TokioRuntime),
            rng_seed,
        })
    }
}

impl Network for HostNetwork {
    fn resolve<'a>(&'a self, host_and_port: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let (host, port) = host_and_port
                .rsplit_once(':')
                .ok_or(io::ErrorKind::InvalidInput)?;
            let port = port.parse().map_err(io::Error::other)?;
            Ok(vec![SocketAddr::new(turmoil::lookup(host), port)])
        })
    }

    fn bind_for(&self, _peer: SocketAddr) -> io::Result<Bind> {
        self.bind(0)
    }
}

type Readable = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

struct Socket {
    name: String,
    inner: Arc<UdpSocket>,
    weather: Arc<Weather>,
    luck: Mutex<Chance>,
    /// Somebody waits for the next datagram.
    readable: Mutex<Option<Readable>>,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Socket").field(&self.name).finish()
    }
}

/// The simulator's sockets can always be written to.
#[derive(Debug)]
struct Writable;

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let (to, bytes) = (transmit.destination, transmit.contents);
        let mut luck = self.luck.lock().unwrap();
        let mut happens = |odds: &AtomicU64| match odds.load(Ordering::Relaxed) {
            0 => false,
            odds => luck.one_in(odds),
        };
        let lost = happens(&self.weather.lost);
        let damaged = happens(&self.weather.damaged);
        let doubled = happens(&self.weather.doubled);
        if lost {
            trace::packet(&self.name, to, bytes.len(), "lost");
            return Ok(());
        }
        if doubled {
            trace::packet(&self.name, to, bytes.len(), "doubled");
            let _ = self.inner.try_send_to(bytes, to);
        }
        // What the network does with it is nothing a sender hears of.
        let _ = if damaged {
            let mut bytes = bytes.to_vec();
            let at = luck.index(bytes.len());
            bytes[at] ^= 1 << luck.below(8);
            trace::packet(&self.name, to, bytes.len(), "damaged");
            self.inner.try_send_to(&bytes, to)
        } else {
            trace::packet(&self.name, to, bytes.len(), "sent");
            self.inner.try_send_to(bytes, to)
        };
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut readable = self.readable.lock().unwrap();
            if let Some(waiting) = &mut *readable {
                ready!(waiting.poll_unpin(cx))?;
                *readable = None;
            }
            match self.inner.try_recv_from(&mut buffers[0]) {
                Ok((len, from)) => {
                    let mut meta = RecvMeta::default();
                    (meta.addr, meta.len, meta.stride) = (from, len, len);
                    metas[0] = meta;
                    return Poll::Ready(Ok(1));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let socket = self.inner.clone();
                    *readable = Some(Box::pin(async move { socket.readable().await }));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
