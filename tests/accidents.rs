//! What operators and their old jobs do to a docroot by accident, while the daemon runs: each is noticed within a minute,
//! said in log and status, and mended or refused without harm. (Two daemons on one docroot are in `mirror.rs`.)

mod support;

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::command::{self, Ran, tidecast, tidecast_at};
use support::http::get;
use support::skip;
use support::world::{Daemon, Mirror, World, noise};

/// The daemon looks every 30 s; what it finds takes a moment to mend, and test machines are busy.
const A_MINUTE: Duration = Duration::from_secs(75);

fn within(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    true
}

fn is_clean(mirror: &Mirror) -> bool {
    let verified = mirror.run(&["verify", "--json"]);
    verified.code == 0 && verified.object()["clean"] == true
}

/// What the status says was mended, in one string.
fn mended(mirror: &Mirror) -> String {
    mirror.status()["mended"].to_string()
}

/// Files below `.tidecast/removed` of any day whose path ends in `name`.
fn removed(mirror: &Mirror, name: &str) -> Vec<Vec<u8>> {
    let all = command::names(&mirror.docroot.join(".tidecast/removed"));
    let of = all
        .iter()
        .filter(|path| path.ends_with(name) && path.is_file());
    of.map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn a_file_that_somebody_edits_is_noticed_within_a_minute_and_fetched_again() {
    let world = World::running("none");
    let mirror = world.serving("mirror");
    let (whole, other) = (noise(1, 300_000), noise(2, 300_000));
    world.publish(&[("f", &whole), ("folder/g", b"g")]);
    mirror.reaches(1);
    // As a shell's redirection does it: through our link, into the published file.
    fs::write(mirror.docroot.join("f"), &other).unwrap();
    fs::set_permissions(
        mirror.docroot.join("folder/g"),
        Permissions::from_mode(0o600),
    )
    .unwrap();
    let right = || mirror.file("f").as_ref() == Some(&whole) && is_clean(&mirror);
    assert!(within(A_MINUTE, right), "{}", mirror.log());
    let said = mended(&mirror);
    assert!(said.contains("f is not what was signed any more"), "{said}");
    assert!(said.contains("find out who or what writes"), "{said}");
    let status = mirror.run(&["status"]);
    assert!(
        status.out.contains("mended       the docroot"),
        "{status:?}"
    );
    assert!(mirror.log().contains("f is not what was signed any more"));
    assert_eq!(get(mirror.http(), "/f", &[]).body, whole);
}

#[test]
fn names_that_somebody_deletes_or_replaces_come_back_and_what_is_his_is_kept() {
    let world = World::running("none");
    let mirror = world.serving("mirror");
    let files: [(&str, &[u8]); 5] = [
        ("deleted", b"1"),
        ("file", b"2"),
        ("folder", b"3"),
        ("link", b"4"),
        ("kept", b"5"),
    ];
    world.publish(&files);
    mirror.reaches(1);
    let at = |name: &str| mirror.docroot.join(name);
    fs::write(at("local_mine"), b"mine").unwrap();
    for name in ["deleted", "file", "folder", "link", "timestamp"] {
        fs::remove_file(at(name)).unwrap();
    }
    fs::write(at("file"), b"his").unwrap();
    fs::write(at("timestamp"), b"his time").unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/inside"), b"his too").unwrap();
    symlink("/etc/hostname", at("link")).unwrap();

    let right = || {
        files
            .iter()
            .all(|(name, bytes)| mirror.file(name).as_deref() == Some(bytes))
    };
    assert!(
        within(A_MINUTE, || right() && is_clean(&mirror)),
        "{}",
        mirror.log()
    );
    assert_eq!(removed(&mirror, "file"), [b"his"]);
    assert_eq!(removed(&mirror, "timestamp"), [b"his time"]);
    assert_eq!(removed(&mirror, "folder/inside"), [b"his too"]);
    assert_eq!(fs::read(at("local_mine")).unwrap(), b"mine");
    let said = mended(&mirror);
    assert!(
        said.contains("file was a file of yours under a name of the release"),
        "{said}"
    );
    assert!(said.contains("deleted was put right"), "{said}");
}

#[test]
fn whatever_somebody_destroys_in_our_own_folder_the_release_is_there_again_within_a_minute() {
    type Accident = fn(&Path);
    let accidents: [(&str, Accident); 6] = [
        ("lost-all", |docroot| {
            fs::remove_dir_all(docroot.join(".tidecast")).unwrap();
        }),
        ("lost-tree", |docroot| {
            fs::remove_dir_all(docroot.join(".tidecast/r2")).unwrap();
        }),
        ("lost-trees", |docroot| {
            fs::remove_dir_all(docroot.join(".tidecast/r1")).unwrap();
            fs::remove_dir_all(docroot.join(".tidecast/r2")).unwrap();
        }),
        ("lost-current", |docroot| {
            fs::remove_file(docroot.join(".tidecast/current")).unwrap();
            symlink("/tmp", docroot.join(".tidecast/current")).unwrap();
        }),
        ("lost-lock", |docroot| {
            fs::remove_file(docroot.join(".tidecast/lock")).unwrap();
            fs::write(docroot.join(".tidecast/r2.manifest"), b"junk").unwrap();
            fs::remove_file(docroot.join(".tidecast/r2.index")).unwrap();
        }),
        ("lost-moved", |docroot| {
            let ours = docroot.join(".tidecast");
            fs::rename(&ours, docroot.join(".tidecast.old")).unwrap();
            fs::write(&ours, b"not even a folder").unwrap();
            fs::remove_file(&ours).unwrap();
        }),
    ];
    let world = World::running("none");
    let mirrors = accidents.map(|(name, accident)| (world.serving(name), accident));
    let big = noise(3, 200_000);
    world.publish(&[("f", b"1"), ("big", &big)]);
    for (mirror, _) in &mirrors {
        mirror.reaches(1);
        fs::create_dir(mirror.docroot.join("local_stats")).unwrap();
        fs::write(mirror.docroot.join("local_stats/log"), b"mine").unwrap();
    }
    world.publish(&[("f", b"2"), ("big", &big)]);
    for (mirror, accident) in &mirrors {
        mirror.reaches(2);
        accident(&mirror.docroot);
    }
    for (mirror, _) in &mirrors {
        let right = || {
            mirror.file("f").as_deref() == Some(b"2")
                && mirror.file("big").as_ref() == Some(&big)
                && is_clean(mirror)
        };
        let name = mirror.state.display();
        assert!(within(A_MINUTE, right), "{name}: {}", mirror.log());
        let kept = fs::read(mirror.docroot.join("local_stats/log")).unwrap();
        assert_eq!(kept, b"mine", "{name}");
        let said = mended(mirror);
        assert!(
            said.contains("begun anew") || said.contains("put right"),
            "{name}: {said}"
        );
        assert_eq!(get(mirror.http(), "/f", &[]).body, b"2", "{name}");
    }
    // And it goes on.
    world.publish(&[("f", b"3"), ("big", &big)]);
    for (mirror, _) in &mirrors {
        assert!(
            within(A_MINUTE, || mirror.release() == 3),
            "{}",
            mirror.log()
        );
        assert!(is_clean(mirror), "{}", mirror.log());
    }
}

/// `nobody` on Debian and most other systems.
const NOBODY: u32 = 65_534;

fn give_to_nobody(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    for inside in command::names(path) {
        std::os::unix::fs::lchown(&inside, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// The mirror's daemon as somebody for whom permissions count.
fn unprivileged(world: &World, mirror: &Mirror) -> Daemon {
    let built = Path::new(env!("CARGO_BIN_EXE_tidecast"));
    let folder = mirror.state.parent().unwrap();
    let mut command = if folder.metadata().unwrap().uid() == 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        let program = world.path("tidecast");
        fs::copy(built, &program).unwrap();
        fs::create_dir_all(&mirror.docroot).unwrap();
        give_to_nobody(&mirror.docroot);
        give_to_nobody(&mirror.state);
        let mut command = tidecast_at(&program, &mirror.state);
        command.uid(NOBODY).gid(NOBODY);
        command
    } else {
        tidecast(&mirror.state)
    };
    command.args(["mirror", "--json", "--http", "127.0.0.1:0"]);
    Daemon::start(&mut command, &world.path("unprivileged.log"))
}

#[test]
fn a_docroot_made_read_only_is_named_and_the_release_comes_once_it_is_writable_again() {
    let world = World::running("none");
    let mirror = world.admitted("mirror");
    let daemon = unprivileged(&world, &mirror);
    world.publish(&[("f", b"1")]);
    assert!(
        within(A_MINUTE, || mirror.release() == 1),
        "{}",
        daemon.log()
    );
    let ours = mirror.docroot.join(".tidecast");
    let mode = |mode| {
        for folder in [&mirror.docroot, &ours] {
            fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
        }
    };
    mode(0o555);
    world.publish(&[("f", b"2"), ("new", b"n")]);
    let named = || {
        let fault = mirror.status()["last_error"].clone();
        let what = fault["what"].as_str().unwrap_or_default().to_owned();
        let docroot = mirror.docroot.to_str().unwrap();
        fault["whose"] == "disk" && what.contains(docroot) && what.contains("permission denied")
    };
    assert!(
        within(A_MINUTE, named),
        "{}\n{}",
        mirror.status(),
        daemon.log()
    );
    let status = mirror.run(&["status"]);
    assert_eq!(status.code, 1, "{status:?}");
    assert!(
        status.out.contains("give the folder and everything in it"),
        "{status:?}"
    );
    assert_eq!(mirror.file("f").unwrap(), b"1");
    let port = daemon.port("http");
    assert_eq!(get(port, "/f", &[]).body, b"1");
    mode(0o755);
    let there = || mirror.release() == 2 && mirror.file("new").as_deref() == Some(b"n");
    assert!(within(A_MINUTE, there), "{}", daemon.log());
    let fine = || mirror.status()["last_error"].is_null();
    assert!(within(A_MINUTE, fine), "{}", mirror.status());
}

#[test]
fn a_docroot_that_somebody_moves_is_refused_and_goes_on_when_it_is_back() {
    let world = World::running("none");
    let mirror = world.serving("mirror");
    world.publish(&[("f", b"1")]);
    mirror.reaches(1);
    let away = mirror.docroot.with_extension("away");
    fs::rename(&mirror.docroot, &away).unwrap();
    fs::create_dir(&mirror.docroot).unwrap();
    let noticed = || {
        let fault = mirror.status()["last_error"].clone();
        fault["what"]
            .as_str()
            .unwrap_or_default()
            .contains("was replaced while it was in use")
    };
    assert!(
        within(A_MINUTE, noticed),
        "{}\n{}",
        mirror.status(),
        mirror.log()
    );
    let status = mirror.run(&["status"]);
    assert_eq!(status.code, 1, "{status:?}");
    assert!(status.out.contains("put it back"), "{status:?}");
    world.publish(&[("f", b"2")]);
    mirror.run(&["sync"]).refused(74, &["was replaced"]);
    // Nothing was written into what stands there now, and clients get what was served before.
    assert_eq!(fs::read_dir(&mirror.docroot).unwrap().count(), 0);
    assert_eq!(get(mirror.http(), "/f", &[]).body, b"1");
    fs::remove_dir(&mirror.docroot).unwrap();
    fs::rename(&away, &mirror.docroot).unwrap();
    assert!(
        within(2 * A_MINUTE, || mirror.release() == 2),
        "{}",
        mirror.log()
    );
    assert!(within(A_MINUTE, || mirror.status()["last_error"].is_null()));
    assert!(is_clean(&mirror));
}

/// A daemon with mounts of its own; `None`, after [`skip`], where that is not allowed.
fn with_own_mounts(test: &str, world: &World, mirror: &Mirror) -> Option<Daemon> {
    let mut may = Command::new("unshare");
    may.args(["--mount", "--propagation", "private", "true"]);
    if !may.status().is_ok_and(|status| status.success()) {
        skip(test, "no mounts of its own: needs root and unshare");
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private"])
        .arg(env!("CARGO_BIN_EXE_tidecast"))
        .arg("--state")
        .arg(&mirror.state)
        .args(["mirror", "--json", "--http", "127.0.0.1:0"])
        .env_remove("TIDECAST_LOG");
    Some(Daemon::start(&mut command, &world.path("mounts.log")))
}

/// Runs a command among the daemon's mounts.
fn beside(daemon: &Daemon, arguments: &[&str]) -> Ran {
    let id = daemon.id().to_string();
    let mut command = Command::new("nsenter");
    command
        .args(["--target", &id, "--mount", "--"])
        .args(arguments);
    Ran::of(command.output().unwrap())
}

#[test]
fn a_mount_over_the_docroot_is_refused_and_nothing_is_written_into_it() {
    const TEST: &str = "a_mount_over_the_docroot_is_refused_and_nothing_is_written_into_it";
    let world = World::running("none");
    let mirror = world.admitted("mirror");
    let Some(daemon) = with_own_mounts(TEST, &world, &mirror) else {
        return;
    };
    world.publish(&[("f", b"1")]);
    assert!(
        within(A_MINUTE, || mirror.release() == 1),
        "{}",
        daemon.log()
    );
    let docroot = mirror.docroot.to_str().unwrap();
    let mounted = beside(&daemon, &["mount", "-t", "tmpfs", "none", docroot]);
    assert_eq!(mounted.code, 0, "{mounted:?}");
    world.publish(&[("f", b"2")]);
    let noticed = || {
        let fault = mirror.status()["last_error"].clone();
        fault["what"]
            .as_str()
            .unwrap_or_default()
            .contains("was replaced while it was in use")
            && fault["advice"]
                .as_str()
                .unwrap_or_default()
                .contains("unmount what lies over it")
    };
    assert!(
        within(A_MINUTE, noticed),
        "{}\n{}",
        mirror.status(),
        daemon.log()
    );
    assert_eq!(beside(&daemon, &["ls", "-A", docroot]).out, "");
    assert_eq!(get(daemon.port("http"), "/f", &[]).body, b"1");
    assert_eq!(mirror.release(), 1);
    assert_eq!(beside(&daemon, &["umount", docroot]).code, 0);
    assert!(
        within(2 * A_MINUTE, || mirror.release() == 2),
        "{}",
        daemon.log()
    );
}

#[test]
fn a_mount_over_a_name_of_the_release_is_said_and_the_next_release_comes_all_the_same() {
    const TEST: &str =
        "a_mount_over_a_name_of_the_release_is_said_and_the_next_release_comes_all_the_same";
    let world = World::running("none");
    let mirror = world.admitted("mirror");
    let Some(daemon) = with_own_mounts(TEST, &world, &mirror) else {
        return;
    };
    world.publish(&[("f", b"1"), ("g", b"g")]);
    assert!(
        within(A_MINUTE, || mirror.release() == 1),
        "{}",
        daemon.log()
    );
    let his = world.path("his");
    fs::write(&his, b"his").unwrap();
    let name = mirror.docroot.join("f");
    let (his, name) = (his.to_str().unwrap(), name.to_str().unwrap());
    let mounted = beside(&daemon, &["mount", "--bind", his, name]);
    assert_eq!(mounted.code, 0, "{mounted:?}");
    let noticed = || {
        let fault = mirror.status()["last_error"].clone();
        fault["advice"]
            .as_str()
            .unwrap_or_default()
            .contains("something is mounted there")
    };
    assert!(
        within(A_MINUTE, noticed),
        "{}\n{}",
        mirror.status(),
        daemon.log()
    );
    assert_eq!(fs::read(his).unwrap(), b"his");
    let served = get(daemon.port("http"), "/f", &[]);
    assert!(served.status != 200 || served.body == b"1", "{served:?}");
    world.publish(&[("f", b"2"), ("g", b"g")]);
    let there = || mirror.release() == 2 && mirror.file("f").as_deref() == Some(b"2");
    assert!(within(2 * A_MINUTE, there), "{}", daemon.log());
    assert_eq!(beside(&daemon, &["cat", name]).out, "2");
    assert_eq!(fs::read(his).unwrap(), b"his");
    assert!(is_clean(&mirror));
}

#[test]
fn an_old_rsync_job_that_deletes_spoils_no_release_for_longer_than_it_runs() {
    const TEST: &str = "an_old_rsync_job_that_deletes_spoils_no_release_for_longer_than_it_runs";
    let Some(rsync) = support::program(TEST, "rsync", "rsync") else {
        return;
    };
    let world = World::running("none");
    let mirror = world.serving("mirror");
    let old = world.path("old");
    fs::create_dir(&old).unwrap();
    for name in ["daily.bin", "main.bin", "gone.bin"] {
        fs::write(old.join(name), format!("old {name}")).unwrap();
    }
    let stays = noise(4, 500_000);
    let files = |number: u64| {
        [
            ("daily.bin", noise(100 + number, 800_000)),
            ("main.bin", stays.clone()),
            ("new.bin", number.to_le_bytes().to_vec()),
        ]
    };
    let publish = |number: u64| {
        let files = files(number);
        let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (*n, b.as_slice())).collect();
        world.publish(&files);
    };
    publish(1);
    mirror.reaches(1);
    fs::write(mirror.docroot.join("local_mine"), b"mine").unwrap();

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let job = scope.spawn(|| {
            let mut runs = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut command = Command::new(&rsync);
                command.args(["-rlt", "--delete", "--exclude", "local_*"]);
                command
                    .arg(format!("{}/", old.display()))
                    .arg(&mirror.docroot);
                // It may fail where we are faster; the next one comes.
                let _ = command.output().unwrap();
                runs += 1;
            }
            runs
        });
        for number in 2..=5 {
            publish(number);
            std::thread::sleep(Duration::from_millis(700));
        }
        // Long enough for the daemon to look, too.
        std::thread::sleep(Duration::from_secs(35));
        stop.store(true, Ordering::Relaxed);
        let runs = job.join().unwrap();
        println!("rsync ran {runs} times");
        assert!(runs > 10);
    });
    let right = || {
        mirror.release() == 5
            && files(5)
                .iter()
                .all(|(name, bytes)| mirror.file(name).as_ref() == Some(bytes))
            && mirror.file("gone.bin").is_none()
            && is_clean(&mirror)
    };
    assert!(
        within(2 * A_MINUTE, right),
        "{}\n{}",
        mirror.status(),
        mirror.log()
    );
    assert_eq!(mirror.file("local_mine").unwrap(), b"mine");
    let said = mended(&mirror);
    assert!(said.contains("an old job such as rsync"), "{said}");
    assert!(within(A_MINUTE, || mirror.status()["last_error"].is_null()));
    assert_eq!(
        get(mirror.http(), "/new.bin", &[]).body,
        5_u64.to_le_bytes()
    );
}

#[test]
fn log_files_that_are_being_written_in_a_local_folder_lose_no_line_by_switches() {
    let world = World::running("none");
    let mirror = world.serving("mirror");
    world.publish(&[("f", b"0"), ("n0", b"")]);
    mirror.reaches(1);
    let folder = mirror.docroot.join("local_logs");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("access.log");
    let mut open = File::options()
        .append(true)
        .create(true)
        .open(&path)
        .unwrap();
    let inode = open.metadata().unwrap().ino();
    let switches = if support::long() { 200 } else { 20 };
    let stop = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut lines = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                writeln!(open, "line {lines}").unwrap();
                lines += 1;
                std::thread::sleep(Duration::from_micros(200));
            }
            lines
        });
        for number in 1..=switches {
            world.publish(&[
                ("f", &u64::to_le_bytes(number)),
                (&format!("n{number}"), b""),
            ]);
            mirror.reaches(number + 1);
        }
        stop.store(true, Ordering::Relaxed);
        writing.join().unwrap()
    });
    println!("{switches} switches, {written} lines");
    let text = fs::read_to_string(&path).unwrap();
    let whole = text
        .lines()
        .enumerate()
        .all(|(at, line)| line == format!("line {at}"));
    assert!(whole && text.lines().count() as u64 == written);
    assert_eq!(path.metadata().unwrap().ino(), inode);
    assert!(mirror.status()["mended"].is_null(), "{}", mended(&mirror));
}
