//! Staying on a release because the operator said so, through everything that would move a mirror on.

mod support;

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::process::eventually;
use support::world::{Mirror, World};

fn is_told(world: &World, mirror: &Mirror, serving: &str) -> bool {
    eventually(|| world.node(mirror)["serving"] == serving)
}

/// Waits until the mirror has judged the head of `release`.
fn knows(mirror: &Mirror, release: u64) {
    let known = || mirror.status()["head_release"] == release;
    assert!(eventually(known), "{}", mirror.log());
}

#[test]
fn a_held_mirror_stays_through_releases_and_kills_says_so_everywhere_and_goes_on_when_let_go() {
    let world = World::running("none");
    let mut mirror = world.serving("mirror");
    world.publish(&[("f", b"1"), ("g", b"g")]);
    mirror.reaches(1);

    let held = mirror.run(&["hold", "--reason", "clients choke on 2", "--json"]);
    let held = held.object();
    assert_eq!((&held["held"], &held["told"]), (&true.into(), &true.into()));
    assert_eq!(
        (&held["release"], &held["changed"]),
        (&1.into(), &true.into())
    );
    assert!(is_told(&world, &mirror, "held"), "{}", world.node(&mirror));

    // Deliberate and the newest: all is well.
    let status = mirror.status();
    assert_eq!(status["hold"]["release"], 1);
    assert_eq!(status["hold"]["reason"], "clients choke on 2");
    assert_eq!(status["diagnosis"]["well"], true);
    mirror.run(&["status"]).says("HELD         since");
    // As long as nothing newer is out, a sync does all it is asked for.
    assert_eq!(mirror.run(&["sync"]).code, 0);

    world.publish(&[("f", b"2"), ("g", b"g")]);
    knows(&mirror, 2);
    let sync = mirror.run(&["sync", "--json"]).object_and(1);
    assert_eq!(
        (&sync["reason"], &sync["switched"]),
        (&"held".into(), &false.into())
    );
    assert_eq!((&sync["from"], &sync["to"]), (&1.into(), &1.into()));
    let warning = sync["warnings"][0].as_str().unwrap();
    assert!(warning.contains("release 2 is out"), "{warning}");
    let planned = mirror.run(&["sync", "-n"]);
    planned.says("release 2 would replace release 1");
    planned.says("HELD (clients choke on 2)");
    let status = mirror.run(&["status"]);
    assert_eq!(status.code, 0, "{status:?}");
    status.says("behind       release 2 is out");
    assert!(
        mirror.log().contains("release 2 is out"),
        "{}",
        mirror.log()
    );

    // Its release is looked after like the newest: what somebody spoils is fetched again.
    let served = fs::canonicalize(mirror.docroot.join("g")).unwrap();
    fs::write(&served, b"x").unwrap();
    assert_eq!(mirror.run(&["sync"]).code, 1);
    assert_eq!(mirror.file("g").unwrap(), b"g");
    assert_eq!(mirror.release(), 1);

    // Neither a kill nor a sync without a daemon gets past it.
    mirror.daemon().kill();
    assert_eq!(mirror.run(&["sync"]).code, 1);
    assert_eq!(mirror.release(), 1);
    mirror.start();
    world.publish(&[("f", b"3"), ("g", b"g")]);
    knows(&mirror, 3);
    assert_eq!(
        (mirror.release(), mirror.file("f").unwrap()),
        (1, b"1".to_vec())
    );
    let metrics = mirror.status()["hold"].clone();
    assert_eq!(metrics["release"], 1);

    let freed = mirror.run(&["unhold", "--json"]).object();
    assert_eq!(
        (&freed["held"], &freed["changed"]),
        (&false.into(), &true.into())
    );
    mirror.reaches(3);
    assert!(is_told(&world, &mirror, "live"), "{}", world.node(&mirror));
    let again = mirror.run(&["unhold", "--json"]).object();
    assert_eq!(again["changed"], false);
    assert_eq!(mirror.status()["hold"], Value::Null);
}

#[test]
fn hold_and_unhold_work_without_a_daemon_and_by_the_file_alone() {
    let world = World::running("none");
    let mut mirror = world.admitted("mirror");
    mirror.run(&["hold"]).refused(66, &["no release yet"]);
    world.publish(&[("f", b"1")]);
    assert_eq!(mirror.run(&["sync"]).code, 0);
    mirror.run(&["hold"]).says("held at release 1");
    mirror
        .run(&["hold", "--reason", "now with one"])
        .says("reason: now with one");
    mirror
        .run(&["hold", "--reason", "a\nb"])
        .refused(65, &["one line"]);
    world.publish(&[("f", b"2")]);
    assert_eq!(mirror.run(&["sync"]).code, 1);
    let status = mirror.run(&["status", "--json"]).judged();
    assert_eq!(status["hold"]["reason"], "now with one");

    // A daemon learns of a file that somebody took away.
    mirror.start();
    knows(&mirror, 2);
    assert_eq!(mirror.release(), 1);
    fs::remove_file(mirror.state.join("hold")).unwrap();
    mirror.reaches(2);

    // And of one that somebody put there; one that does not read holds as well.
    fs::write(mirror.state.join("hold"), b"weekend").unwrap();
    assert!(eventually(|| !mirror.status()["hold"].is_null()));
    world.publish(&[("f", b"3")]);
    knows(&mirror, 3);
    assert_eq!(mirror.release(), 2);
    mirror.run(&["unhold"]).says("no longer held");
    mirror.reaches(3);
}

#[test]
fn a_bundle_carried_by_hand_does_not_get_past_a_hold_either() {
    let world = World::running("none");
    let mirror = world.admitted("mirror");
    world.publish(&[("f", b"1")]);
    assert_eq!(mirror.run(&["sync"]).code, 0);
    assert_eq!(mirror.run(&["hold"]).code, 0);
    world.publish(&[("f", b"2"), ("more", &[7; 4000])]);
    let bundle = world.path("bundle");
    let bundle = bundle.to_str().unwrap();
    let exported = world.on_master(&["bundle", "export", "--from", "1", bundle]);
    assert_eq!(exported.code, 0, "{exported:?}");
    let imported = mirror.run(&["bundle", "import", bundle]);
    imported.refused(1, &["held at release 1", "release 2 is out", "unhold"]);
    assert_eq!(mirror.release(), 1);
    assert_eq!(mirror.run(&["unhold"]).code, 0);
    assert_eq!(mirror.run(&["bundle", "import", bundle]).code, 0);
    assert_eq!(mirror.release(), 2);
}

#[test]
fn a_hold_that_lasts_is_no_longer_well_and_one_on_a_release_taken_back_is_an_alarm() {
    let world = World::running("none");
    let mirror = world.serving("mirror");
    world.publish(&[("f", b"1")]);
    mirror.reaches(1);
    assert_eq!(mirror.run(&["hold"]).code, 0);
    world.publish(&[("f", b"2")]);
    knows(&mirror, 2);

    let file = mirror.state.join("hold");
    let mut held: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let long_ago = now - Duration::from_secs(25 * 3600);
    held["since_ms"] = u64::try_from(long_ago.as_millis()).unwrap().into();
    fs::write(&file, held.to_string()).unwrap();
    let noticed = || mirror.run(&["status", "--json"]).code == 1;
    assert!(eventually(noticed), "{:?}", mirror.run(&["status"]));
    let diagnosis = mirror.status()["diagnosis"].clone();
    assert!(
        diagnosis["next"].as_str().unwrap().ends_with("unhold"),
        "{diagnosis}"
    );

    // The holders of the root keys forbid what it stays on.
    let root = world.path("next.root");
    let root = root.to_str().unwrap();
    let key = world.path("master-keys/root.key");
    let key = key.to_str().unwrap();
    for arguments in [
        &["root", "rotate", "--release-min", "2", "--out", root][..],
        &["root", "sign", root, "--key", key, "--yes"],
        &["root", "install", root],
    ] {
        let done = world.on_master(arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
    }
    let forbidden = || mirror.status()["hold"]["forbidden"] == true;
    assert!(
        eventually(forbidden),
        "{}\n{}",
        mirror.status(),
        mirror.log()
    );
    let status = mirror.run(&["status"]);
    assert_eq!(status.code, 1, "{status:?}");
    assert!(status.out.contains("taken release 1 back"), "{status:?}");
    let sync = mirror.run(&["sync"]);
    assert_eq!(sync.code, 1, "{sync:?}");
    assert!(sync.out.contains("taken release 1 back"), "{sync:?}");
    // It was the operator's word, and no older release is there to go to.
    assert_eq!(mirror.file("f").unwrap(), b"1");
    assert_eq!(mirror.run(&["unhold"]).code, 0);
    mirror.reaches(2);
}
