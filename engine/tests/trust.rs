//! Trust that survives thieves and backups: real masters and mirrors over loopback.

mod support;

use std::fs;

use support::hostile::{Hostile, Mischief};
use support::{RunningMaster, World};
use tidecast_engine::audit::audit;
use tidecast_engine::keyfile;
use tidecast_engine::master::{self, Decision, Feed, HEAD_KEY, Nodes, ROOT_KEY};
use tidecast_engine::quic::{self, Bind, read_frame, write_frame};
use tidecast_proto::head::{HeadBody, Phase, SignedHead};
use tidecast_proto::id::{Epoch, ObjectId, ReleaseNumber, RootVersion, Seq, Timestamp};
use tidecast_proto::key::{PublicKey, SecretKey};
use tidecast_proto::limits;
use tidecast_proto::receipt::{ReceiptBody, ServingState, SignedReceipt};
use tidecast_proto::root::{RootBody, SignedRoot};
use tidecast_proto::wire::{FrameType, Hello, PROTOCOL, Serves, frame};

const HOUR_MS: u64 = 3_600_000;
/// From 2026 to 2106.
const CENTURY_MS: u64 = 80 * 365 * 24 * HOUR_MS;
const FAR: u64 = 1 << 63;

/// Whoever stole the head key.
struct Thief {
    key: SecretKey,
    body: HeadBody,
}

impl Thief {
    fn new(world: &World) -> Self {
        let feed = Feed::load(&world.master_state()).unwrap();
        Self {
            key: feed.head_key().unwrap(),
            body: HeadBody {
                feed: world.feed,
                epoch: feed.root.epoch,
                seq: Seq(FAR),
                issued: world.now(),
                expires: world.now().plus(6 * HOUR_MS),
                release: ReleaseNumber(FAR),
                manifest: ObjectId([6; 32]),
                manifest_bytes: 666,
                root_version: feed.root.version,
                phase: Phase::LIVE,
                extensions: Vec::new(),
            },
        }
    }

    fn signs(&self, change: impl FnOnce(&mut HeadBody)) -> Vec<u8> {
        let mut body = self.body.clone();
        change(&mut body);
        SignedHead::sign(&body, &[&self.key]).unwrap().to_bytes()
    }

    fn in_2106(&self) -> Vec<u8> {
        self.signs(|head| {
            head.issued = head.issued.plus(CENTURY_MS);
            head.expires = head.expires.plus(CENTURY_MS);
        })
    }
}

/// One look of the mirror `name` at an upstream; then it is killed.
async fn look(world: &World, name: &str, upstream: &[String]) -> Result<bool, String> {
    let mirror = world.admitted_mirror(name, upstream);
    let looked = mirror.sync_once().await;
    looked
        .map(|report| report.switched)
        .map_err(|error| error.to_string())
}

async fn look_at_thief(world: &World, name: &str, head: &[u8]) -> String {
    let thief = Hostile::announcing(world, Mischief::NoChunks, head.to_vec());
    look(world, name, &[thief.address.to_string()])
        .await
        .unwrap_err()
}

/// A root with another head key and the next epoch, as its holders make it.
fn next_root(world: &World) -> SignedRoot {
    let state = world.master_state();
    let root = Feed::load(&state).unwrap().root;
    let next = keyfile::load_or_generate(&master::next_key(&state, HEAD_KEY)).unwrap();
    let body = RootBody {
        version: RootVersion(root.version.0 + 1),
        epoch: Epoch(root.epoch.0 + 1),
        head_keys: vec![next.public()],
        ..RootBody::clone(&root)
    };
    let key = keyfile::load(&world.path("keys").join(ROOT_KEY)).unwrap();
    SignedRoot::sign(&body, &[&key]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_stolen_head_key_and_a_new_root_every_mirror_recovers_unattended() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let upstream = master.upstream();
    let mirrors = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    for name in mirrors {
        world.admitted_mirror(name, &upstream);
    }
    master.master.reload().unwrap();
    // `g` has never seen anything but the thief; `h` sees the thief only later.
    for name in mirrors.iter().filter(|name| **name != "g") {
        assert!(look(&world, name, &upstream).await.unwrap());
    }

    let thief = Thief::new(&world);
    let far = thief.signs(|_| {});
    // a: the number and release 2^63, while the head is believable.
    look_at_thief(&world, "a", &far).await;
    // b: the same from 2106, which is refused; then believable.
    assert!(
        look_at_thief(&world, "b", &thief.in_2106())
            .await
            .contains("after this machine's time")
    );
    look_at_thief(&world, "b", &far).await;
    // c: its clock stood as far ahead as the root lives, so that it believed such a head: its floor for the clock is
    // there now.
    let ahead_ms = 300 * 24 * HOUR_MS;
    world.clock.advance_ms(ahead_ms);
    let ahead = thief.signs(|head| {
        head.issued = world.now();
        head.expires = head.issued.plus(6 * HOUR_MS);
    });
    look_at_thief(&world, "c", &ahead).await;
    world.clock.go_back_ms(ahead_ms);
    // d: two heads under the last number there is.
    let last = |notes: u8| {
        thief.signs(|head| {
            head.seq = Seq(u64::MAX);
            head.manifest = ObjectId([notes; 32]);
        })
    };
    look_at_thief(&world, "d", &last(1)).await;
    assert!(
        look_at_thief(&world, "d", &last(2))
            .await
            .contains("two different heads")
    );
    // e: another manifest for the release it serves.
    let other = thief.signs(|head| (head.seq, head.release) = (Seq(FAR), ReleaseNumber(1)));
    assert!(
        look_at_thief(&world, "e", &other)
            .await
            .contains("names manifest")
    );
    look_at_thief(&world, "e", &far).await;
    // f, g: as a; g has no release at all.
    look_at_thief(&world, "f", &far).await;
    look_at_thief(&world, "g", &far).await;
    // i: everything.
    for head in [
        &far,
        &thief.signs(|head| head.seq = Seq(FAR + 9)),
        &last(1),
        &last(2),
    ] {
        look_at_thief(&world, "i", head).await;
    }

    // The theft has its effect: those that believed a number refuse every later head of that key.
    master.master.reload().unwrap();
    for name in ["a", "b", "c", "d", "e", "f", "g", "i"] {
        let refused = look(&world, name, &upstream).await.unwrap_err();
        assert!(refused.contains("seen before"), "{name}: {refused}");
    }
    // Evidence lies where an operator finds it, and status tells.
    for (name, files) in [("d", 2), ("e", 1), ("i", 2)] {
        let folder = world.path(&format!("{name}.state")).join("evidence");
        assert_eq!(fs::read_dir(folder).unwrap().count(), files, "{name}");
        let status = world.mirror(name, &upstream).status();
        let accused = status.equivocators.len() + status.contested.len();
        assert_eq!(accused, 1, "{name}");
    }
    let alarms = master.master.status().heads.alarms;
    assert!(
        alarms.iter().any(|alarm| alarm.kind == "numbers"),
        "{alarms:?}"
    );

    let root = next_root(&world);
    master::install(&world.master_state(), vec![root.clone()]).unwrap();
    master.master.reload().unwrap();
    // f was killed after the root and before the counters.
    fs::write(world.path("f.state/roots/2.root"), root.to_bytes()).unwrap();
    world.publish(&[("f", b"two")]);
    master.master.reload().unwrap();
    for name in mirrors {
        let looked = look(&world, name, &upstream).await;
        assert_eq!(looked, Ok(true), "{name}");
        assert_eq!(world.served(name, "f").unwrap(), b"two", "{name}");
        let status = world.mirror(name, &upstream).status();
        assert!(!status.stale && status.equivocators.is_empty() && status.contested.is_empty());
    }
    // What the thief signs now, or signed before, moves nobody: h sees it for the first time.
    for name in ["h", "a", "c"] {
        for head in [&far, &last(1), &thief.in_2106()] {
            assert!(
                look_at_thief(&world, name, head).await.contains("head"),
                "{name}"
            );
        }
        world.publish(&[("f", name.as_bytes())]);
        master.master.reload().unwrap();
        assert_eq!(look(&world, name, &upstream).await, Ok(true), "{name}");
    }
    for state in mirrors
        .iter()
        .map(|name| format!("{name}.state"))
        .chain(["master".into()])
    {
        let report = audit(&world.path(&state), world.now()).unwrap();
        assert!(report.is_authorised(), "{state}: {:?}", report.findings);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_from_an_old_backup_is_noticed_and_the_old_head_is_served_on() {
    let world = World::new();
    let (store, backup) = (world.master_state().join("store"), world.path("backup"));
    world.publish(&[("f", b"one")]);
    copy(&store, &backup);
    world.publish(&[("f", b"two")]);
    let master = RunningMaster::start(&world);
    let upstream = master.upstream();
    let mirror = world.admitted_mirror("m", &upstream);
    master.master.reload().unwrap();
    mirror.sync_once().await.unwrap();
    let announced = master.master.status().newest.unwrap();
    drop(master);

    fs::remove_dir_all(&store).unwrap();
    fs::rename(&backup, &store).unwrap();
    world.clock.advance_ms(60_000);
    let master = RunningMaster::start(&world);
    let status = master.master.status();
    let newest = status.newest.unwrap();
    assert_eq!((newest.release, &newest.manifest), (2, &announced.manifest));
    assert_eq!(newest.head_issued_ms, announced.head_issued_ms);
    assert_eq!(status.heads.announced, 2);
    assert!(
        status.heads.alarms[0].advice.contains("--above 2"),
        "{:?}",
        status.heads
    );
    assert!(master.master.reload().is_err());
    let report = audit(&world.master_state(), world.now()).unwrap();
    assert!(report.findings[0].what.contains("release 2 was announced"));

    // A new release under the number that was used is not announced; one above is.
    world.publish(&[("f", b"another two")]);
    assert!(master.master.reload().is_err());
    world.publish(&[("f", b"three")]);
    master.master.reload().unwrap();
    assert!(master.master.status().heads.alarms.is_empty());
    drop(mirror);
    assert_eq!(look(&world, "m", &master.upstream()).await, Ok(true));
    assert_eq!(world.served("m", "f").unwrap(), b"three");
}

/// A master with one release, and the key it signs heads with.
fn serving() -> (World, RunningMaster, PublicKey) {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let head_key = Feed::load(&world.master_state())
        .unwrap()
        .head_key()
        .unwrap()
        .public();
    (world, master, head_key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_admitted_nodes_have_seen_raises_numbers_and_alarms_and_nobody_elses_word_counts() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let head_key = Feed::load(&world.master_state())
        .unwrap()
        .head_key()
        .unwrap();
    let seq = || master.master.status().heads.seq;
    let kinds = || {
        let alarms = master.master.status().heads.alarms;
        alarms
            .into_iter()
            .map(|alarm| alarm.kind)
            .collect::<Vec<_>>()
    };
    let before = seq();

    let seen = Seq(world.now().0 + 5 * 60_000);
    let stranger = Witness::new(1, &master).await;
    stranger.greet(&world, head_key.public(), seen, 9).await;
    assert_eq!((seq(), kinds()), (before, Vec::new()));

    let node = Witness::new(2, &master).await;
    world.admit(node.key.public());
    master.master.reload().unwrap();
    let (kind, welcome) = node.greet(&world, head_key.public(), seen, 1).await;
    assert_eq!(kind, FrameType::WELCOME);
    assert!(seq() > seen.0);
    // The very head it is welcomed with has a number it does not know yet.
    let head = tidecast_proto::wire::Welcome::decode(&welcome)
        .unwrap()
        .head
        .unwrap();
    assert!(SignedHead::from_bytes(&head).unwrap().claims().unwrap().seq > seen);
    // Its receipt names another manifest for release 1.
    node.tells(&world, 1).await;
    support::eventually("the alarm", || kinds() == ["contested"]).await;

    let liar = Witness::new(3, &master).await;
    world.admit(liar.key.public());
    master.master.reload().unwrap();
    let raised = seq();
    let beyond = Seq(world.now().0 + HOUR_MS);
    liar.greet(&world, head_key.public(), beyond, 9).await;
    assert_eq!(seq(), raised);
    let mut all = kinds();
    all.sort();
    assert_eq!(all, ["contested", "numbers", "restored"]);
    assert_eq!(master.master.status().heads.held, 9);

    for key in [liar.key.public(), node.key.public()] {
        let now = world.now();
        Nodes::decide(&world.master_state(), key, Decision::Revoke, None, now).unwrap();
    }
    master.master.reload().unwrap();
    assert_eq!(
        (kinds(), master.master.status().heads.held),
        (Vec::new(), 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_nobody_can_have_made_is_an_alarm_and_raises_no_number() {
    let (world, master, head_key) = serving();
    let liar = Witness::new(1, &master).await;
    let honest = Witness::new(2, &master).await;
    for node in [&liar, &honest] {
        world.admit(node.key.public());
    }
    master.master.reload().unwrap();
    let furthest = 1 + limits::ADDITIONS_PER_ANCHOR as u64;
    honest.greet(&world, head_key, Seq(1), furthest).await;
    for beyond in [furthest + 1, u64::MAX - 1, u64::MAX] {
        let liar = Witness::new(1, &master).await;
        liar.greet(&world, head_key, Seq(1), beyond).await;
        let heads = master.master.status().heads;
        assert_eq!(
            (heads.held, heads.held_by),
            (furthest, Some(honest.key.public().to_string()))
        );
        let [lie, restored] = &heads.alarms[..] else {
            panic!("{:?}", heads.alarms);
        };
        assert_eq!((&lie.kind[..], &restored.kind[..]), ("numbers", "restored"));
        assert!(lie.advice.contains("revoke it") && !lie.advice.contains("--above"));
        assert_eq!(lie.node_key, Some(liar.key.public().to_string()));
    }
}

/// A node that speaks by hand.
struct Witness {
    key: SecretKey,
    connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

impl Witness {
    async fn new(seed: u8, master: &RunningMaster) -> Self {
        let key = SecretKey::from_seed(&[seed; 32]);
        let bind = Bind::any_port_for(master.address).unwrap();
        let endpoint = quic::client(bind, &key).unwrap();
        let connecting = endpoint.connect(master.address, "tidecast").unwrap();
        Self {
            connection: connecting.await.unwrap(),
            key,
            _endpoint: endpoint,
        }
    }

    async fn greet(
        &self,
        world: &World,
        head_key: PublicKey,
        seen: Seq,
        release: u64,
    ) -> (FrameType, Vec<u8>) {
        let hello = Hello {
            protocol: PROTOCOL,
            feed: world.feed,
            root_version: RootVersion(1),
            seqs: vec![(head_key, seen)],
            release: ReleaseNumber(release),
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

    async fn tells(&self, world: &World, release: u64) {
        let body = ReceiptBody {
            feed: world.feed,
            release: ReleaseNumber(release),
            manifest: ObjectId([7; 32]),
            state: ServingState::LIVE,
            switched: Timestamp(1),
            issued: world.now(),
            extensions: Vec::new(),
        };
        let receipt = SignedReceipt::sign(&body, &[&self.key]).unwrap();
        let mut send = self.connection.open_uni().await.unwrap();
        let frame = frame(FrameType::RECEIPT, &receipt.to_bytes());
        write_frame(&mut send, &frame).await.unwrap();
        send.finish().unwrap();
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_raises_numbers_with_every_connection_does_not_keep_the_disk_busy() {
    let (world, master, head_key) = serving();
    world.admit(SecretKey::from_seed(&[2; 32]).public());
    master.master.reload().unwrap();
    let log = world.master_state().join("heads.log");
    let bytes = || fs::metadata(&log).unwrap().len();
    let (began, before) = (std::time::Instant::now(), bytes());
    let greetings = 12;
    for _ in 0..greetings {
        let node = Witness::new(2, &master).await;
        let seen = Seq(master.master.status().heads.seq + 1);
        node.greet(&world, head_key, seen, 1).await;
    }
    // One at once, and one for each 10 s that a slow machine needed.
    let heads = (bytes() - before).div_ceil(before);
    let may = 1 + began.elapsed().as_secs() / 10;
    assert!(
        heads <= may && may < greetings / 2,
        "{heads} heads, not {may}"
    );
    assert!(bytes() > before, "the first word is heard");
}
