//! What a master owes those who connect, seen from outside: raw connections over loopback.

mod support;

use std::time::Duration;

use quinn::Connection;
use support::{RunningMaster, World, eventually};
use tidecast_engine::master::{Decision, Nodes};
use tidecast_engine::quic::{self, Bind, read_frame, write_frame};
use tidecast_proto::id::{ReleaseNumber, RootVersion};
use tidecast_proto::key::SecretKey;
use tidecast_proto::limits;
use tidecast_proto::wire::{FrameType, Hello, PROTOCOL, RefusalReason, Refused, Serves};

/// A node that speaks the protocol by hand.
struct Node {
    key: SecretKey,
    connection: Connection,
    _endpoint: quinn::Endpoint,
}

impl Node {
    async fn connect(seed: u16, master: &RunningMaster) -> Self {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&seed.to_le_bytes());
        let key = SecretKey::from_seed(&bytes);
        let bind = Bind::any_port_for(master.address).unwrap();
        let endpoint = quic::client(bind, &key).unwrap();
        let connecting = endpoint.connect(master.address, "tidecast").unwrap();
        Self {
            connection: connecting.await.unwrap(),
            key,
            _endpoint: endpoint,
        }
    }

    async fn greet(&self, world: &World) -> (FrameType, Vec<u8>) {
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
        let (mut send, mut receive) = self.connection.open_bi().await.unwrap();
        let frame = hello.to_frame().unwrap();
        write_frame(&mut send, &frame).await.unwrap();
        send.finish().unwrap();
        read_frame(&mut receive).await.unwrap().unwrap()
    }

    /// The next frame that comes unasked.
    async fn told(&self) -> FrameType {
        let mut stream = self.connection.accept_uni().await.unwrap();
        read_frame(&mut stream).await.unwrap().unwrap().0
    }

    async fn is_closed(&self) {
        let closed = self.connection.closed();
        tokio::time::timeout(Duration::from_secs(10), closed)
            .await
            .expect("the master closes the connection");
    }
}

fn reason((kind, body): (FrameType, Vec<u8>)) -> RefusalReason {
    assert_eq!(kind, FrameType::REFUSED);
    Refused::decode(&body).unwrap().reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_fill_the_waiting_room_are_told_and_admitted_nodes_come_in() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let mut waiting = Vec::new();
    for seed in 0..limits::PENDING_NODES {
        let node = Node::connect(u16::try_from(seed).unwrap(), &master).await;
        assert_eq!(reason(node.greet(&world).await), RefusalReason::PENDING);
        waiting.push(node);
    }
    let late = Node::connect(1_000, &master).await;
    assert_eq!(reason(late.greet(&world).await), RefusalReason::FULL);
    late.is_closed().await;

    world.admit(late.key.public());
    master.master.reload().unwrap();
    let admitted = Node::connect(1_000, &master).await;
    assert_eq!(admitted.greet(&world).await.0, FrameType::WELCOME);

    drop(waiting.pop());
    eventually("a place is free again", || {
        master.master.status().nodes.len() == limits::PENDING_NODES
    })
    .await;
    let next = Node::connect(1_001, &master).await;
    assert_eq!(reason(next.greet(&world).await), RefusalReason::PENDING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_takes_effect_although_no_head_can_be_signed() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let node = Node::connect(1, &master).await;
    world.admit(node.key.public());
    master.master.reload().unwrap();
    assert_eq!(node.greet(&world).await.0, FrameType::WELCOME);

    // A folder where the log should be: nothing can be signed any more.
    let log = world.master_state().join("heads.log");
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    world.publish(&[("f", b"two")]);
    Nodes::decide(
        &world.master_state(),
        node.key.public(),
        Decision::Revoke,
        None,
        world.now(),
    )
    .unwrap();
    assert!(master.master.reload().is_err());
    node.is_closed().await;
    assert_eq!(master.master.status().nodes[0].state, "revoked");
    assert_eq!(master.master.status().newest.unwrap().release, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_is_signed_again_when_the_clock_has_stepped_back() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let issued = || master.master.status().newest.unwrap().head_issued_ms;
    let first = issued();
    world.clock.go_back_ms(3_600_000);
    master.master.reload().unwrap();
    assert_eq!(issued(), first - 3_600_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_told_of_its_admission_and_then_of_releases_in_their_order() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let node = Node::connect(1, &master).await;
    assert_eq!(reason(node.greet(&world).await), RefusalReason::PENDING);
    world.admit(node.key.public());
    master.master.reload().unwrap();
    assert_eq!(node.told().await, FrameType::ADMITTED);
    assert_eq!(node.greet(&world).await.0, FrameType::WELCOME);
    for content in [b"two", b"thr", b"fou"] {
        world.publish(&[("f", content)]);
        master.master.reload().unwrap();
        assert_eq!(node.told().await, FrameType::ANNOUNCE);
    }
}
