//! The mirror as a process: killed, doubled, stopped, waiting, revoked.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use support::command::tidecast;
use support::http::get;
use support::process::eventually;
use support::world::{Mirror, World, listing, noise};

fn eventually_release(mirror: &Mirror, release: u64) -> bool {
    eventually(|| mirror.release() == release)
}

/// A megabyte, in bytes.
const MB: usize = 1_000_000;

#[test]
fn a_mirror_killed_while_it_fetches_goes_on_where_it_was() {
    let world = World::running("none");
    let first = world.publish(&[("daily.bin", b"old"), ("stays", b"same")]);
    let mut mirror = world.serving("mirror");
    mirror.reaches(first);
    // Slow enough to be killed in the middle.
    let slowly = ["node", "set", &mirror.key, "--rate", "20M", "--json"];
    world.on_master(&slowly).object();
    let big = noise(1, 48 * MB);
    let second = world.publish(&[("daily.bin", &big), ("stays", b"same"), ("new", b"n")]);

    // Whichever road they come along: in the file that is built, or in what is kept for it.
    let fetched = || {
        let bytes = |name: &str| {
            let path = mirror.docroot.join(".tidecast").join(name);
            fs::metadata(path).map_or(0, |found| found.blocks() * 512)
        };
        bytes("new/daily.bin").max(bytes("spool"))
    };
    let mut had = 0;
    assert!(eventually(|| {
        had = had.max(fetched());
        had > 12 * MB as u64 || mirror.release() == second
    }));
    assert_eq!(mirror.release(), first, "fetched before it could be killed");
    mirror.daemon().kill();

    // What clients of a web server on the docroot see meanwhile is the old release, whole.
    assert_eq!(mirror.file("daily.bin").unwrap(), b"old");
    assert_eq!(mirror.file("stays").unwrap(), b"same");
    assert!(mirror.file("new").is_none());
    let verified = mirror.run(&["verify", "--json"]).object();
    assert_eq!(
        (&verified["clean"], &verified["release"]),
        (&true.into(), &first.into())
    );

    mirror.start();
    mirror.reaches(second);
    assert_eq!(mirror.file("daily.bin").unwrap(), big);
    let report = mirror.status()["last_sync"].clone();
    let received = report["received_bytes"].as_u64().unwrap();
    // Packet headers and what had been asked for but was not yet written.
    let most = (big.len() as u64 - had) * 11 / 10 + 2 * MB as u64;
    assert!(received < most, "{had} bytes were there, then {report}");
    let verified = mirror.run(&["verify", "--json"]).object();
    assert_eq!(verified["clean"], true);
}

/// Kills the daemon again and again around the moment of the switch.
#[test]
fn a_mirror_killed_at_any_moment_serves_one_whole_release() {
    let world = World::running("none");
    let files = |release: u64| -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<(String, Vec<u8>)> = (0..20)
            .map(|number| (format!("f{number}"), release.to_le_bytes().to_vec()))
            .collect();
        files.push((format!("only{release}"), b"x".to_vec()));
        files
    };
    let publish = |release: u64| {
        let files = files(release);
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        assert_eq!(world.publish(&files), release);
    };
    let mut mirror = world.serving("mirror");
    publish(1);
    mirror.reaches(1);
    let docroot = mirror.docroot.clone();
    let rounds = if support::long() { 200 } else { 10 };
    for release in 2..2 + rounds {
        let tree = docroot.join(format!(".tidecast/r{release}"));
        let link = docroot.join(format!("only{release}"));
        // Each round waits for another step of the way to the switch.
        let reached = || match release % 5 {
            0 => docroot.join(".tidecast/new").exists() || tree.exists(),
            1 => tree.exists(),
            2 => link.is_symlink(),
            3 => {
                fs::read_link(docroot.join(".tidecast/current")).unwrap()
                    == tree.file_name().unwrap()
            }
            _ => fs::read_link(&link).is_ok_and(|to| to.starts_with(".tidecast/current")),
        };
        std::thread::scope(|scope| {
            let publishing = scope.spawn(|| publish(release));
            let begun = Instant::now();
            while !reached() {
                assert!(
                    begun.elapsed() < Duration::from_secs(20),
                    "{}",
                    mirror.log()
                );
                std::hint::spin_loop();
            }
            mirror.daemon().kill();
            publishing.join().unwrap();
        });
        let live = mirror.release();
        assert!(live == release || live == release - 1, "{live}");
        for (name, bytes) in files(live) {
            let found = mirror.file(&name);
            // A name that the next release drops may go a moment before the switch.
            if found.is_none() && name.starts_with("only") && live < release {
                continue;
            }
            assert_eq!(
                found.as_ref(),
                Some(&bytes),
                "{name} of {live} after {release}"
            );
        }
        mirror.start();
        mirror.reaches(release);
        for (name, bytes) in files(release) {
            assert_eq!(mirror.file(&name), Some(bytes), "{name} of {release}");
        }
        assert!(mirror.file(&format!("only{}", release - 1)).is_none());
    }
}

#[test]
fn a_second_daemon_on_one_docroot_is_refused_and_told_who_is_there() {
    let world = World::running("none");
    let mut mirror = world.serving("mirror");
    world.publish(&[("f", b"1")]);
    mirror.reaches(1);
    let pid = mirror.daemon().id().to_string();
    let docroot = mirror.docroot.to_str().unwrap().to_owned();
    let state = world.path("second");
    let joined = support::command::run(
        &state,
        &[
            "join",
            &world.upstream(),
            "--fingerprint",
            &world.fingerprint,
            "--docroot",
            &docroot,
            "--yes",
        ],
    );
    assert_eq!(joined.code, 0, "{joined:?}");
    for arguments in [&["mirror", "--http", "127.0.0.1:0"][..], &["sync"]] {
        let second = support::command::run(&state, arguments);
        second.refused(75, &[&docroot, &format!("process {pid}")]);
    }
    // On its own state it is refused as well.
    let twin = mirror.run(&["mirror", "--http", "127.0.0.1:0"]);
    assert_ne!(twin.code, 0);
    assert!(twin.err.contains("already runs"), "{twin:?}");
    assert_eq!(get(mirror.http(), "/f", &[]).body, b"1");
}

#[test]
fn term_ends_both_daemons_within_seconds_although_others_keep_connections_open() {
    let mut world = World::running("none");
    let mut mirror = world.serving("mirror");
    world.publish(&[("f", b"1")]);
    mirror.reaches(1);
    // A client that keeps its connection for later.
    let mut idle = TcpStream::connect(("127.0.0.1", mirror.http())).unwrap();
    idle.write_all(b"GET /f HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let begun = Instant::now();
    assert_eq!(
        world.master().stop().code(),
        Some(0),
        "{}",
        world.master().log()
    );
    assert_eq!(mirror.daemon().stop().code(), Some(0), "{}", mirror.log());
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(mirror.file("f").unwrap(), b"1");
    assert!(!mirror.state.join("control.sock").exists());
}

#[test]
fn a_mirror_that_waits_says_so_and_has_the_release_moments_after_it_is_admitted() {
    let world = World::running("none");
    world.publish(&[("f", b"1")]);
    let mut mirror = world.mirror("mirror");
    mirror.start();
    let waits = format!("pending: waiting to be admitted as {}", mirror.key);
    assert!(
        eventually(|| mirror.log().contains(&waits)),
        "{}",
        mirror.log()
    );
    let node = world.node(&mirror);
    assert_eq!(node["state"], "pending");
    assert_eq!(
        (&node["name"], &node["contact"]),
        (&"mirror".into(), &"admin@example.org".into())
    );
    let status = mirror.status();
    let diagnosis = &status["diagnosis"];
    assert_eq!(diagnosis["well"], false);
    assert!(
        diagnosis["fault_of"]
            .as_str()
            .unwrap()
            .contains(&world.upstream())
    );
    assert_eq!(
        diagnosis["next"],
        format!("tidecast node admit {}", mirror.key)
    );
    let next = world.on_master(&["status", "--json"]).judged()["diagnosis"]["next"].clone();
    assert!(
        next.as_str()
            .unwrap()
            .ends_with(&format!("node admit {}", mirror.key))
    );

    let synced = mirror.run(&["sync"]);
    synced.refused(77, &[&mirror.key, "node admit"]);

    world.admit(&mirror);
    let begun = Instant::now();
    assert!(eventually_release(&mirror, 1), "{}", mirror.log());
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    mirror.reaches(1);
    assert_eq!(mirror.status()["diagnosis"]["well"], true);
    assert!(eventually(|| world.node(&mirror)["serving"] == "live"));
}

#[test]
fn a_sync_without_admission_ends_with_77_and_the_command_for_the_masters_operator() {
    let world = World::running("none");
    world.publish(&[("f", b"1")]);
    let mirror = world.mirror("mirror");
    for arguments in [&["sync"][..], &["sync", "-n"]] {
        mirror
            .run(arguments)
            .refused(77, &[&mirror.key, "tidecast node admit"]);
    }
    assert_eq!(mirror.release(), 0);
    world.admit(&mirror);
    let report = mirror.run(&["sync", "--json"]).object();
    assert_eq!(
        (&report["to"], &report["switched"]),
        (&1.into(), &true.into())
    );
}

#[test]
fn a_sync_with_nobody_there_says_within_5_seconds_what_to_check() {
    let world = World::running("none");
    let mirror = world.admitted("mirror");
    let mut world = world;
    let port = {
        let upstream = world.upstream();
        world.stop_master();
        upstream.rsplit_once(':').unwrap().1.to_owned()
    };
    let begun = Instant::now();
    let ran = mirror.run(&["sync"]);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    ran.refused(
        69,
        &[
            "127.0.0.1",
            &format!("UDP port {port}"),
            "master runs",
            "firewalls",
        ],
    );

    // The daemon stays up, says whose fault it is and what to type, and recovers by itself.
    let mut mirror = mirror;
    mirror.start();
    assert!(eventually(
        || mirror.status()["diagnosis"]["fault_of"].is_string()
    ));
    let diagnosis = mirror.status()["diagnosis"].clone();
    assert!(
        diagnosis["fault_of"].as_str().unwrap().contains("network"),
        "{diagnosis}"
    );
    assert!(
        diagnosis["next"].as_str().unwrap().contains("sync"),
        "{diagnosis}"
    );
    let socket = UdpSocket::bind(format!("127.0.0.1:{port}")).unwrap();
    drop(socket);
    world.restart_master();
    world.publish(&[("f", b"1")]);
    mirror.reaches(1);
    assert_eq!(mirror.status()["diagnosis"]["well"], true);
}

#[test]
fn a_revoked_node_is_cut_off_within_a_second_and_told_so() {
    let world = World::running("none");
    world.publish(&[("f", b"1")]);
    let mirror = world.serving("mirror");
    mirror.reaches(1);
    assert!(eventually(|| world.node(&mirror)["connected"] == true));
    let begun = Instant::now();
    let revoked = world
        .on_master(&["node", "revoke", &mirror.key, "--json"])
        .object();
    assert_eq!(
        (&revoked["state"], &revoked["told"]),
        (&"revoked".into(), &true.into())
    );
    assert!(eventually(
        || mirror.status()["connection"]["state"] != "connected"
    ));
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    assert!(eventually(|| mirror.status()["diagnosis"]["well"] == false));
    let told = || {
        let diagnosis = mirror.status()["diagnosis"].to_string();
        diagnosis.contains("revoked")
    };
    assert!(eventually(told), "{}\n{}", mirror.status(), mirror.log());

    world.publish(&[("f", b"2")]);
    mirror.run(&["sync"]).refused(77, &["revoked"]);
    assert_eq!(
        (mirror.release(), mirror.file("f")),
        (1, Some(b"1".to_vec()))
    );
    assert_eq!(get(mirror.http(), "/f", &[]).body, b"1");
    assert_eq!(world.node(&mirror)["state"], "revoked");
}

#[test]
fn a_download_that_is_open_over_a_switch_ends_with_the_bytes_it_began_with() {
    let world = World::running("none");
    let old = noise(2, 24 * MB);
    let new = noise(3, 24 * MB);
    let first = world.publish(&[("big.bin", &old)]);
    let mirror = world.serving("mirror");
    mirror.reaches(first);
    let mut download = TcpStream::connect(("127.0.0.1", mirror.http())).unwrap();
    download
        .write_all(b"GET /big.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = vec![0; 64 * 1024];
    download.read_exact(&mut answer).unwrap();

    let second = world.publish(&[("big.bin", &new)]);
    mirror.reaches(second);
    assert_eq!(
        get(mirror.http(), "/big.bin", &["Range: bytes=0-99"]).body,
        new[..100]
    );
    download.read_to_end(&mut answer).unwrap();
    let (head, body) = support::http::split_head(&answer).unwrap_or_else(|| {
        panic!("no complete head in {} bytes", answer.len());
    });
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body == old, "the download was torn");
}

#[test]
fn verify_finds_a_flipped_byte_and_sync_mends_it() {
    let world = World::running("none");
    world.publish(&[("a.bin", &noise(4, 300_000)), ("b.bin", b"b")]);
    let mirror = world.admitted("mirror");
    mirror.run(&["sync", "--json"]).object();
    assert_eq!(mirror.run(&["verify", "--json"]).object()["clean"], true);

    let path = mirror.docroot.join("a.bin");
    let mut bytes = fs::read(&path).unwrap();
    bytes[200_000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let object = mirror.run(&["verify", "--json"]).object_and(65);
    assert_eq!(
        (&object["clean"], &object["fault_count"]),
        (&false.into(), &1.into())
    );
    assert!(
        object["faults"][0].as_str().unwrap().contains("a.bin"),
        "{object}"
    );
    let told = mirror.run(&["verify"]);
    assert!(
        told.out.contains("next: ") && told.out.contains("verify --heal"),
        "{told:?}"
    );

    let synced = mirror.run(&["sync", "--json"]).object();
    let verified = mirror.run(&["verify", "--json"]).object();
    assert_eq!(verified["clean"], true, "{synced} {verified}");
}

#[test]
fn a_dry_run_says_what_would_happen_and_writes_nothing() {
    let world = World::running("none");
    world.publish(&[
        ("gone", b"1"),
        ("changes", b"1"),
        ("stays", b"1"),
        ("stays2", b"1"),
    ]);
    let mirror = world.admitted("mirror");
    mirror.run(&["sync", "--json"]).object();
    let big = noise(5, 500_000);
    world.publish(&[
        ("changes", &big),
        ("comes", b"123"),
        ("stays", b"1"),
        ("stays2", b"1"),
    ]);
    let before = (listing(&mirror.docroot), listing(&mirror.state));
    let plan = mirror.run(&["sync", "-n", "--json"]).object();
    assert_eq!((listing(&mirror.docroot), listing(&mirror.state)), before);
    assert_eq!((&plan["from"], &plan["to"]), (&1.into(), &2.into()));
    assert_eq!(plan["added"], serde_json::json!([["comes", 3]]));
    assert_eq!(plan["changed"], serde_json::json!([["changes", 500_000]]));
    assert_eq!(plan["removed"], serde_json::json!([["gone", 1]]));
    assert_eq!(
        (&plan["unchanged"], &plan["fetch_bytes"]),
        (&2.into(), &500_003.into())
    );
    let report = mirror.run(&["sync", "--json"]).object();
    assert_eq!(
        (&report["files_changed"], &report["files_removed"]),
        (&2.into(), &1.into())
    );
    for field in [
        "from",
        "to",
        "received_bytes",
        "sent_bytes",
        "reused_bytes",
        "seconds",
        "reason",
    ] {
        assert!(!report[field].is_null(), "{field}: {report}");
    }
}

/// What a fresh mirror would fetch is known before it is admitted to a docroot of its own.
#[test]
fn a_dry_run_of_a_fresh_mirror_leaves_not_even_the_docroot() {
    let world = World::running("none");
    world.publish(&[("f", b"123")]);
    let mirror = world.admitted("mirror");
    let before = listing(&mirror.state);
    let plan = mirror.run(&["sync", "-n", "--json"]).object();
    assert_eq!(plan["added"], serde_json::json!([["f", 3]]));
    assert!(!mirror.docroot.exists());
    assert_eq!(listing(&mirror.state), before);
}

#[test]
fn every_command_answers_in_json_and_names_its_fields() {
    let world = World::running("none");
    world.lay_out(&[("f", b"1")]);
    let mirror = world.mirror("mirror");
    let published = world.publish_with(&[]).object();
    for field in [
        "release",
        "files",
        "changed",
        "removed",
        "new_bytes",
        "seconds",
    ] {
        assert!(published[field].is_number(), "{field}: {published}");
    }
    world.admit(&mirror);
    for arguments in [
        &["node", "list", "--json"][..],
        &["node", "revoke", &mirror.key, "--json"],
        &["node", "admit", &mirror.key, "--json"],
        &["config", "check", "--json"],
    ] {
        world.on_master(arguments).object();
    }
    world.on_master(&["status", "--json"]).judged();
    for arguments in [
        &["sync", "-n", "--json"][..],
        &["sync", "--json"],
        &["verify", "--json"],
        &["config", "check", "--json"],
    ] {
        mirror.run(arguments).object();
    }
    mirror.run(&["status", "--json"]).judged();
    let errors = tidecast(&world.path("nobody"))
        .args(["verify", "--json"])
        .output()
        .unwrap();
    let error: serde_json::Value = serde_json::from_slice(&errors.stderr).unwrap();
    assert_eq!(error["exit_code"], errors.status.code().unwrap());
}

#[test]
fn a_status_counts_what_the_web_server_has_served() {
    let world = World::running("none");
    world.publish(&[("f", b"12345")]);
    let mut mirror = world.serving("m");
    mirror.reaches(1);
    assert_eq!(get(mirror.http(), "/f", &[]).body, b"12345");
    let part = get(mirror.http(), "/f", &["Range: bytes=0-1"]);
    assert_eq!(part.status, 206);
    // `/healthz`, which `reaches` asked for, is counted among the others, too.
    let counted = eventually(|| {
        let other = &mirror.status()["http"]["other"];
        other["whole"].as_u64() >= Some(2) && other["partial"] == 1
    });
    assert!(counted, "{}", mirror.status());
    let shown: serde_json::Value =
        serde_json::from_slice(&get(mirror.http(), "/status.json", &[]).body).unwrap();
    assert_eq!(shown["release"], 1);
    assert_eq!(shown["http"]["lines_dropped"], 0);
    assert_eq!(shown["http"]["files_unserved"], 0);
    assert!(
        shown["http"]["connections"].as_u64().unwrap() >= 2,
        "{shown}"
    );
    mirror.daemon().stop();
    let status = mirror.run(&["status", "--json"]).judged();
    assert!(status["http"].is_null(), "{status}");
}

#[test]
fn daemons_leave_no_core_files_and_only_root_may_look_into_them() {
    let mut world = World::running("none");
    let first = world.publish(&[("f", b"one")]);
    let mut mirror = world.serving("mirror");
    mirror.reaches(first);
    for id in [world.master().id(), mirror.daemon().id()] {
        let of = |file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).unwrap();
        let limits = of("limits");
        let core = limits.lines().find(|line| line.starts_with("Max core"));
        let words: Vec<_> = core.unwrap().split_whitespace().collect();
        assert_eq!(words[..6], ["Max", "core", "file", "size", "0", "0"]);
        // What everybody may read of a process stays readable.
        assert!(of("status").contains("VmRSS"));
        let owner = fs::metadata(format!("/proc/{id}/maps")).unwrap().uid();
        assert_eq!(owner, 0, "whoever runs it");
    }
}
