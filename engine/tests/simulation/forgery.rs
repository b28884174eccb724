//! What can be made with a stolen head key, and what cannot.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tidecast_proto::head::{HeadBody, Phase, SignedHead};
use tidecast_proto::id::{Epoch, FeedId, ObjectId, ReleaseNumber, RootVersion, Seq, Timestamp};
use tidecast_proto::key::SecretKey;
use tidecast_proto::manifest::{Manifest, SignedManifest};
use tidecast_proto::root::{RootBody, SignedRoot};

use crate::chance::Chance;
use crate::thief::Loot;

const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;

/// A thief's workshop.
pub(crate) struct Forger {
    feed: FeedId,
    /// Stolen from a master.
    head_key: SecretKey,
    /// Of its own making.
    own_key: SecretKey,
    /// Manifests that only it signed, by id.
    manifests: Mutex<BTreeMap<ObjectId, Vec<u8>>>,
}

impl Forger {
    pub(crate) fn new(feed: FeedId, head_key: SecretKey, chance: &mut Chance) -> Self {
        Self {
            feed,
            head_key,
            own_key: SecretKey::from_seed(&chance.seed()),
            manifests: Mutex::default(),
        }
    }

    /// A head that its key signed, and what is wrong with it. `newest` is the newest release.
    pub(crate) fn head(
        &self,
        chance: &mut Chance,
        loot: &Loot,
        newest: &Manifest,
        now: Timestamp,
    ) -> Option<(&'static str, Vec<u8>)> {
        let mut body = self.plain(epoch_seen(loot), newest, now);
        let what = match chance.below(9) {
            0 => {
                body.release = ReleaseNumber(newest.release.0 + chance.between(1, 1 << 62));
                body.manifest = ObjectId(chance.seed());
                "head of a release that does not exist"
            }
            1 => {
                let (release, manifest) = *chance.pick(&loot.releases);
                (body.release, body.manifest) = (release, manifest);
                "fresh head of an old release"
            }
            2 => {
                let (_, manifest) = *chance.pick(&loot.releases);
                body.manifest = manifest;
                body.release = ReleaseNumber(newest.release.0 + chance.between(1, 5));
                "old release under a new number"
            }
            3 => {
                body.seq = Seq(u64::MAX / 2);
                "seq 2^63"
            }
            4 => {
                body.issued = now.plus(9 * 60 * 1000);
                body.expires = body.issued.plus(crate::feed::HEAD_LIFE_MS);
                "issued nine minutes ahead"
            }
            5 => {
                body.issued = now.plus(80 * YEAR_MS);
                body.expires = body.issued.plus(crate::feed::HEAD_LIFE_MS);
                "issued in 2106"
            }
            6 => {
                body.expires = now.plus(10 * YEAR_MS);
                "head that never expires"
            }
            7 if !loot.heads.is_empty() => {
                // Under a number that its owner has used.
                let theirs = SignedHead::from_bytes(chance.pick::<Vec<u8>>(&loot.heads))
                    .ok()?
                    .claims()?;
                body.seq = theirs.seq;
                body.release = ReleaseNumber(newest.release.0 + 1);
                "second head under one number"
            }
            _ => {
                let (manifest, bytes) = self.own_release(newest)?;
                body.release = ReleaseNumber(newest.release.0 + 1);
                body.manifest = manifest;
                body.manifest_bytes = bytes;
                "release that nobody else signed"
            }
        };
        if chance.one_in(10) {
            body.root_version = RootVersion(loot.roots.len() as u64 + 2);
        }
        let head = SignedHead::sign(&body, &[&self.head_key]).ok()?;
        Some((what, head.to_bytes()))
    }

    /// A head that is good until the key is replaced: of a release that was the newest once, under the epoch of `head`.
    pub(crate) fn fresh(&self, head: &[u8], of: &Manifest, now: Timestamp) -> Option<Vec<u8>> {
        let epoch = SignedHead::from_bytes(head).ok()?.claims()?.epoch;
        let body = self.plain(epoch, of, now);
        let head = SignedHead::sign(&body, &[&self.head_key]).ok()?;
        Some(head.to_bytes())
    }

    fn plain(&self, epoch: Epoch, newest: &Manifest, now: Timestamp) -> HeadBody {
        HeadBody {
            feed: self.feed,
            epoch,
            seq: Seq(now.0),
            issued: now,
            expires: now.plus(crate::feed::HEAD_LIFE_MS),
            release: newest.release,
            manifest: newest.id(),
            manifest_bytes: newest.signed().body_len() as u64,
            root_version: RootVersion(1),
            phase: Phase::LIVE,
            extensions: Vec::new(),
        }
    }

    /// A release with the files of `newest`, one of which is another: signed, but not by a sigmaker.
    fn own_release(&self, newest: &Manifest) -> Option<(ObjectId, u64)> {
        let mut body = (**newest).clone();
        body.release = ReleaseNumber(newest.release.0 + 1);
        body.previous = Some(newest.id());
        let last = body.files.len().checked_sub(1)?;
        body.files[last].hash = body.files[0].hash;
        body.files[last].size = body.files[0].size;
        body.files[last].list = body.files[0].list;
        body.files[last].recipe = body.files[0].recipe;
        let signed = SignedManifest::sign(&body, &[&self.own_key, &self.head_key]).ok()?;
        let (id, bytes) = (signed.id(), signed.body_len() as u64);
        self.manifests.lock().unwrap().insert(id, signed.to_bytes());
        Some((id, bytes))
    }

    /// One of its manifests.
    pub(crate) fn manifest(&self, id: &ObjectId) -> Option<Vec<u8>> {
        self.manifests.lock().unwrap().get(id).cloned()
    }

    /// A root `version` that makes its own key everything, signed by all it has.
    pub(crate) fn root(&self, loot: &Loot, version: u64) -> Option<Vec<u8>> {
        let last = SignedRoot::from_bytes(loot.roots.last()?).ok()?;
        let mut body: RootBody =
            tidecast_proto::codec::decode_exact("root", last.body(), 1 << 14).ok()?;
        let own = vec![self.own_key.public()];
        body.version = RootVersion(version);
        body.root_keys = own.clone();
        body.root_threshold = 1;
        body.release_keys = own.clone();
        body.release_threshold = 1;
        body.head_keys = own;
        let root = SignedRoot::sign(&body, &[&self.own_key, &self.head_key]).ok()?;
        Some(root.to_bytes())
    }
}

/// The epoch of the newest head that was seen.
fn epoch_seen(loot: &Loot) -> Epoch {
    let newest = loot.heads.last();
    let newest = newest.and_then(|head| SignedHead::from_bytes(head).ok()?.claims());
    newest.map_or(Epoch(0), |body| body.epoch)
}
