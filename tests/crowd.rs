//! Sixty mirrors on one master over lines that lose every fifth datagram, one of them killed every few seconds: all get
//! there, and hardly a chunk crosses the wire twice.
//!
//! Every mirror is a process of its own behind a line of its own. The short form has a dozen; `TIDECAST_LONG` makes it
//! sixty. `TIDECAST_SEED` repeats one run's choice of datagrams and victims, as far as processes can be repeated.

mod support;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::process::within;
use support::udp::{Line, Luck, Weather};
use support::world::{Mirror, World, noise};

/// Of 100 datagrams so many are lost, each way.
const LOST_PERCENT: u64 = 20;
/// Most of what was received may have been received before, in percent.
const TWICE_PERCENT: f64 = 5.0;
/// Writes a line for every chunk that is received, which survives the process.
const LOG: &str = "warn,tidecast=info,tidecast_engine=info,tidecast_engine::mirror=trace";

/// How big the crowd is and how long it is let go on.
struct Scale {
    mirrors: usize,
    releases: u64,
    /// Between two releases.
    release_every: Duration,
    /// Between two kills.
    kill_every: Duration,
    /// Until the last mirror has the last release.
    patience: Duration,
}

fn scale() -> Scale {
    let scale = scale_of_form();
    // What the kills cost is the difference to a run without them: TIDECAST_KILL_MS=0.
    let kill_ms = std::env::var("TIDECAST_KILL_MS").ok();
    match kill_ms.map(|ms| ms.parse().unwrap()) {
        Some(0) => Scale {
            kill_every: Duration::from_secs(1_000_000),
            ..scale
        },
        Some(ms) => Scale {
            kill_every: Duration::from_millis(ms),
            ..scale
        },
        None => scale,
    }
}

fn scale_of_form() -> Scale {
    if support::long() {
        Scale {
            mirrors: 60,
            releases: 20,
            release_every: Duration::from_secs(15),
            kill_every: Duration::from_secs(5),
            patience: Duration::from_secs(600),
        }
    } else {
        Scale {
            mirrors: 12,
            releases: 4,
            release_every: Duration::from_secs(4),
            kill_every: Duration::from_secs(2),
            patience: Duration::from_secs(120),
        }
    }
}

fn seed() -> u64 {
    let given = std::env::var("TIDECAST_SEED").ok();
    given.map_or(1, |seed| seed.parse().unwrap())
}

/// A mirror behind its line.
struct Member {
    mirror: Mirror,
    line: Line,
    kills: u64,
}

impl Member {
    fn start(&mut self) {
        self.mirror.start_as(|command| {
            command.env("TIDECAST_LOG", LOG);
        });
    }
}

/// Bytes of chunks that a mirror's log tells of: all, and those it had received before.
#[derive(Debug, Default, Clone, Copy)]
struct Received {
    bytes: u64,
    twice: u64,
}

fn received(log: &str) -> Received {
    let mut seen = HashSet::new();
    let mut received = Received::default();
    for line in log.lines().filter(|line| line.contains(" received chunk=")) {
        let field = |name: &str| {
            let at = line.find(name).unwrap() + name.len();
            line[at..].split_whitespace().next().unwrap()
        };
        // A line that a kill cut short has no length, and its chunk was not used either.
        let Some(bytes) = line.contains(" bytes=").then(|| field(" bytes=")) else {
            continue;
        };
        let bytes: u64 = bytes.parse().unwrap();
        received.bytes += bytes;
        if !seen.insert(field(" chunk=").to_owned()) {
            received.twice += bytes;
        }
    }
    received
}

#[test]
fn a_chunk_that_comes_again_is_counted() {
    let log = "t TRACE received chunk=aa bytes=10\nt INFO connected\nt TRACE received chunk=bb bytes=5\nt TRACE received chunk=aa bytes=10\nt TRACE received chunk=cc\n";
    let Received { bytes, twice } = received(log);
    assert_eq!((bytes, twice), (25, 10));
}

/// Most of a release is new: small ones follow their announcement unasked, large ones are asked for.
fn release(world: &World, number: u64) -> u64 {
    let bytes = if number.is_multiple_of(2) {
        75_000
    } else {
        375_000
    };
    let new: Vec<_> = (0..4)
        .map(|part| noise(number * 10 + part, bytes))
        .collect();
    let common = noise(0, 200_000);
    let published = world.publish(&[
        ("a.hdb", &new[0]),
        ("b.hdb", &new[1]),
        ("c.hdb", &new[2]),
        ("d.hdb", &new[3]),
        ("common.hdb", &common),
    ]);
    assert_eq!(published, number);
    4 * bytes as u64
}

fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kib.unwrap_or(0)
}

fn has(docroot: &Path, number: u64) -> bool {
    let live = fs::read_link(docroot.join(".tidecast/current"));
    live.is_ok_and(|live| live == Path::new(&format!("r{number}")))
}

#[test]
fn a_crowd_on_bad_lines_that_is_killed_one_by_one_converges_and_fetches_nothing_twice() {
    let (scale, seed) = (scale(), seed());
    println!(
        "{} mirrors, {} releases, {LOST_PERCENT} % of datagrams lost, a kill every {:?}, TIDECAST_SEED={seed}",
        scale.mirrors, scale.releases, scale.kill_every
    );
    let mut world = World::running("none");
    let upstream = world.upstream().parse().unwrap();
    let mut crowd: Vec<Member> = (0..scale.mirrors)
        .map(|n| {
            let weather = Weather {
                lost_percent: LOST_PERCENT,
                seed: seed.wrapping_mul(1000) + n as u64,
                bytes_per_s: 0,
            };
            let line = Line::to(upstream, weather);
            let mirror = world.mirror_of(&format!("m{n}"), &line.address());
            world.admit(&mirror);
            Member {
                mirror,
                line,
                kills: 0,
            }
        })
        .collect();
    let begun = Instant::now();
    let mut published = 1;
    let mut newest_bytes = release(&world, published);
    for member in &mut crowd {
        member.start();
    }
    println!("all started after {:.1} s", begun.elapsed().as_secs_f64());

    let mut luck = Luck::new(seed);
    let (mut release_at, mut kill_at) = (
        Instant::now() + scale.release_every,
        Instant::now() + scale.kill_every,
    );
    while published < scale.releases || Instant::now() < release_at {
        if Instant::now() >= kill_at {
            kill_at += scale.kill_every;
            let victim = luck.below(crowd.len() as u64);
            let member = &mut crowd[usize::try_from(victim).unwrap()];
            member.mirror.daemon().kill();
            member.kills += 1;
            member.start();
        }
        if Instant::now() >= release_at && published < scale.releases {
            release_at = Instant::now() + scale.release_every;
            published += 1;
            newest_bytes = release(&world, published);
        }
        std::thread::sleep(Duration::from_millis(20));
    }

    let waiting = Instant::now();
    let all_there = || crowd.iter().all(|m| has(&m.mirror.docroot, published));
    let converged = within(scale.patience, all_there);
    let behind = crowd.iter().filter(|m| !has(&m.mirror.docroot, published));
    let behind: Vec<String> = behind.map(|m| m.mirror.log()).collect();
    assert!(converged, "{} are behind: {}", behind.len(), behind[0]);
    println!(
        "all have release {published} {:.1} s after the last kill",
        waiting.elapsed().as_secs_f64()
    );
    let master = resident(world.master().id());
    let mirrors: Vec<u64> = crowd
        .iter_mut()
        .map(|m| resident(m.mirror.daemon().id()))
        .collect();
    println!(
        "memory of their own: master {master} KiB, mirrors {} KiB at most",
        mirrors.iter().max().unwrap()
    );

    let mut all = Received::default();
    let (mut kills, mut delivered, mut lost, mut down_bytes) = (0, 0, 0, 0);
    for member in &crowd {
        let verified = member.mirror.run(&["verify", "--json"]).object();
        assert_eq!(verified["clean"], true, "{verified}");
        assert_eq!(verified["release"], published);
        let received = received(&member.mirror.log());
        assert!(
            received.bytes >= newest_bytes,
            "{received:?} does not hold the newest release"
        );
        all.bytes += received.bytes;
        all.twice += received.twice;
        kills += member.kills;
        delivered += member.line.carried.delivered.load(Ordering::Relaxed);
        lost += member.line.carried.lost.load(Ordering::Relaxed);
        down_bytes += member.line.down_bytes();
    }
    let percent = |part: u64, whole: u64| part as f64 * 100.0 / whole as f64;
    println!(
        "{kills} kills; {delivered} datagrams delivered, {lost} lost ({:.1} %); chunks received {} bytes, of these a second time {} ({:.2} %); UDP payload to mirrors {down_bytes} bytes ({:.1} % above the chunks)",
        percent(lost, delivered + lost),
        all.bytes,
        all.twice,
        percent(all.twice, all.bytes),
        percent(down_bytes, all.bytes) - 100.0,
    );
    assert!(kills > 0 || scale.kill_every > scale.patience);
    let rate = percent(lost, delivered + lost);
    assert!((15.0..25.0).contains(&rate), "{rate} % were lost");
    assert!(percent(all.twice, all.bytes) <= TWICE_PERCENT, "{all:?}");
}
