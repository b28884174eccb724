//! A release crosses the wire: master to mirror, in one process, over loopback.

mod support;

use std::time::Duration;

use support::{RunningMaster, RunningMirror, World, eventually, noise};
use tidecast_engine::control::{Command, Handler};
use tidecast_engine::mirror::{SyncFailure, plan};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_mirror_gets_everything_and_then_only_what_changed() {
    let world = World::new();
    let big = noise(1, 3_000_000);
    world.publish(&[("big.bin", &big), ("a/small.txt", b"small"), ("empty", b"")]);
    let master = RunningMaster::start(&world);
    let mirror = world.admitted_mirror("m", &master.upstream());
    master.master.reload().unwrap();

    let report = mirror.sync_once().await.unwrap();
    assert!(report.switched);
    assert_eq!((report.from, report.to, report.files_changed), (0, 1, 3));
    assert!(report.received_bytes > 3_000_000, "{report:?}");
    assert_eq!(world.served("m", "big.bin").unwrap(), big);
    assert_eq!(world.served("m", "a/small.txt").unwrap(), b"small");
    assert_eq!(world.served("m", "empty").unwrap(), b"");

    let mut changed = big.clone();
    changed.splice(1_500_000..1_500_000, *b"a few new bytes");
    world.publish(&[
        ("big.bin", &changed),
        ("a/small.txt", b"small"),
        ("new", b"n"),
    ]);
    master.master.reload().unwrap();
    let report = mirror.sync_once().await.unwrap();
    assert_eq!((report.from, report.to), (1, 2));
    assert_eq!((report.files_changed, report.files_removed), (2, 1));
    assert!(report.received_bytes < 600_000, "{report:?}");
    assert!(report.reused_bytes > 2_400_000, "{report:?}");
    assert_eq!(world.served("m", "big.bin").unwrap(), changed);
    assert_eq!(world.served("m", "new").unwrap(), b"n");
    assert!(world.served("m", "empty").is_none());

    let report = mirror.sync_once().await.unwrap();
    assert!(!report.switched);
    assert_eq!(report.reason, "current");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_waits_to_be_admitted_then_follows_every_release_at_once() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let mirror = world.mirror("m", &master.upstream());
    let daemon = RunningMirror::start(&mirror);
    let status = master.master.clone();
    eventually("the master sees the node wait", || {
        status.status().nodes.iter().any(|n| n.state == "pending")
    })
    .await;
    assert_eq!(mirror.status().connection.state, "pending");

    world.admit(mirror.node_key());
    master.master.reload().unwrap();
    eventually("release 1", || {
        world.served("m", "f").as_deref() == Some(b"one")
    })
    .await;
    for n in 2..6_u8 {
        world.publish(&[("f", &[n])]);
        master.master.reload().unwrap();
        eventually("the next release", || {
            world.served("m", "f").as_deref() == Some(&[n])
        })
        .await;
    }
    eventually("a receipt", || {
        master.master.status().nodes[0].release == Some(5)
    })
    .await;
    let answer = mirror.handle(Command::Sync).await.unwrap();
    assert_eq!(answer["to"], 5);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_during_a_sync_are_never_lost() {
    let world = World::new();
    world.publish(&[("f", &noise(0, 4_000_000))]);
    let master = RunningMaster::start(&world);
    let mirror = world.admitted_mirror("m", &master.upstream());
    master.master.reload().unwrap();
    let daemon = RunningMirror::start(&mirror);
    // Published as fast as they can be, while the first is still being fetched.
    let mut last = Vec::new();
    for n in 1..6 {
        last = noise(n, 1_000_000);
        world.publish(&[("f", &last)]);
        master.master.reload().unwrap();
    }
    eventually("the last release", || {
        world.served("m", "f").as_ref() == Some(&last)
    })
    .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unadmitted_sync_says_so_and_a_silent_upstream_is_named_within_five_seconds() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let mirror = world.mirror("m", &master.upstream());
    let failure = mirror.sync_once().await.unwrap_err();
    assert!(matches!(failure, SyncFailure::Pending { .. }), "{failure}");

    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let mirror = world.mirror("other", std::slice::from_ref(&address));
    let started = std::time::Instant::now();
    let failure = mirror.sync_once().await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(failure.to_string().contains(&address), "{failure}");
    assert!(failure.advice().contains("UDP"), "{}", failure.advice());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_upstream_is_asked_when_the_first_is_gone() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let upstreams = vec![
        silent.local_addr().unwrap().to_string(),
        master.address.to_string(),
    ];
    let mirror = world.admitted_mirror("m", &upstreams);
    master.master.reload().unwrap();
    assert!(mirror.sync_once().await.unwrap().switched);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_feeds_master_is_refused_by_its_fingerprint() {
    let (world, other) = (World::new(), World::new());
    other.publish(&[("f", b"evil")]);
    let master = RunningMaster::start(&other);
    let mirror = world.mirror("m", &master.upstream());
    let failure = mirror.sync_once().await.unwrap_err();
    assert!(failure.to_string().contains("fingerprint"), "{failure}");
    assert!(world.served("m", "f").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_would_happen_and_writes_nothing() {
    let world = World::new();
    let old = noise(1, 2_000_000);
    world.publish(&[("big", &old), ("gone", b"1"), ("same", b"2")]);
    let master = RunningMaster::start(&world);
    let mirror = world.admitted_mirror("m", &master.upstream());
    master.master.reload().unwrap();
    mirror.sync_once().await.unwrap();
    let mut new = old.clone();
    new.extend_from_slice(&noise(2, 100_000));
    world.publish(&[("big", &new), ("same", b"2"), ("new", b"333")]);
    master.master.reload().unwrap();

    let before = listing(&world.docroot("m"));
    let clock = std::sync::Arc::new(world.clock.clone());
    let planned = plan(&world.path("m.state"), mirror.config(), clock)
        .await
        .unwrap();
    assert_eq!((planned.from, planned.to), (1, 2));
    assert_eq!(planned.added, [("new".to_string(), 3)]);
    assert_eq!(planned.changed, [("big".to_string(), 2_100_000)]);
    assert_eq!(planned.removed, [("gone".to_string(), 1)]);
    assert_eq!(planned.unchanged, 1);
    assert_eq!(planned.fetch_bytes + planned.reuse_bytes, 2_100_003);
    assert!(planned.fetch_bytes < 400_000, "{planned:?}");
    assert_eq!(listing(&world.docroot("m")), before);

    let report = mirror.sync_once().await.unwrap();
    // What a bundle has beside its runs is in none of the files.
    assert_eq!(Some(report.bundle_bytes), planned.bundle_bytes);
    assert!(report.fetched_bytes <= planned.fetch_bytes, "{report:?}");
    assert_eq!(report.fetched_bytes + report.reused_bytes, 2_100_003);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explicit_sync_of_a_current_docroot_mends_it() {
    let world = World::new();
    let content = noise(4, 1_000_000);
    world.publish(&[("big", &content), ("small", b"s")]);
    let master = RunningMaster::start(&world);
    let mirror = world.admitted_mirror("m", &master.upstream());
    master.master.reload().unwrap();
    mirror.sync_once().await.unwrap();
    let mut damaged = content.clone();
    damaged[500_000] ^= 1;
    std::fs::write(world.docroot("m").join(".tidecast/r1/big"), &damaged).unwrap();
    std::fs::remove_file(world.docroot("m").join("small")).unwrap();
    let report = mirror.sync_once().await.unwrap();
    assert_eq!(report.reason, "repair", "{report:?}");
    assert_eq!(world.served("m", "big").unwrap(), content);
    assert_eq!(world.served("m", "small").unwrap(), b"s");
    assert!(report.fetched_bytes < 300_000, "{report:?}");
    assert_eq!(mirror.sync_once().await.unwrap().reason, "current");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_mirror_is_cut_off_within_a_second_and_told_so() {
    let (world, master, mirror) = support::small_feed();
    let daemon = RunningMirror::start(&mirror);
    eventually("release 1", || world.served("m", "f").is_some()).await;
    world.revoke(&mirror.node_key());
    let revoked = std::time::Instant::now();
    master.master.reload().unwrap();
    eventually("the mirror knows", || {
        let error = mirror.status().last_error;
        error.is_some_and(|error| error.whose == "operator" && error.what.contains("admitted"))
    })
    .await;
    assert!(revoked.elapsed() < Duration::from_secs(1));
    assert_eq!(world.served("m", "f").unwrap(), b"one");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_moved_out_of_the_docroot_is_named_and_local_files_are_not_touched() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let docroot = world.docroot("m");
    std::fs::create_dir_all(docroot.join("local_dir")).unwrap();
    std::fs::write(docroot.join("local_dir/x"), b"mine").unwrap();
    std::fs::write(docroot.join("local_logo.png"), b"logo").unwrap();
    std::fs::write(docroot.join("robots.txt"), b"foreign").unwrap();
    std::fs::write(docroot.join("timestamp"), b"of the time before").unwrap();
    let mirror = world.admitted_mirror("m", &master.upstream());
    master.master.reload().unwrap();
    let report = mirror.sync_once().await.unwrap();
    let told = report.warnings.join("\n");
    assert!(told.contains("robots.txt"), "{told}");
    assert!(told.contains("timestamp"), "{told}");
    assert!(!docroot.join("robots.txt").exists());
    assert_eq!(world.served("m", "local_logo.png").unwrap(), b"logo");
    assert_eq!(world.served("m", "local_dir/x").unwrap(), b"mine");
}

fn listing(folder: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            names.push(format!("{} {:?}", path.display(), meta.modified().unwrap()));
            if meta.is_dir() {
                folders.push(path);
            }
        }
    }
    names.sort();
    names
}
