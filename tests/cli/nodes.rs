//! Who may fetch.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{Master, Place, tidecast};

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
        .run("master", &["node", "revoke", &key[..16], "--json"])
        .object();
    assert_eq!(revoked["node_key"], key);
    let list = place.run("master", &["node", "list", "--json"]).object();
    assert_eq!(list["nodes"][0]["state"], "revoked");
    assert_eq!(list["daemon"], false);
}

#[test]
fn a_key_that_takes_anothers_place_gets_its_details_and_the_other_is_out() {
    let place = Place::with_feed();
    let key = |seed: u8| -> String {
        let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key();
        let digits = key.to_bytes();
        digits.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let (old, new) = (key(1), key(2));
    place.run("master", &["node", "admit", &old]).says(&old);
    let admit = ["node", "admit", &new, "--replaces", &old, "--json"];
    let decided = place.run("master", &admit).object();
    assert_eq!(
        (&decided["node_key"], &decided["state"]),
        (&new.as_str().into(), &"admitted".into())
    );
    let list = place.run("master", &["node", "list", "--json"]).object();
    for node in list["nodes"].as_array().unwrap() {
        let state = if node["node_key"] == new.as_str() {
            "admitted"
        } else {
            "revoked"
        };
        assert_eq!(node["state"], state, "{list}");
    }
    place
        .run("master", &["node", "admit", &new, "--replaces", &new])
        .refused(2, &["its own place"]);
    place
        .run(
            "master",
            &["node", "admit", &key(3), "--replaces", "nobody"],
        )
        .refused(66, &["no node is called"]);
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

/// Asks `status` of the mirror's daemon until `wanted` holds; how long that took.
fn until(place: &Place, wanted: impl Fn(&Value) -> bool) -> Duration {
    let begun = Instant::now();
    loop {
        let status = place.run("mirror", &["status", "--json"]).judged();
        if wanted(&status) {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{status}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_is_decided_about_a_node_binds_its_connection_within_a_second() {
    let place = Place::with_feed();
    place.tree("tree", &["a.hdb"]);
    assert_eq!(place.publish("tree").code, 0);
    let (_master, started) = Master::start(&place, &["--metrics", "127.0.0.1:0"]);
    let (listen, fingerprint) = (&started["listen"], &started["fingerprint"]);
    let upstream = listen.as_str().unwrap();
    let docroot = place.text("docroot");
    let mut join = vec!["join", upstream, "--docroot", &docroot, "--json"];
    join.extend(["--fingerprint", fingerprint.as_str().unwrap()]);
    let key = place.run("mirror", &join).object()["node_key"].clone();
    let key = key.as_str().unwrap();
    let daemon = tidecast(&place.path("mirror"))
        .args(["mirror", "--metrics", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _daemon = Master(daemon);
    until(&place, |status| status["connection"]["state"] == "pending");

    let admit = [
        "node",
        "admit",
        key,
        "--name",
        "utrecht",
        "--note",
        "ticket 12",
    ];
    let admitted = place.run(
        "master",
        &[&admit[..], &["--rate", "500k", "--json"]].concat(),
    );
    let admitted = admitted.object();
    assert_eq!(admitted["name"], "utrecht");
    assert_eq!(
        (&admitted["note"], &admitted["rate_bytes_per_s"]),
        (&"ticket 12".into(), &500_000.into())
    );
    let told = until(&place, |status| status["release"] == 1);
    assert!(told < Duration::from_secs(1), "{told:?}");

    // Too slow to be useful; the node keeps what it has.
    place
        .run("master", &["node", "set", key, "--rate", "1000"])
        .refused(2, &["1000 bytes/s", "16384"]);
    place
        .run("master", &["node", "set", key])
        .refused(2, &["nothing is to be set"]);
    let set = [
        "node",
        "set",
        "utrecht",
        "--connections",
        "2",
        "--rate",
        "none",
        "--json",
    ];
    let set = place.run("master", &set).object();
    assert_eq!(
        (&set["told"], &set["connections_max"]),
        (&true.into(), &2.into())
    );
    let list = place.run("master", &["node", "list", "--json"]).object();
    let node = &list["nodes"][0];
    assert_eq!(
        (&node["name"], &node["note"]),
        (&"utrecht".into(), &"ticket 12".into())
    );
    assert_eq!(
        (&node["connections"], &node["connections_max"]),
        (&1.into(), &2.into())
    );
    assert!(node["rate_bytes_per_s"].is_null(), "{node}");
    place.run("master", &["node", "list", "-v"]).says("1 of 2");

    let metrics: SocketAddr = started["metrics"].as_str().unwrap().parse().unwrap();
    let page = crate::http::get(metrics.port(), "/metrics", &[]);
    let page = String::from_utf8(page.body).unwrap();
    assert!(
        page.contains("\ntidecast_nodes{state=\"admitted\"} 1\n"),
        "{page}"
    );
    assert!(page.contains("\ntidecast_connected_nodes 1\n"), "{page}");

    place
        .run("master", &["node", "revoke", "utrecht"])
        .says("revoked");
    let told = until(&place, |status| status["last_error"]["whose"] == "operator");
    assert!(told < Duration::from_secs(1), "{told:?}");
    place
        .run("master", &["node", "admit", "utrecht"])
        .says("admitted");
    let list = place.run("master", &["node", "list", "--json"]).object();
    assert_eq!(list["nodes"][0]["note"], "ticket 12");
}
