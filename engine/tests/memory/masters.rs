//! Mirrors that make a master hold as much as they can.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use quinn::{Connection, TransportConfig, VarInt};
use tidecast_engine::quic::{self, Bind, read_frame};
use tidecast_proto::id::{ObjectId, ReleaseNumber, RootVersion};
use tidecast_proto::key::SecretKey;
use tidecast_proto::limits;
use tidecast_proto::wire::{FetchBundle, FrameType, Hello, ObjectName, PROTOCOL, Request, Serves};

use crate::support::staller::{Heedless, send_holes};
use crate::support::wire::{Relay, Rule};
use crate::support::{World, noise};
use crate::victim::Victim;

/// How long each goes on.
const ATTACK: Duration = Duration::from_secs(3);

/// A mirror that is welcome, with its endpoint.
struct Node {
    connection: Connection,
    _endpoint: quinn::Endpoint,
}

impl Node {
    async fn welcome(
        world: &World,
        key: &SecretKey,
        master: SocketAddr,
        grants: impl FnOnce(&mut TransportConfig),
    ) -> Self {
        let mut config = quic::client_config(key).unwrap();
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_secs(1)));
        grants(&mut transport);
        config.transport_config(Arc::new(transport));
        let mut endpoint = quic::client(Bind::any_port_for(master).unwrap(), key).unwrap();
        endpoint.set_default_client_config(config);
        let connection = endpoint.connect(master, "tidecast").unwrap().await.unwrap();
        let hello = Hello {
            protocol: PROTOCOL,
            feed: world.feed,
            root_version: RootVersion(1),
            seqs: Vec::new(),
            release: ReleaseNumber(0),
            manifest: None,
            serves: Serves::NOTHING,
            name: String::new(),
            contact: String::new(),
            hosts: Vec::new(),
            extensions: Vec::new(),
        };
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&hello.to_frame().unwrap()).await.unwrap();
        send.finish().unwrap();
        let (kind, _) = read_frame(&mut receive).await.unwrap().unwrap();
        assert_eq!(kind, FrameType::WELCOME);
        Self {
            connection,
            _endpoint: endpoint,
        }
    }

    /// Asks on every stream it may have, and reads nothing.
    async fn ask_and_never_read(&self, request: &Request) {
        let mut streams = Vec::new();
        for _ in 1..limits::BIDI_STREAMS {
            let (mut send, receive) = self.connection.open_bi().await.unwrap();
            let _ = send.write_all(&request.to_frame()).await;
            let _ = send.finish();
            streams.push((send, receive));
        }
        tokio::time::sleep(ATTACK).await;
    }

    /// Begins frames on every stream it may have, as long as the window lasts, and never their first bytes.
    async fn holes(&self, open: &AtomicBool, piece: usize) {
        let bytes = limits::CONNECTION_WINDOW_BYTES / 4;
        let streams = (0..4).map(|_| async {
            let (mut send, _receive) = self.connection.open_bi().await.unwrap();
            let _ = send_holes(&mut send, open, bytes, piece).await;
            tokio::time::sleep(ATTACK).await;
        });
        let _ = tokio::time::timeout(ATTACK, futures_util::future::join_all(streams)).await;
    }

    /// Opens streams and gives them up, both kinds, as many as it can.
    async fn resets(&self) -> u64 {
        let count = std::sync::atomic::AtomicU64::new(0);
        let add = || count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let code = VarInt::from_u32(7);
        let both = async {
            loop {
                let Ok((mut send, mut receive)) = self.connection.open_bi().await else {
                    return;
                };
                let _ = send.write_all(&[FrameType::POLL.0]).await;
                let (_, _) = (send.reset(code), receive.stop(code));
                add();
            }
        };
        let one = async {
            loop {
                let Ok(mut send) = self.connection.open_uni().await else {
                    return;
                };
                let _ = send.write_all(&[FrameType::RECEIPT.0]).await;
                let _ = send.reset(code);
                add();
            }
        };
        let _ = tokio::time::timeout(ATTACK, async { tokio::join!(both, one) }).await;
        count.into_inner()
    }
}

fn small_windows(transport: &mut TransportConfig) {
    transport
        .stream_receive_window(VarInt::from_u32(2048))
        .keep_alive_interval(Some(Duration::from_secs(1)));
}

fn heedless(transport: &mut TransportConfig) {
    transport
        .congestion_controller_factory(Arc::new(Heedless))
        .send_window(64 << 20);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    Manifests,
    Bundles,
    Chunks,
    Holes(usize),
    Resets,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_mirror_makes_a_master_grow_by_more_than_32_mib() {
    let world = World::new();
    let old = world.publish(&[("big", &noise(1, 12_000_000)), ("small", b"s")]);
    let new = world.publish(&[("big", &noise(2, 12_000_000)), ("small", b"s")]);
    let store = tidecast_engine::store::Store::open(&world.master_state().join("store")).unwrap();
    let manifest = store.manifest(ReleaseNumber(2)).unwrap().unwrap();
    let body = manifest.reopen(&new.manifest).unwrap();
    let list = body
        .files
        .iter()
        .find_map(|file| Some((file.list?, file.size)))
        .unwrap();
    let bytes = store.list(&list.0).unwrap().open().unwrap();
    let list = tidecast_proto::list::List::decode(&bytes, list.0, list.1).unwrap();
    let ids = list
        .entries()
        .iter()
        .map(|entry| entry.id)
        .take(limits::CHUNKS_PER_REQUEST);
    let chunks = Request::Chunks(ids.collect());
    let bundle = Request::Bundle(FetchBundle {
        from: old.manifest,
        to: new.manifest,
    });
    let manifest = Request::Object(ObjectName::Manifest(ObjectId(new.manifest.0)));

    let mut rows = Vec::new();
    for (seed, (name, attack)) in [
        ("manifests that are never read", Attack::Manifests),
        ("bundles that are never read", Attack::Bundles),
        ("chunks that are never read", Attack::Chunks),
        (
            "streams of 2 MiB with a hole in front",
            Attack::Holes(2 << 20),
        ),
        ("streams of a thousand holes", Attack::Holes(300)),
        ("streams opened and reset", Attack::Resets),
    ]
    .into_iter()
    .enumerate()
    {
        let key = SecretKey::from_seed(&[u8::try_from(seed).unwrap() + 1; 32]);
        world.admit(key.public());
        let (victim, address) = Victim::master(world.folder.path());
        match attack {
            Attack::Manifests | Attack::Bundles | Attack::Chunks => {
                let node = Node::welcome(&world, &key, address, small_windows).await;
                let request = match attack {
                    Attack::Manifests => &manifest,
                    Attack::Bundles => &bundle,
                    _ => &chunks,
                };
                node.ask_and_never_read(request).await;
            }
            Attack::Holes(piece) => {
                let open = Arc::new(AtomicBool::new(false));
                let relay = Relay::start_with(address, Rule::ClientHoles, open.clone()).await;
                let node = Node::welcome(&world, &key, relay.address, heedless).await;
                node.holes(&open, piece).await;
            }
            Attack::Resets => {
                let node = Node::welcome(&world, &key, address, |_| {}).await;
                let count = node.resets().await;
                println!("{count} streams opened and reset in {} s", ATTACK.as_secs());
                assert!(count > 100);
            }
        }
        let grown = tokio::task::spawn_blocking(|| victim.growth())
            .await
            .unwrap();
        rows.push((name, grown));
    }
    crate::judge(&rows);
}
