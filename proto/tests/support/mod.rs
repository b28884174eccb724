//! A feed with keys from fixed seeds: three root keys (two must sign), two release keys (both must), two head
//! keys and a node.
#![allow(dead_code, reason = "each test target uses its own part of this")]

use tidecast_proto::{
    addition::Vouched,
    chunker::Chunking,
    codec,
    head::{Head, HeadBody, Phase, SignedHead},
    id::{Epoch, FeedId, FeedName, FileHash, ObjectId, ReleaseNumber, RootVersion, Seq, Timestamp},
    key::{PublicKey, SecretKey, Signature},
    manifest::{Database, File, Flags, ManifestBody, SignedManifest},
    name::ReleasePath,
    receipt::{ReceiptBody, ServingState, SignedReceipt},
    root::{Master, RootBody, RootError, SignedRoot},
    signed::{Body, KeySignature, Signed},
    trust::{HeadError, Trust, Verdict},
};

/// When every test happens.
pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000);
pub(crate) const HOUR_MS: u64 = 3_600_000;
pub(crate) const DAY_MS: u64 = 24 * HOUR_MS;

pub(crate) struct Feed {
    pub(crate) root_keys: Vec<SecretKey>,
    pub(crate) release_keys: Vec<SecretKey>,
    pub(crate) head_keys: Vec<SecretKey>,
    pub(crate) node: SecretKey,
    pub(crate) first: SignedRoot,
}

/// The key of a seed of 32 equal bytes.
pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// Keys in the order of their public halves, as lists of keys must be.
pub(crate) fn keys(seeds: &[u8]) -> Vec<SecretKey> {
    let mut keys: Vec<SecretKey> = seeds.iter().copied().map(key).collect();
    keys.sort_by_key(SecretKey::public);
    keys
}

pub(crate) fn publics(keys: &[SecretKey]) -> Vec<PublicKey> {
    keys.iter().map(SecretKey::public).collect()
}

pub(crate) fn sign<T: Body>(body: &T, keys: &[SecretKey]) -> Signed<T> {
    Signed::sign(body, &keys.iter().collect::<Vec<_>>()).expect("a legal body")
}

/// An object's bytes put together by hand: also those that [`Signed::sign`] would refuse to make.
pub(crate) fn envelope(body: &[u8], signatures: &[KeySignature]) -> Vec<u8> {
    codec::encode(&(body.to_vec(), signatures.to_vec()))
}

/// A signature over `body` as an object called `name`.
pub(crate) fn signature(key: &SecretKey, name: &str, body: &[u8]) -> KeySignature {
    use ed25519_dalek::Signer as _;
    let message = [b"tidecast/", name.as_bytes(), b"/v1\0", body].concat();
    KeySignature {
        key: key.public(),
        signature: Signature(key.as_dalek().sign(&message).to_bytes()),
    }
}

/// Signed by all of `keys`, also when [`Signed::sign`] would refuse to: by somebody who does not use our code.
pub(crate) fn sign_unchecked<T: Body>(body: &T, keys: &[SecretKey]) -> Signed<T> {
    let bytes = codec::encode(body);
    let all: Vec<_> = keys
        .iter()
        .map(|key| signature(key, T::NAME, &bytes))
        .collect();
    Signed::from_bytes(&envelope(&bytes, &all)).expect("well formed")
}

pub(crate) fn file(path: &str, content: &[u8]) -> File {
    File {
        path: ReleasePath::new(path).expect("a legal path"),
        size: content.len() as u64,
        executable: false,
        mtime_s: 1_700_000_000,
        hash: FileHash::of(content),
        list: None,
        recipe: None,
        database: None,
    }
}

pub(crate) fn database(path: &str, version: u64) -> File {
    let name = path.split('.').next().expect("a name").to_owned();
    File {
        database: Some(Database {
            name,
            version,
            build_time_s: 1_700_000_000 + version,
        }),
        ..file(path, &version.to_le_bytes())
    }
}

/// Root 1: two of `root_keys` sign roots, two of `release_keys` releases, one of them additions.
pub(crate) fn first_root(
    root_keys: &[SecretKey],
    release_keys: &[SecretKey],
    head_keys: &[SecretKey],
    node: &SecretKey,
) -> RootBody {
    RootBody {
        version: RootVersion(1),
        epoch: Epoch(0),
        feed: FeedName::new("test").expect("a legal name"),
        expires: NOW.plus(400 * DAY_MS),
        root_keys: publics(root_keys),
        root_threshold: 2,
        release_keys: publics(release_keys),
        release_threshold: 2,
        added_threshold: 1,
        head_keys: publics(head_keys),
        head_ttl_max_ms: 6 * HOUR_MS,
        masters: vec![Master {
            name: "one".into(),
            node_key: node.public(),
            addresses: vec!["master.example.org:4873".into()],
        }],
        chunking: Chunking::default(),
        revoked_manifests: Vec::new(),
        release_min: ReleaseNumber(0),
        extensions: Vec::new(),
    }
}

impl Feed {
    pub(crate) fn new() -> Self {
        let root_keys = keys(&[1, 2, 3]);
        let release_keys = keys(&[11, 12]);
        let head_keys = keys(&[21, 22]);
        let node = key(31);
        let body = first_root(&root_keys, &release_keys, &head_keys, &node);
        let first = sign(&body, &root_keys[..2]);
        Self {
            root_keys,
            release_keys,
            head_keys,
            node,
            first,
        }
    }

    /// The fingerprint.
    pub(crate) fn id(&self) -> FeedId {
        FeedId(self.first.id().0)
    }

    /// A mirror that has just joined.
    pub(crate) fn trust(&self) -> Trust {
        Trust::begin(&self.id(), self.first.clone()).expect("the fingerprint fits")
    }

    /// The body of root 2: root 1 with another number.
    pub(crate) fn next_root(&self) -> RootBody {
        let first = self.first.clone().verify_first(&self.id()).expect("good");
        RootBody {
            version: RootVersion(2),
            ..(*first).clone()
        }
    }

    /// A mirror that went on to `root`, signed by the first two root keys.
    pub(crate) fn trust_after(&self, root: &RootBody) -> Trust {
        let mut trust = self.trust();
        trust
            .accept_root(sign(root, &self.root_keys[..2]))
            .expect("a legal root");
        trust
    }

    pub(crate) fn manifest_body(&self, release: u64) -> ManifestBody {
        ManifestBody {
            feed: self.id(),
            epoch_min: Epoch(0),
            release: ReleaseNumber(release),
            previous: (release > 1).then(|| ObjectId::of(&release.to_le_bytes())),
            anchor: None,
            created: NOW,
            notes: format!("Release {release}\n"),
            files: vec![
                database("daily.cvd", release),
                file("readme.txt", b"read me"),
            ],
            flags: Flags::default(),
            extensions: Vec::new(),
        }
    }

    pub(crate) fn manifest(&self, release: u64) -> SignedManifest {
        sign(&self.manifest_body(release), &self.release_keys)
    }

    /// A head that points at `manifest`, for one hour.
    pub(crate) fn head_body(&self, seq: u64, manifest: &SignedManifest, release: u64) -> HeadBody {
        HeadBody {
            feed: self.id(),
            epoch: Epoch(0),
            seq: Seq(seq),
            issued: NOW,
            expires: NOW.plus(HOUR_MS),
            release: ReleaseNumber(release),
            manifest: manifest.id(),
            manifest_bytes: manifest.body_len() as u64,
            root_version: RootVersion(1),
            phase: Phase::LIVE,
            extensions: Vec::new(),
        }
    }

    /// Head `seq` of the first head key, pointing at [`Self::manifest`] of `release`.
    pub(crate) fn head(&self, seq: u64, release: u64) -> SignedHead {
        self.head_with(seq, release, |_| ())
    }

    /// The same with a change made to it before it is signed.
    pub(crate) fn head_with(
        &self,
        seq: u64,
        release: u64,
        change: impl FnOnce(&mut HeadBody),
    ) -> SignedHead {
        let mut body = self.head_body(seq, &self.manifest(release), release);
        change(&mut body);
        sign(&body, &self.head_keys[..1])
    }

    /// Takes `release` all the way: head, manifest, installed.
    pub(crate) fn install(&self, trust: &mut Trust, seq: u64, release: u64) {
        let head = newer(trust, self.head(seq, release));
        let manifest = trust
            .verify_manifest(self.manifest(release), &head)
            .and_then(Vouched::whole)
            .expect("a good manifest");
        trust.install(&manifest);
    }

    pub(crate) fn receipt_body(&self) -> ReceiptBody {
        ReceiptBody {
            feed: self.id(),
            release: ReleaseNumber(1),
            manifest: self.manifest(1).id(),
            state: ServingState::LIVE,
            switched: NOW,
            issued: NOW.plus(1),
            extensions: Vec::new(),
        }
    }

    pub(crate) fn receipt(&self) -> SignedReceipt {
        sign(&self.receipt_body(), std::slice::from_ref(&self.node))
    }
}

/// What comes of a head that must be good, and of a newer release than the installed one.
pub(crate) fn newer(trust: &mut Trust, head: SignedHead) -> Head {
    match trust.accept_head(head, NOW) {
        Ok(Verdict::Newer(head)) => head,
        other => panic!("no newer release: {other:?}"),
    }
}

/// What a mirror with `trust` says to a head at [`NOW`].
pub(crate) fn refusal(trust: &mut Trust, head: SignedHead) -> HeadError {
    trust.accept_head(head, NOW).expect_err("must be refused")
}

/// Takes up again what a mirror stored: the first root, `later` ones, and the counters.
pub(crate) fn resume(
    feed: &Feed,
    later: &[SignedRoot],
    counters: &[u8],
) -> Result<Trust, RootError> {
    let roots = [std::slice::from_ref(&feed.first), later].concat();
    Ok(Trust::resume(&feed.id(), roots, Some(counters))?.expect("there are roots"))
}
