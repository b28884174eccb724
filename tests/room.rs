//! A mirror that runs out of something, room on its disk or descriptors: it says so, serves on, and goes on by itself.

mod support;

use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use support::process::eventually;
use support::promise::{Promise, Release};
use support::small_disk::SmallDisk;
use support::world::{Mirror, World, noise};

/// A megabyte, in bytes.
const MB: usize = 1_000_000;

fn complains(mirror: &Mirror, parts: &[&str]) -> bool {
    eventually(|| {
        let error = mirror.status()["last_error"].clone();
        let what = error["what"].as_str().unwrap_or_default();
        error["whose"] == "disk" && parts.iter().all(|part| what.contains(part))
    })
}

#[test]
fn a_daemon_on_a_full_disk_serves_on_and_takes_the_release_once_there_is_room() {
    let test = "a_daemon_on_a_full_disk_serves_on_and_takes_the_release_once_there_is_room";
    let world = World::running("none");
    let Some(disk) = SmallDisk::mount(test, &world.path("mirror-docroot"), "8m") else {
        return;
    };
    let old = noise(1, MB);
    let new = noise(2, 2 * MB);
    world.publish(&[("daily.bin", &old), ("kept", b"kept")]);
    let mirror = world.serving("mirror");
    mirror.reaches(1);
    let promise = Promise::of([
        Release::of_files(1, &[("daily.bin", &old), ("kept", b"kept")]),
        Release::of_files(2, &[("daily.bin", &new), ("kept", b"kept")]),
    ]);
    disk.fill("local_filler", MB as u64);
    let promise = promise.keeping_operators(&mirror.docroot);
    world.publish(&[("daily.bin", &new), ("kept", b"kept")]);

    let docroot = mirror.docroot.to_str().unwrap();
    let told = [docroot, "no space", "bytes needed", "free"];
    assert!(complains(&mirror, &told), "{}", mirror.status());
    let status = mirror.status();
    let need = status["last_error"]["what"].as_str().unwrap().to_owned();
    // The file in whole blocks, and not the one that is linked.
    let bytes = new.len().div_ceil(4096) * 4096;
    assert!(need.contains(&format!("{bytes} bytes needed")), "{need}");
    assert_eq!(promise.check(&mirror.docroot).unwrap().release, 1);
    // It is tried again and again, and costs nothing: what the release needs is known by now.
    let received = |status: &Value| status["connection"]["received_bytes"].as_u64().unwrap();
    let tried_at = |status: &Value| status["last_error"]["at_ms"].as_u64().unwrap();
    let again = || {
        let now = mirror.status();
        (tried_at(&now) > tried_at(&status)).then_some(now)
    };
    let mut later = None;
    assert!(eventually(|| {
        later = again();
        later.is_some()
    }));
    let more = received(&later.unwrap()) - received(&status);
    assert!(more < 20_000, "{more} bytes for nothing");
    let planned = mirror.run(&["sync", "-n"]);
    planned.says("it does not fit");

    std::fs::remove_file(mirror.docroot.join("local_filler")).unwrap();
    mirror.reaches(2);
    assert_eq!(mirror.file("daily.bin").unwrap(), new);
    assert_eq!(mirror.status()["last_error"], Value::Null);
}

#[test]
fn a_daemon_out_of_descriptors_serves_on_and_takes_the_release_once_it_has_some() {
    let test = "a_daemon_out_of_descriptors_serves_on_and_takes_the_release_once_it_has_some";
    let Some(prlimit) = support::program(test, "prlimit", "util-linux") else {
        return;
    };
    let world = World::running("none");
    let files = |release: u64| -> Vec<(String, Vec<u8>)> {
        let names = (0..20).map(|n| (format!("folder{n}/file"), noise(release, 1000 + n)));
        names.collect()
    };
    let publish = |release: u64| {
        let files = files(release);
        let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (&**n, &**b)).collect();
        assert_eq!(world.publish(&files), release);
    };
    publish(1);
    let mut mirror = world.serving("mirror");
    mirror.reaches(1);
    let pid = mirror.daemon().id().to_string();
    let limit = |most: usize| {
        let set = Command::new(&prlimit)
            .args(["--pid", &pid, &format!("--nofile={most}:4096")])
            .status();
        assert!(set.unwrap().success());
    };
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count();
    // A few beyond what is open: enough to be asked how it is, not for a release.
    limit(open + 4);
    publish(2);
    assert!(
        complains(&mirror, &["too many open files"]),
        "{}\n{}",
        mirror.status(),
        mirror.log()
    );
    assert_eq!(mirror.release(), 1);
    assert_eq!(mirror.file("folder3/file").unwrap(), noise(1, 1003));
    limit(1024);
    mirror.reaches(2);
    assert_eq!(mirror.file("folder3/file").unwrap(), noise(2, 1003));
}

/// Text that packs well, of which `seed` decides every hundredth line.
fn text(seed: u64, lines: u64) -> Vec<u8> {
    let mut text = Vec::new();
    for line in 0..lines {
        let part = if line % 100 == 0 { seed } else { 0 };
        writeln!(text, "Trojan.Agent-{line}:{:x}:{part}", line * line * 7919).unwrap();
    }
    text
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_plan_names_the_disk_space_that_the_sync_takes_at_its_peak() {
    let test = "a_plan_names_the_disk_space_that_the_sync_takes_at_its_peak";
    let world = World::running("none");
    let Some(disk) = SmallDisk::mount(test, &world.path("mirror-docroot"), "64m") else {
        return;
    };
    let half_new = |seed: u64| [noise(7, 3 * MB), noise(seed, MB), noise(8, 2 * MB)].concat();
    let publish = |seed: u64| {
        world.publish(&[
            ("kept.bin", &noise(6, 4 * MB)),
            ("opened.gz", &gzip(&text(seed, 150_000))),
            ("part.bin", &half_new(seed)),
            ("whole.bin", &noise(seed + 50, MB)),
        ])
    };
    publish(1);
    let mirror = world.admitted("mirror");
    let fresh = measured(&disk, &mirror);
    publish(2);
    let update = measured(&disk, &mirror);
    for (what, (stated, files, peak)) in [("fresh", fresh), ("update", update)] {
        println!("{what}: {stated} bytes stated, {files} of them for files, {peak} measured");
        assert!(peak <= stated, "{what}: {peak} of {stated} bytes");
        assert!(
            stated * 2 <= peak * 3,
            "{what}: {stated} bytes stated, {peak} needed"
        );
        assert!(files <= stated, "{what}");
    }
}

/// What the plan says, what of it are files, and what the sync takes at its peak, in bytes.
fn measured(disk: &SmallDisk, mirror: &Mirror) -> (u64, u64, u64) {
    let plan = mirror.run(&["sync", "-n", "--json"]).object();
    let number = |field: &str| plan[field].as_u64().unwrap();
    assert!(number("free_bytes") > number("disk_bytes"), "{plan}");
    let before = disk.used();
    let (over, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                peak.fetch_max(disk.used(), Ordering::SeqCst);
                std::thread::yield_now();
            }
        });
        let synced = mirror.run(&["sync", "--json"]);
        over.store(true, Ordering::SeqCst);
        assert_eq!(synced.object()["switched"], true);
    });
    let peak = peak.into_inner() - before;
    (number("disk_bytes"), number("files_disk_bytes"), peak)
}
