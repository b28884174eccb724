//! New roots while everything runs: keys change hands, mirrors follow step by step, and nothing is lost on the way.

mod support;

use std::path::Path;

use support::{RunningMaster, RunningMirror, World, eventually};
use tidecast_engine::config::MirrorConfig;
use tidecast_engine::keyfile;
use tidecast_engine::master::{
    self, Feed, InstallError, Master, ROOT_KEY, SettingsChange, next_key,
};
use tidecast_engine::mirror::{self, NEXT_NODE_KEY, NODE_KEY, NextKey};
use tidecast_engine::publish::{PublishRequest, publish};
use tidecast_engine::store::StoreWriter;
use tidecast_proto::ceremony::{KeyChanges, KeyRole, MasterChange, RootChanges};
use tidecast_proto::id::{ObjectId, ReleaseNumber, RootVersion};
use tidecast_proto::key::{PublicKey, SecretKey};
use tidecast_proto::limits;
use tidecast_proto::manifest::Flags;
use tidecast_proto::root::{RootBody, SignedRoot};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// The next root, signed.
fn next(world: &World, root: &RootBody, changes: &RootChanges) -> SignedRoot {
    let expires = world.now().plus(400 * DAY_MS);
    let body = root.next(changes, expires).unwrap();
    let key = keyfile::load(&world.path("keys").join(ROOT_KEY)).unwrap();
    SignedRoot::sign(&body, &[&key]).unwrap()
}

/// Installs the next root on the master's disk.
fn install(world: &World, changes: &RootChanges) -> master::Installed {
    let feed = Feed::load(&world.master_state()).unwrap();
    let root = next(world, &feed.root, changes);
    master::install(&world.master_state(), vec![root]).unwrap()
}

fn kinds(master: &Master) -> Vec<String> {
    let alarms = master.status().heads.alarms;
    alarms.into_iter().map(|alarm| alarm.kind).collect()
}

fn roots_of(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("roots")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_master_goes_on_under_a_new_root_with_the_keys_it_names_and_mirrors_follow() {
    let (world, master, mirror) = support::small_feed();
    let running = RunningMirror::start(&mirror);
    eventually("release 1", || {
        world.served("m", "f").as_deref() == Some(b"one")
    })
    .await;

    let state = world.master_state();
    let feed = Feed::load(&state).unwrap();
    let old_head = feed.head_key().unwrap().public();
    let old_node = feed.node_key().unwrap().public();
    let head = keyfile::generate_at(&next_key(&state, "head.key"))
        .unwrap()
        .public();
    let node = keyfile::generate_at(&next_key(&state, "node.key"))
        .unwrap()
        .public();
    let done = install(
        &world,
        &RootChanges {
            head: KeyChanges {
                add: vec![head],
                remove: vec![old_head],
                threshold: None,
            },
            masters: vec![MasterChange::Key("master".into(), node)],
            ..RootChanges::default()
        },
    );
    assert_eq!(done.switched, [KeyRole::Head, KeyRole::Node]);
    assert_eq!(done.root.epoch.0, 1);
    for (name, old) in [("head.old.key", old_head), ("node.old.key", old_node)] {
        assert_eq!(keyfile::load(&state.join(name)).unwrap().public(), old);
    }
    master.master.reload().unwrap();
    let status = master.master.status();
    assert_eq!(status.root_version, 2);
    assert_eq!(status.node_key, node.to_string());

    // On the connection that is up: its head is signed by a key that the mirror's root did not name, and then the
    // server's own key is nobody's.
    world.publish(&[("f", b"two")]);
    master.master.reload().unwrap();
    eventually("release 2", || {
        world.served("m", "f").as_deref() == Some(b"two")
    })
    .await;
    eventually("the mirror shows the new master key", || {
        mirror.status().connection.upstream_key == Some(node.to_string())
    })
    .await;
    assert_eq!(roots_of(&world.path("m.state")), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_keeps_every_root_of_the_longest_walk_and_goes_on_where_it_was_cut() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let state = world.master_state();
    let master = RunningMaster::start(&world);
    let mirror = world.admitted_mirror("m", &master.upstream());
    master.master.reload().unwrap();
    mirror.sync_once().await.unwrap();
    let length = limits::ROOT_WALK as u64 + 20;
    let feed = Feed::load(&state).unwrap();
    let (mut root, mut chain) = ((*feed.root).clone(), Vec::new());
    for _ in 0..length {
        let signed = next(&world, &root, &RootChanges::default());
        root = signed.draft().unwrap();
        chain.push(signed);
    }
    let done = master::install(&state, chain).unwrap();
    assert_eq!(done.root.version, RootVersion(1 + length));

    master.master.reload().unwrap();

    let folder = world.path("m.state");
    // A folder where root 500 should go: the walk ends there, as it would with a full disk or a power cut.
    std::fs::create_dir(folder.join("roots/500.root")).unwrap();
    let error = mirror.sync_once().await.unwrap_err().to_string();
    assert!(error.contains("500.root"), "{error}");
    assert_eq!(roots_of(&folder), 500, "499 roots and the folder");
    std::fs::remove_dir(folder.join("roots/500.root")).unwrap();

    // One sync may need more than one walk: each brings 1,024.
    let mut walks = 0;
    while roots_of(&folder) < usize::try_from(1 + length).unwrap() {
        walks += 1;
        assert!(walks < 5, "{} roots", roots_of(&folder));
        let _ = mirror.sync_once().await;
    }
    let mirrored = tidecast_engine::roots::load(&folder.join("roots")).unwrap();
    let served = tidecast_engine::roots::load(&state.join("roots")).unwrap();
    assert!(mirrored == served, "every root byte for byte");
    assert_eq!(mirror.sync_once().await.unwrap().reason, "current");
}

#[test]
fn roots_that_do_not_follow_are_not_installed_and_those_that_are_there_do_no_harm() {
    let world = World::new();
    let state = world.master_state();
    let feed = Feed::load(&state).unwrap();
    let second = next(&world, &feed.root, &RootChanges::default());
    let third = next(&world, &second.draft().unwrap(), &RootChanges::default());
    let refused = |roots| master::install(&state, roots).unwrap_err();
    // A gap, and one nobody signed.
    assert!(matches!(
        refused(vec![third.clone()]),
        InstallError::Refused { version, .. } if version == RootVersion(3)
    ));
    let unsigned = SignedRoot::sign(&second.draft().unwrap(), &[]).unwrap();
    assert!(matches!(
        refused(vec![unsigned]),
        InstallError::Refused { .. }
    ));
    assert_eq!(Feed::load(&state).unwrap().root.version, RootVersion(1));
    // In any order, and again.
    for _ in 0..2 {
        let done = master::install(&state, vec![third.clone(), second.clone()]).unwrap();
        assert_eq!(done.root.version, RootVersion(3));
    }
    let other = next(
        &world,
        &feed.root,
        &RootChanges {
            head_ttl_max_ms: Some(1),
            ..RootChanges::default()
        },
    );
    assert!(matches!(
        refused(vec![other]),
        InstallError::Contradicts { version } if version == RootVersion(2)
    ));
}

#[test]
fn a_next_key_is_taken_only_when_the_root_names_it_and_no_longer_the_present_one() {
    let world = World::new();
    let state = world.master_state();
    let next_head = next_key(&state, "head.key");
    let head = keyfile::generate_at(&next_head).unwrap().public();
    let present = || Feed::load(&state).unwrap().head_key().unwrap().public();
    let old = present();
    assert!(install(&world, &RootChanges::default()).switched.is_empty());
    let keys = |add: &[_], remove: &[_]| RootChanges {
        head: KeyChanges {
            add: add.to_vec(),
            remove: remove.to_vec(),
            threshold: None,
        },
        ..RootChanges::default()
    };
    assert!(install(&world, &keys(&[head], &[])).switched.is_empty());
    assert_eq!(present(), old);
    let done = install(&world, &keys(&[], &[old]));
    assert_eq!(done.switched, [KeyRole::Head]);
    assert_eq!(present(), head);
    assert!(!next_head.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_mirror_goes_on_with_its_next_key_once_that_is_admitted_in_the_old_ones_place() {
    let (world, master, mirror) = support::small_feed();
    let running = RunningMirror::start(&mirror);
    eventually("release 1", || {
        world.served("m", "f").as_deref() == Some(b"one")
    })
    .await;

    let old = mirror.node_key();
    let path = world.path("m.state").join(NEXT_NODE_KEY);
    let new = keyfile::generate_at(&path).unwrap().public();
    master::replace(
        &world.master_state(),
        old,
        new,
        &SettingsChange::default(),
        world.now(),
    )
    .unwrap();
    master.master.reload().unwrap();
    eventually("the next key is in use", || mirror.node_key() == new).await;
    assert!(!path.exists());
    world.publish(&[("f", b"two")]);
    master.master.reload().unwrap();
    eventually("release 2", || {
        world.served("m", "f").as_deref() == Some(b"two")
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_daemon_the_next_key_waits_until_it_is_admitted_and_is_taken_by_the_next_look() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let running = world.admitted_mirror("m", &master.upstream());
    master.master.reload().unwrap();
    running.sync_once().await.unwrap();
    let (state, config) = (world.path("m.state"), running.config().clone());
    let old = running.node_key();
    let present = || keyfile::load(&state.join(NODE_KEY)).unwrap().public();

    let NextKey::Waiting(new) = mirror::rotate(&state, &config).await.unwrap() else {
        panic!("nobody has admitted it")
    };
    assert_eq!(
        mirror::rotate(&state, &config).await.unwrap(),
        NextKey::Waiting(new)
    );
    assert_eq!(present(), old);
    master::replace(
        &world.master_state(),
        old,
        new,
        &SettingsChange::default(),
        world.now(),
    )
    .unwrap();
    master.master.reload().unwrap();
    world.publish(&[("f", b"two")]);
    master.master.reload().unwrap();
    // As a timer would, which knows of nothing.
    assert!(running.sync_once().await.unwrap().switched);
    assert_eq!((running.node_key(), present()), (new, new));
    assert!(!state.join(NEXT_NODE_KEY).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_starts_in_an_incident_serves_the_root_that_mirrors_need() {
    let other = |seed| SecretKey::from_seed(&[seed; 32]).public();
    type Change = fn(&RootBody, ObjectId, PublicKey) -> RootChanges;
    let changes: [(&str, Change); 4] = [
        ("another release key", |root, _, other| RootChanges {
            release: KeyChanges {
                add: vec![other],
                remove: root.release_keys.clone(),
                threshold: None,
            },
            ..RootChanges::default()
        }),
        ("the newest manifest revoked", |_, newest, _| RootChanges {
            revoke: vec![newest],
            ..RootChanges::default()
        }),
        ("release_min above it", |_, _, _| RootChanges {
            release_min: Some(ReleaseNumber(2)),
            ..RootChanges::default()
        }),
        ("another head key", |root, _, other| RootChanges {
            head: KeyChanges {
                add: vec![other],
                remove: root.head_keys.clone(),
                threshold: None,
            },
            ..RootChanges::default()
        }),
    ];
    for (incident, change) in changes {
        let (world, master, mirror) = support::small_feed();
        mirror.sync_once().await.unwrap();
        let newest = master.master.status().newest.unwrap().manifest;
        drop(master);
        let config = mirror.config().clone();
        drop(mirror);

        let root = Feed::load(&world.master_state()).unwrap().root;
        install(&world, &change(&root, newest.parse().unwrap(), other(9)));
        let master = RunningMaster::start(&world);
        let status = master.master.status();
        assert_eq!(status.root_version, 2, "{incident}");
        assert_eq!(kinds(&master.master), ["heads"], "{incident}");
        assert!(status.newest.is_none(), "{incident}");
        assert!(master.master.reload().is_err(), "{incident}");
        let config = MirrorConfig {
            upstreams: master.upstream(),
            ..config
        };
        let mirror = support::reopen(&world, &world.path("m.state"), config).await;
        let _ = mirror.sync_once().await;
        assert_eq!(roots_of(&world.path("m.state")), 2, "{incident}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_heads_that_cannot_be_read_stops_heads_and_nothing_else_until_it_is_mended() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    drop(RunningMaster::start(&world));
    let log = world.master_state().join("heads.log");
    let whole = std::fs::read(&log).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    std::fs::write(&log, damaged).unwrap();

    install(&world, &RootChanges::default());
    let master = RunningMaster::start(&world).master.clone();
    assert_eq!(master.status().root_version, 2);
    assert_eq!(kinds(&master), ["heads"]);
    install(&world, &RootChanges::default());
    assert!(master.reload().is_err());
    assert_eq!(master.status().root_version, 3);

    std::fs::write(&log, whole).unwrap();
    master.reload().unwrap();
    assert!(kinds(&master).is_empty());
    assert_eq!(master.status().newest.unwrap().release, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_is_served_although_the_keys_it_gives_this_master_cannot_be_taken() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let state = world.master_state();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let feed = Feed::load(&state).unwrap();
    let waiting = next_key(&state, "head.key");
    let head = keyfile::generate_at(&waiting).unwrap().public();
    let mode = |mode| {
        std::fs::set_permissions(&waiting, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    let changes = RootChanges {
        head: KeyChanges {
            add: vec![head],
            remove: vec![feed.head_key().unwrap().public()],
            threshold: None,
        },
        ..RootChanges::default()
    };
    let root = next(&world, &feed.root, &changes);
    master::install(&state, vec![root]).unwrap_err();

    let error = master.master.reload().unwrap_err().to_string();
    assert!(error.contains("head.next.key"), "{error}");
    assert_eq!(master.master.status().root_version, 2);
    let started = RunningMaster::start(&world);
    assert_eq!(started.master.status().root_version, 2);
    assert_eq!(kinds(&started.master), ["heads"]);

    mode(0o600);
    for master in [&master, &started] {
        master.master.reload().unwrap();
        assert!(kinds(&master.master).is_empty());
    }
    assert_eq!(
        Feed::load(&state).unwrap().head_key().unwrap().public(),
        head
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_does_not_touch_its_keys_while_somebody_else_holds_the_state() {
    let world = World::new();
    let master = RunningMaster::start(&world).master.clone();
    let held = std::fs::File::open(world.master_state()).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(master.reload().is_ok()));
    let early = ended.recv_timeout(std::time::Duration::from_millis(300));
    assert!(early.is_err(), "it did not wait");
    drop(held);
    let patience = std::time::Duration::from_secs(60);
    assert!(ended.recv_timeout(patience).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_lost_its_signers_says_what_to_do_and_doing_it_helps() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let key = SecretKey::from_seed(&[9; 32]);
    let root = Feed::load(&world.master_state()).unwrap().root;
    let changes = RootChanges {
        release: KeyChanges {
            add: vec![key.public()],
            remove: root.release_keys.clone(),
            threshold: None,
        },
        ..RootChanges::default()
    };
    install(&world, &changes);
    let error = master.master.reload().unwrap_err().to_string();
    assert_eq!(
        error,
        "release 1 cannot be announced under root 2: manifest: 0 of 1 needed signatures are good (1 present)"
    );
    let alarm = master.master.status().heads.alarms.remove(0);
    assert!(alarm.what.contains(&error), "{}", alarm.what);
    let advice = "mirrors keep release 1 and take nothing new: publish the same files again with a release key that root 2 names, `tidecast publish --force TREE`";
    assert_eq!(alarm.advice, advice);

    let feed = Feed::load(&world.master_state()).unwrap();
    let mut writer = StoreWriter::open(&feed.store_folder()).unwrap();
    let request = PublishRequest {
        tree: &world.path("tree"),
        root: &feed.root,
        feed: feed.id,
        keys: &[key],
        verify: feed.verify,
        notes: String::new(),
        flags: Flags::default(),
        cache: &feed.publish_cache(),
        now: world.now(),
        even_if_unchanged: true,
        above: ReleaseNumber(0),
    };
    publish(&mut writer, &request, &mut |_| {}).unwrap();
    master.master.reload().unwrap();
    assert!(kinds(&master.master).is_empty());
    assert_eq!(master.master.status().newest.unwrap().release, 2);
}
