//! The command line, driven as an operator or a script drives it: what it refuses, what it says, how it ends.

#[path = "support/command.rs"]
mod command;

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use command::{Master, Place, STRANGE_FINGERPRINT, names, signal};

#[test]
fn a_feed_is_made_once_and_its_keys_are_kept_apart() {
    let place = Place::new();
    let init = ["feed", "init", "--feed", "clamav", "--json"];
    let made = place.run("master", &init).object();
    assert_eq!(made["feed"], "clamav");
    assert_eq!(made["fingerprint"].as_str().unwrap().len(), 64);
    assert_eq!(made["words"].as_str().unwrap().split(' ').count(), 24);
    let keys = |folder: &str| -> Vec<String> {
        let keys = names(&place.path(folder)).into_iter();
        keys.filter(|path| path.extension().is_some_and(|end| end == "key"))
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(keys("master"), ["head.key", "node.key"]);
    assert_eq!(keys("master-keys"), ["release.key", "root.key"]);

    let before = names(&place.path("master"));
    let again = place.run("master", &["feed", "init", "--feed", "other"]);
    again.refused(73, &["already holds a feed", "nothing was changed"]);
    assert_eq!(names(&place.path("master")), before);
}

#[test]
fn a_feeds_name_must_be_safe() {
    let place = Place::new();
    let ran = place.run("master", &["feed", "init", "--feed", "../x"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("\"../x\""), "{ran:?}");
    assert!(!place.path("master").exists());
}

#[test]
fn publishing_counts_what_changed() {
    let place = Place::with_feed();
    let tree = place.tree("tree", &["a.hdb", "b.hdb"]);
    let publish = ["publish", &place.text("tree"), "--json"];
    let first = place.run("master", &publish).object();
    let of = |object: &Value, field: &str| object[field].as_u64().unwrap();
    for (field, count) in [("release", 1), ("files", 2), ("changed", 2), ("removed", 0)] {
        assert_eq!(of(&first, field), count, "{field}");
    }
    assert!(of(&first, "new_bytes") > 0 && first["seconds"].is_number());
    assert_eq!(first["announced"], false);

    assert_eq!(place.run("master", &publish).object()["created"], false);
    fs::remove_file(tree.join("b.hdb")).unwrap();
    fs::write(tree.join("a.hdb"), "other").unwrap();
    let second = place.run("master", &publish).object();
    for (field, count) in [("release", 2), ("files", 1), ("changed", 1), ("removed", 1)] {
        assert_eq!(of(&second, field), count, "{field}");
    }
}

#[test]
fn a_tree_with_anything_but_plain_files_under_safe_names_is_refused_by_name() {
    let place = Place::with_feed();
    let tree = place.tree("tree", &["a.hdb", "local_x", "ä.hdb"]);
    symlink("/etc/passwd", tree.join("link")).unwrap();
    let before = names(&place.path("master"));
    place
        .publish("tree")
        .refused(65, &["link: ", "local_x: ", "publish again"]);
    let status = place.run("master", &["status", "--json"]).object();
    assert!(status["newest"].is_null());
    let added: Vec<PathBuf> = names(&place.path("master"))
        .into_iter()
        .filter(|path| !before.contains(path) && path.extension().is_some_and(|e| e == "release"))
        .collect();
    assert!(added.is_empty(), "{added:?}");
}

#[test]
fn an_empty_tree_is_never_meant() {
    let place = Place::with_feed();
    place.tree("tree", &[]);
    place.publish("tree").refused(66, &["holds no files"]);
    place.publish("nowhere").refused(66, &["nowhere"]);
}

#[test]
fn publishing_without_the_release_key_says_which_file_is_missing() {
    let place = Place::with_feed();
    place.tree("tree", &["a.hdb"]);
    let keys = place.text("elsewhere");
    let ran = place.run("master", &["publish", &place.text("tree"), "--keys", &keys]);
    ran.refused(66, &["elsewhere/release.key", "--keys"]);
}

#[test]
fn a_fingerprint_that_was_mistyped_is_refused_before_anything_is_written() {
    let place = Place::new();
    for (fingerprint, why) in [
        ("0123", "64 hex digits or 24 words"),
        (&STRANGE_FINGERPRINT[1..], "64 hex digits or 24 words"),
        (
            &["abandon"; 24].join(" ").replacen("abandon", "tidecast", 1),
            "word 1",
        ),
        (&["abandon"; 24].join(" "), "checksum"),
    ] {
        let ran = place.join("docroot", &["--fingerprint", fingerprint]);
        ran.refused(2, &["--fingerprint", why]);
    }
    assert!(names(place.0.path()).is_empty());
}

#[test]
fn joining_writes_configuration_and_key_and_leaves_the_docroot_alone() {
    let place = Place::new();
    let docroot = place.tree("docroot", &["local_logo.png"]);
    let joined = place
        .join("docroot", &["--json", "--contact", "me@example.org"])
        .object();
    assert_eq!(joined["node_key"].as_str().unwrap().len(), 64);
    assert_eq!(joined["docroot"], place.text("docroot"));
    assert_eq!(joined["foreign"], serde_json::json!([]));
    assert_eq!(names(&docroot), [docroot.join("local_logo.png")]);
    assert!(place.path("mirror/mirror.toml").exists());
    place
        .run("mirror", &["config", "check"])
        .says("usable mirror's");

    place
        .join("docroot", &[])
        .refused(73, &["holds a mirror already"]);
    place
        .run("mirror", &["verify"])
        .refused(66, &["no release is served"]);
}

#[test]
fn a_docroot_that_is_a_file_or_whose_parent_is_missing_is_refused() {
    let place = Place::new();
    place.tree(".", &["file"]);
    place
        .join("file", &[])
        .refused(73, &["/file is not a folder"]);
    place
        .join("no/docroot", &[])
        .refused(66, &["does not exist"]);
    assert!(!place.path("mirror").exists());
}

#[test]
fn a_living_web_site_is_taken_over_only_with_a_yes() {
    let place = Place::new();
    let docroot = place.tree("html", &["index.html", ".htaccess"]);
    let before = names(&docroot);
    let ran = place.join("html", &[]);
    ran.refused(
        1,
        &[
            "living web site",
            "index.html",
            "nothing was changed",
            "--yes",
        ],
    );
    assert!(!place.path("mirror").exists());
    let joined = place.join("html", &["--yes", "--json"]).object();
    assert_eq!(joined["foreign"][0]["name"], "index.html");
    assert_eq!(names(&docroot), before);
}

#[test]
fn foreign_files_are_listed_and_need_a_yes() {
    let place = Place::new();
    place.tree("docroot", &["daily.cvd", "local_index.html", "main.cvd"]);
    let ran = place.join("docroot", &[]);
    ran.refused(
        1,
        &[
            "2 names",
            "daily.cvd",
            "main.cvd",
            ".tidecast/removed",
            "--yes",
        ],
    );
    assert!(!ran.err.contains("local_index.html"), "{ran:?}");
}

#[test]
fn a_typo_in_the_configuration_is_shown_with_line_column_and_what_was_meant() {
    let place = Place::new();
    place.join("docroot", &["--json"]).object();
    let path = place.path("mirror/mirror.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("docroot =", "docrot =")).unwrap();
    for command in [
        &["status"][..],
        &["sync"],
        &["verify"],
        &["config", "check"],
    ] {
        place.run("mirror", command).refused(
            78,
            &["mirror.toml", "line 4, column 1", "did you mean `docroot`?"],
        );
    }
}

#[test]
fn a_state_that_is_nobodys_says_how_to_begin() {
    let place = Place::new();
    let begin = ["neither a master nor a mirror", "feed init", "join"];
    place.run("nothing", &["status"]).refused(78, &begin);
    place
        .run("nothing", &["config", "check"])
        .refused(78, &begin);
    place
        .run("nothing", &["master"])
        .refused(78, &["master.toml"]);
    place
        .run("nothing", &["mirror"])
        .refused(78, &["mirror.toml"]);
}

#[test]
fn a_status_without_a_daemon_says_so_and_names_the_next_command() {
    let place = Place::with_feed();
    let publish = place.run("master", &["status", "--json"]).object();
    assert_eq!(publish["daemon"], false);
    let next = |status: &Value| status["diagnosis"]["next"].as_str().unwrap().to_owned();
    assert!(next(&publish).ends_with("publish TREE"));
    place.tree("tree", &["a.hdb"]);
    assert_eq!(place.publish("tree").code, 0);
    let master = place.run("master", &["status", "--json"]).object();
    assert_eq!(master["newest"]["release"], 1);
    assert!(next(&master).ends_with("master"));

    place.join("docroot", &["--json"]).object();
    let mirror = place.run("mirror", &["status", "--json"]).object();
    assert_eq!(
        (&mirror["role"], &mirror["daemon"]),
        (&"mirror".into(), &false.into())
    );
    assert!(next(&mirror).ends_with("mirror"));
}

#[test]
fn an_upstream_that_does_not_answer_is_said_within_5_seconds_with_what_to_check() {
    let place = Place::new();
    // Bound and never read: nothing comes back, as behind a firewall.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let docroot = place.text("docroot");
    let upstream = format!("127.0.0.1:{port}");
    let join = [
        "join",
        &upstream,
        "--docroot",
        &docroot,
        "--fingerprint",
        STRANGE_FINGERPRINT,
    ];
    assert_eq!(place.run("mirror", &join).code, 0);
    for arguments in [&["sync"][..], &["sync", "-n"]] {
        let begun = Instant::now();
        let ran = place.run("mirror", arguments);
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        ran.refused(69, &[&upstream, "UDP", &port.to_string(), "firewall"]);
        assert_eq!(ran.err.lines().count(), 2, "{ran:?}");
    }
}

#[test]
fn a_node_is_admitted_and_revoked_while_no_master_runs() {
    let place = Place::with_feed();
    let key = place.join("docroot", &["--json"]).object()["node_key"].clone();
    let key = key.as_str().unwrap();
    place
        .run("master", &["node", "admit", "mirror7"])
        .refused(66, &["no node is called \"mirror7\""]);
    let admitted = place
        .run("master", &["node", "admit", key, "--json"])
        .object();
    assert_eq!(
        (&admitted["state"], &admitted["told"]),
        (&"admitted".into(), &false.into())
    );
    let revoked = place
        .run("master", &["node", "revoke", &key[..8], "--json"])
        .object();
    assert_eq!(revoked["node_key"], key);
    let list = place.run("master", &["node", "list", "--json"]).object();
    assert_eq!(list["nodes"][0]["state"], "revoked");
    assert_eq!(list["daemon"], false);
}

#[test]
fn operators_who_admit_at_the_same_time_do_not_undo_each_other() {
    let place = Place::with_feed();
    let keys: Vec<String> = (1..=8)
        .map(|seed| {
            let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key();
            key.to_bytes()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        })
        .collect();
    std::thread::scope(|scope| {
        for key in &keys {
            scope.spawn(|| place.run("master", &["node", "admit", key]).says(key));
        }
    });
    let list = place.run("master", &["node", "list", "--json"]).object();
    assert_eq!(list["nodes"].as_array().unwrap().len(), keys.len());
}

#[test]
fn errors_are_one_json_object_on_stderr_when_asked_for() {
    let place = Place::new();
    for (arguments, code) in [
        (&["status", "--json"][..], 78),
        (&["status", "--json", "--no-such-option"], 2),
        (
            &[
                "join",
                "",
                "--fingerprint",
                STRANGE_FINGERPRINT,
                "--docroot",
                "x",
                "--json",
            ],
            2,
        ),
    ] {
        let ran = place.run("nothing", arguments);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.out.is_empty(), "{ran:?}");
        let object: Value = serde_json::from_str(&ran.err).unwrap();
        assert_eq!(object["exit_code"], code);
        assert!(
            object["error"].is_string() && object["hint"].is_string(),
            "{object}"
        );
    }
}

#[test]
fn a_mirror_is_admitted_syncs_verifies_and_is_revoked() {
    let place = Place::with_feed();
    let tree = place.tree("tree", &["a.hdb", "b.hdb"]);
    place.publish("tree").says("release 1");
    let (_master, started) = Master::start(&place, &[]);
    let (listen, fingerprint) = (&started["listen"], &started["fingerprint"]);
    let docroot = place.text("docroot");
    let join = |fingerprint: &str, state: &str, docroot: &str| {
        let upstream = listen.as_str().unwrap();
        let mut join = vec!["join", upstream, "--docroot", docroot, "--json"];
        join.extend(["--fingerprint", fingerprint]);
        place.run(state, &join).object()["node_key"].to_string()
    };
    join(STRANGE_FINGERPRINT, "stranger", &place.text("strange"));
    place
        .run("stranger", &["sync"])
        .refused(65, &[STRANGE_FINGERPRINT, "fingerprint again"]);

    let key = join(fingerprint.as_str().unwrap(), "mirror", &docroot);
    let key = key.trim_matches('"');
    let waits = ["pending", key, "tidecast node admit"];
    let before = names(&place.path("mirror"));
    place.run("mirror", &["sync", "-n"]).refused(77, &waits);
    assert_eq!(names(&place.path("mirror")), before);
    place.run("mirror", &["sync"]).refused(77, &waits);
    let admitted = place.run("master", &["node", "admit", key, "--json"]);
    assert_eq!(admitted.object()["told"], true);

    let plan = place.run("mirror", &["sync", "-n", "--json"]).object();
    assert_eq!((&plan["to"], &plan["fetch_bytes"]), (&1.into(), &32.into()));
    assert_eq!(plan["added"][0][0], "a.hdb");
    assert!(!place.path("docroot/a.hdb").exists());

    let report = place.run("mirror", &["sync", "--json"]).object();
    let expected = serde_json::json!({
        "from": 0, "to": 1, "reused_bytes": 0, "files_changed": 2, "files_removed": 0,
        "switched": true, "reason": "fresh",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&report[field], value, "{field}: {report}");
    }
    for field in ["received_bytes", "sent_bytes", "seconds"] {
        assert!(report[field].as_f64().unwrap() > 0.0, "{field}: {report}");
    }
    let served = fs::read(place.path("docroot/a.hdb")).unwrap();
    assert_eq!(served, fs::read(tree.join("a.hdb")).unwrap());
    let again = place.run("mirror", &["sync", "--json"]).object();
    assert_eq!(
        (&again["switched"], &again["reason"]),
        (&false.into(), &"current".into())
    );

    place
        .run("mirror", &["verify"])
        .says("exactly what was signed");
    fs::write(place.path("docroot/.tidecast/r1/a.hdb"), "changed!").unwrap();
    let verified = place.run("mirror", &["verify", "--json"]);
    assert_eq!(verified.code, 65, "{verified:?}");
    let verified: Value = serde_json::from_str(&verified.out).unwrap();
    assert_eq!(
        (&verified["clean"], &verified["fault_count"]),
        (&false.into(), &1.into())
    );

    place
        .run("master", &["node", "revoke", key])
        .says("revoked");
    place
        .run("mirror", &["sync"])
        .refused(77, &["refuses this node"]);
}

#[test]
fn a_master_says_where_it_listens_tells_systemd_and_drains_on_term() {
    use std::os::unix::net::UnixDatagram;
    let place = Place::with_feed();
    let notified = UnixDatagram::bind(place.path("notify")).unwrap();
    notified
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let (mut master, started) = Master::start(&place, &["--http", "127.0.0.1:0"]);
    let told = |word: &str| {
        let mut bytes = [0; 256];
        let length = notified.recv(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        assert!(text.starts_with(word), "{word}: {text}");
    };
    told("READY=1");

    place.tree("tree", &["a.hdb"]);
    let publish = ["publish", &place.text("tree"), "--json"];
    let published = place.run("master", &publish).object();
    let status = place.run("master", &["status", "--json"]).object();
    let second = place.run("master", &["master", "--listen", "127.0.0.1:0"]);

    signal(&master.0, "HUP");
    told("RELOADING=1");
    told("READY=1");
    signal(&master.0, "TERM");
    told("STOPPING=1");
    assert_eq!(master.0.wait().unwrap().code(), Some(0));

    for field in ["listen", "http"] {
        let address: std::net::SocketAddr = started[field].as_str().unwrap().parse().unwrap();
        assert_ne!(address.port(), 0, "{started}");
    }
    assert_eq!(published["announced"], true);
    assert_eq!(
        (&status["daemon"], &status["newest"]["release"]),
        (&true.into(), &1.into())
    );
    second.refused(75, &["already runs", "status"]);
}

#[test]
fn the_readme_shows_the_server_settings_that_are_tested() {
    let readme = include_str!("../README.md");
    for snippet in [
        include_str!("support/apache.conf.snippet"),
        include_str!("support/nginx.conf.snippet"),
    ] {
        assert!(readme.contains(snippet.trim_end()), "{snippet}");
    }
    assert!(readme.lines().count() <= 200);
}

#[test]
fn manual_pages_and_completions_can_be_made() {
    let place = Place::new();
    let folder = place.tree("man", &[]);
    let made = place.run("none", &["generate", "man", folder.to_str().unwrap()]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(folder.join("tidecast-join.1").exists());
    place
        .run("none", &["generate", "completions", "bash"])
        .says("_tidecast()");
}
