//! A master under floods: 60 mirrors fetch their first release all the same, and it stays small.
//!
//! The master is the real program, so that the system says how much memory it has. `TIDECAST_LONG` makes the floods
//! longer and the release bigger.

#[path = "floods/greedy.rs"]
mod greedy;
#[path = "floods/initials.rs"]
mod initials;
mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use initials::{Flood, Hello};
use support::world::{World, noise};
use tidecast_engine::clock::SystemClock;
use tidecast_engine::config::MirrorConfig;
use tidecast_engine::keyfile;
use tidecast_engine::master::{Decision, Nodes};
use tidecast_engine::mirror::{Mirror, NODE_KEY};
use tidecast_proto::id::Timestamp;
use tidecast_proto::key::PublicKey;
use tokio::task::JoinSet;

/// Mirrors that sync meanwhile: as many as the old feed had.
const MIRRORS: usize = 60;

/// Most anonymous memory of a master that is flooded.
const MASTER_BYTES: u64 = 256 * 1024 * 1024;

/// How long the flood goes on before the mirrors begin: everything it can fill is full by then.
fn head_start() -> Duration {
    Duration::from_secs(if support::long() { 60 } else { 4 })
}

fn release_bytes() -> usize {
    if support::long() {
        16_000_000
    } else {
        2_000_000
    }
}

/// A figure of a process, in bytes: `VmHWM` is the most it ever had, `RssAnon` what it has of its own now.
fn memory(process: u32, figure: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with(figure))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

fn admit(world: &World, key: PublicKey) {
    Nodes::decide(
        &world.path("master"),
        key,
        Decision::Admit,
        None,
        Timestamp(1),
    )
    .unwrap();
}

/// Mirrors that may fetch and have nothing yet.
struct Fleet(Vec<(Arc<Mirror>, PathBuf)>);

impl Fleet {
    fn new(world: &World, name: &str) -> Self {
        let mirrors = (0..MIRRORS).map(|n| {
            let state = world.path(&format!("{name}{n}.state"));
            std::fs::create_dir_all(&state).unwrap();
            keyfile::load_or_generate(&state.join(NODE_KEY)).unwrap();
            let docroot = world.path(&format!("{name}{n}.docroot"));
            let config = MirrorConfig {
                fingerprint: world.fingerprint.clone(),
                upstreams: vec![world.upstream()],
                docroot: docroot.clone(),
                name: format!("{name}{n}"),
                scrub_s: 0,
                ..MirrorConfig::default()
            };
            let (mirror, _) = Mirror::open(&state, config, Arc::new(SystemClock)).unwrap();
            admit(world, mirror.node_key());
            (mirror, docroot)
        });
        Self(mirrors.collect())
    }

    /// All of them at once, each until it has the release. Says how long each took.
    async fn sync(&self, content: &Arc<Vec<u8>>) -> Vec<Duration> {
        let begun = Instant::now();
        let mut all = JoinSet::new();
        for (mirror, docroot) in &self.0 {
            let (mirror, docroot, content) = (mirror.clone(), docroot.clone(), content.clone());
            all.spawn(async move {
                let mut tries = 0;
                while let Err(failure) = mirror.sync_once().await {
                    tries += 1;
                    assert!(tries < 20, "{failure}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                assert!(has(&docroot, &content));
                begun.elapsed()
            });
        }
        let mut took = all.join_all().await;
        took.sort();
        took
    }
}

fn has(docroot: &Path, content: &[u8]) -> bool {
    std::fs::read(docroot.join("big")).is_ok_and(|has| has == content)
}

fn say(what: &str, took: &[Duration]) {
    let seconds = |at: usize| took[at].as_secs_f64();
    println!(
        "{what}: {} mirrors, median {:.1} s, last {:.1} s",
        took.len(),
        seconds(took.len() / 2),
        seconds(took.len() - 1)
    );
}

fn master_address(world: &World) -> SocketAddr {
    world.upstream().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_mirrors_finish_while_handshakes_flood_their_master() {
    let mut world = World::running("none");
    let content = Arc::new(noise(1, release_bytes()));
    world.publish(&[("big", &content)]);
    let (first, second) = (Fleet::new(&world, "a"), Fleet::new(&world, "b"));
    // Takes in the list as well.
    let last = first.0[0].0.node_key();
    let decided = world.on_master(&["node", "admit", &last.to_string(), "--json"]);
    assert_eq!(decided.object()["state"], "admitted");
    let quiet = first.sync(&content).await;
    say("without a flood", &quiet);

    let process = world.master().id();
    let before = memory(process, "RssAnon");
    let hello = Hello::record().await;
    let flood = Flood::start(hello, master_address(&world), 1000, 4);
    let mut most = 0;
    let begun = Instant::now();
    let mut sync = std::pin::pin!(async {
        tokio::time::sleep(head_start()).await;
        second.sync(&content).await
    });
    let flooded = loop {
        tokio::select! {
            took = &mut sync => break took,
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                most = most.max(memory(process, "RssAnon"));
            }
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    say("under the flood, from its begin", &flooded);
    let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed) as f64;
    let sent = flood.sent.clone();
    drop(flood);
    println!(
        "{:.0} connections begun a second for {seconds:.0} s, {:.0} retries, {:.0} addresses proved; master {} MiB before, {} MiB at most",
        count(&sent.initials) / seconds,
        count(&sent.retries),
        count(&sent.proved),
        before >> 20,
        most >> 20,
    );
    assert!(
        count(&sent.initials) > 1000.0
            && count(&sent.retries) > 100.0
            && count(&sent.proved) > 10.0
    );
    assert!(most <= MASTER_BYTES, "{most} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_greedy_mirror_does_not_starve_sixty() {
    let mut world = World::running("none");
    let old = noise(1, release_bytes());
    world.publish(&[("big", &old)]);
    let content = Arc::new(noise(2, release_bytes()));
    world.publish(&[("big", &content)]);
    let (first, second) = (Fleet::new(&world, "a"), Fleet::new(&world, "b"));
    let greedy = tidecast_proto::key::SecretKey::from_seed(&[8; 32]);
    let decided = world.on_master(&["node", "admit", &greedy.public().to_string(), "--json"]);
    assert_eq!(decided.object()["state"], "admitted");
    let quiet = first.sync(&content).await;
    say("alone", &quiet);

    let process = world.master().id();
    let feed = tidecast_engine::master::Feed::load(&world.path("master")).unwrap();
    let greedy = greedy::Greedy::start(&feed, &greedy, master_address(&world)).await;
    let beside = second.sync(&content).await;
    say("beside a greedy one", &beside);
    let (asked, most) = (greedy.asked(), memory(process, "RssAnon"));
    println!("it asked {asked} times; master {} MiB", most >> 20);
    assert!(asked > 100, "it hardly asked");
    assert!(most <= MASTER_BYTES, "{most} bytes");
    // On one machine the mirrors' own work is most of it; a starved one would take its patience of 15 s and more.
    let (alone, beside) = (quiet[MIRRORS - 1], beside[MIRRORS - 1]);
    assert!(
        beside < 4 * alone + Duration::from_secs(5),
        "{beside:?} instead of {alone:?}"
    );
}
