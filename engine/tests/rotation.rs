//! Another node key where several masters each keep a list of nodes of their own.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use support::{RunningMaster, RunningMirror, World, eventually};
use tidecast_engine::control::{Command, Handler as _};
use tidecast_engine::keyfile;
use tidecast_engine::master::{
    self, Decision, Feed, Master, Nodes, ROOT_KEY, SettingsChange, next_key,
};
use tidecast_engine::mirror::{self, Mirror, NEXT_NODE_KEY, NODE_KEY, OLD_NODE_KEY};
use tidecast_engine::quic::Bind;
use tidecast_proto::ceremony::{KeyChanges, MasterChange, RootChanges};
use tidecast_proto::key::PublicKey;
use tidecast_proto::root::{Master as NamedMaster, SignedRoot};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// One feed, two masters, and a mirror that both have admitted.
struct Two {
    world: World,
    a: RunningMaster,
    b: Arc<Master>,
    b_state: PathBuf,
    b_address: String,
    mirror: Arc<Mirror>,
    old: PublicKey,
    /// Waits beside the mirror's key.
    new: PublicKey,
}

impl Two {
    async fn new() -> Self {
        let world = World::new();
        world.publish(&[("f", b"one")]);
        let state = world.master_state();
        let [head, node] = ["head.key", "node.key"]
            .map(|name| keyfile::generate_at(&next_key(&state, name)).unwrap());
        let changes = RootChanges {
            head: KeyChanges {
                add: vec![head.public()],
                ..KeyChanges::default()
            },
            masters: vec![MasterChange::Set(NamedMaster {
                name: "second".into(),
                node_key: node.public(),
                addresses: Vec::new(),
            })],
            ..RootChanges::default()
        };
        let root = Feed::load(&state).unwrap().root;
        let body = root.next(&changes, root.expires).unwrap();
        let key = keyfile::load(&world.path("keys").join(ROOT_KEY)).unwrap();
        let root = SignedRoot::sign(&body, &[&key]).unwrap();
        master::install(&state, vec![root]).unwrap();
        let b_state = world.path("second");
        copy(&state, &b_state);
        for name in ["head.key", "node.key"] {
            std::fs::remove_file(next_key(&state, name)).unwrap();
            std::fs::rename(next_key(&b_state, name), b_state.join(name)).unwrap();
        }

        let a = RunningMaster::start(&world);
        let b = Arc::new(Master::open(&b_state, Arc::new(world.clock.clone())).unwrap());
        let endpoint = b
            .listen(Bind::udp(([127, 0, 0, 1], 0).into()).unwrap())
            .unwrap();
        let b_address = endpoint.local_addr().unwrap().to_string();
        tokio::spawn(b.clone().serve(endpoint, std::future::pending()));

        let upstreams = [a.upstream(), vec![b_address.clone()]].concat();
        let mirror = world.mirror("m", &upstreams);
        let next = world.path("m.state").join(NEXT_NODE_KEY);
        let new = keyfile::generate_at(&next).unwrap().public();
        let two = Self {
            old: mirror.node_key(),
            new,
            world,
            a,
            b,
            b_state,
            b_address,
            mirror,
        };
        two.admit_at_a(two.old);
        two.decide_at_b(two.old, Decision::Admit);
        two
    }

    fn admit_at_a(&self, key: PublicKey) {
        self.world.admit(key);
        self.a.master.reload().unwrap();
    }

    fn decide_at_b(&self, key: PublicKey, decision: Decision) {
        Nodes::decide(&self.b_state, key, decision, None, self.world.now()).unwrap();
        self.b.reload().unwrap();
    }

    fn is_kept(&self) -> bool {
        self.world.path("m.state").join(OLD_NODE_KEY).exists()
    }

    async fn until_at_b_as(&self, key: PublicKey) {
        eventually("served by the second master", || {
            let nodes = self.b.status().nodes;
            let mut here = nodes.iter().filter(|node| node.connected);
            here.any(|node| node.node_key == key.to_string())
                && self.mirror.status().connection.upstream == self.b_address
                && self.mirror.status().connection.state == "connected"
        })
        .await;
    }

    /// As a turn of 30 s does.
    async fn look(&self) {
        self.mirror.handle(Command::Reload).await.unwrap();
    }

    async fn until_taken(&self) {
        eventually("the next key is in use", || {
            self.mirror.node_key() == self.new
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_knows_only_the_former_key_serves_it_until_all_know_the_new_one() {
    let mut two = Two::new().await;
    two.admit_at_a(two.new);
    let running = RunningMirror::start(&two.mirror);
    two.until_taken().await;
    let former = || two.mirror.status().former_key;
    eventually("it is told who needs to act", || {
        former().is_some_and(|former| former.needed_by == [two.b_address.clone()])
    })
    .await;
    assert_eq!(former().unwrap().node_key, two.old.to_string());
    assert!(two.is_kept());

    // The one that knows the new key goes down.
    let address = two.a.address;
    two.a = RunningMaster::start(&World::new());
    assert_ne!(two.a.address, address);
    two.until_at_b_as(two.old).await;

    two.decide_at_b(two.new, Decision::Admit);
    two.look().await;
    two.until_at_b_as(two.new).await;
    assert_eq!(two.mirror.status().former_key, None);
    assert!(!two.is_kept());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_daemon_the_former_key_is_used_and_given_up_in_the_same_way() {
    let mut two = Two::new().await;
    two.admit_at_a(two.new);
    two.mirror.sync_once().await.unwrap();
    assert_eq!(two.mirror.node_key(), two.new);
    assert!(two.is_kept());
    two.a = RunningMaster::start(&World::new());
    // Where it begins anew, it learns again who knows which key.
    let config = two.mirror.config().clone();
    let state = two.world.path("m.state");
    let on_disk = mirror::status_on_disk(&state, &config, two.world.now()).unwrap();
    assert_eq!(on_disk.former_key.unwrap().unanswered.len(), 2);
    two.mirror.sync_once().await.unwrap();
    assert!(two.is_kept());
    two.decide_at_b(two.new, Decision::Admit);
    two.mirror.sync_once().await.unwrap();
    assert!(!two.is_kept());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_key_that_is_revoked_is_given_up_and_the_new_one_waits_in_its_place() {
    let mut two = Two::new().await;
    two.admit_at_a(two.new);
    let running = RunningMirror::start(&two.mirror);
    two.until_taken().await;
    two.a = RunningMaster::start(&World::new());
    two.until_at_b_as(two.old).await;
    two.decide_at_b(two.old, Decision::Revoke);
    eventually("the former key is gone", || !two.is_kept()).await;
    eventually("the new one waits", || {
        let nodes = two.b.status().nodes;
        let mut waiting = nodes.iter().filter(|node| node.state == "pending");
        waiting.any(|node| node.node_key == two.new.to_string())
    })
    .await;
    assert_eq!(two.mirror.status().former_key, None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_revoked_when_its_successor_came_is_never_the_former_one() {
    let two = Two::new().await;
    // Revoked there, and still admitted at the other.
    let change = SettingsChange::default();
    let (state, now) = (two.world.master_state(), two.world.now());
    master::replace(&state, two.old, two.new, &change, now).unwrap();
    two.a.master.reload().unwrap();
    two.mirror.sync_once().await.unwrap();
    assert_eq!(two.mirror.node_key(), two.new);
    assert!(!two.is_kept());
    let present = two.world.path("m.state").join(NODE_KEY);
    assert_eq!(keyfile::load(&present).unwrap().public(), two.new);
}
