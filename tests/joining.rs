//! Folders that become docroots: old mirrors, other feeds', full disks, folders that cannot be.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::command::run;
use support::nobody::Nobody;
use support::process::eventually;
use support::world::{World, listing, noise};

const FINGERPRINT: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// What a file is to everybody who looks: inode, times, mode.
fn identity(path: &Path) -> (u64, i64, i64, u32) {
    let found = path.symlink_metadata().unwrap();
    (found.ino(), found.mtime(), found.mtime_nsec(), found.mode())
}

#[test]
fn an_old_rsync_docroot_is_adopted_in_place() {
    let world = World::running("none");
    let daily = noise(1, 4_000_000);
    let main = noise(2, 2_000_000);
    let mut newer = daily.clone();
    newer.splice(2_000_000..2_000_000, *b"a few new lines");
    world.publish(&[
        ("daily.cvd", &newer),
        ("main.cvd", &main),
        ("sub/extra.hdb", b"line\n"),
    ]);

    let docroot = world.path("old-docroot");
    fs::create_dir_all(docroot.join("archive")).unwrap();
    fs::create_dir(docroot.join("local_stats")).unwrap();
    fs::create_dir(docroot.join("sub")).unwrap();
    for (name, bytes) in [
        ("daily.cvd", daily.as_slice()),
        ("main.cvd", &main),
        ("sub/extra.hdb", b"line\n"),
        ("forgotten.diff", b"1"),
        ("archive/daily-1.cvd", b"22"),
        ("local_logo.png", b"logo"),
        ("local_stats/index.html", b"stats"),
        (".htaccess-old", b"dot"),
    ] {
        fs::write(docroot.join(name), bytes).unwrap();
    }
    let own = [
        "local_logo.png",
        "local_stats",
        "local_stats/index.html",
        ".htaccess-old",
    ];
    let before = own.map(|name| identity(&docroot.join(name)));

    let mirror = world.admitted("old");
    let foreign: Vec<&str> = mirror.joined["foreign"]
        .as_array()
        .unwrap()
        .iter()
        .map(|foreign| foreign["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        foreign,
        ["archive", "daily.cvd", "forgotten.diff", "main.cvd", "sub"]
    );
    assert!(!docroot.join(".tidecast").exists());

    let report = mirror.run(&["sync", "--json"]).object();
    assert_eq!(report["switched"], true, "{report}");
    let received = report["received_bytes"].as_u64().unwrap();
    assert!(received < 400_000, "{report}");
    let kept = report["reused_bytes"].as_u64().unwrap() + report["linked_bytes"].as_u64().unwrap();
    assert!(kept > 5_500_000, "{report}");
    assert_eq!(mirror.file("daily.cvd").unwrap(), newer);
    assert_eq!(mirror.file("main.cvd").unwrap(), main);
    assert_eq!(mirror.file("sub/extra.hdb").unwrap(), b"line\n");
    assert_eq!(own.map(|name| identity(&docroot.join(name))), before);
    assert_eq!(mirror.file("local_stats/index.html").unwrap(), b"stats");

    // Foreign names are gone from sight, but not from the disk.
    assert!(!docroot.join("forgotten.diff").exists() && !docroot.join("archive").exists());
    let removed = listing(&docroot.join(".tidecast/removed"));
    for name in ["forgotten.diff", "archive/daily-1.cvd"] {
        let is_there = removed.iter().any(|(path, _)| path.ends_with(name));
        assert!(is_there, "{name} is not in {removed:?}");
    }
    assert_eq!(mirror.run(&["verify", "--json"]).object()["clean"], true);
}

#[test]
fn operators_files_stay_over_many_switches_and_new_foreign_ones_go() {
    let world = World::running("none");
    let mirror = world.admitted("mirror");
    let sync = |files: &[(&str, &[u8])]| {
        world.publish(files);
        mirror.run(&["sync", "--json"]).object()
    };
    sync(&[("a", b"1"), ("b", b"1")]);
    fs::write(mirror.docroot.join("local_index.html"), b"mine").unwrap();
    fs::create_dir(mirror.docroot.join("local_files")).unwrap();
    fs::write(mirror.docroot.join("local_files/x"), b"mine too").unwrap();
    let own = ["local_index.html", "local_files", "local_files/x"];
    let before = own.map(|name| identity(&mirror.docroot.join(name)));
    fs::write(mirror.docroot.join("stray"), b"put here by mistake").unwrap();
    // An operator's file under a name that a later release brings.
    fs::write(mirror.docroot.join("c"), b"was mine").unwrap();
    let report = sync(&[("a", b"2"), ("b", b"1"), ("c", b"the feed's")]);
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains('c') && warnings.contains("removed"),
        "{report}"
    );
    assert_eq!(mirror.file("c").unwrap(), b"the feed's");
    assert!(mirror.file("stray").is_none());
    for release in 3..6_u8 {
        sync(&[("a", &[release]), ("b", b"1"), ("c", b"the feed's")]);
    }
    assert_eq!(own.map(|name| identity(&mirror.docroot.join(name))), before);
    let removed = listing(&mirror.docroot.join(".tidecast/removed"));
    for name in ["stray", "c"] {
        assert!(
            removed.iter().any(|(path, _)| path.ends_with(name)),
            "{removed:?}"
        );
    }
}

#[test]
fn a_docroot_of_another_feed_is_refused() {
    let world = World::running("none");
    world.publish(&[("f", b"1")]);
    let mirror = world.admitted("mirror");
    mirror.run(&["sync", "--json"]).object();
    let before = listing(&mirror.docroot);
    let docroot = mirror.docroot.to_str().unwrap();
    let state = world.path("other");
    let join = [
        "join",
        "127.0.0.1:9",
        "--fingerprint",
        FINGERPRINT,
        "--docroot",
        docroot,
        "--yes",
    ];
    run(&state, &join).refused(78, &[docroot, "feed", "a docroot of its own"]);
    assert!(!state.exists());
    assert_eq!(listing(&mirror.docroot), before);
}

#[test]
fn a_docroot_that_became_a_file_or_went_away_is_said_by_sync() {
    let world = World::running("none");
    world.publish(&[("f", b"1")]);
    let mirror = world.admitted("mirror");
    fs::write(&mirror.docroot, b"a file").unwrap();
    let docroot = mirror.docroot.to_str().unwrap();
    for arguments in [&["sync"][..], &["mirror"]] {
        mirror
            .run(arguments)
            .refused(73, &[docroot, "not a folder"]);
    }
    assert_eq!(fs::read(&mirror.docroot).unwrap(), b"a file");
}

#[test]
fn a_docroot_one_may_not_write_is_refused_with_whose_it_must_be() {
    let somebody = Nobody::new();
    let docroot = somebody.tree("docroot", &["daily.cvd"]);
    fs::set_permissions(&docroot, Permissions::from_mode(0o555)).unwrap();
    let docroot = docroot.to_str().unwrap();
    let join = [
        "join",
        "127.0.0.1:9",
        "--fingerprint",
        FINGERPRINT,
        "--docroot",
        docroot,
        "--yes",
    ];
    let ran = somebody.run("state", &join);
    ran.refused(77, &[docroot, "the user tidecast runs as"]);
    assert!(!somebody.path("state").exists());
    // So that its files can be removed.
    fs::set_permissions(docroot, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_master_whose_root_is_not_the_fingerprints_is_not_believed() {
    let world = World::running("none");
    world.publish(&[("f", b"1")]);
    let mut lied_to = world.mirror("mirror");
    let config = lied_to.state.join("mirror.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(&world.fingerprint, FINGERPRINT)).unwrap();
    let upstream = world.upstream();
    let parts = [
        upstream.as_str(),
        &world.fingerprint,
        FINGERPRINT,
        "fingerprint again",
    ];
    for arguments in [&["sync"][..], &["sync", "-n"]] {
        lied_to.run(arguments).refused(65, &parts);
    }
    assert!(!lied_to.docroot.join("f").exists());
    lied_to.start();
    let diagnosis = || lied_to.status()["diagnosis"].to_string();
    assert!(
        eventually(|| diagnosis().contains("fingerprint")),
        "{}",
        lied_to.log()
    );
    assert_eq!(lied_to.release(), 0);
}

/// A small disk mounted on a folder until dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, after a word about the skip, when nothing may be mounted here.
    fn mount(test: &str, folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=6m,mode=755", "tmpfs"])
            .arg(folder)
            .output();
        if mounted.is_ok_and(|ran| ran.status.success()) {
            return Some(Self(folder.to_owned()));
        }
        support::skip(test, "may not mount a small disk here; run it as root");
        None
    }

    fn grow(&self) {
        let grown = Command::new("mount")
            .args(["-o", "remount,size=64m"])
            .arg(&self.0)
            .status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a daemon may still look at it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_keeps_the_old_release_and_once_there_is_room_the_next_try_succeeds() {
    let test = "a_full_disk_keeps_the_old_release_and_once_there_is_room_the_next_try_succeeds";
    let world = World::running("none");
    let Some(disk) = SmallDisk::mount(test, &world.path("mirror-docroot")) else {
        return;
    };
    let old = noise(1, 1_000_000);
    let new = noise(2, 8_000_000);
    world.publish(&[("big.bin", &old), ("f", b"1")]);
    let mut mirror = world.serving("mirror");
    mirror.reaches(1);
    world.publish(&[("big.bin", &new), ("f", b"2")]);

    let fault_of = || mirror.status()["diagnosis"]["fault_of"].to_string();
    assert!(
        eventually(|| fault_of().contains("this machine: its disk")),
        "{}",
        mirror.log()
    );
    let diagnosis = mirror.status()["diagnosis"].clone();
    assert!(
        diagnosis["advice"]
            .as_str()
            .unwrap()
            .contains("free some space"),
        "{diagnosis}"
    );
    mirror.run(&["sync"]).refused(74, &["free some space"]);
    assert_eq!(mirror.file("f").unwrap(), b"1");
    assert!(mirror.file("big.bin").unwrap() == old);
    assert_eq!(mirror.run(&["verify", "--json"]).object()["clean"], true);
    assert_eq!(support::http::get(mirror.http(), "/f", &[]).body, b"1");
    mirror.daemon().stop();
    let alone = mirror.run(&["sync"]);
    alone.refused(
        74,
        &["free some space", "bytes", mirror.docroot.to_str().unwrap()],
    );

    mirror.start();
    disk.grow();
    let report = mirror.run(&["sync", "--json"]).object();
    assert_eq!(report["to"], 2, "{report}");
    mirror.reaches(2);
    assert!(mirror.file("big.bin").unwrap() == new);
    assert_eq!(mirror.status()["diagnosis"]["well"], true);
    mirror.daemon().stop();
}
