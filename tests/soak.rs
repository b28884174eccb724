//! Months of releases, one a day: what a master and a mirror take of disk, memory and descriptors stops growing once
//! the retention is reached.
//!
//! A day passes by making everything in the store a day older. The short form is 50 days with a retention of 30;
//! `TIDECAST_LONG` makes it 220 days with 90.

mod support;

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use support::world::{Daemon, World, noise};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Days for which a replaced release stays.
fn retention_days() -> u64 {
    if support::long() { 90 } else { 30 }
}

/// Days after which nothing may grow any more: a release that was replaced as long ago as the retention is gone.
fn full_days() -> u64 {
    retention_days() + 2
}

/// Most that disk use may drift from the day the store is full to the end, as a part of its mean: packs are removed one
/// by one as the last that is needed in them goes, so the series has steps.
const DISK_DRIFT: f64 = 0.05;
/// The same of a docroot: lists of trees that wait to be removed come on top of what stays, a block each.
const DOCROOT_DRIFT: f64 = 0.2;
/// Most that a daemon's own memory may drift in that time, in bytes: what an allocator rounds up to.
const MEMORY_DRIFT: f64 = 2_000_000.0;
/// Most descriptors that may be open more or less: those of a connection or a file that is looked at right now.
const DESCRIPTORS_DRIFT: f64 = 2.0;
/// Most that the logs kept for ever (heads, what was believed when) grow by a release, in bytes.
const LOGS_PER_RELEASE: f64 = 4096.0;

fn days() -> u64 {
    if support::long() { 220 } else { 50 }
}

/// Retention, and no grace to speak of.
fn settings(world: &World) {
    let path = world.path("master/master.toml");
    let text = fs::read_to_string(&path).unwrap();
    let table = format!(
        "\n[retention]\ndays = {}\nreleases_min = 2\n",
        retention_days()
    );
    fs::write(&path, text + &table).unwrap();
}

fn no_grace(state: &Path) {
    let path = state.join("mirror.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("grace_s = 600", "grace_s = 1")).unwrap();
}

/// One more day for everything in the store.
fn age(store: &Path) {
    for folder in ["packs", "releases", "bundles"] {
        for entry in fs::read_dir(store.join(folder)).into_iter().flatten() {
            let file = File::options()
                .append(true)
                .open(entry.unwrap().path())
                .unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            file.set_modified(modified - DAY).unwrap();
        }
    }
}

/// What a day's release holds: one file that changes in a place, one that is new, the last five that were, and one that
/// never changes.
fn files(day: u64) -> Vec<(String, Vec<u8>)> {
    let mut daily = noise(0, 256_000);
    let at = usize::try_from(day % 16).unwrap() * 16_000;
    daily[at..at + 16_000].copy_from_slice(&noise(day, 16_000));
    let mut files = vec![
        ("daily.hdb".to_owned(), daily),
        ("main.hdb".to_owned(), noise(1, 400_000)),
    ];
    for day in day.saturating_sub(4).max(1)..=day {
        files.push((format!("day-{day}.ndb"), noise(1_000_000 + day, 20_000)));
    }
    files
}

/// How long a replaced tree may stay: the mirror looks twice a minute, and machines are busy.
const TREE_STAYS: Duration = Duration::from_secs(60);

/// The release of a tree in `.tidecast`, or of what describes it.
fn release_of(name: &str) -> Option<u64> {
    name.strip_prefix('r')?.split('.').next()?.parse().ok()
}

/// The oldest tree in a docroot.
fn oldest_tree(docroot: &Path) -> u64 {
    let names = fs::read_dir(docroot.join(".tidecast")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| release_of(&name)).min().unwrap()
}

/// Bytes that a folder takes on the disk, each file once however many links it has; a file that goes meanwhile is not
/// counted.
///
/// Trees before `from` are left out: they wait to be removed, longer in days of the test than of the calendar.
fn disk_bytes(folder: &Path, from: u64, seen: &mut HashSet<u64>) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if release_of(&entry.file_name().to_string_lossy()).is_some_and(|release| release < from) {
            continue;
        }
        let Ok(found) = path.symlink_metadata() else {
            continue;
        };
        if seen.insert(found.ino()) {
            bytes += found.blocks() * 512;
        }
        if found.is_dir() {
            bytes += disk_bytes(&path, from, seen);
        }
    }
    bytes
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |found| found.len())
}

/// Anonymous memory of a process, in bytes.
fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

/// Open descriptors of a process, as few as a look in a quiet moment shows.
fn descriptors(process: u32) -> u64 {
    let look = || {
        std::thread::sleep(Duration::from_millis(5));
        fs::read_dir(format!("/proc/{process}/fd")).unwrap().count() as u64
    };
    (0..4).map(|_| look()).min().unwrap()
}

/// What one day came to.
#[derive(Debug, Clone, Copy)]
struct Day {
    store: u64,
    docroot: u64,
    logs: u64,
    memory: [u64; 2],
    descriptors: [u64; 2],
}

/// What the straight line through the series (least squares) rises by from its beginning to its end, and the mean.
fn drift(series: &[Day], figure: impl Fn(&Day) -> u64) -> (f64, f64) {
    let count = series.len() as f64;
    let mean_x = (count - 1.0) / 2.0;
    let mean_y = series.iter().map(|day| figure(day) as f64).sum::<f64>() / count;
    let (mut both, mut square) = (0.0, 0.0);
    for (x, day) in series.iter().enumerate() {
        let x = x as f64 - mean_x;
        both += x * (figure(day) as f64 - mean_y);
        square += x * x;
    }
    (both / square * (count - 1.0), mean_y)
}

#[test]
fn a_line_through_a_series_rises_as_the_series_does() {
    let day = |store| Day {
        store,
        docroot: 7,
        logs: 0,
        memory: [0; 2],
        descriptors: [0; 2],
    };
    let series: Vec<Day> = [10, 20, 30, 40].into_iter().map(day).collect();
    assert_eq!(drift(&series, |day| day.store), (30.0, 25.0));
    assert_eq!(drift(&series, |day| day.docroot), (0.0, 7.0));
}

#[test]
fn once_the_retention_is_reached_neither_disk_nor_memory_nor_descriptors_grow() {
    let mut world = World::new("none");
    settings(&world);
    world.start_master();
    let mut mirror = world.admitted("mirror");
    no_grace(&mirror.state);
    mirror.start();
    let store = world.path("master/store");
    let begun = Instant::now();
    let (mut reached, mut longest) = (Vec::new(), Duration::ZERO);
    let mut series = Vec::new();
    for day in 1..=days() {
        let files = files(day);
        let files: Vec<_> = files.iter().map(|(name, b)| (&**name, &**b)).collect();
        assert_eq!(world.publish(&files), day);
        mirror.reaches(day);
        reached.push(Instant::now());
        // It was replaced when the next one was reached.
        let oldest = oldest_tree(&mirror.docroot);
        if let Some(replaced) = reached.get(usize::try_from(oldest).unwrap())
            && oldest + 1 < day
        {
            longest = longest.max(replaced.elapsed());
        }
        age(&store);
        let daemons: [&mut Daemon; 2] = [world.master(), mirror.daemon()];
        let processes = daemons.map(|daemon| daemon.id());
        let today = Day {
            store: disk_bytes(&store, 0, &mut HashSet::new()),
            docroot: disk_bytes(&mirror.docroot, day - 1, &mut HashSet::new()),
            logs: length(&world.path("master/heads.log")) + length(&mirror.state.join("trust.log")),
            memory: processes.map(memory),
            descriptors: processes.map(descriptors),
        };
        if day % 10 == 0 || day == 1 || day == days() {
            let Day {
                store,
                docroot,
                logs,
                ..
            } = today;
            println!(
                "day {day:3}: store {} KiB, docroot {} KiB, logs {logs} B, master {} KiB and {} descriptors, mirror {} KiB and {}",
                store >> 10,
                docroot >> 10,
                today.memory[0] >> 10,
                today.descriptors[0],
                today.memory[1] >> 10,
                today.descriptors[1],
            );
        }
        series.push(today);
    }
    println!(
        "{} days took {:.0} s",
        days(),
        begun.elapsed().as_secs_f64()
    );
    assert_eq!(mirror.run(&["verify"]).code, 0);
    let gone = world.on_master(&["gc", "-n", "--json"]).object();
    let kept = gone["releases"].as_array().unwrap().iter();
    let kept = kept.filter(|release| release["kept"] == true).count() as u64;
    println!("{kept} releases kept");
    assert!(kept <= full_days(), "{gone}");

    let full = &series[usize::try_from(full_days()).unwrap()..];
    // The test would see growth: until it was full, the store grew day by day.
    let filling = &series[5..usize::try_from(retention_days()).unwrap()];
    let (grew, mean) = drift(filling, |day| day.store);
    assert!(grew > 2.0 * DISK_DRIFT * mean, "{grew} of {mean}");
    let mut failed = Vec::new();
    let mut judge = |what: &str, (drift, mean): (f64, f64), most: f64| {
        println!(
            "{what}: mean {mean:.0}, drift over {} days {drift:.0}, allowed {most:.0}",
            full.len()
        );
        if drift.abs() > most {
            failed.push(what.to_owned());
        }
    };
    let store = drift(full, |day| day.store);
    judge("store, bytes", store, store.1 * DISK_DRIFT);
    let docroot = drift(full, |day| day.docroot);
    judge("docroot, bytes", docroot, docroot.1 * DOCROOT_DRIFT);
    for (at, who) in ["master", "mirror"].into_iter().enumerate() {
        let memory = drift(full, |day| day.memory[at]);
        judge(&format!("{who}, bytes of memory"), memory, MEMORY_DRIFT);
        let open = drift(full, |day| day.descriptors[at]);
        judge(&format!("{who}, descriptors"), open, DESCRIPTORS_DRIFT);
    }
    let logs = drift(full, |day| day.logs);
    judge("logs, bytes", logs, LOGS_PER_RELEASE * full.len() as f64);
    println!(
        "a replaced tree stayed {:.0} s at most",
        longest.as_secs_f64()
    );
    assert!(longest < TREE_STAYS, "{longest:?}");
    assert!(failed.is_empty(), "{failed:?}");
}
