//! `publish` and `explain` say which files open, and why the others do not.

mod support;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use support::command::Ran;
use support::container::hdb_line;
use support::world::World;

/// Packed by a zlib that is not the stock one, which shows as soon as there is something to find.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(9));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn lines(count: u32) -> String {
    let line = |n: u32| hdb_line(&n.to_le_bytes(), "Win.Test.Agent");
    (0..count).map(line).collect()
}

/// Publishes what is laid out, for people.
fn publish(world: &World) -> Ran {
    world.on_master(&["publish", world.tree().to_str().unwrap()])
}

#[test]
fn a_release_is_explained_file_by_file() {
    let world = World::new("none");
    // Nothing repeats in it, so every encoder has to find the same.
    let opens = gzip(b"The quick brown fox jumps");
    let differs = gzip(lines(3_000).as_bytes());
    world.lay_out(&[("opens.gz", &opens), ("plain", b"1"), ("same", b"2")]);
    publish(&world).says("release 1");
    world.lay_out(&[
        ("opens.gz", &opens),
        ("differs.gz", &differs),
        ("plain", b"3"),
        ("same", b"2"),
    ]);
    let published = publish(&world);
    published.says("  differs.gz  not opened: differs first at byte ");
    assert!(!published.out.contains("opens.gz  not"), "{published:?}");

    let text = world.on_master(&["explain", "2"]);
    text.says("release 2 after 1: 4 files");
    text.says("2 new or changed, 2 linked");
    text.says("  differs.gz  ");
    text.says("    not opened: differs first at byte ");
    text.says("    holds no gzip stream");
    assert!(!text.out.contains("opens.gz"), "{text:?}");
    world
        .on_master(&["explain", "2", "opens.gz"])
        .says("    opened: 25 B in 3 segments; level ");

    let object = world.on_master(&["explain", "2", "--json"]).object();
    assert_eq!(object["files"].as_array().unwrap().len(), 4);
    assert_eq!(object["files"][0]["path"], "differs.gz");
    assert_eq!(object["files"][0]["change"], "added");
    assert_eq!(object["files"][0]["closed"][0]["reason"], "differs");
    assert_eq!(object["files"][1]["change"], "linked");
    assert_eq!(object["files"][1]["opened"]["opened_bytes"], 25);
    assert_eq!(object["roads_known"], true, "{object:#}");
    assert_eq!(object["files"][0]["road"]["road"], "whole", "{object:#}");
}

#[test]
fn what_is_not_there_is_refused_with_what_is() {
    let world = World::new("none");
    world
        .on_master(&["explain", "1"])
        .refused(66, &["there is no release 1", "nothing was published yet"]);
    world.publish(&[("daily.hdb", b"1")]);
    world
        .on_master(&["explain", "7"])
        .refused(66, &["there is no release 7", "release 1 only"]);
    world
        .on_master(&["explain", "1", "dialy.hdb"])
        .refused(66, &["no file dialy.hdb", "did you mean `daily.hdb`?"]);
    assert_eq!(world.on_master(&["explain", "newest"]).code, 2);
    let path = world.path("master").join("store/explain/1.json");
    std::fs::write(&path, "{").unwrap();
    world
        .on_master(&["explain", "1"])
        .refused(65, &["1.json", "remove that file"]);
    std::fs::remove_file(&path).unwrap();
    world
        .on_master(&["explain", "1"])
        .says("nothing was written down about its streams");
}
