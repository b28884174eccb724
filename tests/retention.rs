//! The past a master keeps: what `gc` removes and what it never touches, while a master and its mirrors run.

mod support;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use support::process::eventually;
use support::world::{World, listing, noise};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn store(world: &World) -> PathBuf {
    world.path("master/store")
}

/// Keeps what was replaced less than a day ago, and at least two releases.
fn keep_little(world: &World) {
    let path = world.path("master/master.toml");
    let text = fs::read_to_string(&path).unwrap();
    let table = "\n[retention]\ndays = 1\nreleases_min = 2\nwhole_releases = 1\n";
    fs::write(&path, text + table).unwrap();
}

/// Publishes a release that shares one file with the others and has one of its own.
fn publish(world: &World, number: u64) {
    let own = noise(number, 300_000);
    let common = noise(99, 300_000);
    let release = world.publish(&[("common.hdb", &common), ("own.hdb", &own)]);
    assert_eq!(release, number);
}

/// Makes the store look as if everything in it had come `days` days earlier.
fn age(world: &World, days: u32) {
    for folder in ["packs", "releases"] {
        for entry in fs::read_dir(store(world).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let file = File::options().append(true).open(path).unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            file.set_modified(modified - DAY * days).unwrap();
        }
    }
}

/// Five releases, made a week ago one day after the other.
fn a_week_ago(world: &World) {
    for number in 1..=5 {
        publish(world, number);
        age(world, 1);
    }
    age(world, 7);
}

fn kept(object: &Value) -> Vec<u64> {
    let releases = object["releases"].as_array().unwrap().iter();
    let kept = releases.filter(|release| release["kept"] == true);
    kept.map(|release| release["release"].as_u64().unwrap())
        .collect()
}

fn bytes(world: &World) -> u64 {
    let files = ["packs", "releases"].map(|folder| fs::read_dir(store(world).join(folder)));
    let files = files.into_iter().flat_map(Result::unwrap);
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

#[test]
fn a_dry_run_tells_what_would_go_and_why_and_changes_nothing() {
    let world = World::new("none");
    a_week_ago(&world);
    let by_default = world.on_master(&["gc", "-n"]);
    by_default.says("releases 1 to 4: stays, among the newest 30\nrelease 5: stays, the newest\n");
    by_default.says("nothing to do");
    keep_little(&world);
    let before = listing(&world.path("master"));
    let told = world.on_master(&["gc", "-n"]);
    told.says("releases 1 to 3: would go, replaced more than 24 h ago\n");
    told.says("release 4: stays, among the newest 2\nrelease 5: stays, the newest\n");
    told.says("2 packs (602 kB) would go: nothing in them is needed\n");
    told.says("nothing was changed");
    let object = world.on_master(&["gc", "-n", "--json"]).object();
    assert_eq!(kept(&object), [4, 5]);
    assert_eq!(
        (&object["dry_run"], &object["dead_packs"]),
        (&true.into(), &2.into())
    );
    assert_eq!(listing(&world.path("master")), before);
}

#[test]
fn after_a_collection_new_and_old_mirrors_still_reach_the_newest_release() {
    let mut world = World::new("none");
    world.start_master();
    publish(&world, 1);
    // One mirror stays behind at a release that will be gone.
    let mut behind = world.serving("behind");
    behind.reaches(1);
    behind.daemon().stop();
    for number in 2..=5 {
        publish(&world, number);
    }
    keep_little(&world);
    // Nothing was replaced long ago yet, and a head that lives may point at any of these.
    let fresh = world.on_master(&["gc", "--json"]).object();
    assert_eq!(kept(&fresh), [1, 2, 3, 4, 5]);
    assert_eq!(fresh["freed_bytes"], 0);

    age(&world, 7);
    let before = bytes(&world);
    let gone = world.on_master(&["gc", "--json"]).object();
    assert_eq!(kept(&gone), [4, 5]);
    let freed = before - bytes(&world);
    assert!(freed > 600_000, "{gone}");
    assert_eq!(gone["freed_bytes"], freed, "{gone}");

    // The master has let go of what was removed, so the disk has the room.
    let maps = format!("/proc/{}/maps", world.master().id());
    let held = || fs::read_to_string(&maps).map(|maps| maps.contains("(deleted)"));
    match held() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => support::skip(
            "what_gc_removed_is_let_go_of_by_the_master",
            "only root may look into a daemon's memory maps",
        ),
        _ => assert!(eventually(|| !held().unwrap())),
    }

    let fresh = world.serving("fresh");
    fresh.reaches(5);
    assert_eq!(fresh.file("own.hdb").unwrap(), noise(5, 300_000));
    assert_eq!(fresh.file("common.hdb").unwrap(), noise(99, 300_000));
    behind.start();
    behind.reaches(5);
    let again = world.on_master(&["gc"]);
    again.says("nothing to do");
    publish(&world, 6);
    fresh.reaches(6);
}

#[test]
fn publishing_collects_by_itself_when_something_is_due() {
    let world = World::new("none");
    a_week_ago(&world);
    keep_little(&world);
    world.lay_out(&[("own.hdb", b"new")]);
    let published = world.publish_with(&["--allow-shrink"]).object();
    assert_eq!(
        (&published["release"], &published["expired"]),
        (&6.into(), &4.into())
    );
    assert!(published["freed_bytes"].as_u64().unwrap() > 600_000);
    assert_eq!(
        published["warnings"].as_array().unwrap().len(),
        0,
        "{published}"
    );
    let left = world.on_master(&["gc", "-n", "--json"]).object();
    assert_eq!(kept(&left), [5, 6]);
    // Nothing has happened since.
    let same = world.publish_with(&[]).object();
    assert_eq!(
        (&same["created"], &same["freed_bytes"]),
        (&false.into(), &0.into())
    );
}

#[test]
fn while_somebody_publishes_nothing_is_collected_and_a_dry_run_still_answers() {
    let world = World::new("none");
    publish(&world, 1);
    let writer = tidecast_engine::store::StoreWriter::open(&store(&world)).unwrap();
    world
        .on_master(&["gc"])
        .refused(75, &["is being written by process", "wait"]);
    assert_eq!(
        kept(&world.on_master(&["gc", "-n", "--json"]).object()),
        [1]
    );
    drop(writer);
    assert_eq!(world.on_master(&["gc"]).code, 0);
}

#[test]
fn a_damaged_pack_is_named_and_nothing_is_removed() {
    let world = World::new("none");
    a_week_ago(&world);
    keep_little(&world);
    let packs = fs::read_dir(store(&world).join("packs")).unwrap();
    let pack = packs.map(|entry| entry.unwrap().path()).next().unwrap();
    let file = File::options().append(true).open(&pack).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    let before = listing(&store(&world).join("packs"));
    let name = pack.file_name().unwrap().to_str().unwrap();
    for command in [&["gc"][..], &["gc", "-n"]] {
        world
            .on_master(command)
            .refused(65, &[name, "restore that file"]);
    }
    assert_eq!(listing(&store(&world).join("packs")), before);
    assert_eq!(
        fs::read_dir(store(&world).join("releases"))
            .unwrap()
            .count(),
        5
    );
}

#[test]
fn settings_that_would_keep_too_little_are_refused_with_their_place() {
    let world = World::new("none");
    let path = world.path("master/master.toml");
    let text = fs::read_to_string(&path).unwrap();
    for (table, part) in [
        (
            "releases_min = 0",
            "retention.releases_min: 0 is not between 2 and 10000",
        ),
        (
            "releases_max = 3",
            "retention.releases_max: 3 is not between 30",
        ),
        ("relases_max = 3", "did you mean `releases_max`?"),
    ] {
        fs::write(&path, format!("{text}\n[retention]\n{table}\n")).unwrap();
        for command in [&["gc", "-n"][..], &["config", "check"]] {
            world.on_master(command).refused(78, &["master.toml", part]);
        }
    }
    fs::write(&path, text).unwrap();
    assert_eq!(world.on_master(&["config", "check"]).code, 0);
}
