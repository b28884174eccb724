//! The clock may jump, stand still or be wrong: an update sees one moment, waiting is measured by another clock, and time
//! never goes below the last trusted head's `issued`.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use support::{RunningMaster, World, noise};
use tidecast_engine::clock::Clock;
use tidecast_engine::config::MirrorConfig;
use tidecast_engine::keyfile;
use tidecast_engine::mirror::{Mirror, NODE_KEY};
use tidecast_proto::id::Timestamp;

const HOUR_MS: u64 = 3_600_000;
const YEAR_MS: u64 = 365 * 24 * HOUR_MS;

/// A clock that jumps once it was read so many times.
#[derive(Debug)]
struct Jumping {
    base: u64,
    after: u64,
    reads: AtomicU64,
    jump: Jump,
}

#[derive(Debug, Clone, Copy)]
enum Jump {
    Ahead,
    Back,
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        let read = self.reads.fetch_add(1, Ordering::SeqCst);
        Timestamp(match self.jump {
            _ if read < self.after => self.base,
            Jump::Ahead => self.base + 10 * YEAR_MS,
            Jump::Back => self.base - 10 * YEAR_MS,
        })
    }
}

fn mirror(world: &World, name: &str, upstream: Vec<String>, clock: Arc<dyn Clock>) -> Arc<Mirror> {
    let state = world.path(&format!("{name}.state"));
    std::fs::create_dir_all(&state).unwrap();
    keyfile::load_or_generate(&state.join(NODE_KEY)).unwrap();
    let config = MirrorConfig {
        fingerprint: world.feed.to_string(),
        upstreams: upstream,
        docroot: world.docroot(name),
        name: name.into(),
        scrub_s: 0,
        ..MirrorConfig::default()
    };
    let (mirror, _) = Mirror::open(&state, config, clock).unwrap();
    world.admit(mirror.node_key());
    mirror
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_during_an_update_changes_nothing() {
    let world = World::new();
    let content = noise(1, 400_000);
    world.publish(&[("big", &content)]);
    let master = RunningMaster::start(&world);
    let base = world.now().0;
    let mut judged_at = Vec::new();
    for jump in [Jump::Ahead, Jump::Back] {
        let clock = |after| {
            Arc::new(Jumping {
                base,
                after,
                reads: AtomicU64::new(0),
                jump,
            })
        };
        // One that never jumps says how often an update looks at the clock.
        let steady = clock(u64::MAX);
        let name = format!("steady{jump:?}");
        let first = mirror(&world, &name, master.upstream(), steady.clone());
        master.master.reload().unwrap();
        first.sync_once().await.unwrap();
        let reads = steady.reads.load(Ordering::SeqCst);
        assert!(reads > 2, "{reads}");
        let stamped = |name: &str| {
            let text = String::from_utf8(world.served(name, "timestamp").unwrap()).unwrap();
            text.lines().next().map(str::to_owned)
        };
        let steady_stamp = stamped(&name);

        let mut went = Vec::new();
        for after in 0..=reads {
            let name = format!("{jump:?}{after}");
            let mirror = mirror(&world, &name, master.upstream(), clock(after));
            master.master.reload().unwrap();
            let synced = mirror.sync_once().await;
            let served = world.served(&name, "big");
            match &synced {
                Ok(report) => {
                    assert!(report.switched && served.as_ref() == Some(&content));
                    assert_eq!(stamped(&name), steady_stamp, "jumped before look {after}");
                }
                // The head was judged by a clock that is years off: nothing of the release is there.
                Err(failure) => {
                    let said = failure.to_string();
                    assert!(said.contains("head"), "{said}");
                    assert!(served.is_none());
                }
            }
            went.push(synced.is_ok());
        }
        println!(
            "{jump:?}: of {reads} looks at the clock, updates ended well that jumped before look {went:?}"
        );
        // Once the head is judged, no later look can change what becomes of it.
        let judged = went.iter().position(|well| *well).unwrap();
        assert!(went[judged..].iter().all(|well| *well), "{went:?}");
        // A few looks come before: when the log of beliefs begins, when a root is written down.
        assert!(!went[0] && judged <= 8, "{went:?}");
        judged_at.push(judged);
    }
    // Nor is it judged again by a later moment, which only a jump ahead would show: heads do not get younger.
    assert_eq!(judged_at[0], judged_at[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_never_goes_below_the_last_heads_issue_also_across_a_restart() {
    let (world, master, first) = support::small_feed();
    first.sync_once().await.unwrap();
    drop(master);
    let config = first.config().clone();
    drop(first);

    // Two days back, for the master and the mirror alike: its fresh head has expired long before what the mirror knows.
    world.clock.go_back_ms(48 * HOUR_MS);
    world.publish(&[("f", b"two")]);
    let master = RunningMaster::start(&world);
    let config = MirrorConfig {
        upstreams: master.upstream(),
        ..config
    };
    let state = world.path("m.state");
    for _ in 0..2 {
        let mirror = support::reopen(&world, &state, config.clone()).await;
        let refused = mirror.sync_once().await.unwrap_err().to_string();
        assert!(refused.contains("expired"), "{refused}");
        assert_eq!(world.served("m", "f").unwrap(), b"one");
    }
    world.clock.advance_ms(48 * HOUR_MS);
    master.master.reload().unwrap();
    let mirror = support::reopen(&world, &state, config).await;
    mirror.sync_once().await.unwrap();
    assert_eq!(world.served("m", "f").unwrap(), b"two");
}

/// Where the system's clock is looked at, and what for. Everything else is given a [`Clock`], and waits by the runtime's
/// monotonic time; that waiting works while the clock stands still, every test of this folder says: theirs does.
const LOOKS: &[(&str, &str)] = &[
    ("src/clock.rs", "the clock itself"),
    ("src/http/ledger.rs", "days of statistics"),
    ("src/store/gc/plan.rs", "ages of files"),
];

#[test]
fn nothing_but_the_clock_looks_at_the_systems() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![top.join("src")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            if text.contains("SystemTime::now") && !name.contains("/tests") {
                found.push(name);
            }
        }
    }
    found.sort();
    let known: Vec<_> = LOOKS.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(found, known);
}
