//! What those who watch a feed are told when nobody vouches for it any more, and that it is served on.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{RunningMaster, RunningMirror, World, eventually};
use tidecast_engine::http::{Health, HttpOptions, serve};
use tidecast_engine::metrics::Metrics;
use tidecast_engine::mirror::{Mirror, SyncFailure, status_on_disk};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// As `feed init` sets them.
const HEAD_LIFE_MS: u64 = 6 * HOUR_MS;
const ROOT_LIFE_MS: u64 = 400 * DAY_MS;

/// Lines of `timestamp`.
fn timestamp(world: &World) -> Vec<String> {
    let text = world.served("m", "timestamp").unwrap_or_default();
    let text = String::from_utf8(text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The value of a metric.
fn metric(metrics: &Metrics, name: &str) -> Option<String> {
    let text = metrics.text();
    let mut lines = text.lines();
    let line = lines.find(|line| line.split(' ').next() == Some(name))?;
    Some(line.split(' ').nth(1)?.to_owned())
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn serving(mirror: &Arc<Mirror>) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = HttpOptions {
        health: mirror.health(),
        ..HttpOptions::default()
    };
    tokio::spawn(serve(
        listener,
        mirror.site(),
        options,
        std::future::pending(),
    ));
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_without_a_fresh_head_is_stale_everywhere_serves_on_and_recovers() {
    let (world, master, mirror) = support::small_feed();
    let web = serving(&mirror).await;
    let metrics = Metrics::of_mirror(mirror.clone(), None);
    let daemon = RunningMirror::start(&mirror);
    eventually("release 1", || {
        mirror.status().release == 1 && timestamp(&world).len() > 1
    })
    .await;
    let fresh = timestamp(&world);
    assert!(!fresh[1].starts_with("stale"), "{fresh:?}");
    assert_eq!(metric(&metrics, "tidecast_stale").as_deref(), Some("0"));

    // The line goes, and hours pass without a word.
    let address = master.address;
    drop(master);
    world.clock.advance_ms(HEAD_LIFE_MS - 1_000);
    assert!(!mirror.status().stale);
    world.clock.advance_ms(61_000);
    let noticed = std::time::Instant::now();
    eventually("the mirror notices by itself", || {
        matches!(mirror.health().current(), Health::Stale { release: 1, .. })
            && timestamp(&world)
                .get(1)
                .is_some_and(|line| line.starts_with("stale "))
    })
    .await;
    assert!(noticed.elapsed() < Duration::from_secs(60));
    let status = mirror.status();
    assert!(status.stale && status.release == 1);
    let head_expires_ms = status.head_expires_ms.unwrap();
    assert_eq!(status.stale_since_ms, Some(head_expires_ms));
    assert_eq!(metric(&metrics, "tidecast_stale").as_deref(), Some("1"));
    let stale = timestamp(&world);
    assert_eq!(stale[0], fresh[0], "old checkers read when it was fresh");
    assert_eq!(stale[1], format!("stale {}", head_expires_ms / 1000));
    assert_eq!(stale[2..], fresh[1..]);
    // A moment after the file: it is served from memory.
    while !get(web, "/timestamp").await.contains("\nstale ") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(get(web, "/healthz").await.starts_with("HTTP/1.1 503 "));
    let served = get(web, "/f").await;
    assert!(served.starts_with("HTTP/1.1 200 ") && served.ends_with("one"));
    let state = world.path("m.state");
    let on_disk = status_on_disk(&state, mirror.config(), world.now()).unwrap();
    assert!(on_disk.stale && on_disk.release == 1);

    // It comes back with a fresh head for the same release.
    let master = RunningMaster::start_at(&world, address);
    eventually("vouched for again", || {
        !mirror.status().stale
            && matches!(mirror.health().current(), Health::Serving { release: 1 })
            && timestamp(&world)
                .get(1)
                .is_some_and(|line| !line.starts_with("stale"))
    })
    .await;
    assert_eq!(metric(&metrics, "tidecast_stale").as_deref(), Some("0"));
    assert_ne!(timestamp(&world)[0], fresh[0]);
    assert_eq!(master.master.status().nodes[0].release, Some(1));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_root_makes_master_and_mirror_stale_and_the_receipt_says_so() {
    let (world, master, mirror) = support::small_feed();
    let daemon = RunningMirror::start(&mirror);
    let receipt = || master.master.status().nodes[0].serving.clone();
    eventually("a receipt", || receipt().as_deref() == Some("live")).await;
    let metrics = Metrics::of_master(master.master.clone());
    assert_eq!(metric(&metrics, "tidecast_stale").as_deref(), Some("0"));
    let mirrors = |serving: &str| {
        let name = format!("tidecast_mirrors{{serving=\"{serving}\"}}");
        metric(&metrics, &name).unwrap()
    };
    assert_eq!((&*mirrors("newest"), &*mirrors("stale")), ("1", "0"));

    // Half an hour before its end a head is signed that outlives it.
    let root_expires = world.now().0 + ROOT_LIFE_MS;
    world.clock.advance_ms(ROOT_LIFE_MS - HOUR_MS / 2);
    master.master.reload().unwrap();
    eventually("a fresh head", || {
        let expires = mirror.status().head_expires_ms;
        expires.is_some_and(|expires| expires > root_expires)
    })
    .await;
    assert!(!master.master.status().stale && !mirror.status().stale);
    world.clock.advance_ms(HOUR_MS / 2);
    let status = master.master.status();
    assert!(status.stale);
    assert!(
        status
            .stale_since_ms
            .is_some_and(|since| since <= world.now().0)
    );
    assert_eq!(status.warnings[0].level, "expired");
    assert_eq!(metric(&metrics, "tidecast_stale").as_deref(), Some("1"));
    // Nothing else happens that would make the mirror speak.
    eventually("a receipt that says stale", || {
        receipt().as_deref() == Some("stale")
    })
    .await;
    assert_eq!((&*mirrors("newest"), &*mirrors("stale")), ("0", "1"));
    assert_eq!(mirror.status().warnings[0].level, "expired");
    assert_eq!(world.served("m", "f").unwrap(), b"one");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_that_expires_is_told_90_30_and_7_days_ahead_at_both_ends_and_from_disk() {
    let (world, master, mirror) = support::small_feed();
    mirror.sync_once().await.unwrap();
    let (master_state, mirror_state) = (world.master_state(), world.path("m.state"));
    let warnings = || {
        let on_disk = status_on_disk(&mirror_state, mirror.config(), world.now()).unwrap();
        let master_on_disk =
            tidecast_engine::master::status_on_disk(&master_state, world.now()).unwrap();
        let all = [
            master.master.status().warnings,
            mirror.status().warnings,
            on_disk.warnings,
            master_on_disk.warnings,
        ];
        for other in &all {
            assert_eq!(other, &all[0]);
        }
        let [first, ..] = all;
        first
    };
    world.clock.advance_ms(ROOT_LIFE_MS - 91 * DAY_MS);
    assert!(warnings().is_empty());
    for (pass_days, level, days) in [
        (2, "notice", 89),
        (59, "warning", 30),
        (23, "alarm", 7),
        (7, "expired", 0),
    ] {
        world.clock.advance_ms(pass_days * DAY_MS);
        let told = warnings();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(
            (told[0].about.as_str(), told[0].level.as_str()),
            ("root_expires", level)
        );
        assert_eq!(told[0].days, Some(days));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_that_finds_nobody_leaves_its_mark_too() {
    let (world, master, mirror) = support::small_feed();
    mirror.sync_once().await.unwrap();
    assert!(!timestamp(&world)[1].starts_with("stale"));
    drop(master);
    world.clock.advance_ms(HEAD_LIFE_MS + 60_000);
    let failure = mirror.sync_once().await.unwrap_err();
    assert!(
        matches!(failure, SyncFailure::Unreachable { .. }),
        "{failure}"
    );
    assert!(timestamp(&world)[1].starts_with("stale"));
}
