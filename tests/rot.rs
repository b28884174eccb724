//! A disk that forgets bits: they are found by reading, and healed by fetching the chunks they are in and no others.
//!
//! `TIDECAST_LONG=1` flips 1,000 bits; `TIDECAST_FLIPS` and `TIDECAST_SEED` say how many and which.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::process::eventually;
use support::rot::{files, flip, hide};
use support::world::{Mirror, World, listing, noise};
use tidecast_engine::sample::{self, Feed, Scale};
use tidecast_proto::chunker::{Chunker, Chunking};

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{value}"))
}

/// xorshift64: the same flips for one seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Where each chunk of a file begins.
fn cuts(content: &[u8]) -> Vec<u64> {
    let chunker = Chunker::new(Chunking::default());
    let mut at = 0;
    let starts = chunker.chunks(content).map(|chunk| {
        let start = at;
        at += chunk.len() as u64;
        start
    });
    starts.collect()
}

/// Chunks hit by flips, by file: their places in it.
type Hit = BTreeMap<PathBuf, BTreeSet<usize>>;

/// Flips `count` different bits of the live tree: most of them anywhere, every fifth in a file chosen whatever its size.
fn flip_bits(tree: &Path, count: u64, seed: u64) -> Hit {
    let files = files(tree);
    let sizes: Vec<u64> = files
        .iter()
        .map(|file| tree.join(file).metadata().unwrap().len())
        .collect();
    let total: u64 = sizes.iter().sum();
    let mut random = Random(seed);
    let mut flips: BTreeSet<(usize, u64, u8)> = BTreeSet::new();
    while (flips.len() as u64) < count {
        let (file, offset) = if flips.len().is_multiple_of(5) {
            let file = usize::try_from(random.below(files.len() as u64)).unwrap();
            if sizes[file] == 0 {
                continue;
            }
            (file, random.below(sizes[file]))
        } else {
            let mut offset = random.below(total);
            let mut file = 0;
            while offset >= sizes[file] {
                offset -= sizes[file];
                file += 1;
            }
            (file, offset)
        };
        flips.insert((file, offset, u8::try_from(random.below(8)).unwrap()));
    }
    let mut hit = Hit::new();
    let mut starts: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for (file, offset, bit) in flips {
        let path = tree.join(&files[file]);
        // Cut before the first flip in it.
        let starts = starts
            .entry(file)
            .or_insert_with(|| cuts(&fs::read(&path).unwrap()));
        let chunk = starts.partition_point(|start| *start <= offset) - 1;
        hit.entry(files[file].clone()).or_default().insert(chunk);
        flip(&path, offset, bit);
    }
    hit
}

/// A feed with databases of some MB, packed as real ones are, text that compresses, and 300 small files.
fn publish_databases(world: &World, mb: usize) {
    let tree = world.tree();
    let feed = Feed::new(7, Scale::daily_and_main_mb(3, 4));
    feed.write(&tree).unwrap();
    sample::small_files(&tree.join("small"), 300, 7).unwrap();
    let line = |n: usize| format!("Win.Trojan.Agent-{n}:1:*:{:016x}\n", n * 2_654_435_761);
    let text: String = (0..60_000).map(line).collect();
    fs::write(tree.join("custom.ndb"), text).unwrap();
    for part in 0..mb.div_ceil(20) {
        let bytes = 1_000_000 * (mb - part * 20).min(20);
        fs::write(
            tree.join(format!("archive-{part}.bin")),
            noise(part as u64, bytes),
        )
        .unwrap();
    }
    let published = world.publish_with(&[]).object();
    assert_eq!(published["release"], 1, "{published}");
}

#[track_caller]
fn serves_the_tree(world: &World, mirror: &Mirror) {
    for file in files(&world.tree()) {
        let published = fs::read(world.tree().join(&file)).unwrap();
        let served = fs::read(mirror.docroot.join(&file)).unwrap();
        assert!(published == served, "{}", file.display());
    }
}

/// Row "1,000 flipped bits": all are found where nothing shows them from outside, and what is fetched for them is their
/// chunks.
#[test]
fn every_flipped_bit_is_found_and_healing_fetches_the_damaged_chunks_only() {
    let long = support::long();
    let count = setting("TIDECAST_FLIPS", if long { 1000 } else { 60 });
    let seed = setting("TIDECAST_SEED", 0x5eed_0001).max(1);
    println!("{count} flips, TIDECAST_SEED={seed}");
    let world = World::running("header");
    publish_databases(&world, if long { 150 } else { 4 });
    let mirror = world.admitted("mirror");
    mirror.run(&["sync", "--json"]).object();
    fs::write(mirror.docroot.join("local_notice.html"), b"<p>kept</p>").unwrap();
    let own = || {
        listing(&mirror.docroot)
            .into_iter()
            .filter(|(path, _)| path.to_string_lossy().contains("/local_"))
            .collect::<Vec<_>>()
    };
    let own_before = own();

    let hit = flip_bits(&mirror.docroot.join(".tidecast/r1"), count, seed);
    hide(&mirror.docroot, 1);
    // Nothing shows from outside: a thorough sync believes it all.
    let believed = mirror.run(&["sync", "--json"]).object();
    assert_eq!(believed["reason"], "current", "{believed}");

    let begun = Instant::now();
    let found = mirror.run(&["verify", "--json"]).object_and(65);
    let verify_s = begun.elapsed().as_secs_f64();
    let chunks: u64 = hit.values().map(|chunks| chunks.len() as u64).sum();
    assert_eq!(number(&found, "damaged_files"), hit.len() as u64);
    assert_eq!(number(&found, "fault_count"), hit.len() as u64);
    assert_eq!(number(&found, "bad_chunks"), chunks, "TIDECAST_SEED={seed}");
    for damaged in found["damaged"].as_array().unwrap() {
        let path = Path::new(damaged["path"].as_str().unwrap());
        let expected = hit.get(path).map_or(0, BTreeSet::len) as u64;
        assert_eq!(number(damaged, "bad_chunks"), expected, "{damaged}");
    }

    let healed = mirror.run(&["verify", "--heal", "--json"]).object();
    let (heal, bad_bytes) = (&healed["healed"], number(&healed, "bad_bytes"));
    assert_eq!(
        (&heal["clean"], &heal["by_daemon"]),
        (&true.into(), &false.into())
    );
    assert_eq!(bad_bytes, number(&found, "bad_bytes"));
    let [fetched, lists, received, sent] = [
        "fetched_bytes",
        "list_bytes",
        "received_bytes",
        "sent_bytes",
    ]
    .map(|f| number(heal, f));
    println!(
        "{count} flips in {} files and {chunks} chunks of {bad_bytes} bytes; all found in {verify_s:.2} s of {} bytes read",
        hit.len(),
        number(&found, "bytes"),
    );
    println!(
        "healed in {} s: {fetched} bytes of chunks opened, {lists} of lists, {received} bytes received as UDP payload with everything ({:.2} % of the damaged chunks), {sent} sent",
        heal["seconds"],
        100.0 * received as f64 / bad_bytes as f64
    );
    assert_eq!((fetched, lists), (bad_bytes, 0), "{heal}");
    assert!(received * 10 <= bad_bytes * 11, "{heal}");
    serves_the_tree(&world, &mirror);
    assert_eq!(own(), own_before);
    assert_eq!(mirror.run(&["verify", "--json"]).object()["clean"], true);
    let status = mirror.status();
    let scrub = &status["scrub"];
    assert_eq!(number(scrub, "waiting"), 0, "{scrub}");
    assert_eq!(number(scrub, "found"), number(scrub, "healed"), "{scrub}");
    assert_eq!(number(scrub, "found"), hit.len() as u64, "{scrub}");
}

#[test]
fn a_running_daemon_heals_what_it_is_told_of_and_clients_get_what_was_signed() {
    let world = World::running("none");
    let (big, small) = (noise(1, 3_000_000), noise(2, 700));
    let files = [
        ("a.bin", &*big),
        ("dir/b.bin", &big[..1_000_000]),
        ("c", &*small),
    ];
    world.publish(&files);
    let mut mirror = world.serving("mirror");
    mirror.reaches(1);
    mirror.daemon().stop();
    let tree = mirror.docroot.join(".tidecast/r1");
    flip(&tree.join("a.bin"), 2_000_000, 3);
    flip(&tree.join("c"), 5, 0);
    hide(&mirror.docroot, 1);
    mirror.start();
    mirror.reaches(1);
    assert_ne!(mirror.file("c").unwrap(), small, "it is believed");

    let told = mirror.run(&["verify"]);
    assert_eq!(told.code, 65, "{told:?}");
    assert!(told.out.contains("verify --heal"), "{told:?}");
    let healed = mirror.run(&["verify", "--heal", "--json"]).object();
    assert_eq!(healed["healed"]["by_daemon"], true, "{healed}");
    assert_eq!(healed["healed"]["clean"], true, "{healed}");
    assert_eq!(
        healed["healed"]["fetched_bytes"], healed["bad_bytes"],
        "{healed}"
    );
    for (name, content) in files {
        let served = support::http::get(mirror.http(), &format!("/{name}"), &[]).body;
        assert!(served == content, "{name}");
    }
    // The daemon counts after it has answered.
    assert!(eventually(|| mirror.status()["scrub"]["healed"] == 2));
    assert_eq!(
        mirror.run(&["verify", "--heal", "--json"]).object()["clean"],
        true
    );
}

#[test]
fn the_scrub_of_a_daemon_finds_and_heals_by_itself_and_goes_on_where_it_was() {
    let world = World::running("none");
    let big = noise(3, 2_000_000);
    world.publish(&[("a.bin", &big), ("b", b"b")]);
    let mut mirror = world.serving("mirror");
    mirror.reaches(1);
    mirror.daemon().stop();
    flip(&mirror.docroot.join(".tidecast/r1/a.bin"), 1_234_567, 7);
    hide(&mirror.docroot, 1);
    let config = mirror.state.join("mirror.toml");
    let text = fs::read_to_string(&config).unwrap();
    let every = |seconds: u64| {
        let lines = text.lines().map(|line| {
            if line.starts_with("scrub_s") {
                format!("scrub_s = {seconds}\n")
            } else {
                format!("{line}\n")
            }
        });
        fs::write(&config, lines.collect::<String>()).unwrap();
    };
    every(2);
    mirror.start();
    let healed = || mirror.status()["scrub"]["healed"] == 1;
    assert!(eventually(healed), "{}\n{}", mirror.status(), mirror.log());
    assert!(mirror.file("a.bin").unwrap() == big);
    assert!(mirror.log().contains("a.bin"), "{}", mirror.log());
    assert!(eventually(
        || mirror.status()["scrub"]["last_pass_ms"].is_u64()
    ));
    let told = mirror.run(&["status"]);
    assert!(
        told.out.contains("1 damaged file found so far, 1 healed"),
        "{told:?}"
    );

    // What was done is remembered, with and without a daemon.
    mirror.daemon().stop();
    every(0);
    let scrub = mirror.status()["scrub"].clone();
    assert_eq!((&scrub["found"], &scrub["healed"]), (&1.into(), &1.into()));
    assert!(scrub["last_pass_ms"].is_u64(), "{scrub}");
    assert_eq!(scrub["every_s"], 0);
}

#[test]
fn a_file_that_two_trees_share_is_healed_in_both() {
    let world = World::running("none");
    let big = noise(4, 1_000_000);
    world.publish(&[("same", &big), ("other", b"1")]);
    let mirror = world.admitted("mirror");
    mirror.run(&["sync", "--json"]).object();
    world.publish(&[("same", &big), ("other", b"2")]);
    mirror.run(&["sync", "--json"]).object();
    let in_tree = |release: u64| mirror.docroot.join(format!(".tidecast/r{release}/same"));
    let inode = |release| in_tree(release).metadata().unwrap().ino();
    assert_eq!(inode(1), inode(2));
    flip(&in_tree(2), 77, 1);
    hide(&mirror.docroot, 1);
    hide(&mirror.docroot, 2);
    let healed = mirror.run(&["verify", "--heal", "--json"]).object();
    assert_eq!(healed["bad_chunks"], 1, "{healed}");
    assert_eq!(inode(1), inode(2));
    for release in [1, 2] {
        assert!(fs::read(in_tree(release)).unwrap() == big, "{release}");
    }
}

#[test]
fn a_list_that_was_lost_is_fetched_again_and_told_apart_from_chunks() {
    let world = World::running("none");
    let big = noise(5, 5_000_000);
    world.publish(&[("big", &big)]);
    let mirror = world.admitted("mirror");
    mirror.run(&["sync", "--json"]).object();
    for list in fs::read_dir(mirror.docroot.join(".tidecast/lists")).unwrap() {
        fs::remove_file(list.unwrap().path()).unwrap();
    }
    flip(&mirror.docroot.join(".tidecast/r1/big"), 4_000_000, 2);
    hide(&mirror.docroot, 1);
    let found = mirror.run(&["verify", "--json"]).object_and(65);
    assert_eq!(found["damaged"][0]["bad_chunks"], Value::Null, "{found}");
    assert_eq!(number(&found, "bad_bytes"), 5_000_000);
    let healed = mirror.run(&["verify", "--heal", "--json"]).object()["healed"].clone();
    assert!(number(&healed, "list_bytes") > 36 * 20, "{healed}");
    assert!(number(&healed, "fetched_bytes") <= 262_144, "{healed}");
    assert!(mirror.file("big").unwrap() == big);
}

#[test]
fn a_release_that_was_left_behind_is_healed_on_the_way_to_the_next() {
    let world = World::running("none");
    let (kept, first, second) = (noise(6, 2_000_000), noise(7, 300_000), noise(8, 300_000));
    world.publish(&[("kept", &kept), ("new", &first)]);
    let mirror = world.admitted("mirror");
    mirror.run(&["sync", "--json"]).object();
    world.publish(&[("kept", &kept), ("new", &second)]);
    flip(&mirror.docroot.join(".tidecast/r1/kept"), 1_000_000, 4);
    hide(&mirror.docroot, 1);
    let healed = mirror.run(&["verify", "--heal", "--json"]).object();
    let heal = &healed["healed"];
    assert_eq!(
        (&healed["release"], &heal["release"]),
        (&1.into(), &2.into())
    );
    assert_eq!(heal["clean"], true, "{heal}");
    // The new file and one chunk of the kept one.
    assert!(number(heal, "fetched_bytes") <= 300_000 + 262_144, "{heal}");
    serves_the_tree(&world, &mirror);
}

#[test]
fn without_an_upstream_the_damage_is_named_and_healed_once_there_is_one() {
    let mut world = World::running("none");
    let big = noise(9, 1_000_000);
    world.publish(&[("big", &big)]);
    let mirror = world.admitted("mirror");
    mirror.run(&["sync", "--json"]).object();
    flip(&mirror.docroot.join(".tidecast/r1/big"), 500_000, 4);
    hide(&mirror.docroot, 1);
    world.stop_master();
    let failed = mirror.run(&["verify", "--heal"]);
    failed.refused(
        69,
        &["release 1 could not be healed", "big holds other bytes"],
    );
    // It is doubted from now on, so whatever comes first heals it.
    world.restart_master();
    let synced = mirror.run(&["sync", "--json"]).object();
    assert_eq!(synced["reason"], "repair", "{synced}");
    assert!(mirror.file("big").unwrap() == big);
}

#[test]
fn a_rate_is_kept_and_samples_in_a_row_read_every_file() {
    let world = World::running("none");
    let contents: Vec<(String, Vec<u8>)> = (0..7)
        .map(|n| (format!("f{n}"), noise(n, 100_000)))
        .collect();
    let files: Vec<(&str, &[u8])> = contents.iter().map(|(n, c)| (n.as_str(), &**c)).collect();
    world.publish(&files);
    let mirror = world.admitted("mirror");
    mirror.run(&["sync", "--json"]).object();
    let before = listing(&mirror.docroot);

    let begun = Instant::now();
    mirror.run(&["verify", "--rate", "400k", "--json"]).object();
    // 700,000 bytes.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1700), "{took:?}");

    let mut read = BTreeSet::new();
    for round in 0..3 {
        let sample = mirror.run(&["verify", "--sample", "3", "--json"]).object();
        assert_eq!(number(&sample, "files"), 3);
        assert_eq!(number(&sample, "release_files"), 7);
        let names = sample["read"].as_array().unwrap().iter();
        read.extend(names.map(|name| name.as_str().unwrap().to_owned()));
        assert_eq!(read.len(), [3, 6, 7][round]);
    }
    let told = mirror.run(&["verify", "--sample", "40%"]);
    told.says("read 3 of 7 files, from f2 to f4");
    let wrong = mirror.run(&["verify", "--sample", "0"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert_eq!(listing(&mirror.docroot), before, "the docroot was changed");
}

/// A file system of its own in a file, unmounted with the test.
struct LoopDisk {
    image: PathBuf,
    mounted: PathBuf,
}

impl LoopDisk {
    /// `None`, after saying so, where nobody may mount one.
    fn mount(test: &str, world: &World, name: &str) -> Option<Self> {
        let (image, mounted) = (world.path("disk.img"), world.path(name));
        support::program(test, "mkfs.ext4", "e2fsprogs")?;
        fs::create_dir(&mounted).unwrap();
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let ran = |program: &str, arguments: &[&str]| {
            let out = Command::new(program).args(arguments).output();
            out.is_ok_and(|out| out.status.success())
        };
        let (file, folder) = (image.to_str().unwrap(), mounted.to_str().unwrap());
        if !ran("mkfs.ext4", &["-q", "-b", "4096", file])
            || !ran("mount", &["-o", "loop", file, folder])
        {
            support::skip(test, "may not mount a file as a disk; run it as root");
            return None;
        }
        Some(Self { image, mounted })
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mounted).status();
    }
}

/// The only test in which a disk really forgets: the bit is flipped below the file system, which holds the file in memory
/// as it was.
#[test]
fn rot_below_what_memory_still_holds_is_found_and_healed() {
    let test = "rot_below_what_memory_still_holds_is_found_and_healed";
    let world = World::running("none");
    let Some(disk) = LoopDisk::mount(test, &world, "mirror-docroot") else {
        return;
    };
    let big = noise(11, 3_000_000);
    world.publish(&[("big", &big), ("small", b"s")]);
    let mirror = world.admitted("mirror");
    mirror.run(&["sync", "--json"]).object();
    assert!(
        Command::new("sync")
            .arg("-f")
            .arg(&disk.mounted)
            .status()
            .unwrap()
            .success()
    );
    let file = mirror.docroot.join("big");
    assert!(fs::read(&file).unwrap() == big, "now it is in memory");

    let image = fs::read(&disk.image).unwrap();
    // A page of the file stands whole in some block of the disk.
    let page = &big[1_228_800..1_228_800 + 4096];
    let at = image.chunks_exact(4096).position(|block| block == page);
    let at = at.expect("the page on the disk") as u64 * 4096;
    flip(&disk.image, at + 99, 2);
    assert!(fs::read(&file).unwrap() == big, "memory hides it");

    let found = mirror.run(&["verify", "--json"]).object_and(65);
    assert_eq!(found["bad_chunks"], 1, "{found}");
    assert_eq!(found["damaged"][0]["path"], "big");
    let healed = mirror.run(&["verify", "--heal", "--json"]).object();
    assert_eq!(healed["healed"]["clean"], true, "{healed}");
    assert!(fs::read(&file).unwrap() == big);
    assert_eq!(mirror.run(&["verify", "--json"]).object()["clean"], true);
}
