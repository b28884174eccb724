//! The vectors of SPEC.md §11, made from fixed seeds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use md5::{Digest as _, Md5};
use tidecast_proto::{
    addition::Vouched,
    bundle::{BaseRange, ContentRef, FilePart, Form, Header, PartKind, RunPart, Side, put_part},
    chunker::{Chunker, Chunking},
    codec,
    deflate::{Parameters, Strategy},
    extension::Extension,
    fingerprint,
    head::{HeadBody, Phase, SignedHead},
    id::{
        ChunkId, Epoch, FeedId, FeedName, FileHash, ListId, ObjectId, ReleaseNumber, RootVersion,
        Seq, Timestamp,
    },
    key::{PublicKey, SecretKey, Signature},
    list::{Entry, List},
    manifest::{Database, File, Flags, ManifestBody, SignedManifest},
    name::ReleasePath,
    receipt::{ReceiptBody, ServingState, SignedReceipt},
    recipe::{Deflate, Recipe, RecipeBody, Segment},
    root::{Master, RootBody, SignedRoot},
    signed::{Body, Signed},
    trust::{Trust, Verdict},
    wire::{
        BundleHeader, ChunkHeader, Encoding, FetchBundle, FetchRuns, FrameType, Hello,
        ObjectHeader, ObjectName, PROTOCOL, Poll, RefusalReason, Refused, Request, Serves, Wait,
        Welcome, frame,
    },
};

use crate::bundle;
use crate::page::{hex, hex_lines};

/// When the head of the vectors is judged.
pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000);
const HOUR_MS: u64 = 3_600_000;

/// Role and first byte of the seed, which is that byte 32 times.
const SEEDS: [(&str, u8); 8] = [
    ("root-1", 1),
    ("root-2", 2),
    ("root-3", 3),
    ("release-1", 4),
    ("release-2", 5),
    ("head", 6),
    ("master-node", 7),
    ("mirror-node", 8),
];

pub(crate) struct Vectors {
    /// Name in SPEC.md and what stands there.
    pub(crate) texts: BTreeMap<String, String>,
    /// File below `fuzz/seeds` and its bytes.
    pub(crate) seeds: BTreeMap<String, Vec<u8>>,
}

/// The first eight bytes of an MD5, as a number: the gear table's source.
pub(crate) fn md5_head(bytes: &[u8]) -> u64 {
    let digest: [u8; 16] = Md5::digest(bytes).into();
    u64::from_be_bytes(digest[..8].try_into().expect("16 bytes"))
}

pub(crate) fn noise() -> Vec<u8> {
    let mut bytes = vec![0; 1_000_000];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn chunkings() -> [(&'static str, Chunking); 2] {
    let other = Chunking {
        min: 2048,
        avg: 50_000,
        max: 131_072,
        level: 3,
        seed: 0x0123_4567_89ab_cdef,
    };
    [("cuts", Chunking::default()), ("cuts seeded", other)]
}

pub(crate) fn mirror_key() -> SecretKey {
    key("mirror-node")
}

/// The two ways a text is deflated, by what §5.4 calls their parameters.
pub(crate) fn deflates() -> [(&'static str, Parameters); 2] {
    let usual = Parameters::new(6, Strategy::Default, 8).expect("zlib's own");
    [
        ("9 filtered 8", Parameters::SIGTOOL),
        ("6 default 8", usual),
    ]
}

fn key(role: &str) -> SecretKey {
    let (_, seed) = SEEDS
        .iter()
        .find(|(name, _)| *name == role)
        .expect("a role of the table");
    SecretKey::from_seed(&[*seed; 32])
}

fn public(roles: &[&str]) -> Vec<PublicKey> {
    let mut keys: Vec<PublicKey> = roles.iter().map(|role| key(role).public()).collect();
    keys.sort();
    keys
}

fn sign<T: Body>(body: &T, roles: &[&str]) -> Signed<T> {
    let keys: Vec<SecretKey> = roles.iter().map(|role| key(role)).collect();
    Signed::sign(body, &keys.iter().collect::<Vec<_>>()).expect("a legal body")
}

fn root(version: u64) -> SignedRoot {
    let body = RootBody {
        version: RootVersion(version),
        epoch: Epoch(0),
        feed: FeedName::new("vectors").expect("a legal name"),
        expires: NOW.plus(400 * 24 * HOUR_MS),
        root_keys: public(&["root-1", "root-2", "root-3"]),
        root_threshold: 2,
        release_keys: public(&["release-1", "release-2"]),
        release_threshold: 2,
        added_threshold: 1,
        head_keys: public(&["head"]),
        head_ttl_max_ms: 6 * HOUR_MS,
        masters: vec![Master {
            name: "one".into(),
            node_key: key("master-node").public(),
            addresses: vec!["master.example.org:4873".into()],
        }],
        chunking: Chunking::default(),
        revoked_manifests: vec![ObjectId([0xaa; 32])],
        release_min: ReleaseNumber(2),
        extensions: Vec::new(),
    };
    sign(&body, &["root-1", "root-2"])
}

fn list(noise: &[u8]) -> List {
    let chunker = Chunker::new(Chunking::default());
    let entries = chunker
        .chunks(noise)
        .map(|chunk| Entry {
            id: ChunkId::of(chunk),
            len: u32::try_from(chunk.len()).expect("a chunk's length"),
        })
        .collect();
    List::new(entries).expect("a legal list")
}

fn manifest(feed: FeedId, list: ListId, noise: &[u8]) -> SignedManifest {
    let file = |path: &str, content: &[u8]| File {
        path: ReleasePath::new(path).expect("a legal path"),
        size: content.len() as u64,
        executable: false,
        mtime_s: 1_799_000_000,
        hash: FileHash::of(content),
        list: None,
        recipe: None,
        database: None,
    };
    let body = ManifestBody {
        feed,
        epoch_min: Epoch(0),
        release: ReleaseNumber(3),
        previous: Some(ObjectId([0xbb; 32])),
        anchor: None,
        created: Timestamp(NOW.0 - HOUR_MS),
        notes: "Two files.\n".into(),
        files: vec![
            File {
                database: Some(Database {
                    name: "daily".into(),
                    version: 27_800,
                    build_time_s: 1_799_100_000,
                }),
                ..file("daily.cvd", b"not a real database\n")
            },
            File {
                executable: true,
                list: Some(list),
                ..file("noise.bin", noise)
            },
        ],
        flags: Flags {
            allow_shrink: true,
            allow_database_rollback: false,
        },
        extensions: Vec::new(),
    };
    sign(&body, &["release-1", "release-2"])
}

fn head(feed: FeedId, manifest: &SignedManifest) -> SignedHead {
    let body = HeadBody {
        feed,
        epoch: Epoch(0),
        seq: Seq(NOW.0),
        issued: NOW,
        expires: NOW.plus(6 * HOUR_MS),
        release: ReleaseNumber(3),
        manifest: manifest.id(),
        manifest_bytes: manifest.body_len() as u64,
        root_version: RootVersion(1),
        phase: Phase::LIVE,
        extensions: Vec::new(),
    };
    sign(&body, &["head"])
}

fn receipt(feed: FeedId, manifest: &SignedManifest) -> SignedReceipt {
    let body = ReceiptBody {
        feed,
        release: ReleaseNumber(3),
        manifest: manifest.id(),
        state: ServingState::LIVE,
        switched: NOW.plus(2_000),
        issued: NOW.plus(3_000),
        extensions: vec![Extension {
            tag: 7,
            critical: false,
            bytes: b"later".to_vec(),
        }],
    };
    sign(&body, &["mirror-node"])
}

impl Vectors {
    pub(crate) fn make() -> Self {
        let mut vectors = Self {
            texts: BTreeMap::new(),
            seeds: BTreeMap::new(),
        };
        let keys: Vec<String> = SEEDS
            .iter()
            .map(|(role, seed)| format!("{role} {} {}", hex(&[*seed; 32]), key(role).public()))
            .collect();
        vectors.text("keys", keys.join("\n"));

        let noise = noise();
        for (name, chunking) in chunkings() {
            let chunker = Chunker::new(chunking);
            let cuts: Vec<String> = chunker
                .chunks(&noise)
                .map(|chunk| format!("{} {}", chunk.len(), ChunkId::of(chunk)))
                .collect();
            vectors.text(name, cuts.join("\n"));
        }
        let list = list(&noise);
        vectors.hex("list", &list.encode());
        vectors.hex("list id", &list.id().0);

        let root = root(1);
        let feed = FeedId(root.id().0);
        vectors.text("fingerprint words", fingerprint::to_words(&feed));
        let manifest = manifest(feed, list.id(), &noise);
        let head = head(feed, &manifest);
        let receipt = receipt(feed, &manifest);
        vectors.object(&root);
        vectors.object(&manifest);
        vectors.object(&head);
        vectors.object(&receipt);
        vectors.frames(feed, &root, &manifest, &head, &receipt, &list);
        vectors.counters(feed, root, manifest, head);
        vectors.seed_texts(&feed);
        vectors.seed("list", "list", list.encode());
        vectors.recipe(list.id());
        vectors.parts();
        vectors.deflate();
        vectors.bundle(feed);
        vectors
    }

    /// A gzip file with something behind it.
    fn recipe(&mut self, opened: ListId) {
        let recipe = Recipe::new(RecipeBody {
            opened,
            segments: vec![
                Segment::Literal(b"\x1f\x8b\x08\0\0\0\0\0\x02\x03".to_vec()),
                Segment::Deflate(Deflate::new(Parameters::SIGTOOL, 999_900, 500_000)),
                Segment::Literal(vec![0xdd; 8]),
                Segment::Plain { bytes: 100 },
            ],
        })
        .expect("possible numbers");
        self.hex("recipe", &recipe.encode());
        self.hex("recipe id", &recipe.id().0);
        self.seed("recipe", "recipe", recipe.encode());
    }

    fn parts(&mut self) {
        let opened = |side, file| ContentRef {
            side,
            file,
            form: Form::Opened,
        };
        let header = Header {
            from: ObjectId([0xbb; 32]),
        };
        let file = FilePart {
            file: 300,
            form: Form::Opened,
            bases: vec![opened(Side::Old, 299), opened(Side::New, 4)],
        };
        let range = |base, first, count| BaseRange { base, first, count };
        let run = RunPart {
            chunks: 2,
            bases: vec![range(0, 1_000, 3), range(1, 0, 1)],
            frame: b"a zstd frame",
        };
        for (name, kind, body) in [
            ("HEADER", PartKind::HEADER, header.encode()),
            ("FILE", PartKind::FILE, file.encode()),
            ("RUN", PartKind::RUN, run.encode()),
            ("END", PartKind::END, Vec::new()),
        ] {
            let mut bytes = Vec::new();
            put_part(kind, &body, &mut bytes);
            self.hex(&format!("part {name}"), &bytes);
            self.seed("parts", &name.to_lowercase(), bytes);
        }
    }

    /// One text and what zlib makes of it in two ways.
    fn deflate(&mut self) {
        let plain = bundle::lines(0..20);
        self.text("deflate plain", plain.trim_end().to_owned());
        for (name, parameters) in deflates() {
            let packed = bundle::packed(plain.as_bytes(), parameters);
            self.hex(&format!("deflate {name}"), &packed);
            self.seed("deflate", &name.replace(' ', "-"), packed);
        }
    }

    /// From release 4 to 5, with root 2 between them.
    fn bundle(&mut self, feed: FeedId) {
        let manifest = |content: bundle::Content, previous| {
            let body = content.body(feed, previous);
            sign(&body, &["release-1", "release-2"])
        };
        let old = manifest(bundle::Content::old(), None);
        let new = manifest(bundle::Content::new(), Some(old.id()));
        let head = HeadBody {
            feed,
            epoch: Epoch(0),
            seq: Seq(NOW.0 + 1),
            issued: NOW,
            expires: NOW.plus(6 * HOUR_MS),
            release: ReleaseNumber(5),
            manifest: new.id(),
            manifest_bytes: new.body_len() as u64,
            root_version: RootVersion(2),
            phase: Phase::LIVE,
            extensions: Vec::new(),
        };
        let head: SignedHead = sign(&head, &["head"]);
        self.hex("bundle old manifest", &old.to_bytes());
        let recipe = bundle::Content::old().recipe();
        self.hex("bundle old recipe", &recipe.encode());
        let bundle = bundle::make(&old, &new, &head.to_bytes(), root(2).to_bytes());
        self.hex("bundle", &bundle);
        self.seed("parts", "bundle", bundle.clone());
        self.seed("bundle", "bundle", bundle);
        self.more_seeds(&old);
    }

    fn text(&mut self, name: &str, text: String) {
        let before = self.texts.insert(name.to_owned(), text);
        assert_eq!(before, None, "{name} twice");
    }

    fn hex(&mut self, name: &str, bytes: &[u8]) {
        self.text(name, hex_lines(bytes));
    }

    pub(crate) fn seed(&mut self, target: &str, name: &str, bytes: Vec<u8>) {
        self.seeds.insert(format!("{target}/{name}"), bytes);
    }

    fn object<T: Body>(&mut self, signed: &Signed<T>) {
        let bytes = signed.to_bytes();
        let body = &bytes[8..8 + signed.body_len()];
        // What stands behind the body: a count, then key and signature.
        let signatures: Vec<String> = bytes[16 + signed.body_len()..]
            .chunks(96)
            .map(|one| {
                let signature = Signature(one[32..].try_into().expect("64 bytes"));
                format!("{} {}", hex(&one[..32]), hex(&signature.0))
            })
            .collect();
        self.hex(&format!("{} body", T::NAME), body);
        let prefix = format!("tidecast/{}/v1\0", T::NAME);
        self.hex(&format!("{} prefix", T::NAME), prefix.as_bytes());
        self.hex(&format!("{} id", T::NAME), &signed.id().0);
        self.text(&format!("{} signatures", T::NAME), signatures.join("\n"));
        self.hex(T::NAME, &bytes);
        self.seed("bodies", T::NAME, body.to_vec());
        self.seed("objects", T::NAME, bytes);
    }

    fn frames(
        &mut self,
        feed: FeedId,
        root: &SignedRoot,
        manifest: &SignedManifest,
        head: &SignedHead,
        receipt: &SignedReceipt,
        list: &List,
    ) {
        let hello = Hello {
            protocol: PROTOCOL,
            feed,
            root_version: RootVersion(1),
            seqs: vec![(key("head").public(), Seq(NOW.0 - 1))],
            release: ReleaseNumber(2),
            manifest: Some(ObjectId([0xbb; 32])),
            serves: Serves::NOTHING,
            name: "mirror".into(),
            contact: "admin@example.org".into(),
            hosts: vec!["db.example.org".into()],
            extensions: Vec::new(),
        };
        let welcome = Welcome {
            protocol: PROTOCOL,
            root_version: RootVersion(1),
            head: Some(head.to_bytes()),
            extensions: Vec::new(),
        };
        let object = ObjectHeader {
            encoding: Encoding::PLAIN,
            opened_bytes: list.encode().len() as u64,
            packed_bytes: list.encode().len() as u64,
        };
        let chunk = ChunkHeader {
            encoding: Encoding::PLAIN,
            opened_bytes: 5,
        };
        let poll = Poll {
            root_version: RootVersion(1),
            head: Some(head.id()),
        };
        let fetch_bundle = FetchBundle {
            from: ObjectId([0xbb; 32]),
            to: manifest.id(),
        };
        let fetch_runs = FetchRuns {
            list: list.id(),
            bases: vec![ListId([0xcc; 32])],
        };
        let bundle = BundleHeader {
            from: fetch_bundle.from,
            to: fetch_bundle.to,
            bytes: 7_654,
        };
        let ids = list.entries()[..2].iter().map(|entry| entry.id).collect();
        let frames = [
            ("HELLO", hello.to_frame().expect("short enough")),
            ("WELCOME", welcome.to_frame()),
            (
                "REFUSED",
                Refused::new(RefusalReason::PENDING, "waiting to be admitted").to_frame(),
            ),
            ("ADMITTED", frame(FrameType::ADMITTED, &[])),
            ("POLL", Request::Poll(poll).to_frame()),
            ("UNCHANGED", frame(FrameType::UNCHANGED, &[])),
            ("ANNOUNCE", frame(FrameType::ANNOUNCE, &head.to_bytes())),
            ("FETCH_ROOT", Request::Root(RootVersion(1)).to_frame()),
            ("ROOT", frame(FrameType::ROOT, &root.to_bytes())),
            (
                "FETCH_OBJECT",
                Request::Object(ObjectName::Manifest(manifest.id())).to_frame(),
            ),
            ("OBJECT", object.to_frame()),
            ("PART", frame(FrameType::PART, &list.encode())),
            ("FETCH_CHUNKS", Request::Chunks(ids).to_frame()),
            ("CHUNK", [&chunk.to_frame_start(5)[..], b"chunk"].concat()),
            ("ABSENT", frame(FrameType::ABSENT, &[])),
            ("WAIT", Wait { ms: 1_500 }.to_frame()),
            ("FETCH_BUNDLE", Request::Bundle(fetch_bundle).to_frame()),
            ("FETCH_RUNS", Request::Runs(fetch_runs).to_frame()),
            ("BUNDLE", bundle.to_frame()),
            ("RECEIPT", frame(FrameType::RECEIPT, &receipt.to_bytes())),
        ];
        for (name, bytes) in frames {
            self.hex(&format!("frame {name}"), &bytes);
            if ["HELLO", "WELCOME", "REFUSED"].contains(&name) {
                self.seed("greetings", &name.to_lowercase(), bytes[5..].to_vec());
            }
            self.seed("frames", &name.to_lowercase(), bytes);
        }
    }

    fn counters(
        &mut self,
        feed: FeedId,
        root: SignedRoot,
        manifest: SignedManifest,
        head: SignedHead,
    ) {
        let mut trust = Trust::begin(&feed, root).expect("the fingerprint fits");
        self.seed("counters", "begun", trust.to_bytes());
        let Ok(Verdict::Newer(head)) = trust.accept_head(head, NOW) else {
            panic!("a newer release")
        };
        let manifest = trust
            .verify_manifest(manifest, &head)
            .and_then(Vouched::whole)
            .expect("the head's");
        trust.install(&manifest);
        self.seed("counters", "installed", trust.to_bytes());
        assert_eq!(codec::encode(&feed), feed.0);
    }

    fn seed_texts(&mut self, feed: &FeedId) {
        self.seed("text", "words", fingerprint::to_words(feed).into_bytes());
        self.seed("text", "hex", feed.to_string().into_bytes());
        self.seed("text", "path", b"a/b-c/d_e.f+g@h".to_vec());
        self.seed("text", "spki", key("head").public().to_spki());
    }

    pub(crate) fn write_seeds(&self, folder: &Path) {
        for (path, bytes) in &self.seeds {
            let file = folder.join(path);
            let target = file.parent().expect("below a target's folder");
            fs::create_dir_all(target).expect("the seeds are writable");
            fs::write(file, bytes).expect("the seeds are writable");
        }
    }
}
