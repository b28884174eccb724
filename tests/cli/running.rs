//! Masters and mirrors that run.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{Master, Place, STRANGE_FINGERPRINT, names, signal};

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
    // As a switch that was cut off leaves it.
    symlink("r1", place.path("docroot/.tidecast/current.tmp")).unwrap();
    let again = place.run("mirror", &["sync", "--json"]).object();
    let warning = again["warnings"][0].as_str().unwrap();
    assert!(warning.contains("put right"), "{again}");
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
    let status = place.run("master", &["status", "--json"]).judged();
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
