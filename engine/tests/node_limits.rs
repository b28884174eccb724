//! What a master's operator lays down for a node binds its connections, from one moment to the next.

mod support;

use std::time::{Duration, Instant};

use support::{RunningMaster, RunningMirror, World, eventually, noise};
use tidecast_engine::master::{Nodes, RATE_BYTES_PER_S_MIN, SettingsChange};
use tidecast_engine::metrics::Metrics;
use tidecast_proto::key::PublicKey;

fn set(world: &World, master: &RunningMaster, node: PublicKey, change: &SettingsChange) {
    Nodes::set(&world.master_state(), node, change).unwrap();
    master.master.reload().unwrap();
}

fn rate(rate: Option<u64>) -> SettingsChange {
    SettingsChange {
        rate_bytes_per_s: Some(rate),
        ..SettingsChange::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gets_no_more_than_its_rate_and_all_of_it_the_moment_that_is_taken_away() {
    let world = World::new();
    let content = noise(1, 600_000);
    world.publish(&[("f", &content)]);
    let master = RunningMaster::start(&world);
    let mirror = world.admitted_mirror("m", &master.upstream());
    // 600 kB at 200 kB/s: a second's worth at once, the rest in 2 s.
    set(&world, &master, mirror.node_key(), &rate(Some(200_000)));
    let begun = Instant::now();
    let report = mirror.sync_once().await.unwrap();
    assert!(
        report.switched && begun.elapsed() > Duration::from_millis(1_000),
        "{report:?}"
    );

    // At the rate until now the next would take 2 s, at the least one half a minute.
    let next = noise(2, 500_000);
    world.publish(&[("f", &next)]);
    set(
        &world,
        &master,
        mirror.node_key(),
        &rate(Some(RATE_BYTES_PER_S_MIN)),
    );
    let daemon = RunningMirror::start(&mirror);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(mirror.status().release, 1);
    let unlimited = Instant::now();
    set(&world, &master, mirror.node_key(), &rate(None));
    eventually("the whole line again", || mirror.status().release == 2).await;
    assert!(
        unlimited.elapsed() < Duration::from_secs(10),
        "{:?}",
        unlimited.elapsed()
    );
    assert_eq!(world.served("m", "f").unwrap(), next);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_too_many_connections_the_newest_stays_and_the_operator_is_warned() {
    let (world, master, mirror) = support::small_feed();
    let node = mirror.node_key();
    let one = SettingsChange {
        connections: Some(Some(1)),
        name: Some(Some("the one in Utrecht".into())),
        ..SettingsChange::default()
    };
    set(&world, &master, node, &one);
    let daemon = RunningMirror::start(&mirror);
    eventually("it is connected", || {
        let status = master.master.status();
        status.nodes[0].connections == 1 && status.nodes[0].release == Some(1)
    })
    .await;
    assert!(master.master.status().warnings.is_empty());
    assert_eq!(master.master.status().nodes[0].name, "the one in Utrecht");

    // Somebody else with the same key: a copy of the state folder.
    let copy = world.path("copy.state");
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(world.path("m.state/node.key"), copy.join("node.key")).unwrap();
    let other = world.mirror("copy", &master.upstream());
    assert_eq!(other.node_key(), node);
    let mut switched = false;
    for _ in 0..5 {
        // The first may push it out in turn before it is done.
        switched |= other.sync_once().await.is_ok_and(|report| report.to == 1);
        if switched {
            break;
        }
    }
    assert!(switched);
    let metrics = Metrics::of_master(master.master.clone());
    let crowded = "tidecast_connections_refused_total{why=\"crowded\"} 0";
    eventually("the operator is warned", || {
        let warnings = master.master.status().warnings;
        warnings
            .iter()
            .any(|w| w.about == "key_shared" && w.level == "warning")
    })
    .await;
    assert!(!metrics.text().contains(crowded), "{}", metrics.text());
    eventually("the mirror is back in", || {
        mirror.status().connection.state == "connected" && master.master.status().nodes[0].connected
    })
    .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_connections_are_nobodys_concern() {
    let (world, master, mirror) = support::small_feed();
    let daemon = RunningMirror::start(&mirror);
    eventually("release 1", || mirror.status().release == 1).await;
    let clock = std::sync::Arc::new(world.clock.clone());
    // As somebody who asks by hand beside the daemon.
    tidecast_engine::mirror::plan(&world.path("m.state"), mirror.config(), clock)
        .await
        .unwrap();
    let status = master.master.status();
    assert!(status.warnings.is_empty(), "{:?}", status.warnings);
    assert_eq!(status.nodes[0].connections_max, Some(4));
    daemon.stop().await;
}
