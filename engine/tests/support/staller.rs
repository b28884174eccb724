//! An upstream that has a master's key and store, behaves up to a certain point, and then stops, drips or never ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quinn::{Connection, RecvStream, SendStream, TransportConfig, VarInt};
use tidecast_engine::master::Feed;
use tidecast_engine::quic::{self, Bind, read_frame};
use tidecast_engine::store::Store;
use tidecast_proto::id::{ChunkId, RootVersion};
use tidecast_proto::key::SecretKey;
use tidecast_proto::wire::{
    ChunkHeader, FrameType, ObjectHeader, ObjectName, PROTOCOL, Request, Welcome, frame,
};

use super::{World, upstream};

/// Where it misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Nowhere: what it grants is all that is wrong with it.
    Nowhere,
    Root,
    Hello,
    Poll,
    Manifest,
    List,
    Recipe,
    Chunk,
    Bundle,
    Runs,
    /// On a stream of its own, unasked.
    News,
}

impl At {
    /// Whether it welcomes with the release the mirror has, so that there is nothing else to do.
    fn is_idle(self) -> bool {
        matches!(self, Self::Poll | Self::News)
    }
}

/// What it does there.
#[derive(Debug, Clone)]
pub(crate) enum How {
    /// Sends these bytes, then nothing.
    Stop(Vec<u8>),
    /// Sends these bytes, then one byte a second.
    Drip(Vec<u8>),
    /// Sends these bytes, then others again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// Sends these bytes and ends.
    End(Vec<u8>),
    /// Opens streams and resets them, as many as it may.
    Resets,
    /// Sends these bytes on one stream after another.
    Streams(Vec<u8>),
    /// Sends this many bytes with holes in them, in pieces of so many bytes. See [`Rule`](super::wire::Rule).
    Holes(Arc<AtomicBool>, usize, usize),
}

/// Sends where nobody acknowledges: no window, no pace.
#[derive(Debug, Clone)]
pub(crate) struct Heedless;

impl quinn::congestion::Controller for Heedless {
    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        1 << 32
    }

    fn clone_box(&self) -> Box<dyn quinn::congestion::Controller> {
        Box::new(Self)
    }

    fn initial_window(&self) -> u64 {
        1 << 32
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}

impl quinn::congestion::ControllerFactory for Heedless {
    fn build(self: Arc<Self>, _: Instant, _: u16) -> Box<dyn quinn::congestion::Controller> {
        Box::new(Self)
    }
}

/// Sends `bytes` in all, each piece after a datagram that is too short to get through.
pub(crate) async fn send_holes(
    stream: &mut SendStream,
    open: &AtomicBool,
    bytes: usize,
    piece: usize,
) -> Result<(), quinn::WriteError> {
    open.store(true, Ordering::SeqCst);
    let mut sent = 0;
    while sent < bytes {
        // Apart, or they would go in one datagram.
        for length in [5, piece] {
            stream.write_all(&vec![1; length]).await?;
            tokio::time::sleep(Duration::from_millis(2)).await;
            sent += length;
        }
    }
    Ok(())
}

/// Sends `bytes` unasked and never ends. The first stream is read as far as a frame that is too long; the others wait
/// behind it.
async fn fill(connection: &Connection, bytes: usize) {
    if let Ok(mut stream) = connection.open_uni().await {
        let announcement = [FrameType::ANNOUNCE.0, 0, 4, 0, 0];
        let _ = stream.write_all(&announcement).await;
        // Less than it claims, until the others are full.
        let _ = stream.write_all(&[0; 500]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        if stream.id().index() > 0 {
            let _ = stream.write_all(&vec![0; bytes]).await;
        }
        connection.closed().await;
    }
}

/// What every staller of a world has in common: a whole feed.
pub(crate) struct Offer {
    key: SecretKey,
    roots: Vec<Vec<u8>>,
    store: Store,
    old_head: Vec<u8>,
    head: Vec<u8>,
}

impl Offer {
    /// Everything there is by now; `old_head` is one of the release that mirrors have.
    pub(crate) fn of(world: &World, old_head: Vec<u8>) -> Arc<Self> {
        let feed = Feed::load(&world.master_state()).unwrap();
        Arc::new(Self {
            key: feed.node_key().unwrap(),
            store: Store::open(&feed.store_folder()).unwrap(),
            head: upstream::newest_head(world),
            roots: feed.roots,
            old_head,
        })
    }

    /// The newest head.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }
}

/// It, until dropped.
pub(crate) struct Staller {
    pub(crate) address: SocketAddr,
    /// How often it has misbehaved.
    pub(crate) times: Arc<AtomicUsize>,
    endpoint: quinn::Endpoint,
}

impl Staller {
    pub(crate) fn start(
        offer: &Arc<Offer>,
        at: At,
        how: How,
        grants: impl FnOnce(&mut TransportConfig),
    ) -> Self {
        Self::start_filling(offer, at, how, grants, 0)
    }

    /// The same, and it sends `fills` bytes unasked that nobody has a use for.
    pub(crate) fn start_filling(
        offer: &Arc<Offer>,
        at: At,
        how: How,
        grants: impl FnOnce(&mut TransportConfig),
        fills: usize,
    ) -> Self {
        let mut config = quic::server_config(&offer.key).unwrap();
        let mut transport = TransportConfig::default();
        grants(&mut transport);
        config.transport_config(Arc::new(transport));
        let bind = Bind::udp(([127, 0, 0, 1], 0).into()).unwrap();
        let endpoint = quinn::Endpoint::new_with_abstract_socket(
            quinn::EndpointConfig::default(),
            Some(config),
            bind.socket,
            bind.runtime,
        )
        .unwrap();
        let times = Arc::new(AtomicUsize::new(0));
        let bad = Arc::new(Bad {
            offer: offer.clone(),
            at,
            how,
            times: times.clone(),
            fills,
        });
        let address = endpoint.local_addr().unwrap();
        upstream::serve(endpoint.clone(), move |connection, send, receive| {
            bad.clone().question(connection, send, receive)
        });
        Self {
            address,
            times,
            endpoint,
        }
    }
}

impl Drop for Staller {
    fn drop(&mut self) {
        self.endpoint.close(VarInt::from_u32(0), b"");
    }
}

struct Bad {
    offer: Arc<Offer>,
    at: At,
    how: How,
    times: Arc<AtomicUsize>,
    fills: usize,
}

impl Bad {
    async fn question(
        self: Arc<Self>,
        connection: Connection,
        mut send: SendStream,
        mut receive: RecvStream,
    ) {
        let Ok(Some((kind, body))) = read_frame(&mut receive).await else {
            return;
        };
        let request = Request::decode(kind, &body).unwrap();
        let place = match &request {
            Request::Root(_) => At::Root,
            Request::Hello(_) => At::Hello,
            Request::Poll(_) => At::Poll,
            Request::Object(ObjectName::Manifest(_)) => At::Manifest,
            Request::Object(ObjectName::List(_)) => At::List,
            Request::Object(ObjectName::Recipe(_)) => At::Recipe,
            Request::Chunks(_) => At::Chunk,
            Request::Bundle(_) => At::Bundle,
            Request::Runs(_) => At::Runs,
        };
        if place == self.at {
            tokio::select! {
                () = self.misbehave(&mut send) => {}
                _ = connection.closed() => {}
            }
            return;
        }
        let _ = send.write_all(&self.answer(&request)).await;
        let _ = send.finish();
        if place == At::Hello && self.fills > 0 {
            let all = (0..7).map(|_| fill(&connection, self.fills / 7));
            futures_util::future::join_all(all).await;
        }
        if place == At::Hello && self.at == At::News {
            self.news(&connection).await;
        }
    }

    async fn misbehave(&self, send: &mut SendStream) {
        self.times.fetch_add(1, Ordering::SeqCst);
        if let How::Holes(open, bytes, piece) = &self.how {
            let _ = send_holes(send, open, *bytes, *piece).await;
            return std::future::pending().await;
        }
        let (How::Stop(first)
        | How::Drip(first)
        | How::Endless(first, _)
        | How::End(first)
        | How::Streams(first)) = &self.how
        else {
            return;
        };
        if send.write_all(first).await.is_err() {
            return;
        }
        match &self.how {
            How::Drip(_) => loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if send.write_all(&[0]).await.is_err() {
                    return;
                }
            },
            How::Endless(_, again) => while send.write_all(again).await.is_ok() {},
            How::End(_) | How::Streams(_) => {
                let _ = send.finish();
            }
            _ => std::future::pending().await,
        }
    }

    async fn news(&self, connection: &Connection) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        loop {
            let Ok(mut stream) = connection.open_uni().await else {
                return;
            };
            match &self.how {
                How::Resets => {
                    self.times.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(b"x").await;
                    let _ = stream.reset(VarInt::from_u32(7));
                }
                How::Streams(_) => self.misbehave(&mut stream).await,
                _ => tokio::select! {
                    () = self.misbehave(&mut stream) => {}
                    _ = connection.closed() => return,
                },
            }
        }
    }

    fn answer(&self, request: &Request) -> Vec<u8> {
        match request {
            Request::Root(version) => upstream::root(&self.offer.roots, *version),
            Request::Hello(_) => {
                let head = if self.at.is_idle() {
                    &self.offer.old_head
                } else {
                    &self.offer.head
                };
                Welcome {
                    protocol: PROTOCOL,
                    root_version: RootVersion(1),
                    head: Some(head.clone()),
                    extensions: Vec::new(),
                }
                .to_frame()
            }
            Request::Poll(_) => frame(FrameType::UNCHANGED, &[]),
            Request::Object(name) => self.object(*name).unwrap_or_else(upstream::absent),
            Request::Chunks(ids) => ids.iter().flat_map(|id| self.chunk(id)).collect(),
            Request::Bundle(_) | Request::Runs(_) => upstream::absent(),
        }
    }

    fn object(&self, name: ObjectName) -> Option<Vec<u8>> {
        let stored = upstream::stored(&self.offer.store, name)?;
        let header = ObjectHeader {
            encoding: stored.encoding,
            opened_bytes: stored.opened_len.into(),
            packed_bytes: stored.bytes.len() as u64,
        };
        Some([header.to_frame(), frame(FrameType::PART, &stored.bytes)].concat())
    }

    fn chunk(&self, id: &ChunkId) -> Vec<u8> {
        let Some(stored) = self.offer.store.chunk(id) else {
            return upstream::absent();
        };
        let header = ChunkHeader {
            encoding: stored.encoding,
            opened_bytes: stored.opened_len,
        };
        [
            &header.to_frame_start(stored.bytes.len()),
            &stored.bytes[..],
        ]
        .concat()
    }
}
