//! What publishing promises, on real folders.

mod databases;
mod opening;
mod refusals;
mod releases;

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use tidecast_proto::{
    chunker::Chunking,
    database::VerifyPolicy,
    id::{Epoch, FeedId, FeedName, ReleaseNumber, RootVersion, Timestamp},
    key::{PublicKey, SecretKey},
    list::List,
    manifest::{Flags, Manifest},
    root::{Root, RootBody, SignedRoot},
};

use super::{Progress, PublishError, PublishReport, PublishRequest, publish};
use crate::clock::{Clock, SystemClock};
use crate::store::{Store, StoreWriter};

/// A feed, a tree and a store in a temporary folder.
struct Feed {
    folder: TempDir,
    root: Root,
    feed: FeedId,
    keys: Vec<SecretKey>,
    verify: VerifyPolicy,
    flags: Flags,
    notes: String,
    now: Timestamp,
    even_if_unchanged: bool,
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn root_body(release_keys: &[SecretKey], threshold: u16) -> RootBody {
    let mut release_keys: Vec<PublicKey> = release_keys.iter().map(SecretKey::public).collect();
    release_keys.sort_unstable();
    RootBody {
        version: RootVersion(1),
        epoch: Epoch(3),
        feed: FeedName::new("test").unwrap(),
        expires: Timestamp(u64::MAX),
        root_keys: vec![key(1).public()],
        root_threshold: 1,
        release_keys,
        release_threshold: threshold,
        added_threshold: 1,
        head_keys: vec![key(2).public()],
        head_ttl_max_ms: 1,
        masters: Vec::new(),
        chunking: Chunking::default(),
        revoked_manifests: Vec::new(),
        release_min: ReleaseNumber(1),
        extensions: Vec::new(),
    }
}

impl Feed {
    fn new() -> Self {
        let keys = vec![key(10)];
        let signed = SignedRoot::sign(&root_body(&keys, 1), &[&key(1)]).unwrap();
        let feed = FeedId(signed.id().0);
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tree")).unwrap();
        Self {
            folder,
            root: signed.verify_first(&feed).unwrap(),
            feed,
            keys,
            // Most trees here hold made-up databases.
            verify: VerifyPolicy::None,
            flags: Flags::default(),
            notes: String::new(),
            // Late enough that nothing written just now is racy.
            now: SystemClock.now().plus(10_000),
            even_if_unchanged: false,
        }
    }

    /// Replaces the root by the next one.
    fn next_root(&mut self, change: impl FnOnce(&mut RootBody)) {
        let mut body = RootBody::clone(&self.root);
        body.version.0 += 1;
        change(&mut body);
        let signed = SignedRoot::sign(&body, &[&key(1)]).unwrap();
        self.root = signed.verify_next(&self.root).unwrap();
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.tree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.tree().join(path)).unwrap();
    }

    fn store(&self) -> Store {
        Store::open(&self.folder.path().join("store")).unwrap()
    }

    fn publish(&self) -> Result<PublishReport, PublishError> {
        self.publish_watching(&mut |_| {})
    }

    fn publish_watching(
        &self,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PublishReport, PublishError> {
        let mut writer = StoreWriter::open(&self.folder.path().join("store")).unwrap();
        self.publish_into(&mut writer, progress)
    }

    fn publish_into(
        &self,
        writer: &mut StoreWriter,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PublishReport, PublishError> {
        let tree = self.tree();
        let cache = self.cache();
        let request = PublishRequest {
            tree: &tree,
            root: &self.root,
            feed: self.feed,
            keys: &self.keys,
            verify: self.verify,
            notes: self.notes.clone(),
            flags: self.flags,
            cache: &cache,
            now: self.now,
            even_if_unchanged: self.even_if_unchanged,
            above: ReleaseNumber(0),
        };
        publish(writer, &request, progress)
    }

    /// A release as a mirror with the newest root sees it.
    fn manifest(&self, release: u64) -> Manifest {
        let signed = self.store().manifest(ReleaseNumber(release));
        let signed = signed.unwrap().expect("the release exists");
        signed.verify_stored(&self.root, &self.feed).unwrap()
    }

    /// A file put together from the store, as a mirror would.
    fn content(&self, release: u64, path: &str) -> Vec<u8> {
        let (store, manifest) = (self.store(), self.manifest(release));
        let file = manifest.file(path).expect("the file is in the release");
        let list = match &file.list {
            None => List::of_small_file(file.hash, file.size).unwrap(),
            Some(id) => {
                let bytes = store.list(id).unwrap().open().unwrap();
                List::decode(&bytes, *id, file.size).unwrap()
            }
        };
        let chunks = list.entries().iter();
        chunks
            .flat_map(|entry| store.chunk(&entry.id).unwrap().open().unwrap())
            .collect()
    }
}

/// Deterministic bytes without structure.
fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}
