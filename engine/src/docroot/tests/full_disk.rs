//! A full disk changes nothing that is served, and says what it needs.

use std::process::Command;

use super::*;
use crate::small_disk::SmallDisk;

/// A file system of this size.
const DISK: &str = "3m";

#[test]
fn a_release_that_does_not_fit_is_refused_before_and_while_it_is_written() {
    let Some(disk) = SmallDisk::mount(DISK) else {
        crate::skip::skip(
            "a_release_that_does_not_fit_is_refused_before_and_while_it_is_written",
            "may not mount a small disk here",
        );
        return;
    };
    let clock = Arc::new(TestClock(AtomicU64::new(START.0)));
    let (mut docroot, _) = Docroot::open(disk.path(), feed(), Options::default(), clock).unwrap();
    let small = [("a", noise("a", 100_000))];
    Release::new(1, &small).install(&mut docroot);
    let big = Release::new(
        2,
        &[("a", noise("a", 100_000)), ("b", noise("b", 8_000_000))],
    );
    let mut build = docroot.begin(big.manifest.clone()).unwrap();
    build.link_unchanged().unwrap();
    big.start(&mut build);
    let error = build.check_space().unwrap_err();
    let DocrootError::NoSpace {
        need_bytes,
        free_bytes,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert!(need_bytes == 8_000_000 && free_bytes < 3 << 20);
    // A caller that goes on all the same, or another program that fills the disk meanwhile.
    let missing: Vec<Entry> = build.missing().collect();
    let error = missing
        .iter()
        .find_map(|entry| build.put(&entry.id, &big.chunks[&entry.id]).err())
        .expect("the disk is full");
    assert!(matches!(error, DocrootError::NoSpace { .. }), "{error}");
    assert!(error.to_string().contains("/b: "), "{error}");
    assert_eq!(std::fs::read(disk.path().join("a")).unwrap(), small[0].1);
    drop(build);
    // The next release fits again: what did not is removed first.
    Release::new(3, &[("a", noise("a", 100_000)), ("c", b"c".to_vec())]).install(&mut docroot);
    assert_eq!(std::fs::read(disk.path().join("c")).unwrap(), b"c");
}

#[test]
fn a_read_only_file_system_is_refused_and_says_so() {
    let Some(disk) = SmallDisk::mount(DISK) else {
        crate::skip::skip(
            "a_read_only_file_system_is_refused_and_says_so",
            "may not mount a small disk here",
        );
        return;
    };
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(disk.path())
        .status()
        .is_ok_and(|status| status.success());
    assert!(remounted);
    let clock = Arc::new(TestClock(AtomicU64::new(START.0)));
    let error = Docroot::open(disk.path(), feed(), Options::default(), clock).unwrap_err();
    assert!(matches!(error, DocrootError::NotWritable { .. }), "{error}");
    let error = Docroot::survey(disk.path(), &feed()).unwrap_err();
    assert!(matches!(error, DocrootError::NotWritable { .. }), "{error}");
}

#[test]
fn a_restart_on_a_full_disk_keeps_serving() {
    let Some(disk) = SmallDisk::mount(DISK) else {
        crate::skip::skip(
            "a_restart_on_a_full_disk_keeps_serving",
            "may not mount a small disk here",
        );
        return;
    };
    let clock = Arc::new(TestClock(AtomicU64::new(START.0)));
    let open = || Docroot::open(disk.path(), feed(), Options::default(), clock.clone());
    let (mut docroot, _) = open().unwrap();
    let files = [("a", noise("a", 100_000))];
    Release::new(1, &files).install(&mut docroot);
    let next = Release::new(2, &[("a", noise("b", 100_000))]);
    docroot.stop_after = Some(switch::Step::IntentWritten);
    let prepared = next.build(&mut docroot).0.finish().unwrap();
    docroot.switch(prepared).unwrap_err();
    drop(docroot);
    let filler = disk.path().join("local_filler");
    let mut fill = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut fill, &[1; 4096]).is_ok() {}
    let (docroot, recovery) = open().unwrap();
    assert!(recovery.postponed.is_some(), "{recovery}");
    assert_eq!(docroot.current().unwrap().release(), ReleaseNumber(1));
    assert_eq!(std::fs::read(disk.path().join("a")).unwrap(), files[0].1);
    drop(docroot);
    drop(fill);
    std::fs::remove_file(filler).unwrap();
    let (mut docroot, _) = open().unwrap();
    let (build, fetched) = next.build(&mut docroot);
    assert_eq!(fetched, 0);
    docroot.switch(build.finish().unwrap()).unwrap();
}
