//! Healing where upstreams lie, and where nobody's word for a newer release is worth anything.

#[path = "../../tests/support/rot.rs"]
mod rotten;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use support::hostile::{Hostile, Mischief};
use support::{RunningMaster, RunningMirror, World, eventually, noise};
use tidecast_engine::config::MirrorConfig;
use tidecast_engine::mirror::Mirror;
use tidecast_proto::name::ReleasePath;

fn path(name: &str) -> ReleasePath {
    ReleasePath::new(name).unwrap()
}

/// Gives mirror `m` release 1 and then flips one bit of `big` in it without a trace. Whoever signs heads from now on
/// signs newer ones than it has seen.
async fn rotten_mirror(world: &World) -> MirrorConfig {
    let master = RunningMaster::start(world);
    let mirror = world.admitted_mirror("m", &master.upstream());
    master.master.reload().unwrap();
    assert!(mirror.sync_once().await.unwrap().switched);
    let docroot = world.docroot("m");
    rotten::flip(&docroot.join(".tidecast/r1/big"), 1_500_000, 5);
    rotten::hide(&docroot, 1);
    mirror.config().clone()
}

/// The mirror, opened again with these upstreams.
async fn reopen(world: &World, config: MirrorConfig, upstreams: &[String]) -> Arc<Mirror> {
    let config = MirrorConfig {
        upstreams: upstreams.to_vec(),
        ..config
    };
    support::reopen(world, &world.path("m.state"), config).await
}

fn serves(world: &World, content: &[u8]) -> bool {
    let served = world.served("m", "big");
    let older = std::fs::read(world.docroot("m").join(Path::new(".tidecast/r1/big")));
    served.as_deref() == Some(content) && older.ok().as_deref() == Some(content)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lie_while_healing_is_caught_and_the_next_upstream_heals() {
    for lie in [Mischief::WrongChunks, Mischief::NoChunks] {
        let world = World::new();
        let content = noise(3, 3_000_000);
        world.publish(&[("big", &content), ("small", b"s")]);
        let config = rotten_mirror(&world).await;
        let hostile = Hostile::start(&world, lie);
        let master = RunningMaster::start(&world);
        let upstreams = [hostile.address.to_string(), master.address.to_string()];
        let mirror = reopen(&world, config, &upstreams).await;
        assert!(!serves(&world, &content));
        assert_eq!(
            mirror.doubt(vec![path("big"), path("none")]).await.unwrap(),
            1
        );
        assert_eq!(mirror.status().scrub.waiting, 1);
        let report = mirror.sync_once().await.unwrap();
        assert_eq!(report.reason, "repair", "{lie:?} {report:?}");
        assert!(serves(&world, &content), "{lie:?}");
        assert_eq!(report.files_changed, 1);
        assert!(report.fetched_bytes <= 262_144, "{report:?}");
        if lie == Mischief::WrongChunks {
            assert!(hostile.chunks_sent.load(Ordering::SeqCst) > 0);
        }
        let scrub = mirror.status().scrub;
        assert_eq!((scrub.found, scrub.healed, scrub.waiting), (1, 1, 0));
    }
}

/// What was signed once vouches for its own content. Nobody vouches for an old head, and nothing newer is installed on
/// its word, but its upstream still has the chunks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_refused_keeps_nobody_from_healing_what_is_live() {
    let world = World::new();
    let content = noise(4, 3_000_000);
    world.publish(&[("big", &content)]);
    let config = rotten_mirror(&world).await;
    let late = Hostile::start(&world, Mischief::CloseAfter(usize::MAX));
    let mirror = reopen(&world, config, &[late.address.to_string()]).await;
    world.clock.advance_ms(24 * 3_600_000);
    mirror.doubt(vec![path("big")]).await.unwrap();
    let failure = mirror.sync_once().await.unwrap_err().to_string();
    assert!(failure.contains("expired"), "{failure}");
    assert!(serves(&world, &content));
    assert_eq!(mirror.status().scrub.healed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scrub_reads_what_is_due_and_has_it_healed() {
    let world = World::new();
    let content = noise(5, 3_000_000);
    world.publish(&[("big", &content), ("small", b"s")]);
    let config = MirrorConfig {
        scrub_s: 1,
        ..rotten_mirror(&world).await
    };
    let master = RunningMaster::start(&world);
    let mirror = reopen(&world, config, &master.upstream()).await;
    let daemon = RunningMirror::start(&mirror);
    eventually("the pass begins", || {
        mirror.status().scrub.pass_started_ms.is_some()
    })
    .await;
    let scrub = mirror.status().scrub;
    assert_eq!((scrub.found, &*scrub.read_to), (0, ""), "before its time");
    world.clock.advance_ms(10_000);
    eventually("found, healed and read to the end", || {
        let scrub = mirror.status().scrub;
        scrub.healed == 1 && scrub.last_pass_ms.is_some()
    })
    .await;
    assert!(serves(&world, &content));
    daemon.stop().await;
    // A restart remembers.
    let config = mirror.config().clone();
    let before = mirror.status().scrub;
    drop(mirror);
    let mirror = support::reopen(&world, &world.path("m.state"), config).await;
    let after = mirror.status().scrub;
    assert_eq!((after.found, after.healed), (before.found, before.healed));
    assert_eq!(after.last_pass_ms, before.last_pass_ms);
}
