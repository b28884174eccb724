//! The power fails, anywhere in a mirror's life, on ext4, xfs and btrfs.
//!
//! State and docroot lie on a disk that is a file of a FUSE file system of ours, under a loop device. It remembers every
//! write and every flush. A mirror lives through eight releases on it; then the power is cut somewhere in that story: what no
//! flush had covered by then is kept, lost or torn at random, the file system is mounted anew, and three things are
//! asked for. Before the mirror runs, web servers see what SPEC §8 promises. No release that had been reported is lost, no
//! counter lower, nothing of the operator's gone that had been brought to the disk. And the mirror recovers by itself.
//!
//! A short run makes few cuts; `TIDECAST_LONG` 1,000 on ext4 and 200 on each of the others. `TIDECAST_POWER_CUTS` is another
//! number of cuts, `TIDECAST_POWER_SEED` other ones, `TIDECAST_POWER_CUT` only the one of that number.

mod support;

#[path = "power/disk.rs"]
mod disk;
#[path = "power/examine.rs"]
mod examine;
#[path = "power/file_system.rs"]
mod file_system;
#[path = "power/fuse.rs"]
mod fuse;
#[path = "power/mirror.rs"]
mod mirror;
#[path = "power/releases.rs"]
mod releases;
#[path = "power/server.rs"]
mod server;
#[path = "power/story.rs"]
mod story;

use std::time::Instant;

use examine::{Depth, Tally};
use file_system::Kind;
use mirror::Fsyncs;
use story::Story;

/// Every so many cuts one is followed to the newest release: that takes longer.
const FOLLOW_EVERY: u64 = 10;
/// Bad cuts that are shown one by one.
const SHOWN_MAX: usize = 10;

#[test]
#[ignore = "the disk's process, which the tests start"]
fn the_disk() {
    server::run();
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// Cuts the power in a story `short` times, or `long` times if that was asked for.
fn cut_in(test: &str, kind: Kind, fsyncs: Fsyncs, short: u64, long: u64) -> Option<Tally> {
    let begun = Instant::now();
    let mut story = Story::tell(test, kind, fsyncs)?;
    let told = begun.elapsed();
    let seed = number_from("TIDECAST_POWER_SEED").unwrap_or(1);
    let cuts = number_from("TIDECAST_POWER_CUTS");
    let cuts = cuts.unwrap_or(if support::long() { long } else { short });
    let cuts = match number_from("TIDECAST_POWER_CUT") {
        Some(only) => only..only + 1,
        None => 0..cuts,
    };
    let mut tally = Tally::default();
    for cut in cuts {
        let depth = match fsyncs {
            Fsyncs::Real if cut.is_multiple_of(FOLLOW_EVERY) => Depth::Newest,
            _ => Depth::Recovery,
        };
        let seeded = seed.wrapping_mul(1_000_003).wrapping_add(cut);
        if let Err(why) = story.cut(seeded, depth, &mut tally) {
            if tally.bad.len() < SHOWN_MAX {
                eprintln!("{} seed {seed} cut {cut}: {why}", kind.name());
            }
            tally.bad.push(why);
        }
    }
    eprintln!(
        "{}, fsync {fsyncs:?}, seed {seed}: {} cuts in a story of {} writes and flushes, {} cut again while recovering, {} synced to the newest release; {} bad; {:.0?} for the story, {:.0?} for all",
        kind.name(),
        tally.cuts,
        story.to - story.from,
        tally.again,
        tally.synced,
        tally.bad.len(),
        told,
        begun.elapsed(),
    );
    Some(tally)
}

#[track_caller]
fn nothing_is_lost(test: &str, kind: Kind, short: u64, long: u64) {
    if let Some(tally) = cut_in(test, kind, Fsyncs::Real, short, long) {
        assert!(tally.bad.is_empty(), "{:#?}", tally.bad);
    }
}

#[test]
fn no_power_cut_on_ext4_tears_or_loses_anything() {
    let test = "no_power_cut_on_ext4_tears_or_loses_anything";
    nothing_is_lost(test, Kind::Ext4, 30, 1000);
}

#[test]
fn no_power_cut_on_xfs_tears_or_loses_anything() {
    let test = "no_power_cut_on_xfs_tears_or_loses_anything";
    nothing_is_lost(test, Kind::Xfs, 10, 200);
}

#[test]
fn no_power_cut_on_btrfs_tears_or_loses_anything() {
    let test = "no_power_cut_on_btrfs_tears_or_loses_anything";
    nothing_is_lost(test, Kind::Btrfs, 10, 200);
}

/// What the three tests above are worth.
#[test]
fn without_fsync_power_cuts_are_found_to_lose_releases() {
    let test = "without_fsync_power_cuts_are_found_to_lose_releases";
    if support::program(test, "strace", "strace").is_none() {
        return;
    }
    if let Some(tally) = cut_in(test, Kind::Ext4, Fsyncs::Pretended, 20, 200) {
        assert!(tally.bad.len() * 5 >= tally.cuts, "{:#?}", tally.bad);
    }
}
