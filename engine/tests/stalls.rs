//! Upstreams that stall, drip, never end or lie about lengths, at every point of the protocol: each is left for another
//! within 45 seconds. `tests/memory.rs` says what they cost meanwhile.

#[path = "stalls/cases.rs"]
mod cases;
mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cases::{Case, Start};
use support::staller::Offer;
use support::upstream;
use support::{RunningMaster, RunningMirror, World, noise};
use tidecast_engine::control::{Command, Handler};
use tidecast_engine::mirror::Mirror;
use tidecast_engine::sample::{Day, Feed, Scale};
use tokio::task::JoinSet;

/// From the first word to the right files, by way of the upstream that misbehaves.
const PATIENCE: Duration = Duration::from_secs(45);

/// Two releases of a small feed with a database that opens and one file that does not.
struct Releases {
    database: Vec<u8>,
    big: Vec<u8>,
}

fn publish(world: &World, feed: &Feed, big: &[u8]) -> Releases {
    let folder = world.path("made");
    std::fs::create_dir_all(&folder).unwrap();
    feed.write(&folder).unwrap();
    let database = std::fs::read(folder.join("daily.cvd")).unwrap();
    world.publish(&[("daily.cvd", &database), ("big", big)]);
    Releases {
        database,
        big: big.to_vec(),
    }
}

fn has(world: &World, mirror: &str, release: &Releases) -> bool {
    world.served(mirror, "big").as_ref() == Some(&release.big)
        && world.served(mirror, "daily.cvd").as_ref() == Some(&release.database)
}

/// How a case went.
struct Went {
    name: &'static str,
    seconds: f64,
    /// How often the upstream came to misbehave.
    times: usize,
    right: bool,
    said: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_upstream_that_stalls_is_left_for_another_within_45_seconds() {
    let world = World::new();
    let small = Scale {
        hash_lines: 3_000,
        logical_lines: 500,
        main_lines: 100,
    };
    let mut feed = Feed::new(7, small);
    publish(&world, &feed, &noise(1, 500_000));
    let mut mirrors = Vec::new();
    {
        let master = RunningMaster::start(&world);
        for case in cases::all() {
            let mirror = world.admitted_mirror(case.name, &master.upstream());
            mirrors.push((case, mirror));
        }
        master.master.reload().unwrap();
        for (case, mirror) in &mirrors {
            if case.start != Start::Fresh {
                mirror.sync_once().await.unwrap();
            }
        }
    }
    // Newer than what they have seen: they stay with whoever shows it.
    let old_head = upstream::newest_head(&world);
    feed.advance(Day::Ordinary).unwrap();
    let newest = Arc::new(publish(&world, &feed, &noise(2, 500_000)));
    let offer = Offer::of(&world, old_head);
    let good = RunningMaster::start(&world);
    let world = Arc::new(world);

    let mut running = JoinSet::new();
    for (case, mirror) in mirrors {
        let (upstream, times) = case.upstream(&offer, good.address).await;
        // Opened anew with the upstream that misbehaves in front of the good one.
        let config = tidecast_engine::config::MirrorConfig {
            upstreams: vec![upstream.address().to_string(), good.address.to_string()],
            ..mirror.config().clone()
        };
        drop(mirror);
        let (world, newest) = (world.clone(), newest.clone());
        running.spawn(async move {
            let mirror =
                support::reopen(&world, &world.path(&format!("{}.state", case.name)), config).await;
            let begun = Instant::now();
            let said = attempt(&case, &world, &mirror, &newest).await;
            let seconds = begun.elapsed().as_secs_f64();
            drop(upstream);
            Went {
                name: case.name,
                seconds,
                times: times.load(Ordering::SeqCst),
                right: has(&world, case.name, &newest),
                said,
            }
        });
    }
    let mut all = running.join_all().await;
    all.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    for went in &all {
        let Went {
            name,
            seconds,
            times,
            said,
            ..
        } = went;
        println!("{seconds:6.1} s  {name} ({times}x): {said}");
    }
    println!("{} upstreams that misbehave", all.len());
    for went in &all {
        assert!(went.right, "{}: {}", went.name, went.said);
        assert!(went.times > 0, "{} never came to misbehave", went.name);
        assert!(
            went.seconds < PATIENCE.as_secs_f64(),
            "{}: {} s",
            went.name,
            went.seconds
        );
    }
}

async fn attempt(case: &Case, world: &World, mirror: &Arc<Mirror>, newest: &Releases) -> String {
    if case.start != Start::Idle {
        return match tokio::time::timeout(PATIENCE, mirror.sync_once()).await {
            Ok(Ok(report)) => report.reason,
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => "still under way".into(),
        };
    }
    let running = RunningMirror::start(mirror);
    let deadline = Instant::now() + PATIENCE;
    let mut asked = false;
    while Instant::now() < deadline && !has(world, case.name, newest) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if case.asks && !asked && mirror.status().connection.state == "connected" {
            asked = true;
            let mirror = mirror.clone();
            tokio::spawn(async move { drop(mirror.handle(Command::Sync).await) });
        }
    }
    let said = mirror.status().last_error;
    running.stop().await;
    said.map_or_else(String::new, |fault| fault.what)
}
