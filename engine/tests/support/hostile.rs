//! An upstream that has a master's key and store, and misbehaves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream, VarInt};
use tidecast_engine::master::Feed;
use tidecast_engine::quic::{self, Bind, read_frame};
use tidecast_engine::store::Store;
use tidecast_proto::id::ChunkId;
use tidecast_proto::wire::{
    ChunkHeader, Encoding, FrameType, ObjectHeader, ObjectName, PROTOCOL, RefusalReason, Refused,
    Request, Welcome, frame,
};

use super::{World, upstream};

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// Flips a bit of every chunk.
    WrongChunks,
    /// Says every chunk is absent.
    NoChunks,
    /// Never answers a request for chunks.
    Stall,
    /// Sends one byte of a chunk a second.
    Trickle,
    /// Closes the connection after this many chunks.
    CloseAfter(usize),
    /// Sends another object than the manifest asked for.
    WrongManifest,
    /// Announces a chunk that opens to 4 GiB.
    Bomb,
    /// Speaks another version.
    OtherProtocol,
    /// Sends a frame type nobody knows.
    Gibberish,
}

/// It, until dropped.
pub(crate) struct Hostile {
    pub(crate) address: SocketAddr,
    /// Chunks handed out.
    pub(crate) chunks_sent: Arc<AtomicUsize>,
    endpoint: quinn::Endpoint,
}

impl Hostile {
    pub(crate) fn start(world: &World, mischief: Mischief) -> Self {
        Self::announcing(world, mischief, upstream::newest_head(world))
    }

    /// One that announces this head.
    pub(crate) fn announcing(world: &World, mischief: Mischief, head: Vec<u8>) -> Self {
        let feed = Feed::load(&world.master_state()).unwrap();
        let endpoint = quic::server(
            Bind::udp(([127, 0, 0, 1], 0).into()).unwrap(),
            &feed.node_key().unwrap(),
        )
        .unwrap();
        let chunks_sent = Arc::new(AtomicUsize::new(0));
        let evil = Arc::new(Evil {
            head,
            store: Store::open(&feed.store_folder()).unwrap(),
            roots: feed.roots,
            mischief,
            chunks_sent: chunks_sent.clone(),
        });
        let address = endpoint.local_addr().unwrap();
        upstream::serve(endpoint.clone(), move |connection, send, receive| {
            evil.clone().answer(connection, send, receive)
        });
        Self {
            address,
            chunks_sent,
            endpoint,
        }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.endpoint.close(VarInt::from_u32(0), b"");
    }
}

struct Evil {
    roots: Vec<Vec<u8>>,
    head: Vec<u8>,
    store: Store,
    mischief: Mischief,
    chunks_sent: Arc<AtomicUsize>,
}

impl Evil {
    async fn answer(
        self: Arc<Self>,
        connection: Connection,
        mut send: SendStream,
        mut receive: RecvStream,
    ) {
        let Ok(Some((kind, body))) = read_frame(&mut receive).await else {
            return;
        };
        match Request::decode(kind, &body).unwrap() {
            Request::Root(version) => {
                let _ = send.write_all(&upstream::root(&self.roots, version)).await;
            }
            Request::Hello(_) => self.greet(&mut send).await,
            Request::Poll(_) => {
                let _ = send.write_all(&frame(FrameType::UNCHANGED, &[])).await;
            }
            Request::Object(name) => self.object(&mut send, name).await,
            Request::Chunks(ids) => self.chunks(&connection, &mut send, &ids).await,
            Request::Bundle(_) | Request::Runs(_) => {
                let _ = send.write_all(&upstream::absent()).await;
            }
        }
        let _ = send.finish();
    }

    async fn greet(&self, send: &mut SendStream) {
        let answer = match self.mischief {
            Mischief::OtherProtocol => {
                Refused::new(RefusalReason::PROTOCOL, "this master speaks 7 to 9").to_frame()
            }
            Mischief::Gibberish => vec![0xee, 3, 0, 0, 0, 1, 2, 3],
            _ => Welcome {
                protocol: PROTOCOL,
                root_version: tidecast_proto::id::RootVersion(1),
                head: Some(self.head.clone()),
                extensions: Vec::new(),
            }
            .to_frame(),
        };
        let _ = send.write_all(&answer).await;
    }

    async fn object(&self, send: &mut SendStream, name: ObjectName) {
        let Some(stored) = upstream::stored(&self.store, name) else {
            let _ = send.write_all(&upstream::absent()).await;
            return;
        };
        let mut opened = stored.open().unwrap();
        if self.mischief == Mischief::WrongManifest && matches!(name, ObjectName::Manifest(_)) {
            let middle = opened.len() / 2;
            opened[middle] ^= 1;
        }
        let header = ObjectHeader {
            encoding: Encoding::PLAIN,
            opened_bytes: opened.len() as u64,
            packed_bytes: opened.len() as u64,
        };
        let _ = send.write_all(&header.to_frame()).await;
        for part in opened.chunks(1 << 16) {
            let _ = send.write_all(&frame(FrameType::PART, part)).await;
        }
    }

    async fn chunks(&self, connection: &Connection, send: &mut SendStream, ids: &[ChunkId]) {
        for id in ids {
            let mut bytes = self.store.chunk(id).unwrap().open().unwrap();
            let mut header = ChunkHeader {
                encoding: Encoding::PLAIN,
                opened_bytes: u32::try_from(bytes.len()).unwrap(),
            };
            match self.mischief {
                Mischief::Stall => std::future::pending().await,
                Mischief::NoChunks => {
                    let _ = send.write_all(&upstream::absent()).await;
                    continue;
                }
                Mischief::WrongChunks => bytes[0] ^= 1,
                Mischief::Bomb => {
                    header.encoding = Encoding::ZSTD;
                    header.opened_bytes = u32::MAX;
                }
                Mischief::Trickle => {
                    let _ = send.write_all(&header.to_frame_start(bytes.len())).await;
                    for byte in bytes {
                        if send.write_all(&[byte]).await.is_err() {
                            return;
                        }
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    return;
                }
                _ => {}
            }
            let sent = self.chunks_sent.fetch_add(1, Ordering::SeqCst) + 1;
            if let Mischief::CloseAfter(limit) = self.mischief
                && sent > limit
            {
                // What was written so far must arrive: only then is it known what a mirror may not ask again.
                tokio::time::sleep(Duration::from_millis(300)).await;
                connection.close(VarInt::from_u32(9), b"goodbye");
                return;
            }
            let start = header.to_frame_start(bytes.len());
            if send.write_all(&start).await.is_err() || send.write_all(&bytes).await.is_err() {
                return;
            }
        }
    }
}
