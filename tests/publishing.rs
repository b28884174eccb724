//! What `publish` refuses: the message says what, where and what to do, and nothing is changed.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use support::command::Ran;
use support::container::{hdb_line, unsigned};
use support::nobody::Nobody;
use support::world::{World, noise};

/// The newest release; 0 for none.
fn newest(world: &World) -> u64 {
    let status = world.on_master(&["status", "--json"]).judged();
    status["newest"]["release"].as_u64().unwrap_or(0)
}

fn publish(world: &World, options: &[&str]) -> Ran {
    let tree = world.tree();
    let mut arguments = vec!["publish", tree.to_str().unwrap()];
    arguments.extend(options);
    world.on_master(&arguments)
}

/// Refused with all of `parts`, and the feed is as it was.
#[track_caller]
fn refused(world: &World, files: &[(&str, &[u8])], code: i32, parts: &[&str]) {
    let before = newest(world);
    world.lay_out(files);
    publish(world, &[]).refused(code, parts);
    assert_eq!(newest(world), before);
}

#[test]
fn names_that_no_mirror_would_take_are_refused_one_by_one() {
    let world = World::new("none");
    for name in [
        "local_index.html",
        "sub/local_x",
        "timestamp",
        ".hidden",
        "with blank.hdb",
        "quo\"te.hdb",
        "ä.hdb",
        "line\nbreak.hdb",
        "semi;colon",
        "back\\slash",
    ] {
        let shown = name.split('/').next_back().unwrap();
        let part = if shown
            .chars()
            .all(|c| c.is_ascii_graphic() && c != '"' && c != '\\')
        {
            shown
        } else {
            "publish again"
        };
        refused(
            &world,
            &[("good.hdb", b"1"), (name, b"1")],
            65,
            &[part, "publish again"],
        );
    }
    // Below the top it is a name like any other.
    assert_eq!(world.publish(&[("sub/timestamp", b"1")]), 1);
}

#[test]
fn anything_but_plain_files_is_refused() {
    let world = World::new("none");
    world.lay_out(&[("good.hdb", b"1")]);
    let pipe = world.tree().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    publish(&world, &[]).refused(65, &["pipe: ", "publish again"]);
    fs::remove_file(&pipe).unwrap();
    std::os::unix::fs::symlink("good.hdb", world.tree().join("link")).unwrap();
    publish(&world, &[]).refused(65, &["link: ", "publish again"]);
    assert_eq!(newest(&world), 0);
}

#[test]
fn a_file_one_may_not_read_is_refused_by_name() {
    let somebody = Nobody::new();
    let init = ["feed", "init", "--feed", "t", "--verify", "none", "--json"];
    somebody.run("master", &init).object();
    let tree = somebody.tree("tree", &["a.hdb", "secret.hdb"]);
    fs::set_permissions(tree.join("secret.hdb"), Permissions::from_mode(0o000)).unwrap();
    let publish = ["publish", tree.to_str().unwrap()];
    somebody
        .run("master", &publish)
        .refused(65, &["secret.hdb: cannot be read", "make them readable"]);
    let status = somebody.run("master", &["status", "--json"]).judged();
    assert!(status["newest"].is_null());
    fs::set_permissions(tree.join("secret.hdb"), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(somebody.run("master", &publish).code, 0);
}

#[test]
fn a_file_that_changes_while_it_is_published_is_refused() {
    let world = World::new("none");
    world.lay_out(&[("a.hdb", b"1"), ("big.bin", &noise(1, 20_000_000))]);
    let over = AtomicBool::new(false);
    let path = world.tree().join("big.bin");
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::io::Write as _;
            while !over.load(Ordering::SeqCst) {
                let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
                file.write_all(b"more").unwrap();
            }
        });
        let ran = publish(&world, &[]);
        over.store(true, Ordering::SeqCst);
        ran
    });
    ran.refused(75, &["big.bin", "changed"]);
    assert_eq!(newest(&world), 0);
    assert_eq!(publish(&world, &[]).code, 0);
}

#[test]
fn dropping_most_of_a_feed_needs_the_signed_word() {
    let world = World::running("none");
    let files: Vec<String> = (0..10).map(|number| format!("f{number}")).collect();
    let all: Vec<(&str, &[u8])> = files
        .iter()
        .map(|name| (name.as_str(), &b"1"[..]))
        .collect();
    world.publish(&all);
    let mirror = world.serving("mirror");
    mirror.reaches(1);
    refused(&world, &all[..4], 65, &["6 of 10 files", "--allow-shrink"]);
    assert_eq!(mirror.release(), 1);
    assert_eq!(publish(&world, &["--allow-shrink"]).code, 0);
    mirror.reaches(2);
    assert!(mirror.file("f9").is_none() && mirror.file("f3").is_some());
    // Half is no shrinking.
    assert_eq!(world.publish(&all[..2]), 3);
}

#[test]
fn databases_that_clients_would_refuse_are_refused() {
    let test = "databases_that_clients_would_refuse_are_refused";
    let Some(data) = support::genuine(test) else {
        return;
    };
    let world = World::new("genuine");
    let good = fs::read(data.join("test-6.cvd")).unwrap();
    let broken = |at: usize, by: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= by;
        bytes
    };
    let header = String::from_utf8_lossy(&good[..512]).into_owned();
    // Fields 6 and 7: the MD5 and its signature; within it 'a' to 'p' stay letters with the last bit flipped.
    let fields: Vec<&str> = header.split(':').collect();
    let signature_at = fields[..6]
        .iter()
        .map(|field| field.len() + 1)
        .sum::<usize>();
    let mut other_md5 = good.clone();
    other_md5[signature_at - 33..signature_at - 1].fill(b'0');
    let letter = fields[6].find(|c| ('b'..'o').contains(&c)).unwrap();
    for (bytes, parts) in [
        (
            broken(5_000, 1),
            &["test.cvd", "gzip stream is damaged"][..],
        ),
        (other_md5, &["test.cvd", "MD5"]),
        (broken(signature_at + letter, 1), &["test.cvd", "signature"]),
        (good[..5_000].to_vec(), &["test.cvd", "not copied whole"]),
        (good[..300].to_vec(), &["test.cvd", "header"]),
        (b"<html>404</html>".repeat(100), &["test.cvd", "header"]),
    ] {
        refused(&world, &[("test.cvd", &bytes)], 65, parts);
    }
    let cdiff = fs::read(data.join("test-6.cdiff")).unwrap();
    let mut bad = cdiff.clone();
    bad[100] ^= 1;
    refused(
        &world,
        &[("test.cvd", &good), ("test-6.cdiff", &bad)],
        65,
        &["test-6.cdiff"],
    );
    // A script under the number of another.
    refused(
        &world,
        &[("test.cvd", &good), ("test-5.cdiff", &cdiff)],
        65,
        &["test-5.cdiff"],
    );
    assert_eq!(
        world.publish(&[("test.cvd", &good), ("test-6.cdiff", &cdiff)]),
        1
    );
}

#[test]
fn an_unsigned_daily_is_for_feeds_that_were_made_for_it() {
    let hdb = hdb_line(b"x", "Tests.X");
    let daily = unsigned("daily", 1, &hdb);
    let world = World::new("genuine");
    refused(
        &world,
        &[("daily.cvd", &daily)],
        65,
        &["daily.cvd", "signature"],
    );
    // Clients ask no signature of other names.
    let own = unsigned("own", 1, &hdb);
    assert_eq!(world.publish(&[("own.cud", &own)]), 1);
    let lax = World::new("header");
    assert_eq!(lax.publish(&[("daily.cvd", &daily)]), 1);
    let mut broken = daily.clone();
    *broken.last_mut().unwrap() ^= 1;
    refused(&lax, &[("daily.cvd", &broken)], 65, &["daily.cvd", "MD5"]);
}

#[test]
fn a_database_goes_back_only_under_the_signed_word() {
    let test = "a_database_goes_back_only_under_the_signed_word";
    let Some(data) = support::genuine(test) else {
        return;
    };
    let world = World::running("genuine");
    let file = |version: u32| fs::read(data.join(format!("test-{version}.cvd"))).unwrap();
    world.publish(&[("test.cvd", &file(6))]);
    let mirror = world.serving("mirror");
    mirror.reaches(1);
    refused(
        &world,
        &[("test.cvd", &file(4))],
        65,
        &["test.cvd", "from 6 to 4", "--allow-database-rollback"],
    );
    let ran = publish(&world, &["--allow-database-rollback", "--json"]).object();
    assert_eq!(ran["release"], 2);
    assert!(ran["warnings"].to_string().contains("test.cvd"), "{ran}");
    mirror.reaches(2);
    assert_eq!(mirror.file("test.cvd").unwrap(), file(4));
}
