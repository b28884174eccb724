//! The delta road end to end: a master's process, mirrors' processes, releases that follow one another, and every file
//! of them the same on both sides, byte for byte.

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;
use support::process::eventually;
use support::world::{Mirror, World, noise};
use tidecast_engine::sample::{Day, Feed, Scale};

/// A mirror's operator puts it there; no release touches it.
const OWN: (&str, &[u8]) = ("local_notice.html", b"<p>kept</p>");

/// What a release may cost beyond its `.cdiff`, in bytes received: packet headers, head, manifest, runs; with a handshake.
const DAY_BYTES: u64 = 24 * 1024;

/// The same over a connection that was there before.
const PUSHED_DAY_BYTES: u64 = 5 * 1024;

/// Packed size of a large feed's `daily.cvd`, in million bytes: that of real ones in the long form, which keeps a core busy for
/// three minutes.
fn feed_mb() -> u32 {
    if support::long() { 60 } else { 12 }
}

/// A mirror that has synced once and holds a file of its operator's.
fn synced(world: &World, name: &str) -> Mirror {
    let mirror = world.admitted(name);
    let report = mirror.run(&["sync", "--json"]).object();
    assert_eq!(report["reason"], "fresh", "{report}");
    fs::write(mirror.docroot.join(OWN.0), OWN.1).unwrap();
    mirror
}

/// What a daemon said of its sync to `release`, which it writes down after the switch.
#[track_caller]
fn report_of(mirror: &Mirror, release: u64) -> Value {
    mirror.reaches(release);
    let mut report = Value::Null;
    assert!(
        eventually(|| {
            report = mirror.status()["last_sync"].clone();
            report["to"] == release
        }),
        "{report}"
    );
    report
}

/// The docroot has the master's tree and the operator's own file, and nothing else.
#[track_caller]
fn serves_the_tree(world: &World, mirror: &Mirror) {
    let visible = |folder: &Path| -> BTreeSet<String> {
        let names = fs::read_dir(folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| !name.starts_with('.') && name != "timestamp")
            .collect()
    };
    let tree = visible(&world.tree());
    for name in &tree {
        let (published, served) = (fs::read(world.tree().join(name)), mirror.file(name));
        assert!(Some(published.unwrap()) == served, "{name}");
    }
    let mut expected = tree;
    expected.insert(OWN.0.to_owned());
    assert_eq!(visible(&mirror.docroot), expected);
    assert_eq!(mirror.file(OWN.0).unwrap(), OWN.1);
}

/// Road and reason of each file that changed, in path order.
fn roads(report: &Value) -> Vec<(&str, &str, &str)> {
    let files = report["files"].as_array().unwrap().iter();
    let told = files.map(|file| {
        let [path, road, reason] =
            ["path", "road", "reason"].map(|field| file[field].as_str().unwrap());
        (path, road, reason)
    });
    told.collect()
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn each_genuine_release_reaches_a_connected_mirror_by_its_bundle() {
    let test = "each_genuine_release_reaches_a_connected_mirror_by_its_bundle";
    let Some(data) = support::genuine(test) else {
        return;
    };
    let world = World::running("genuine");
    let put = |from: String, to: &str| {
        fs::copy(data.join(from), world.tree().join(to)).unwrap();
    };
    let publish = || number(&world.publish_with(&[]).object(), "release");
    put("test-1.cvd".to_owned(), "test.cvd");
    assert_eq!(publish(), 1);
    let mut mirror = synced(&world, "mirror");
    mirror.start();
    mirror.reaches(1);
    assert!(eventually(|| world.node(&mirror)["connected"] == true));
    for version in 2..=6 {
        put(format!("test-{version}.cvd"), "test.cvd");
        let cdiff = format!("test-{version}.cdiff");
        put(cdiff.clone(), &cdiff);
        assert_eq!(publish(), version);
        let report = report_of(&mirror, version);
        serves_the_tree(&world, &mirror);
        let expected = [cdiff.as_str(), "test.cvd"].map(|path| (path, "bundle", "in_bundle"));
        assert_eq!(roads(&report), expected, "{report}");
        assert_eq!(report["warnings"].as_array().unwrap().len(), 0, "{report}");
        println!(
            "test {version}: {} received, bundle {}",
            report["received_bytes"], report["bundle_bytes"]
        );
    }
}

/// A feed like the real ones, its master, and what of it has been published.
struct Days {
    world: World,
    feed: Feed,
    /// `daily.cvd`, in bytes; hardly changes.
    daily_bytes: u64,
    begun: Instant,
}

impl Days {
    /// `daily.cvd` has about so many million bytes, which open to three times as many.
    fn begin(mb: u32) -> Self {
        let begun = Instant::now();
        let world = World::running("header");
        let feed = Feed::new(9, Scale::daily_and_main_mb(mb, 1));
        feed.write(&world.tree()).unwrap();
        let mut days = Self {
            world,
            feed,
            daily_bytes: 0,
            begun,
        };
        days.publish(1);
        days.daily_bytes = days.published_bytes("daily.cvd");
        assert!(days.daily_bytes > u64::from(mb) * 800_000);
        days
    }

    fn publish(&self, release: u64) {
        let made = self.world.publish_with(&[]).object();
        assert_eq!(number(&made, "release"), release);
        self.took(&format!("release {release} is published"));
    }

    /// The next release; gives the name of its script.
    fn pass(&mut self, day: Day, release: u64) -> String {
        self.feed.advance(day).unwrap();
        self.feed.write_update(&self.world.tree()).unwrap();
        self.publish(release);
        format!("daily-{}.cdiff", self.feed.daily_version())
    }

    fn published_bytes(&self, name: &str) -> u64 {
        fs::metadata(self.world.tree().join(name)).unwrap().len()
    }

    fn bundle(&self, from: u64, to: u64) -> PathBuf {
        self.world
            .path(&format!("master/store/bundles/{from}-{to}.bundle"))
    }

    /// The mirror has all of it, by the bundle alone, for the scripts' bytes and little more.
    #[track_caller]
    fn came_by_bundle(&self, mirror: &Mirror, report: &Value, scripts: &[&str]) {
        serves_the_tree(&self.world, mirror);
        let mut paths = scripts.to_vec();
        paths.push("daily.cvd");
        let expected: Vec<_> = paths
            .iter()
            .map(|path| (*path, "bundle", "in_bundle"))
            .collect();
        assert_eq!(roads(report), expected, "{report}");
        let scripts: u64 = scripts.iter().map(|name| self.published_bytes(name)).sum();
        let (received, bundle) = (
            number(report, "received_bytes"),
            number(report, "bundle_bytes"),
        );
        self.took(&format!(
            "{} has it: {received} received, bundle {bundle}, scripts {scripts}",
            mirror.docroot.display()
        ));
        assert!(received < scripts + DAY_BYTES, "{report}");
        assert!(bundle < scripts + DAY_BYTES, "{report}");
    }

    /// `daily.cvd` came whole because the old one is damaged, and the rest by the bundle.
    #[track_caller]
    fn came_in_spite_of_damage(&self, mirror: &Mirror, report: &Value, script: &str) {
        serves_the_tree(&self.world, mirror);
        let expected = [
            (script, "bundle", "in_bundle"),
            ("daily.cvd", "whole", "base_damaged"),
        ];
        assert_eq!(roads(report), expected, "{report}");
        let told = report["warnings"].to_string();
        assert!(
            told.contains("daily.cvd") && told.contains("damaged"),
            "{report}"
        );
        let received = number(report, "received_bytes");
        assert!(received < self.daily_bytes * 11 / 10, "{report}");
        self.took(&format!("damage is mended: {received} received"));
    }

    fn took(&self, what: &str) {
        println!("{:6.1} s: {what}", self.begun.elapsed().as_secs_f64());
    }
}

/// Turns one bit in the middle of the file; `hidden` keeps the time it shows.
fn damage(mirror: &Mirror, name: &str, hidden: bool) {
    let path = fs::canonicalize(mirror.docroot.join(name)).unwrap();
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let metadata = file.metadata().unwrap();
    let middle = SeekFrom::Start(metadata.len() / 2);
    let mut byte = [0];
    file.seek(middle).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(middle).unwrap();
    file.write_all(&[byte[0] ^ 0x10]).unwrap();
    if hidden {
        file.set_modified(metadata.modified().unwrap()).unwrap();
    }
}

fn sync(mirror: &Mirror) -> Value {
    mirror.run(&["sync", "--json"]).object()
}

/// UDP payload that its connection has brought so far.
fn received(mirror: &Mirror) -> u64 {
    number(&mirror.status()["connection"], "received_bytes")
}

/// Three mirrors: one that follows, one that stays three days behind, and one that is served by hand and whose disk
/// goes bad.
#[test]
fn every_day_of_a_large_feed_travels_as_a_bundle() {
    let mut days = Days::begin(feed_mb());
    let mut following = synced(&days.world, "following");
    let behind = synced(&days.world, "behind");
    let distant = synced(&days.world, "distant");
    days.took("three mirrors have release 1");

    // An ordinary day; its bundle is pushed to the mirror that is connected.
    following.start();
    following.reaches(1);
    let connected = || days.world.node(&following)["connected"] == true;
    assert!(eventually(connected));
    let before = received(&following);
    let first = days.pass(Day::Ordinary, 2);
    let report = report_of(&following, 2);
    // Over the connection, because the bundle was there before the sync began.
    let day = received(&following) - before;
    days.took(&format!("{day} bytes came over the connection"));
    assert!(
        day > number(&report, "bundle_bytes")
            && day < days.published_bytes(&first) + PUSHED_DAY_BYTES
    );
    days.came_by_bundle(&following, &report, &[&first]);
    assert_eq!(following.daemon().stop().code(), Some(0));

    // The same day carried by hand, past a daemon that does not run and a master that is not asked.
    let carried = days.world.path("carried.bundle");
    let carried = carried.to_str().unwrap();
    let export = ["bundle", "export", "--from", "1", carried, "--json"];
    let written = days.world.on_master(&export).object();
    let bytes = fs::metadata(carried).unwrap().len();
    assert_eq!(
        (number(&written, "to"), number(&written, "bytes")),
        (2, bytes)
    );
    let imported = distant
        .run(&["bundle", "import", carried, "--json"])
        .object();
    assert_eq!(imported["reason"], "import", "{imported}");
    assert_eq!(number(&imported, "received_bytes"), 0, "{imported}");
    days.came_by_bundle(&distant, &imported, &[&first]);

    // A busy day by a connection of its own; and a bad byte that somebody else's write left on a disk.
    let second = days.pass(Day::Busy, 3);
    let report = sync(&following);
    days.came_by_bundle(&following, &report, &[&second]);
    damage(&distant, "daily.cvd", false);
    let report = sync(&distant);
    days.came_in_spite_of_damage(&distant, &report, &second);

    // A day whose bundle is gone on the master, which makes it again; and a bad byte that no time gives away.
    let third = days.pass(Day::Ordinary, 4);
    let (next, far) = (days.bundle(3, 4), days.bundle(1, 4));
    assert!(next.is_file() && !far.exists());
    fs::remove_dir_all(next.parent().unwrap()).unwrap();
    days.world.restart_master();
    let report = sync(&following);
    days.came_by_bundle(&following, &report, &[&third]);
    assert!(next.is_file());
    damage(&distant, "daily.cvd", true);
    let report = sync(&distant);
    days.came_in_spite_of_damage(&distant, &report, &third);

    // Three days in one bundle, made for whoever asks first.
    let report = sync(&behind);
    days.came_by_bundle(&behind, &report, &[&first, &second, &third]);
    assert!(far.is_file());
    for mirror in [&following, &behind, &distant] {
        let verified = mirror.run(&["verify", "--json"]).object();
        assert_eq!(
            (&verified["clean"], number(&verified, "release")),
            (&true.into(), 4)
        );
        assert_eq!(sync(mirror)["reason"], "current");
    }
    days.took("all is verified");
}

/// Two feeds' files: text that grows, and bytes that do not pack.
fn small_release(world: &World, number: u8) -> u64 {
    let text = "0123456789abcdef0123456789abcdef:1:Test.Small\n".repeat(usize::from(number) * 100);
    world.publish(&[
        ("small.hdb", text.as_bytes()),
        ("noise.bin", &noise(1, 100_000)),
    ])
}

fn exported(world: &World, from: u64, name: &str) -> PathBuf {
    let file = world.path(name);
    let from = from.to_string();
    let arguments = ["bundle", "export", "--from", &from, file.to_str().unwrap()];
    world.on_master(&arguments).says("import it within");
    file
}

#[test]
fn what_cannot_be_imported_is_refused_with_its_reason_and_changes_nothing() {
    let world = World::running("none");
    small_release(&world, 1);
    let (mirror, empty) = (synced(&world, "mirror"), world.admitted("empty"));
    small_release(&world, 2);
    small_release(&world, 3);
    let good = exported(&world, 1, "good.bundle");
    let text = good.to_str().unwrap();
    let missing = world.path("missing.bundle");
    world
        .on_master(&["bundle", "export", "--from", "9", missing.to_str().unwrap()])
        .refused(66, &["release 9"]);
    assert!(!missing.exists());

    let other = World::new("none");
    small_release(&other, 1);
    small_release(&other, 2);
    let refuse = |mirror: &Mirror, file: &Path, more: &[&str], code: i32, parts: &[&str]| {
        let arguments = [&["bundle", "import", file.to_str().unwrap()], more].concat();
        mirror.run(&arguments).refused(code, parts);
    };
    let later = exported(&world, 2, "later.bundle");
    let parts = ["to release 3", "another release than 1", "export --from 1"];
    refuse(&mirror, &later, &[], 65, &parts);
    let strange = exported(&other, 1, "strange.bundle");
    let feed = mirror.joined["fingerprint"].as_str().unwrap_or_default();
    refuse(
        &mirror,
        &strange,
        &[],
        65,
        &["of feed", feed, "its own feed"],
    );
    refuse(
        &mirror,
        &missing,
        &[],
        66,
        &["missing.bundle", "check the path"],
    );
    refuse(
        &empty,
        &good,
        &[],
        66,
        &["holds no release yet", "install the first release by"],
    );
    // No mirror believes a head for years.
    let years = ["--at", "2099-01-01T00:00:00Z"];
    refuse(&mirror, &good, &years, 65, &["expired"]);

    let whole = fs::read(&good).unwrap();
    let bad = world.path("bad.bundle");
    let mut other_version = whole.clone();
    assert_eq!(whole[2..10], *b"\x89tidebn\x01");
    other_version[9] = 2;
    for content in [&b"<html>404</html>"[..], &noise(3, 5000), &other_version] {
        fs::write(&bad, content).unwrap();
        let parts = [
            "bad.bundle is no tidecast bundle of this version",
            "bundle export",
        ];
        refuse(&mirror, &bad, &[], 65, &parts);
    }
    // The END part is two bytes: whoever has all before them has the release.
    let middle = whole.len() / 2;
    for bytes in [0, 1, 41, 42, 200, middle, whole.len() - 3] {
        fs::write(&bad, &whole[..bytes]).unwrap();
        let parts = [
            "bad.bundle",
            "ends before its END part",
            "copy the file again",
        ];
        refuse(&mirror, &bad, &[], 65, &parts);
        assert_eq!(mirror.release(), 1, "{bytes} bytes");
    }
    let mut flipped = whole.clone();
    flipped[whole.len() - 5] ^= 1;
    fs::write(&bad, &flipped).unwrap();
    refuse(&mirror, &bad, &[], 65, &["copy the file again"]);

    assert_eq!((mirror.release(), empty.release()), (1, 0));
    assert_eq!(mirror.file("small.hdb").unwrap().len(), 4_600);
    let report = mirror.run(&["bundle", "import", text, "--json"]).object();
    assert_eq!(
        (number(&report, "to"), &report["switched"]),
        (3, &true.into())
    );
    serves_the_tree(&world, &mirror);
    let again = mirror.run(&["bundle", "import", text, "--json"]).object();
    assert_eq!(
        (&again["reason"], &again["switched"]),
        (&"current".into(), &false.into())
    );
}

#[test]
fn a_running_daemon_takes_in_what_was_carried_to_it() {
    let mut world = World::running("none");
    small_release(&world, 1);
    let mut mirror = synced(&world, "mirror");
    world.stop_master();
    mirror.start();
    small_release(&world, 2);
    // No master runs: the export signs a head of its own.
    let file = exported(&world, 1, "carried.bundle");
    let import = ["bundle", "import", file.to_str().unwrap(), "--json"];
    let report = mirror.run(&import).object();
    assert_eq!(
        (&report["reason"], number(&report, "to")),
        (&"import".into(), 2)
    );
    mirror.reaches(2);
    serves_the_tree(&world, &mirror);
    fs::write(&file, b"<html>404</html>").unwrap();
    let refused = mirror.run(&import);
    assert_eq!(refused.code, 65, "{refused:?}");
    assert!(refused.err.contains("is no tidecast bundle"), "{refused:?}");
}
