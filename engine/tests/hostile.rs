//! Upstreams that lie, stall and vanish cost time, never a wrong byte in the docroot.

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::hostile::{Hostile, Mischief};
use support::{RunningMaster, World, noise};
use tidecast_engine::mirror::SyncFailure;

/// Asks a misbehaving upstream first and a good one second; what the docroot holds then is right.
async fn good_after(mischief: Mischief) -> Duration {
    let world = World::new();
    let content = noise(3, 4_000_000);
    world.publish(&[("big", &content), ("small", b"s")]);
    let hostile = Hostile::start(&world, mischief);
    let master = RunningMaster::start(&world);
    let upstreams = [hostile.address.to_string(), master.address.to_string()];
    let mirror = world.admitted_mirror("m", &upstreams);
    master.master.reload().unwrap();
    let started = Instant::now();
    let report = mirror.sync_once().await.unwrap();
    assert!(report.switched, "{report:?}");
    assert_eq!(world.served("m", "big").unwrap(), content);
    started.elapsed()
}

/// Asks a misbehaving upstream alone; nothing is installed.
async fn fails_alone(mischief: Mischief) -> SyncFailure {
    let world = World::new();
    world.publish(&[("big", &noise(3, 1_000_000))]);
    let hostile = Hostile::start(&world, mischief);
    let mirror = world.admitted_mirror("m", &[hostile.address.to_string()]);
    let failure = mirror.sync_once().await.unwrap_err();
    assert!(world.served("m", "big").is_none());
    failure
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_chunks_are_never_kept_and_another_upstream_is_asked() {
    good_after(Mischief::WrongChunks).await;
    let failure = fails_alone(Mischief::WrongChunks).await.to_string();
    assert!(failure.contains("wrong chunk"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_lying_upstreams_are_each_asked_once() {
    let world = World::new();
    world.publish(&[("big", &noise(3, 1_000_000))]);
    let liars = [
        Hostile::start(&world, Mischief::WrongChunks),
        Hostile::start(&world, Mischief::WrongManifest),
    ];
    let upstreams = liars.each_ref().map(|liar| liar.address.to_string());
    let mirror = world.admitted_mirror("m", &upstreams);
    let failure = mirror.sync_once().await.unwrap_err();
    let SyncFailure::Unreachable { tried } = failure else {
        panic!("{failure}");
    };
    assert_eq!(tried.len(), 2, "{tried:?}");
    assert!(world.served("m", "big").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absent_chunks_send_the_mirror_on() {
    good_after(Mischief::NoChunks).await;
    let failure = fails_alone(Mischief::NoChunks).await.to_string();
    assert!(failure.contains("does not have chunk"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_manifest_is_refused_as_not_the_heads() {
    good_after(Mischief::WrongManifest).await;
    let failure = fails_alone(Mischief::WrongManifest).await.to_string();
    assert!(failure.contains("manifest"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_claims_to_open_to_four_gigabytes_is_refused_unopened() {
    good_after(Mischief::Bomb).await;
    let failure = fails_alone(Mischief::Bomb).await.to_string();
    assert!(failure.contains("limit"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_versions_and_frames_are_named() {
    let failure = fails_alone(Mischief::OtherProtocol).await.to_string();
    assert!(failure.contains("7 to 9"), "{failure}");
    let failure = fails_alone(Mischief::Gibberish).await.to_string();
    assert!(failure.contains("0xee"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalling_upstream_is_left_within_45_seconds() {
    let took = good_after(Mischief::Stall).await;
    assert!(took < Duration::from_secs(45), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_byte_a_second_is_as_good_as_nothing() {
    let took = good_after(Mischief::Trickle).await;
    assert!(took < Duration::from_secs(45), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_transfer_resumes_and_fetches_no_stored_chunk_twice() {
    let world = World::new();
    let content = noise(5, 24_000_000);
    world.publish(&[("big", &content)]);
    let hostile = Hostile::start(&world, Mischief::CloseAfter(150));
    let mirror = world.admitted_mirror("m", &[hostile.address.to_string()]);
    mirror.sync_once().await.unwrap_err();
    assert!(hostile.chunks_sent.load(Ordering::SeqCst) > 150);
    let state = world.path("m.state");
    let config = mirror.config().clone();
    drop(mirror);

    let master = RunningMaster::start(&world);
    let config = tidecast_engine::config::MirrorConfig {
        upstreams: master.upstream(),
        ..config
    };
    let mirror = support::reopen(&world, &state, config).await;
    let report = mirror.sync_once().await.unwrap();
    assert_eq!(world.served("m", "big").unwrap(), content);
    assert_eq!(report.fetched_bytes + report.reused_bytes, 24_000_000);
    // 150 chunks of some 75 KiB arrived whole before the connection went.
    assert!(report.reused_bytes > 9_000_000, "{report:?}");
    assert!(report.received_bytes < 24_000_000 - 8_000_000, "{report:?}");
}
