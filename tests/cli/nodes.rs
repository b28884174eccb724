//! Who may fetch.

use crate::command::Place;

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
