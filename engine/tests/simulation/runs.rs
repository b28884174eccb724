//! Many seeds, each in a process of its own, and what they came to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::ops::Range;
use std::panic;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::entropy;
use crate::world::{self, Outcome};

/// Seeds that failed once.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/simulation/seeds");

/// The range in `TIDECAST_SEEDS`, written as `17..42`.
pub(crate) fn chosen() -> Option<Range<u64>> {
    let text = std::env::var("TIDECAST_SEEDS").ok()?;
    let (from, to) = text.split_once("..").expect("TIDECAST_SEEDS=from..to");
    Some(from.parse().unwrap()..to.parse().unwrap())
}

/// Seeds that failed once: one per line, after which may follow why.
pub(crate) fn kept() -> Vec<u64> {
    let text = std::fs::read_to_string(KEPT).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_whitespace().next())
        .map(|seed| seed.parse().unwrap())
        .collect()
}

fn keep(seed: u64) {
    if kept().contains(&seed) {
        return;
    }
    // A source tree that cannot be written to has the printed line.
    if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(KEPT) {
        let _ = writeln!(file, "{seed}");
    }
}

thread_local! {
    /// What panicked on this thread. Tokio catches the panics of tasks, and nobody else would hear of them.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn hear_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
        before(info);
    }));
}

/// Where a run's files lie: in memory where that is possible, since every step is synced to the disk.
fn folder(seed: u64) -> PathBuf {
    let name = format!("tidecast-sim-{}-{seed}", std::process::id());
    let in_memory = PathBuf::from("/dev/shm").join(&name);
    match std::fs::create_dir(&in_memory) {
        Ok(()) => in_memory,
        Err(_) => std::env::temp_dir().join(name),
    }
}

/// Names the seed that this process is to run, and nothing else.
const CHILD: &str = "TIDECAST_SIMULATE";

/// In front of what a child says of its run.
const SAID: &str = "outcome: ";

/// Runs one seed in a process of its own: Tokio's random numbers follow from how many generators there were before in
/// the process.
pub(crate) fn run_alone(seed: u64) -> Result<Outcome, String> {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            super::EVERY_SEED,
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, seed.to_string())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let said = said.lines().find_map(|line| line.strip_prefix(SAID));
    match said.map(serde_json::from_str) {
        Some(Ok(outcome)) => outcome,
        _ => Err(format!("its process ended with {}", child.status)),
    }
}

/// Runs the seed this process was started for, if it was, and ends.
pub(crate) fn be_a_child() {
    let Ok(seed) = std::env::var(CHILD) else {
        return;
    };
    let outcome = run_here(seed.parse().unwrap());
    println!("\n{SAID}{}", serde_json::to_string(&outcome).unwrap());
    std::process::exit(0);
}

/// Runs one seed on a fresh thread, whose randomness is the seed's.
fn run_here(seed: u64) -> Result<Outcome, String> {
    hear_panics();
    let folder = folder(seed);
    let thread = std::thread::Builder::new().name(format!("seed {seed}"));
    let ran = thread
        .spawn(move || {
            entropy::seed_this_thread(seed);
            let ended = world::run(seed, &folder);
            let panics = PANICS.take();
            match panics.is_empty() {
                true => ended,
                false => Err(panics.join("\n")),
            }
        })
        .unwrap()
        .join();
    ran.unwrap_or_else(|_| Err("the run itself panicked".into()))
}

/// What many seeds came to.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    seeds: u64,
    /// Those that failed.
    pub(crate) failed: Vec<u64>,
    simulated_ms: u64,
    took: Duration,
    slowest_ms: (u64, u64),
    releases: u64,
    switches: u64,
    crashes: u64,
    partitions: u64,
    clock_jumps: u64,
    roots: u64,
    attacks: BTreeMap<String, u64>,
}

impl Runs {
    /// Runs them all.
    pub(crate) fn of(seeds: &[u64]) -> Self {
        let started = Instant::now();
        let jobs = match std::env::var("TIDECAST_JOBS") {
            Ok(jobs) => jobs.parse().unwrap(),
            Err(_) => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let (next, runs) = (AtomicUsize::new(0), Mutex::new(Self::default()));
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let ended = run_alone(*seed);
                        runs.lock().unwrap().add(*seed, ended, started);
                    }
                });
            }
        });
        let mut runs = runs.into_inner().unwrap();
        runs.took = started.elapsed();
        runs
    }

    fn add(&mut self, seed: u64, ended: Result<Outcome, String>, started: Instant) {
        self.seeds += 1;
        match ended {
            Ok(outcome) => {
                if std::env::var_os("TIDECAST_TRACE").is_some() {
                    eprintln!("seed {seed}: {outcome:?}");
                }
                self.simulated_ms += outcome.elapsed_ms;
                self.slowest_ms = self.slowest_ms.max((outcome.converged_ms, seed));
                self.releases += outcome.releases;
                self.switches += outcome.switches;
                self.crashes += outcome.crashes;
                self.partitions += outcome.partitions;
                self.clock_jumps += outcome.clock_jumps;
                self.roots += outcome.roots;
                for (what, count) in outcome.attacks {
                    *self.attacks.entry(what).or_default() += count;
                }
            }
            Err(why) => {
                eprintln!(
                    "seed {seed} failed: {why}\nrun it again with: TIDECAST_SEEDS={seed}..{} TIDECAST_TRACE=1 \
                     cargo test -p tidecast-engine --test simulation no_docroot -- --nocapture",
                    seed + 1
                );
                keep(seed);
                self.failed.push(seed);
            }
        }
        if self.seeds.is_multiple_of(100) {
            let seconds = started.elapsed().as_secs();
            eprintln!(
                "{} seeds in {seconds} s, {} failed",
                self.seeds,
                self.failed.len()
            );
        }
    }
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} seeds, {} converged, in {:.1} s: {} simulated minutes; the last mirror arrived {} s after healing (seed {})",
            self.seeds,
            self.seeds - self.failed.len() as u64,
            self.took.as_secs_f64(),
            self.simulated_ms / 60_000,
            self.slowest_ms.0 / 1000,
            self.slowest_ms.1,
        )?;
        writeln!(
            f,
            "{} releases, {} roots, {} switches, {} crashes and stops, {} partitions, {} clock jumps, {} attacks:",
            self.releases,
            self.roots,
            self.switches,
            self.crashes,
            self.partitions,
            self.clock_jumps,
            self.attacks.values().sum::<u64>(),
        )?;
        for (what, count) in &self.attacks {
            writeln!(f, "{count:>9} {what}")?;
        }
        Ok(())
    }
}
