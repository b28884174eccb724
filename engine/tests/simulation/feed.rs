//! The feed: its keys, its roots, its two masters' states, and the releases that were really signed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use flate2::Compression;
use flate2::write::GzEncoder;
use tidecast_engine::master::{self, Decision, Feed, Nodes};
use tidecast_engine::publish::{PublishRequest, publish};
use tidecast_engine::roots;
use tidecast_engine::store::StoreWriter;
use tidecast_proto::chunker::Chunking;
use tidecast_proto::database::VerifyPolicy;
use tidecast_proto::id::{
    Epoch, FeedId, FeedName, ObjectId, ReleaseNumber, RootVersion, Timestamp,
};
use tidecast_proto::key::{PublicKey, SecretKey};
use tidecast_proto::manifest::Flags;
use tidecast_proto::root::{self, Root, RootBody, SignedRoot};

use crate::chance::Chance;

/// A head's life here: short, so that a frozen mirror notices within a run.
pub(crate) const HEAD_LIFE_MS: u64 = 5 * 60 * 1000;

const ROOT_LIFE_MS: u64 = 400 * 24 * 3600 * 1000;

/// The masters, as they are called in the simulated network.
pub(crate) const MASTERS: [&str; 2] = ["north", "south"];

/// Files of a release, by path.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A release that enough sigmakers signed.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) number: u64,
    pub(crate) manifest: ObjectId,
    pub(crate) files: Files,
    tree: PathBuf,
    made: Timestamp,
    /// The root it was signed under.
    root: Root,
}

/// Keys of one master.
#[derive(Debug)]
pub(crate) struct MasterKeys {
    pub(crate) node: [u8; 32],
    pub(crate) head: [u8; 32],
}

impl MasterKeys {
    fn new(chance: &mut Chance) -> Self {
        Self {
            node: chance.seed(),
            head: chance.seed(),
        }
    }

    fn node_key(&self) -> SecretKey {
        SecretKey::from_seed(&self.node)
    }

    fn head_key(&self) -> SecretKey {
        SecretKey::from_seed(&self.head)
    }
}

/// The feed.
#[derive(Debug)]
pub(crate) struct SimFeed {
    folder: PathBuf,
    pub(crate) id: FeedId,
    root_keys: Vec<[u8; 32]>,
    release_keys: Vec<[u8; 32]>,
    body: RootBody,
    pub(crate) roots: Vec<SignedRoot>,
    pub(crate) masters: [MasterKeys; 2],
    pub(crate) releases: Vec<Release>,
    /// How many of the releases each master has.
    on_master: [usize; 2],
    chance: Chance,
}

impl SimFeed {
    /// A feed with a first root that names both masters, and both masters' states.
    pub(crate) fn new(folder: &Path, seed: u64, now: Timestamp) -> Self {
        let mut chance = Chance::of(seed, "feed");
        let masters = [MasterKeys::new(&mut chance), MasterKeys::new(&mut chance)];
        let root_keys = vec![chance.seed(), chance.seed()];
        let release_keys: Vec<_> = (0..chance.between(1, 3)).map(|_| chance.seed()).collect();
        let release_threshold = chance.between(1, release_keys.len() as u64);
        let body = RootBody {
            version: RootVersion(1),
            epoch: Epoch(0),
            feed: FeedName::new("simulated").unwrap(),
            expires: now.plus(ROOT_LIFE_MS),
            root_keys: publics(&root_keys),
            root_threshold: 2,
            release_keys: publics(&release_keys),
            release_threshold: u16::try_from(release_threshold).unwrap(),
            added_threshold: 1,
            head_keys: Vec::new(),
            head_ttl_max_ms: HEAD_LIFE_MS,
            masters: Vec::new(),
            chunking: Chunking {
                min: 1024,
                avg: 4096,
                max: 16 * 1024,
                ..Chunking::default()
            },
            revoked_manifests: Vec::new(),
            release_min: ReleaseNumber(0),
            extensions: Vec::new(),
        };
        let mut feed = Self {
            folder: folder.to_owned(),
            id: FeedId([0; 32]),
            root_keys,
            release_keys,
            body,
            roots: Vec::new(),
            masters,
            releases: Vec::new(),
            on_master: [0; 2],
            chance,
        };
        feed.name_masters();
        let first = feed.sign_root(&[]);
        feed.id = FeedId(first.id().0);
        feed.roots.push(first);
        for index in 0..MASTERS.len() {
            let state = feed.state(index);
            fs::create_dir_all(&state).unwrap();
            let config = format!(
                "feed = \"simulated\"\nfingerprint = \"{}\"\nverify = \"none\"\n",
                feed.id
            );
            fs::write(state.join(master::MASTER_CONFIG), config).unwrap();
            feed.write_master(index);
        }
        feed
    }

    pub(crate) fn state(&self, master: usize) -> PathBuf {
        self.folder.join(MASTERS[master])
    }

    fn name_masters(&mut self) {
        let masters = self.masters.iter();
        self.body.head_keys = masters.map(|keys| keys.head_key().public()).collect();
        self.body.head_keys.sort();
        let named = self.masters.iter().zip(MASTERS);
        self.body.masters = named
            .map(|(keys, name)| root::Master {
                name: name.into(),
                node_key: keys.node_key().public(),
                addresses: vec![format!("{name}:4873")],
            })
            .collect();
        self.body.masters.sort_by_key(|master| master.node_key);
    }

    fn sign_root(&self, old_keys: &[[u8; 32]]) -> SignedRoot {
        let keys: Vec<_> = self
            .root_keys
            .iter()
            .chain(old_keys)
            .map(SecretKey::from_seed)
            .collect();
        let keys: Vec<_> = keys.iter().collect();
        SignedRoot::sign(&self.body, &keys).unwrap()
    }

    /// Puts keys and roots where the master finds them.
    fn write_master(&self, master: usize) {
        let state = self.state(master);
        let keys = &self.masters[master];
        write_key(&state.join(master::NODE_KEY), &keys.node);
        write_key(&state.join(master::HEAD_KEY), &keys.head);
        for (index, root) in self.roots.iter().enumerate() {
            roots::store(&state.join("roots"), RootVersion(index as u64 + 1), root).unwrap();
        }
    }

    /// Admits a node at one master.
    pub(crate) fn admit(&self, master: usize, node: PublicKey, now: Timestamp) {
        Nodes::decide(&self.state(master), node, Decision::Admit, None, now).unwrap();
    }

    /// The next root. With `replaced`, that master's keys were stolen: it gets new ones and the epoch rises, so that
    /// whatever was signed with the old ones is void. Masters take it up when they start again.
    pub(crate) fn rotate(&mut self, replaced: Option<usize>, new_epoch: bool, now: Timestamp) {
        let old_keys = self.root_keys.clone();
        // One of the two root keys goes with every root.
        self.root_keys[0] = self.chance.seed();
        self.body.root_keys = publics(&self.root_keys);
        self.body.version = RootVersion(self.body.version.0 + 1);
        self.body.expires = now.plus(ROOT_LIFE_MS);
        if let Some(master) = replaced {
            self.masters[master] = MasterKeys::new(&mut self.chance);
            self.name_masters();
        }
        if new_epoch {
            self.body.epoch = Epoch(self.body.epoch.0 + 1);
        }
        let root = self.sign_root(&old_keys);
        self.roots.push(root);
        for master in 0..MASTERS.len() {
            self.write_master(master);
        }
    }

    /// The newest release's number, 0 for none.
    pub(crate) fn newest(&self) -> u64 {
        self.releases.last().map_or(0, |release| release.number)
    }

    pub(crate) fn release(&self, number: u64) -> Option<&Release> {
        self.releases
            .iter()
            .find(|release| release.number == number)
    }

    /// Makes and signs a release on the first master; the second gets it with [`Self::bring_to`].
    pub(crate) fn publish(&mut self, now: Timestamp) {
        let files = self.next_files();
        let number = self.newest() + 1;
        let tree = self.folder.join("trees").join(number.to_string());
        for (path, content) in &files {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut file = fs::File::create(path).unwrap();
            file.write_all(content).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_millis(now.0))
                .unwrap();
        }
        let root = Feed::load(&self.state(0)).unwrap().root;
        let mut release = Release {
            number,
            manifest: ObjectId([0; 32]),
            files,
            tree,
            made: now,
            root,
        };
        release.manifest = self.publish_on(0, &release);
        self.on_master[0] += 1;
        self.releases.push(release);
    }

    /// Brings a master what it lacks.
    pub(crate) fn bring_to(&mut self, master: usize) {
        for release in &self.releases[self.on_master[master]..] {
            let manifest = self.publish_on(master, release);
            assert_eq!(
                manifest, release.manifest,
                "a release is the same everywhere"
            );
        }
        self.on_master[master] = self.releases.len();
    }

    fn publish_on(&self, master: usize, release: &Release) -> ObjectId {
        let state = self.state(master);
        let mut writer = StoreWriter::open(&state.join("store")).unwrap();
        let keys: Vec<_> = self.release_keys.iter().map(SecretKey::from_seed).collect();
        let report = publish(
            &mut writer,
            &PublishRequest {
                tree: &release.tree,
                root: &release.root,
                feed: self.id,
                keys: &keys,
                verify: VerifyPolicy::None,
                notes: format!("release {}", release.number),
                flags: Flags::default(),
                // Made anew each time: what is known of a file would depend on real time.
                cache: &state.join(format!("publish.{}", release.number)),
                now: release.made,
                even_if_unchanged: true,
                above: ReleaseNumber(0),
            },
            &mut |_| {},
        )
        .unwrap();
        assert_eq!(report.release.0, release.number);
        report.manifest
    }

    /// The files of the next release: some changed, now and then one more or one less.
    fn next_files(&mut self) -> Files {
        let chance = &mut self.chance;
        let Some(last) = self.releases.last() else {
            return first_files(chance);
        };
        let mut files = last.files.clone();
        let names: Vec<_> = files.keys().cloned().collect();
        for _ in 0..chance.between(1, 3) {
            let name = chance.pick(&names);
            let content = files.get_mut(name).unwrap();
            if name.ends_with(".gz") {
                *content = packed(&lines(chance, 400));
            } else {
                let at = chance.index(content.len() + 1);
                let new = lines(chance, 3);
                content.splice(at..at, new);
            }
        }
        if chance.one_in(3) {
            let name = format!("added-{}/{}.txt", chance.below(3), chance.below(1000));
            files.insert(name, lines(chance, 20));
        }
        if chance.one_in(4) && files.len() > 6 {
            let name = chance.pick(&names).clone();
            files.remove(&name);
        }
        files
    }
}

fn first_files(chance: &mut Chance) -> Files {
    let noise = chance.between(1, 60_000);
    Files::from([
        ("main.ndb".into(), lines(chance, 200)),
        (
            "big.bin".into(),
            chance.bytes(usize::try_from(noise).unwrap()),
        ),
        ("daily.gz".into(), packed(&lines(chance, 300))),
        ("sub/one.txt".into(), lines(chance, 5)),
        ("sub/deep/two.txt".into(), lines(chance, 40)),
        ("empty".into(), Vec::new()),
    ])
}

fn lines(chance: &mut Chance, count: u64) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..count {
        writeln!(
            text,
            "Sim.Test-{}:0:*:{:016x}",
            chance.below(100_000),
            chance.next()
        )
        .unwrap();
    }
    text
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn publics(seeds: &[[u8; 32]]) -> Vec<PublicKey> {
    let mut keys: Vec<_> = seeds
        .iter()
        .map(|seed| SecretKey::from_seed(seed).public())
        .collect();
    keys.sort();
    keys
}

/// A key file as its owner's `key new` would write it.
pub(crate) fn write_key(path: &Path, seed: &[u8; 32]) {
    let pair = ed25519_dalek::pkcs8::KeypairBytes {
        secret_key: *seed,
        public_key: None,
    };
    let pem = pair.to_pkcs8_pem(LineEnding::LF).unwrap();
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .unwrap()
        .write_all(pem.as_bytes())
        .unwrap();
}
