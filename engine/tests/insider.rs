//! Rows "forged", "re-signed" and "replay" of the attacks, on a real mirror: whole bundle streams against a real state folder and
//! docroot. What a docroot shows is always one signed release, byte for byte; nothing outside it is written, and `local_*`
//! stays.
//!
//! `cargo test -p tidecast-engine --test insider -- --nocapture`; `TIDECAST_LONG=1` for the full figures, `TIDECAST_SEED` for others.
//! The rules alone are attacked in `proto/tests/attacks`.

#[path = "../../proto/tests/attacks/altered.rs"]
mod altered;
#[path = "../../proto/tests/attacks/fields.rs"]
#[allow(dead_code, reason = "manifests and heads are what a bundle carries")]
mod fields;
#[path = "../../proto/tests/attacks/raw.rs"]
#[allow(dead_code, reason = "as above")]
mod raw;
#[path = "../../proto/tests/attacks/rng.rs"]
mod rng;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use altered::{Change, change};
use fields::Fields as _;
use rng::Rng;
use support::{RunningMaster, World, noise};
use tidecast_engine::clock::SystemClock;
use tidecast_engine::config::MirrorConfig;
use tidecast_engine::keyfile;
use tidecast_engine::master::{self, Feed, HeadSigner};
use tidecast_engine::mirror::{ImportError, Mirror};
use tidecast_engine::store::Store;
use tidecast_proto::bundle::{Header, PartHeader, PartKind, put_part};
use tidecast_proto::codec;
use tidecast_proto::head::{HeadBody, SignedHead};
use tidecast_proto::id::{FileHash, ObjectId, ReleaseNumber, Seq};
use tidecast_proto::key::{SecretKey, Signature};
use tidecast_proto::limits;
use tidecast_proto::manifest::{ManifestBody, SignedManifest};
use tidecast_proto::signed::KeySignature;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn cases(short: u64, full: u64) -> u64 {
    let long = std::env::var_os("TIDECAST_LONG").is_some();
    number("TIDECAST_CASES", if long { full } else { short })
}

/// Most time one bundle of a few kilobytes may take on a busy machine.
const TIME_BOUND: Duration = Duration::from_secs(20);

/// A mirror at release 1, release 2 in a bundle, and somebody with all the keys.
struct Stage {
    world: World,
    /// What the mirror's folders held at release 1.
    template: PathBuf,
    bundle: Vec<u8>,
    live: ManifestBody,
    live_id: ObjectId,
    next: ManifestBody,
    release_key: SecretKey,
    head_key: SecretKey,
    seq: u64,
    copies: u64,
    mirror: Option<(Arc<Mirror>, PathBuf)>,
}

fn content(release: u8) -> Vec<(&'static str, Vec<u8>)> {
    let mut big = noise(1, 90_000);
    big.extend(noise(release.into(), 500));
    vec![
        ("a/deep/file.txt", b"unchanged".to_vec()),
        ("big.bin", big),
        ("empty", Vec::new()),
        ("notes.txt", vec![b'n'; 10 * usize::from(release)]),
        ("tool", b"#!/bin/sh\n".to_vec()),
    ]
}

impl Stage {
    async fn new() -> Self {
        let world = World::new();
        let publish = |release: u8| {
            let files = content(release);
            let files: Vec<(&str, &[u8])> = files.iter().map(|(p, c)| (*p, &c[..])).collect();
            world.publish(&files);
        };
        publish(1);
        let master = RunningMaster::start(&world);
        let docroot = world.docroot("m");
        std::fs::create_dir_all(docroot.join("local_folder")).unwrap();
        std::fs::write(docroot.join("local_folder/x"), b"the operator's").unwrap();
        std::fs::write(docroot.join("local_logo.png"), b"logo").unwrap();
        let mirror = world.admitted_mirror("m", &master.upstream());
        master.master.reload().unwrap();
        mirror.sync_once().await.unwrap();
        drop(mirror);
        drop(master);
        publish(2);
        let feed = Feed::load(&world.master_state()).unwrap();
        let store = Store::open(&feed.store_folder()).unwrap();
        let read = |release: u64| {
            let manifest = store.manifest(ReleaseNumber(release)).unwrap().unwrap();
            manifest.verify_stored(&feed.root, &feed.id).unwrap()
        };
        let (live, next) = (read(1), read(2));
        let head = HeadSigner::open(&world.master_state(), feed.head_key().unwrap())
            .unwrap()
            .sign(feed.id, &feed.root, &next, world.now())
            .unwrap();
        let path = world.path("bundle");
        master::export(
            &feed,
            &store,
            &head.bytes,
            ReleaseNumber(1),
            &path,
            world.now(),
        )
        .unwrap();
        let template = world.path("template");
        std::fs::create_dir(&template).unwrap();
        let stage = Self {
            template,
            bundle: std::fs::read(&path).unwrap(),
            live_id: live.id(),
            live: (*live).clone(),
            next: (*next).clone(),
            release_key: keyfile::load(&world.path("keys").join(master::RELEASE_KEY)).unwrap(),
            head_key: feed.head_key().unwrap(),
            seq: world.now().0 + 1_000_000,
            copies: 0,
            mirror: None,
            world,
        };
        for part in ["m.state", "m.docroot"] {
            copy(&stage.world.path(part), &stage.template.join(part));
        }
        stage
    }

    /// A mirror at release 1: the one of the case before if it still is.
    fn mirror(&mut self) -> (Arc<Mirror>, PathBuf) {
        if self.mirror.is_none() {
            self.copies += 1;
            let folder = self.world.path(&format!("copy{}", self.copies));
            copy(&self.template, &folder);
            let mirror =
                open(&folder, &self.world.feed.to_string()).expect("a copy of a sound state");
            self.mirror = Some((mirror, folder));
        }
        self.mirror.clone().unwrap()
    }

    /// Imports `bytes`, and looks at everything. `Some`: the release that is live now.
    async fn import(
        &mut self,
        bytes: &[u8],
        next: &ManifestBody,
        tally: &mut BTreeMap<String, u64>,
    ) -> Option<u64> {
        let (mirror, folder) = self.mirror();
        let path = self.world.path("mutated");
        std::fs::write(&path, bytes).unwrap();
        let began = Instant::now();
        let done = mirror.import(&path, None).await;
        assert!(began.elapsed() < TIME_BOUND, "{:?}", began.elapsed());
        let live = live_release(&folder.join("m.docroot"));
        let (what, shown) = match &done {
            Ok(report) if report.switched => ("switched".to_owned(), next),
            Ok(_) => ("nothing new in it".to_owned(), &self.live),
            Err(error) => (format!("refused: {}", kind(error)), &self.live),
        };
        *tally.entry(what).or_default() += 1;
        check_docroot(&folder.join("m.docroot"), shown);
        let mut names: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["m.docroot", "m.state"],
            "something was written beside the docroot"
        );
        if live == 1 {
            // A number that an insider raised to the end of all numbers would refuse whatever comes after it.
            if matches!(&done, Err(error) if kind(error).ends_with("Replayed")) {
                self.mirror = None;
                drop(mirror);
                std::fs::remove_dir_all(&folder).unwrap();
            }
            return None;
        }
        drop(mirror);
        self.mirror = None;
        std::fs::remove_dir_all(&folder).unwrap();
        Some(live)
    }

    /// The bundle's parts after the manifest.
    fn sections(&self) -> &[u8] {
        let mut at = 0;
        loop {
            let (header, used) = PartHeader::parse(&self.bundle[at..]).unwrap().unwrap();
            at += used + header.body_bytes;
            if header.kind == PartKind::MANIFEST {
                return &self.bundle[at..];
            }
        }
    }

    fn sign(&self, name: &str, key: &SecretKey, body: &[u8]) -> Vec<u8> {
        use ed25519_dalek::Signer as _;
        let message = [b"tidecast/", name.as_bytes(), b"/v1\0", body].concat();
        let signature = KeySignature {
            key: key.public(),
            signature: Signature(key.as_dalek().sign(&message).to_bytes()),
        };
        codec::encode(&(body.to_vec(), vec![signature]))
    }

    /// A bundle to whatever `body` says, signed well, with a head that follows it.
    fn signed_bundle(
        &mut self,
        body: &[u8],
        release: u64,
        head: impl FnOnce(&mut raw::Head),
        sections: &[u8],
    ) -> Vec<u8> {
        self.seq += 1;
        let now = self.world.now();
        let fields = HeadBody {
            feed: self.live.feed,
            epoch: tidecast_proto::id::Epoch(0),
            seq: Seq(self.seq),
            issued: now,
            expires: now.plus(3_600_000),
            release: ReleaseNumber(release.max(1)),
            manifest: ObjectId::of(body),
            manifest_bytes: body.len() as u64,
            root_version: tidecast_proto::id::RootVersion(1),
            phase: tidecast_proto::head::Phase::LIVE,
            extensions: Vec::new(),
        };
        let mut fields: raw::Head =
            codec::decode_exact("head", &codec::encode(&fields), 1024).unwrap();
        head(&mut fields);
        let head = self.sign("head", &self.head_key, &codec::encode(&fields));
        let manifest = self.sign("manifest", &self.release_key, body);
        let mut out = Vec::new();
        put_part(
            PartKind::HEADER,
            &Header { from: self.live_id }.encode(),
            &mut out,
        );
        if head.len() <= limits::SMALL_OBJECT_BYTES {
            put_part(PartKind::HEAD, &head, &mut out);
        }
        let packed = zstd::bulk::compress(&manifest, 1).unwrap();
        put_part(PartKind::MANIFEST, &packed[4..], &mut out);
        out.extend_from_slice(sections);
        out
    }
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(done.success());
}

fn open(folder: &Path, fingerprint: &str) -> Option<Arc<Mirror>> {
    let config = MirrorConfig {
        fingerprint: fingerprint.into(),
        upstreams: vec!["192.0.2.1:9".into()],
        docroot: folder.join("m.docroot"),
        name: String::new(),
        contact: String::new(),
        hosts: Vec::new(),
        http: None,
        access_log: None,
        metrics: None,
        grace_s: 600,
        ..MirrorConfig::default()
    };
    // The lock goes with the disk thread, a moment after the process or mirror before.
    for _ in 0..200 {
        match Mirror::open(
            &folder.join("m.state"),
            config.clone(),
            Arc::new(SystemClock),
        ) {
            Ok((mirror, _)) => return Some(mirror),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    None
}

/// Which rule refused it: the error's variants, outermost first.
fn kind(error: &ImportError) -> String {
    let text = format!("{error:?}");
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let variants: Vec<&str> = words
        .filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase()))
        .take(3)
        .collect();
    variants.join(" ")
}

/// What the docroot shows, by the link that says so (SPEC §8.3).
fn live_release(docroot: &Path) -> u64 {
    let to = std::fs::read_link(docroot.join(".tidecast/current")).unwrap();
    to.to_str()
        .unwrap()
        .strip_prefix('r')
        .unwrap()
        .parse()
        .unwrap()
}

/// The docroot shows exactly the files of `manifest`, and what is the operator's is as it was.
fn check_docroot(docroot: &Path, manifest: &ManifestBody) {
    for file in &manifest.files {
        let bytes = std::fs::read(docroot.join(file.path.as_str())).unwrap();
        assert_eq!(
            FileHash::of(&bytes),
            file.hash,
            "{} is not what was signed",
            file.path
        );
        assert_eq!(bytes.len() as u64, file.size);
    }
    let tops: Vec<&str> = manifest.files.iter().map(|file| file.path.top()).collect();
    for entry in std::fs::read_dir(docroot).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let ours = name == ".tidecast" || name == "timestamp" || name.starts_with("local_");
        assert!(
            ours || tops.contains(&name.as_str()),
            "{name} is of no release"
        );
    }
    assert_eq!(
        std::fs::read(docroot.join("local_folder/x")).unwrap(),
        b"the operator's"
    );
    assert_eq!(
        std::fs::read(docroot.join("local_logo.png")).unwrap(),
        b"logo"
    );
}

fn print(name: &str, count: u64, seed: u64, tally: &BTreeMap<String, u64>) {
    println!("{name}: {count} cases of seed {seed}, 0 accepted, 0 panics");
    for (what, n) in tally {
        println!("  {n:>8}  {what}");
    }
}

/// Prints what reproduces a case that fails.
struct Repeat(u64, u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "seed {}, case {}: TIDECAST_SEED={0} and a TIDECAST_CASES beyond {1} reach it again",
                self.0, self.1
            );
        }
    }
}

#[tokio::test]
async fn a_bundle_that_was_changed_on_the_way_brings_the_signed_release_or_nothing() {
    let mut stage = Stage::new().await;
    let (bundle, next) = (stage.bundle.clone(), stage.next.clone());
    let mut tally = BTreeMap::new();
    // As it is, it brings release 2.
    assert_eq!(stage.import(&bundle, &next, &mut tally).await, Some(2));
    tally.clear();
    let (count, seed) = (cases(150, 20_000), number("TIDECAST_SEED", 1));
    for case in 0..count {
        let _repeat = Repeat(seed, case);
        let mut rng = Rng::new(seed, case);
        let kind = *rng.pick(&Change::ALL);
        let bytes = change(kind, &bundle, &bundle, &mut rng);
        if bytes != bundle && stage.import(&bytes, &next, &mut tally).await.is_some() {
            *tally
                .entry("brought the signed release all the same".into())
                .or_default() += 1;
        }
    }
    print("changed bundles", count, seed, &tally);
    assert!(tally.keys().any(|what| what.starts_with("refused")));
}

#[tokio::test]
async fn what_an_insider_signs_never_leaves_the_docroot_and_never_shows_what_it_does_not_name() {
    let mut stage = Stage::new().await;
    let sound = codec::encode(&stage.next);
    let sections = stage.sections().to_vec();
    let mut tally = BTreeMap::new();
    let (count, seed) = (cases(150, 20_000), number("TIDECAST_SEED", 1));
    for case in 0..count {
        let _repeat = Repeat(seed, case);
        let mut rng = Rng::new(seed, case);
        let mut raw: raw::Manifest =
            codec::decode_exact("raw", &sound, limits::MANIFEST_BYTES).unwrap();
        for _ in 0..rng.below(3) {
            raw.change(&mut rng);
        }
        let body = codec::encode(&raw);
        let sections = match rng.below(4) {
            0 => change(*rng.pick(&Change::ALL), &sections, &sections, &mut rng),
            _ => sections.clone(),
        };
        let other_head = rng.once_in(6);
        let bytes = stage.signed_bundle(
            &body,
            raw.release,
            |head| {
                if other_head {
                    head.change(&mut rng);
                }
            },
            &sections,
        );
        // What is live afterwards, if anything came of it, is what was signed.
        let signed = SignedManifest::from_bytes(&stage.sign("manifest", &stage.release_key, &body));
        let shown = signed.ok().and_then(|signed| {
            let id = signed.id();
            signed.reopen(&id).ok().map(|manifest| (*manifest).clone())
        });
        let shown = shown.unwrap_or_else(|| stage.live.clone());
        stage.import(&bytes, &shown, &mut tally).await;
        if other_head {
            stage.mirror = None;
        }
    }
    print("signed by an insider", count, seed, &tally);
    assert!(tally.contains_key("switched") && tally.len() > 4);
}

/// Parts of several releases' bundles and of two feeds', in one stream.
#[tokio::test]
async fn parts_of_different_bundles_never_make_another_release() {
    let mut stage = Stage::new().await;
    let (other, next) = (Stage::new().await, stage.next.clone());
    let mut changed = stage.next.clone();
    changed.notes = "another".into();
    let sections = stage.sections().to_vec();
    let third = stage.signed_bundle(&codec::encode(&changed), 2, |_| (), &sections);
    let sources = [split(&stage.bundle), split(&other.bundle), split(&third)];
    let mut tally = BTreeMap::new();
    let (count, seed) = (cases(100, 5_000), number("TIDECAST_SEED", 1));
    for case in 0..count {
        let _repeat = Repeat(seed, case);
        let mut rng = Rng::new(seed, case);
        let lead = rng.pick(&sources).clone();
        let (mut bytes, mut manifest_of) = (Vec::new(), 0);
        for (at, part) in lead.iter().enumerate() {
            let from = rng.below(sources.len());
            let part = if rng.once_in(3) {
                sources[from].get(at).unwrap_or(part)
            } else {
                part
            };
            bytes.extend_from_slice(part);
            manifest_of = manifest_of.max(usize::from(part == &sources[2][1]));
        }
        let shown = if manifest_of == 1 { &changed } else { &next };
        stage.import(&bytes, shown, &mut tally).await;
    }
    print("mixed bundles", count, seed, &tally);
}

fn split(bundle: &[u8]) -> Vec<Vec<u8>> {
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < bundle.len() {
        let (header, used) = PartHeader::parse(&bundle[at..]).unwrap().unwrap();
        let end = at + used + header.body_bytes;
        parts.push(bundle[at..end].to_vec());
        at = end;
    }
    parts
}

// Killed

/// Where the child of [`no_kill_brings_anything_back`] finds its folder and fingerprint.
const CHILD: &str = "TIDECAST_TEST_CHILD";

/// Imports everything there is again and again, in any order, until somebody ends it. Does nothing in a run of its own: it is the
/// other process of the test below.
#[tokio::test]
async fn child_that_imports_until_it_is_killed() {
    let Ok(told) = std::env::var(CHILD) else {
        return;
    };
    let [folder, fingerprint, seed]: [&str; 3] =
        told.split('\n').collect::<Vec<_>>().try_into().unwrap();
    let folder = Path::new(folder);
    let mirror = open(folder, fingerprint).expect("the state of a killed process opens");
    let mut rng = Rng::new(seed.parse().unwrap(), 0);
    let mut bundles: Vec<PathBuf> = std::fs::read_dir(folder.join("bundles"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    bundles.sort();
    loop {
        let bundle: &PathBuf = rng.pick(&bundles);
        let _ = mirror.import(bundle, None).await;
    }
}

#[tokio::test]
async fn no_kill_brings_anything_back() {
    let mut stage = Stage::new().await;
    let folder = stage.world.path("killed");
    copy(&stage.template, &folder);
    std::fs::create_dir(folder.join("bundles")).unwrap();
    let fingerprint = stage.world.feed.to_string();
    // Releases 2 to 40 from whatever comes before, all of the same content but for the notes: each bundle needs no
    // sections beyond the first one's.
    let sections = stage.sections().to_vec();
    let mut manifests = BTreeMap::from([(1, stage.live.clone())]);
    let mut from = stage.live_id;
    for release in 2..=40_u64 {
        let mut body = stage.next.clone();
        body.release = ReleaseNumber(release);
        body.previous = Some(from);
        body.notes = format!("Release {release}\n");
        let bytes = codec::encode(&body);
        let id = ObjectId::of(&bytes);
        stage.live_id = from;
        let sections = if release == 2 {
            sections.clone()
        } else {
            end()
        };
        let bundle = stage.signed_bundle(&bytes, release, |_| (), &sections);
        std::fs::write(folder.join(format!("bundles/{release:02}")), bundle).unwrap();
        manifests.insert(release, body);
        from = id;
    }
    let (count, seed) = (cases(30, 400), number("TIDECAST_SEED", 1));
    let (mut live, mut seqs, mut restarts) = (1, 0, 0);
    for case in 0..count {
        let _repeat = Repeat(seed, case);
        let mut rng = Rng::new(seed, case);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_imports_until_it_is_killed", "--exact"])
            .env(
                CHILD,
                format!("{}\n{fingerprint}\n{case}", folder.display()),
            )
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20 + rng.below(120) as u64));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(
            !status.success() && status.code().is_none(),
            "it ended by itself: {status}"
        );
        let mirror = open(&folder, &fingerprint).expect("the state of a killed process opens");
        let now = live_release(&folder.join("m.docroot"));
        assert!(now >= live, "release {live} went back to {now}");
        check_docroot(&folder.join("m.docroot"), &manifests[&now]);
        let counters = std::fs::read(folder.join("m.state/counters")).unwrap();
        // Each head's number is in it, and the counters of a killed mirror read back in `open`.
        let issued = highest_seq(&counters, &folder.join("bundles"));
        assert!(issued >= seqs, "a head's number went back");
        (live, seqs) = (now, issued);
        restarts += 1;
        drop(mirror);
    }
    println!("{restarts} kills, release {live} at the end, 0 regressions");
    assert!(live > 2 || count < 10);
}

fn end() -> Vec<u8> {
    let mut out = Vec::new();
    put_part(PartKind::END, &[], &mut out);
    out
}

/// The number of the newest of the heads whose bytes the counters hold.
fn highest_seq(counters: &[u8], bundles: &Path) -> u64 {
    let heads = std::fs::read_dir(bundles).unwrap().filter_map(|entry| {
        let parts = split(&std::fs::read(entry.unwrap().path()).unwrap());
        let (_, used) = PartHeader::parse(&parts[1]).unwrap().unwrap();
        let head = parts[1][used..].to_vec();
        let held = counters.windows(head.len()).any(|window| window == head);
        held.then(|| {
            SignedHead::from_bytes(&head)
                .unwrap()
                .claims()
                .unwrap()
                .seq
                .0
        })
    });
    heads.max().unwrap_or(0)
}
