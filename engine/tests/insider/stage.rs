//! Where the attacks play: a real mirror at release 1, release 2 in a bundle, and somebody with all the keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidecast_engine::clock::SystemClock;
use tidecast_engine::config::MirrorConfig;
use tidecast_engine::keyfile;
use tidecast_engine::master::{self, Feed, HeadSigner};
use tidecast_engine::mirror::{ImportError, Mirror};
use tidecast_engine::store::Store;
use tidecast_proto::bundle::{Header, PartHeader, PartKind, put_part};
use tidecast_proto::codec;
use tidecast_proto::head::HeadBody;
use tidecast_proto::id::{FileHash, ObjectId, ReleaseNumber, Seq};
use tidecast_proto::key::{SecretKey, Signature};
use tidecast_proto::limits;
use tidecast_proto::manifest::ManifestBody;
use tidecast_proto::signed::KeySignature;

use crate::raw;
use crate::support::{RunningMaster, World, noise};

/// Most time one bundle of a few kilobytes may take on a busy machine.
const TIME_BOUND: Duration = Duration::from_secs(20);

/// A mirror at release 1, release 2 in a bundle, and somebody with all the keys.
pub(crate) struct Stage {
    pub(crate) world: World,
    /// What the mirror's folders held at release 1.
    pub(crate) template: PathBuf,
    pub(crate) bundle: Vec<u8>,
    pub(crate) live: ManifestBody,
    pub(crate) live_id: ObjectId,
    pub(crate) next: ManifestBody,
    pub(crate) release_key: SecretKey,
    head_key: SecretKey,
    seq: u64,
    copies: u64,
    pub(crate) mirror: Option<(Arc<Mirror>, PathBuf)>,
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
    pub(crate) async fn new() -> Self {
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
    pub(crate) async fn import(
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
    pub(crate) fn sections(&self) -> &[u8] {
        let mut at = 0;
        loop {
            let (header, used) = PartHeader::parse(&self.bundle[at..]).unwrap().unwrap();
            at += used + header.body_bytes;
            if header.kind == PartKind::MANIFEST {
                return &self.bundle[at..];
            }
        }
    }

    pub(crate) fn sign(&self, name: &str, key: &SecretKey, body: &[u8]) -> Vec<u8> {
        use ed25519_dalek::Signer as _;
        let message = [b"tidecast/", name.as_bytes(), b"/v1\0", body].concat();
        let signature = KeySignature {
            key: key.public(),
            signature: Signature(key.as_dalek().sign(&message).to_bytes()),
        };
        codec::encode(&(body.to_vec(), vec![signature]))
    }

    /// A bundle to whatever `body` says, signed well, with a head that follows it.
    pub(crate) fn signed_bundle(
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

pub(crate) fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(done.success());
}

pub(crate) fn open(folder: &Path, fingerprint: &str) -> Option<Arc<Mirror>> {
    let config = MirrorConfig {
        fingerprint: fingerprint.into(),
        upstreams: vec!["192.0.2.1:9".into()],
        docroot: folder.join("m.docroot"),
        scrub_s: 0,
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
pub(crate) fn live_release(docroot: &Path) -> u64 {
    let to = std::fs::read_link(docroot.join(".tidecast/current")).unwrap();
    to.to_str()
        .unwrap()
        .strip_prefix('r')
        .unwrap()
        .parse()
        .unwrap()
}

/// The docroot shows exactly the files of `manifest`, and what is the operator's is as it was.
pub(crate) fn check_docroot(docroot: &Path, manifest: &ManifestBody) {
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

/// The parts of a bundle.
pub(crate) fn split(bundle: &[u8]) -> Vec<Vec<u8>> {
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < bundle.len() {
        let (header, used) = PartHeader::parse(&bundle[at..]).unwrap().unwrap();
        let end = at + used + header.body_bytes;
        parts.push(bundle[at..end].to_vec());
        at = end;
    }
    parts
}
