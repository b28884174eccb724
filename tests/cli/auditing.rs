//! Whether every step was authorised, as it is told.

use std::fs;

use crate::command::{Master, Place};

#[test]
fn an_audit_says_yes_with_0_and_no_with_65_and_where() {
    let place = Place::with_feed();
    let (_master, started) = Master::start(&place, &[]);
    place.tree("tree", &["a.hdb"]);
    let publish = ["publish", &place.text("tree"), "--json"];
    place.run("master", &publish).object();
    assert!(started["listen"].is_string());

    let audited = place.run("master", &["audit", "--json"]).object();
    assert_eq!(
        (&audited["authorised"], &audited["role"]),
        (&true.into(), &"master".into())
    );
    assert_eq!(
        (&audited["roots"], &audited["releases"]),
        (&1.into(), &1.into())
    );
    place
        .run("master", &["audit", "-v"])
        .says("record 1: head ");
    place
        .run("master", &["audit"])
        .says("every step was authorised");

    let log = place.path("master/heads.log");
    let mut bytes = fs::read(&log).unwrap();
    bytes[60] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let audited = place.run("master", &["audit", "--json"]).object_and(65);
    assert_eq!(audited["authorised"], false);
    assert!(audited["finding_count"].as_u64().unwrap() > 0);
    let finding = &audited["findings"][0];
    assert!(finding["what"].as_str().unwrap().contains("was changed"));
    assert!(finding["where"].as_str().unwrap().contains("heads.log"));
    place.run("nowhere", &["audit"]).refused(78, &["neither"]);
}

#[test]
fn a_number_that_was_announced_is_not_given_again_by_a_store_from_an_old_backup() {
    let place = Place::with_feed();
    let publish = ["publish", &place.text("tree"), "--json"];
    {
        let (_master, _) = Master::start(&place, &[]);
        for name in ["a.hdb", "b.hdb"] {
            place.tree("tree", &[name]);
            place.run("master", &publish).object();
        }
    }
    let second = place.path("master/store/releases/2.manifest");
    fs::remove_file(&second).unwrap();
    place.tree("tree", &["c.hdb"]);
    place
        .run("master", &["publish", &place.text("tree")])
        .refused(1, &["has announced release 2", "--above 2"]);
    let publish = ["publish", &place.text("tree"), "--above", "2", "--json"];
    assert_eq!(place.run("master", &publish).object()["release"], 3);
}

#[test]
fn numbers_are_not_used_up_by_a_slip_of_the_hand_or_by_advice() {
    let place = Place::with_feed();
    place.tree("tree", &["a.hdb"]);
    let tree = place.text("tree");
    let above = |number: u64| {
        let number = number.to_string();
        place.run("master", &["publish", &tree, "--above", &number])
    };
    for far in [4097, u64::MAX - 1] {
        above(far).refused(1, &["nobody can have made so many", "at most 4096"]);
    }
    above(u64::MAX).refused(65, &["no release has a number above"]);
    let number = (u64::MAX - 1).to_string();
    let propose = ["release", "propose", &tree, "--above", &number];
    place
        .run("master", &propose)
        .refused(1, &["nobody can have made so many"]);
    above(4096).says("release 4097");
    place.tree("tree", &["b.hdb"]);
    above(4097 + 4097).refused(1, &["since release 4097"]);
    above(0).says("release 4098");
}
