//! The whole network in one process and in simulated time: two masters, eight mirrors, two hostile hosts.
//!
//! Masters and mirrors are the engine's own loops over quinn; the datagrams go through `turmoil`, whose hosts have runtimes
//! with paused time. A seed decides everything: what is published, what is lost, who is cut off, killed, restarted, whose
//! clock is wrong, and what the hostile hosts do with the keys they stole. At every step, every docroot holds exactly the
//! files of one signed release, never an older one than before; and once everything is put right, every mirror gets to
//! the newest.
//!
//! ```text
//! cargo test -p tidecast-engine --test simulation                                     the short form: CI
//! TIDECAST_LONG=1 cargo test --release -p tidecast-engine --test simulation            2,000 seeds
//! TIDECAST_SEEDS=17..18 TIDECAST_TRACE=1 cargo test -p tidecast-engine --test simulation   one, with what happened
//! ```
//!
//! `TIDECAST_JOBS` says how many run at once; as many as there are cores unless it is set. A seed that fails is printed
//! with the command that runs it again, and kept in `tests/simulation/seeds`, all of which run in the short form.

mod chance;
mod clock;
mod docroots;
mod entropy;
mod feed;
mod forgery;
mod network;
mod runs;
mod schedule;
mod thief;
mod trace;
mod world;

use runs::{Runs, run_alone};

/// Seeds of the short form: seconds, in an unoptimized build.
const SHORT: std::ops::Range<u64> = 0..16;

/// Seeds of the long form.
const LONG: std::ops::Range<u64> = 0..2_000;

/// The test below, which is also what each seed's own process runs.
const EVERY_SEED: &str =
    "no_docroot_ever_shows_an_unsigned_or_older_byte_and_all_converge_after_healing";

#[test]
fn no_docroot_ever_shows_an_unsigned_or_older_byte_and_all_converge_after_healing() {
    runs::be_a_child();
    let seeds: Vec<u64> = match (runs::chosen(), std::env::var_os("TIDECAST_LONG")) {
        (Some(range), _) => range.collect(),
        (None, Some(_)) => LONG.collect(),
        (None, None) => runs::kept().into_iter().chain(SHORT).collect(),
    };
    let runs = Runs::of(&seeds);
    eprintln!("{runs}");
    assert!(
        runs.failed.is_empty(),
        "seeds that failed: {:?}",
        runs.failed
    );
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 4] {
        let (first, again) = (run_alone(seed).unwrap(), run_alone(seed).unwrap());
        assert_eq!(first.trace, again.trace, "seed {seed}");
        assert_eq!(first.elapsed_ms, again.elapsed_ms);
    }
    let (one, other) = (run_alone(3).unwrap(), run_alone(5).unwrap());
    assert_ne!(one.trace, other.trace);
}
