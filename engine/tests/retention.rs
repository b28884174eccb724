//! Releases that are removed while mirrors run.

mod support;

use std::fs;

use support::{RunningMaster, RunningMirror, World, eventually, noise};
use tidecast_engine::store::{Collection, Retention, StoreWriter};
use tidecast_proto::id::ReleaseNumber;

/// Keeps the newest release and nothing else.
const NOTHING: Retention = Retention {
    age_ms: 0,
    releases_min: 1,
    releases_max: 1,
    whole_releases: 1,
    hold_ms: 0,
    pack_grace_ms: 0,
    bundle_cache_bytes: 0,
};

/// A head may outlive its release where somebody removes files by hand, or clocks jump.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_is_told_of_a_release_that_is_gone_goes_on_to_the_newest() {
    let world = World::new();
    world.publish(&[("big", &noise(1, 1_000_000))]);
    let master = RunningMaster::start(&world);
    let mirror = world.admitted_mirror("m", &master.upstream());

    world.publish(&[("big", &noise(2, 1_000_000))]);
    let mut writer = StoreWriter::open(&world.master_state().join("store")).unwrap();
    let later = world.now().plus(1_000_000);
    let mut collection = Collection::begin(&mut writer, &NOTHING, later).unwrap();
    while collection.advance().unwrap() {}
    assert_eq!(collection.finish().releases, [ReleaseNumber(1)]);

    // The master sees the store as it is now, but cannot sign a head for it.
    let in_the_way = world.master_state().join("heads.log");
    let aside = world.master_state().join("aside");
    fs::rename(&in_the_way, &aside).unwrap();
    fs::create_dir(&in_the_way).unwrap();
    master.master.reload().unwrap_err();
    let running = RunningMirror::start(&mirror);
    let told = || mirror.status().last_error.map(|error| error.what);
    eventually("release 1 is missed", || {
        told().is_some_and(|what| what.contains("does not have manifest"))
    })
    .await;
    assert!(world.served("m", "big").is_none());

    fs::remove_dir(&in_the_way).unwrap();
    fs::rename(&aside, &in_the_way).unwrap();
    master.master.reload().unwrap();
    eventually("release 2 is served", || {
        world.served("m", "big") == Some(noise(2, 1_000_000))
    })
    .await;
    running.stop().await;
}
