//! What runs after a switch: the operator's command, and clamd.

mod support;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use support::http::get;
use support::process::eventually;
use support::world::{Mirror, World};

/// Makes `script` the mirror's hook.
fn hook(world: &World, mirror: &Mirror, script: &str, timeout_s: u64) {
    let program = world.path("hook");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let program = program.to_str().unwrap();
    let table =
        format!("[hook]\ncommand = [{program:?}, \"an argument\"]\ntimeout_s = {timeout_s}\n");
    add_to_config(mirror, &table, true);
}

fn add_to_config(mirror: &Mirror, text: &str, last: bool) {
    let path = mirror.state.join("mirror.toml");
    let config = fs::read_to_string(&path).unwrap();
    let config = match last {
        true => format!("{config}\n{text}"),
        false => format!("{text}\n{config}"),
    };
    fs::write(path, config).unwrap();
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn after<'a>(status: &'a serde_json::Value, whom: &str) -> &'a serde_json::Value {
    let all = status["after"].as_array().unwrap();
    all.iter()
        .find(|after| after["whom"] == whom)
        .unwrap_or(&serde_json::Value::Null)
}

/// A script that writes down what it was told.
fn writes_to(out: &Path) -> String {
    format!(
        "echo \"$1 $TIDECAST_FEED $TIDECAST_PREVIOUS $TIDECAST_RELEASE $TIDECAST_FILES_CHANGED $TIDECAST_FILES_REMOVED $TIDECAST_DOCROOT\" >> {}",
        out.display()
    )
}

#[test]
fn a_hook_is_told_of_every_switch_once_and_of_one_that_a_crash_kept_from_it() {
    let world = World::running("none");
    let mut mirror = world.admitted("mirror");
    let out = world.path("told");
    let docroot = mirror.docroot.display().to_string();
    hook(&world, &mirror, &writes_to(&out), 10);
    world.publish(&[("a", b"1"), ("b", b"1")]);
    // One-shot syncs run it, too, and only when there was a switch.
    assert_eq!(mirror.run(&["sync"]).code, 0);
    assert_eq!(mirror.run(&["sync"]).code, 0);
    assert_eq!(lines(&out), [format!("an argument t 0 1 2 0 {docroot}")]);
    world.publish(&[("a", b"2")]);
    mirror.start();
    mirror.reaches(2);
    assert!(eventually(|| lines(&out).len() == 2));
    assert_eq!(lines(&out)[1], format!("an argument t 1 2 1 1 {docroot}"));
    assert!(eventually(
        || after(&mirror.status(), "hook")["release"] == 2
    ));
    assert_eq!(after(&mirror.status(), "hook")["ok"], true);

    // As a crash between switch and hook leaves it: the record speaks of the release before.
    mirror.daemon().kill();
    let record = mirror.state.join("after-switch");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"release\":2", "\"release\":1")).unwrap();
    mirror.start();
    assert!(eventually(|| lines(&out).len() == 3));
    assert_eq!(lines(&out)[2], lines(&out)[1]);
    assert!(eventually(
        || after(&mirror.status(), "hook")["release"] == 2
    ));
    mirror.daemon().stop();
    mirror.start();
    mirror.reaches(2);
    world.publish(&[("a", b"3")]);
    mirror.reaches(3);
    assert!(eventually(|| lines(&out).len() == 4), "{:?}", lines(&out));
}

#[test]
fn a_hook_that_fails_or_hangs_harms_no_switch_and_is_said() {
    let world = World::running("none");
    let mut mirror = world.admitted("mirror");
    let out = world.path("told");
    let script = format!(
        "echo $TIDECAST_RELEASE >> {}; printf 'bad \\033[31mnews\\n'; [ $TIDECAST_RELEASE = 1 ] && exit 3; sleep 300",
        out.display()
    );
    hook(&world, &mirror, &script, 2);
    mirror.start();
    world.publish(&[("a", b"1")]);
    mirror.reaches(1);
    let failed = || after(&mirror.status(), "hook")["ok"] == false;
    assert!(eventually(failed), "{}", mirror.status());
    let status = mirror.run(&["status"]);
    assert_eq!(status.code, 1, "{status:?}");
    assert!(status.out.contains("exit status: 3"), "{status:?}");
    let log = mirror.log();
    assert!(log.contains("hook says: bad \\u{1b}[31mnews"), "{log}");
    assert_eq!(mirror.run(&["sync"]).code, 0);

    // While one hangs, releases go on arriving; those that pile up are told as one.
    world.publish(&[("a", b"2")]);
    assert!(eventually(|| lines(&out).len() == 2), "{}", mirror.log());
    for release in 3..=5_u64 {
        world.publish(&[("a", &release.to_le_bytes())]);
        mirror.reaches(release);
    }
    assert!(eventually(|| lines(&out).len() == 3), "{}", mirror.log());
    let told = lines(&out);
    assert!(told[..2] == ["1", "2"] && told[2] != "3", "{told:?}");
    assert!(
        mirror.log().contains("ran longer than 2 s"),
        "{}",
        mirror.log()
    );
    // One that runs does not keep the daemon from ending.
    let begun = std::time::Instant::now();
    assert_eq!(mirror.daemon().stop().code(), Some(0));
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}

#[test]
fn a_hook_that_cannot_be_run_is_named_and_a_wrong_configuration_is_refused() {
    let world = World::running("none");
    let mirror = world.admitted("mirror");
    add_to_config(&mirror, "[hook]\ncommand = [\"/nowhere/hook\"]\n", true);
    world.publish(&[("a", b"1")]);
    let synced = mirror.run(&["sync"]);
    assert_eq!(synced.code, 0, "{synced:?}");
    assert!(
        synced.out.contains("/nowhere/hook cannot be run"),
        "{synced:?}"
    );
    assert_eq!(mirror.release(), 1);

    let mirror = world.admitted("other");
    add_to_config(&mirror, "clamd = \"clamd.ctl\"\n", false);
    for arguments in [&["config", "check"][..], &["sync"], &["mirror"]] {
        mirror.run(arguments).refused(78, &["clamd", "LocalSocket"]);
    }
}

/// A clamd that writes down each command and answers with these in turn, then with the last.
fn clamd(path: PathBuf, answers: &'static [&'static [u8]]) -> Receiver<Vec<u8>> {
    let listener = UnixListener::bind(path).unwrap();
    let (asked, commands) = channel();
    std::thread::spawn(move || {
        let mut answers = answers.iter();
        let mut answer: &[u8] = b"";
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut command = [0; 8];
            let count = stream.read(&mut command).unwrap();
            answer = answers.next().copied().unwrap_or(answer);
            stream.write_all(answer).unwrap();
            if asked.send(command[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    commands
}

#[test]
fn clamd_reloads_after_each_switch_and_what_it_answers_is_said() {
    let world = World::running("none");
    let mut mirror = world.admitted("mirror");
    let socket = world.path("clamd.ctl");
    let asked = clamd(
        socket.clone(),
        &[b"RELOADING\0", b"COMMAND UNAVAILABLE\0", b"RELOADING\n"],
    );
    add_to_config(
        &mirror,
        &format!("clamd = {:?}\n", socket.to_str().unwrap()),
        false,
    );
    world.publish(&[("a", b"1")]);
    assert_eq!(mirror.run(&["sync"]).code, 0);
    assert_eq!(asked.recv().unwrap(), b"zRELOAD\0");
    assert!(asked.try_recv().is_err(), "asked more than once");

    mirror.start();
    world.publish(&[("a", b"2")]);
    mirror.reaches(2);
    assert_eq!(asked.recv().unwrap(), b"zRELOAD\0");
    assert!(eventually(|| mirror.log().contains("COMMAND UNAVAILABLE")));
    // A second later it is asked again.
    assert_eq!(asked.recv().unwrap(), b"zRELOAD\0");
    let told = || after(&mirror.status(), "clamd")["release"] == 2;
    assert!(eventually(told), "{}", mirror.status());
    assert_eq!(after(&mirror.status(), "clamd")["ok"], true);
    assert_eq!(get(mirror.http(), "/a", &[]).body, b"2");
}

#[test]
fn a_clamd_that_is_not_there_is_said_with_what_to_do_and_harms_nothing() {
    let world = World::running("none");
    let mirror = world.admitted("mirror");
    let socket = world.path("clamd.ctl");
    add_to_config(
        &mirror,
        &format!("clamd = {:?}\n", socket.to_str().unwrap()),
        false,
    );
    world.publish(&[("a", b"1")]);
    let synced = mirror.run(&["sync"]);
    assert_eq!(synced.code, 0, "{synced:?}");
    assert!(synced.out.contains("cannot be reached"), "{synced:?}");
    assert!(synced.out.contains("LocalSocket"), "{synced:?}");
    assert_eq!(mirror.release(), 1);

    // It is owed still.
    let asked = clamd(socket, &[b"RELOADING\0"]);
    assert_eq!(mirror.run(&["sync"]).code, 0);
    assert_eq!(asked.recv().unwrap(), b"zRELOAD\0");
}

#[test]
fn a_real_clamd_loads_what_was_installed() {
    const TEST: &str = "a_real_clamd_loads_what_was_installed";
    let Some(program) = support::program(TEST, "clamd", "clamav-daemon") else {
        return;
    };
    let world = World::running("none");
    let mut mirror = world.admitted("mirror");
    let signature = |name: &str| format!("{name}:0:*:{}\n", "deadbeef".repeat(8));
    world.publish(&[("site.ndb", signature("First").as_bytes())]);
    assert_eq!(mirror.run(&["sync"]).code, 0);

    // It reads the docroot itself, links and all.
    let (socket, log) = (world.path("clamd.ctl"), world.path("clamd.log"));
    let config = world.path("clamd.conf");
    let text = format!(
        "LocalSocket {}\nDatabaseDirectory {}\nLogFile {}\nForeground yes\nSelfCheck 0\n",
        socket.display(),
        mirror.docroot.display(),
        log.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = std::process::Command::new(program);
    command.arg("--config-file").arg(&config);
    let clamd = support::process::Running::start(command.stdout(std::process::Stdio::null()));
    let said = |what: &str| fs::read_to_string(&log).unwrap_or_default().contains(what);
    assert!(
        eventually(|| socket.exists()),
        "{:?}",
        fs::read_to_string(&log)
    );
    assert!(!said("reload"));

    add_to_config(
        &mirror,
        &format!("clamd = {:?}\n", socket.to_str().unwrap()),
        false,
    );
    mirror.start();
    world.publish(&[("site.ndb", signature("Second").as_bytes())]);
    mirror.reaches(2);
    let reloaded = || said("Database correctly reloaded") || said("Database reload completed");
    assert!(
        eventually(reloaded),
        "{:?}\n{}",
        fs::read_to_string(&log),
        mirror.log()
    );
    drop(clamd);
}
