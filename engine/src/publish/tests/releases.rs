//! What a publish makes, and what it leaves alone.

use std::fs::{self, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use tidecast_proto::id::{FileHash, ObjectId, ReleaseNumber};

use super::*;
use crate::publish::ChangeKind;

#[test]
fn a_tree_becomes_a_signed_release_that_holds_its_bytes() {
    let mut feed = Feed::new();
    feed.notes = "first\n".to_owned();
    let large = noise(1, 1_000_000);
    feed.write("main.hdb", &large);
    feed.write("a/b/tool", b"#!/bin/sh\n");
    feed.write("empty", b"");
    fs::create_dir(feed.tree().join("folder-without-files")).unwrap();
    let tool = feed.tree().join("a/b/tool");
    fs::set_permissions(&tool, Permissions::from_mode(0o750)).unwrap();
    let times = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_millis(1_500_900));
    fs::File::options()
        .write(true)
        .open(&tool)
        .unwrap()
        .set_times(times)
        .unwrap();

    let mut seen = Vec::new();
    let report = feed
        .publish_watching(&mut |progress| seen.push(format!("{progress:?}")))
        .unwrap();
    assert_eq!((report.release, report.created), (ReleaseNumber(1), true));
    assert_eq!(
        (report.files, report.total_bytes, report.read_bytes),
        (3, 1_000_010, 1_000_010)
    );
    assert!(
        report.new_bytes > 1_000_000 && report.new_bytes < 1_010_000,
        "{report:?}"
    );
    assert_eq!(
        (report.changed(), report.removed(), report.unchanged),
        (3, 0, 0)
    );
    assert_eq!(report.warnings, Vec::<String>::new());
    assert!(seen[0].starts_with("Walked { files: 3") && seen.last().unwrap() == "Sealing");

    let manifest = feed.manifest(1);
    assert_eq!(manifest.id(), report.manifest);
    assert_eq!(
        (manifest.notes.as_str(), manifest.previous),
        ("first\n", None)
    );
    assert_eq!(manifest.epoch_min, Epoch(3));
    let [tool, empty, main] = manifest.files.as_slice() else {
        panic!("{manifest:?}");
    };
    assert!(tool.executable && tool.list.is_none() && tool.mtime_s == 1500);
    assert!(!main.executable && main.list.is_some());
    assert_eq!(main.hash, FileHash::of(&large));
    assert_eq!((empty.size, empty.hash), (0, FileHash::of(b"")));
    assert_eq!(feed.content(1, "main.hdb"), large);
    assert_eq!(feed.content(1, "a/b/tool"), b"#!/bin/sh\n");
    assert_eq!(feed.content(1, "empty"), b"");
    assert!(feed.store().verify().is_good());
}

#[test]
fn an_unchanged_tree_is_not_read_and_makes_no_release() {
    let mut feed = Feed::new();
    feed.write("a", &noise(1, 500_000));
    feed.write("b/c", b"small");
    feed.write("empty", b"");
    let first = feed.publish().unwrap();
    let again = feed.publish().unwrap();
    assert_eq!(
        (again.created, again.read_bytes, again.new_bytes),
        (false, 0, 0)
    );
    assert_eq!(
        (again.release, again.manifest),
        (first.release, first.manifest)
    );
    assert_eq!((again.unchanged, again.changes.len()), (3, 0));

    feed.even_if_unchanged = true;
    let forced = feed.publish().unwrap();
    assert_eq!((forced.created, forced.read_bytes), (true, 0));
    assert_eq!(feed.manifest(2).previous, Some(first.manifest));
}

#[test]
fn a_second_release_shares_chunks_with_the_first_and_leaves_it_as_it_was() {
    let feed = Feed::new();
    let mut content = noise(1, 3_000_000);
    let old = content.clone();
    feed.write("db", &content);
    feed.write("gone", b"x");
    feed.write("same", b"y");
    let first = feed.publish().unwrap();
    let bytes_before = feed.store().manifest_bytes_packed(&first.manifest).unwrap();

    content.splice(1_500_000..1_500_000, *b"inserted");
    feed.write("db", &content);
    feed.write("new", b"z");
    feed.remove("gone");
    let second = feed.publish().unwrap();
    assert_eq!(second.release, ReleaseNumber(2));
    assert!(second.new_bytes < 600_000, "{}", second.new_bytes);
    assert_eq!(second.read_bytes, 3_000_009);
    let changes: Vec<_> = second
        .changes
        .iter()
        .map(|c| (c.path.as_str(), c.kind, c.size))
        .collect();
    assert_eq!(
        changes,
        [
            ("db", ChangeKind::Changed, 3_000_008),
            ("gone", ChangeKind::Removed, 1),
            ("new", ChangeKind::Added, 1)
        ]
    );
    assert_eq!(
        (second.changed(), second.removed(), second.unchanged),
        (2, 1, 1)
    );

    assert_eq!(feed.content(1, "db"), old);
    assert_eq!(feed.content(2, "db"), content);
    assert_eq!(
        feed.store().manifest_bytes_packed(&first.manifest),
        Some(bytes_before)
    );
    assert_eq!(feed.manifest(2).previous, Some(first.manifest));
    assert!(feed.store().verify().is_good());
}

#[test]
fn a_file_that_might_have_been_written_again_within_its_stamp_is_read_again() {
    let mut feed = Feed::new();
    feed.write("f", b"racy");
    feed.now = SystemClock.now();
    feed.publish().unwrap();
    let again = feed.publish().unwrap();
    assert_eq!((again.read_bytes, again.created), (4, false));
    feed.now = feed.now.plus(10_000);
    assert_eq!(feed.publish().unwrap().read_bytes, 4);
    assert_eq!(feed.publish().unwrap().read_bytes, 0);
}

#[test]
fn a_rewrite_of_equal_length_under_the_old_mtime_is_noticed() {
    let feed = Feed::new();
    feed.write("f", b"old!");
    feed.publish().unwrap();
    let path = feed.tree().join("f");
    let mtime = fs::metadata(&path).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    fs::write(&path, b"new!").unwrap();
    file.set_times(FileTimes::new().set_modified(mtime))
        .unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), mtime);
    let report = feed.publish().unwrap();
    assert_eq!((report.read_bytes, report.release), (4, ReleaseNumber(2)));
    assert_eq!(feed.content(2, "f"), b"new!");
}

#[test]
fn a_damaged_stat_cache_is_said_and_costs_only_reading() {
    let feed = Feed::new();
    feed.write("f", b"content");
    feed.publish().unwrap();
    let mut bytes = fs::read(feed.cache()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(feed.cache(), bytes).unwrap();
    let report = feed.publish().unwrap();
    assert_eq!((report.read_bytes, report.created), (7, false));
    assert!(
        report.warnings[0].contains("damaged"),
        "{:?}",
        report.warnings
    );
    assert_eq!(feed.publish().unwrap().read_bytes, 0);
}

#[test]
fn a_stat_cache_is_not_believed_about_what_the_store_lacks() {
    let feed = Feed::new();
    feed.write("small", b"content");
    feed.write("large", &noise(1, 400_000));
    feed.publish().unwrap();
    fs::remove_dir_all(feed.folder.path().join("store")).unwrap();
    let report = feed.publish().unwrap();
    assert_eq!((report.read_bytes, report.created), (400_007, true));
    assert!(feed.store().verify().is_good());
}

#[test]
fn only_a_change_of_mode_makes_a_release_too() {
    let feed = Feed::new();
    feed.write("tool", b"x");
    feed.publish().unwrap();
    fs::set_permissions(feed.tree().join("tool"), Permissions::from_mode(0o755)).unwrap();
    let report = feed.publish().unwrap();
    assert_eq!((report.release, report.changed()), (ReleaseNumber(2), 1));
    assert!(feed.manifest(2).files[0].executable);
}

#[test]
fn numbers_start_at_the_floor_of_the_root() {
    let mut feed = Feed::new();
    feed.write("f", b"x");
    feed.publish().unwrap();
    feed.next_root(|root| root.release_min = ReleaseNumber(40));
    // The files are the same, but no mirror accepts release 1 any more.
    assert_eq!(feed.publish().unwrap().release, ReleaseNumber(40));
    assert_eq!(feed.publish().unwrap().release, ReleaseNumber(40));
}

#[test]
fn new_release_keys_ask_for_a_new_release_of_the_same_files() {
    let mut feed = Feed::new();
    feed.write("f", b"x");
    let first = feed.publish().unwrap();
    feed.keys = vec![key(11)];
    feed.next_root(|root| root.release_keys = vec![key(11).public()]);
    let second = feed.publish().unwrap();
    assert!(second.created && second.changes.is_empty());
    assert_eq!(feed.manifest(2).previous, Some(first.manifest));
}

#[test]
fn a_revoked_release_is_followed_by_a_new_one_of_the_same_files() {
    let mut feed = Feed::new();
    feed.write("f", b"x");
    let first = feed.publish().unwrap();
    feed.next_root(|root| root.revoked_manifests = vec![first.manifest]);
    assert!(feed.publish().unwrap().created);
    assert!(!feed.publish().unwrap().created);
}

#[test]
fn every_given_key_signs_once() {
    let mut feed = Feed::new();
    feed.write("f", b"x");
    let mut keys = [key(10).public(), key(11).public()];
    keys.sort_unstable();
    feed.next_root(|root| {
        root.release_keys = keys.to_vec();
        root.release_threshold = 2;
    });
    feed.keys = vec![key(10), key(11), key(10), key(12)];
    let report = feed.publish().unwrap();
    let signed = feed.store().manifest(ReleaseNumber(1)).unwrap().unwrap();
    assert_eq!(signed.signers().collect::<Vec<_>>(), keys);
    assert!(
        report.warnings[0].contains("no release key"),
        "{:?}",
        report.warnings
    );
}

#[test]
fn a_running_reader_sees_the_release_when_it_looks_again() {
    let feed = Feed::new();
    feed.write("f", b"x");
    let reader = feed.store();
    let report = feed.publish().unwrap();
    assert!(reader.refresh().unwrap());
    let newest = reader.newest().unwrap();
    assert_eq!(
        (newest.release, newest.manifest),
        (report.release, report.manifest)
    );
    assert_ne!(newest.manifest, ObjectId([0; 32]));
}
