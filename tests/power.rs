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

use std::path::{Path, PathBuf};
use std::process::Command;
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

/// Whether this process may go on: it is in a namespace of its own, so that whatever is mounted goes with it, however it
/// ends, and nobody else sees it. Otherwise `test` runs there now, or not at all, after `skip`.
fn apart(test: &str) -> bool {
    const APART: &str = "TIDECAST_POWER_APART";
    if std::env::var_os(APART).is_some() {
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        support::skip(test, "only root may mount");
        return false;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private"]);
    match unshare.arg("true").status() {
        Ok(status) if status.success() => {}
        failed => {
            support::skip(test, &format!("unshare --mount: {failed:?}"));
            return false;
        }
    }
    let mut unshare = Command::new("unshare");
    let ran = unshare
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--include-ignored", "--nocapture", test])
        .env(APART, "1")
        .status();
    assert!(ran.unwrap().success(), "its reasons are above");
    false
}

fn seed() -> u64 {
    number_from("TIDECAST_POWER_SEED").unwrap_or(1)
}

/// The seed of a cut of that number.
fn seed_of(cut: u64) -> u64 {
    seed().wrapping_mul(1_000_003).wrapping_add(cut)
}

/// Cuts the power in `story` `short` times, or `long` times if that was asked for, and follows some of the cuts to the newest
/// release.
fn cut_in(story: &mut Story, follow: bool, short: u64, long: u64) -> Tally {
    let begun = Instant::now();
    let cuts = number_from("TIDECAST_POWER_CUTS");
    let cuts = cuts.unwrap_or(if support::long() { long } else { short });
    let cuts = match number_from("TIDECAST_POWER_CUT") {
        Some(only) => only..only + 1,
        None => 0..cuts,
    };
    let name = story.disk.kind.name();
    let mut tally = Tally::default();
    for cut in cuts {
        let depth = match cut.is_multiple_of(FOLLOW_EVERY) && follow {
            true => Depth::Newest,
            false => Depth::Recovery,
        };
        if let Err(why) = story.cut(seed_of(cut), depth, &mut tally) {
            if tally.bad.len() < SHOWN_MAX {
                eprintln!("{name} seed {} cut {cut}: {why}", seed());
            }
            tally.bad.push((cut, why));
        }
    }
    let Tally {
        cuts,
        again,
        synced,
        bad,
    } = &tally;
    eprintln!(
        "{name}, seed {}: {cuts} cuts in a story of {} writes and flushes, {again} cut again while recovering, {synced} synced to the newest release; {} bad; {:.0?}",
        seed(),
        story.span().len(),
        bad.len(),
        begun.elapsed(),
    );
    tally
}

/// Where a story is kept whose cuts were bad.
fn place_of(story: &Story) -> PathBuf {
    let name = format!("{}-{}.json", story.disk.kind.name(), std::process::id());
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/cache/power")
        .join(name)
}

#[track_caller]
fn nothing_is_lost(test: &str, kind: Kind, short: u64, long: u64) {
    if !apart(test) {
        return;
    }
    let Some(mut story) = Story::tell(test, kind, Fsyncs::Real) else {
        return;
    };
    let tally = cut_in(&mut story, true, short, long);
    if let Some((cut, why)) = tally.bad.first() {
        let place = place_of(&story);
        story.keep(&place);
        panic!(
            "{} bad cuts; the first: {why}\nagain, and alone: TIDECAST_POWER_STORY={} TIDECAST_POWER_SEED={} TIDECAST_POWER_CUT={cut} cargo test -p tidecast --test power -- --ignored a_story_that_was_kept",
            tally.bad.len(),
            place.display(),
            seed(),
        );
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

/// What the three tests above are worth; and what a story is worth that was kept.
#[test]
fn without_fsync_power_cuts_are_found_to_lose_releases() {
    let test = "without_fsync_power_cuts_are_found_to_lose_releases";
    if support::program(test, "strace", "strace").is_none() || !apart(test) {
        return;
    }
    let Some(mut story) = Story::tell(test, Kind::Ext4, Fsyncs::Pretended) else {
        return;
    };
    let tally = cut_in(&mut story, false, 20, 200);
    assert!(tally.bad.len() * 5 >= tally.cuts, "{:#?}", tally.bad);

    let place = tempfile::tempdir().unwrap();
    let place = place.path().join("story.json");
    story.keep(&place);
    drop(story);
    let mut kept = Story::kept(&place).unwrap();
    let (cut, why) = &tally.bad[0];
    let again = kept.cut(seed_of(*cut), Depth::Recovery, &mut Tally::default());
    assert_eq!(again.as_ref(), Err(why));
}

#[test]
#[ignore = "for a story that a failed test has kept"]
fn a_story_that_was_kept_is_cut_again() {
    let Some(place) = std::env::var_os("TIDECAST_POWER_STORY") else {
        eprintln!("TIDECAST_POWER_STORY names no story");
        return;
    };
    if !apart("a_story_that_was_kept_is_cut_again") {
        return;
    }
    let mut story = Story::kept(Path::new(&place)).unwrap();
    let tally = cut_in(&mut story, false, 1, 1);
    assert!(tally.bad.is_empty(), "{:#?}", tally.bad);
}
