//! A feed's whole life, every object of it: what an attacker may have collected, and what an insider may sign.

use tidecast_proto::addition::Vouched;
use tidecast_proto::head::{Head, HeadBody, Phase, SignedHead};
use tidecast_proto::id::{Epoch, FeedId, ObjectId, ReleaseNumber, RootVersion, Seq, Timestamp};
use tidecast_proto::key::SecretKey;
use tidecast_proto::manifest::{Anchor, File, Flags, Manifest, ManifestBody, SignedManifest};
use tidecast_proto::receipt::{ReceiptBody, ServingState, SignedReceipt};
use tidecast_proto::root::{RootBody, SignedRoot};
use tidecast_proto::trust::{Trust, Verdict};

use crate::support::{DAY_MS, HOUR_MS, NOW, database, file, first_root, keys, publics, sign};

/// A release as the story below numbers it; the second of two is the one that should not be.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    pub(crate) number: u64,
    pub(crate) manifest: SignedManifest,
}

pub(crate) struct Life {
    pub(crate) id: FeedId,
    /// Two of three sign roots.
    pub(crate) root_keys: Vec<SecretKey>,
    /// Two of three sign releases, one an addition.
    pub(crate) release_keys: Vec<SecretKey>,
    /// The first is replaced in root 4.
    pub(crate) head_keys: Vec<SecretKey>,
    pub(crate) new_head_key: SecretKey,
    pub(crate) node: SecretKey,
    /// Root 1 to 5: renewed, revoking release 7, of epoch 1 with another head key, with a floor and another root key.
    pub(crate) roots: Vec<SignedRoot>,
    pub(crate) releases: Vec<Release>,
    pub(crate) heads: Vec<SignedHead>,
}

/// The release that root 3 revokes.
pub(crate) const REVOKED: u64 = 7;

impl Life {
    /// Feeds of different seeds share nothing but names and numbers.
    pub(crate) fn new(seed: u8) -> Self {
        let root_keys = keys(&[seed, seed + 1, seed + 2]);
        let release_keys = keys(&[seed + 11, seed + 12, seed + 13]);
        let head_keys = keys(&[seed + 21, seed + 22]);
        let new_head_key = crate::support::key(seed + 23);
        let node = crate::support::key(seed + 31);
        let body = first_root(&root_keys, &release_keys, &head_keys, &node);
        let first = sign(&body, &root_keys[..2]);
        let mut life = Self {
            id: FeedId(first.id().0),
            root_keys,
            release_keys,
            head_keys,
            new_head_key,
            node,
            roots: vec![first],
            releases: Vec::new(),
            heads: Vec::new(),
        };
        life.publish_all();
        life.sign_roots(body, seed);
        life.sign_heads();
        life
    }

    fn publish_all(&mut self) {
        let readme = || file("readme.txt", b"read me");
        let main = || database("main.cvd", 1);
        let script = |version: u64| file(&format!("daily-{version}.cdiff"), &version.to_be_bytes());
        let daily = |version| database("daily.cvd", version);
        let whole = |life: &mut Self, number, files: Vec<File>, flags| {
            life.publish(number, None, files, flags, 2);
        };
        let none = Flags::default();
        whole(self, 1, vec![daily(10), main(), readme()], none);
        whole(self, 2, vec![script(11), daily(11), main(), readme()], none);
        let two = Some(self.anchor(2));
        self.publish(
            3,
            two,
            vec![script(12), daily(12), script(11), main(), readme()],
            none,
            1,
        );
        let files = vec![
            script(13),
            script(12),
            daily(13),
            script(11),
            main(),
            readme(),
        ];
        self.publish(4, two, files, none, 1);
        // Another one under number 4.
        self.publish(
            4,
            two,
            vec![script(12), daily(12), script(11), main(), readme()],
            none,
            1,
        );
        self.publish(5, None, vec![daily(13), main()], none, 2);
        let five = Some(self.anchor(5));
        self.publish(6, five, vec![script(14), daily(14), main()], none, 1);
        self.publish(REVOKED, None, vec![daily(99), main()], none, 2);
        let back = Flags {
            allow_database_rollback: true,
            ..none
        };
        self.publish(8, None, vec![daily(14), main()], back, 2);
        let eight = Some(self.anchor(8));
        self.publish(9, eight, vec![script(15), daily(15), main()], none, 1);
        // Goes back to release 2, which knew the file that release 5 removed.
        let files = vec![script(16), daily(16), script(11), main(), readme()];
        self.publish(10, two, files, none, 1);
        self.publish(11, None, vec![daily(17), main()], none, 3);
    }

    fn anchor(&self, number: u64) -> Anchor {
        Anchor {
            release: ReleaseNumber(number),
            manifest: self.release(number).id(),
        }
    }

    fn publish(
        &mut self,
        number: u64,
        anchor: Option<Anchor>,
        files: Vec<File>,
        flags: Flags,
        signers: usize,
    ) {
        let mut files = files;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let body = ManifestBody {
            feed: self.id,
            epoch_min: Epoch(0),
            release: ReleaseNumber(number),
            previous: (number > 1).then(|| self.release(number - 1).id()),
            anchor,
            created: NOW,
            notes: format!("Release {number}\n"),
            files,
            flags,
            extensions: Vec::new(),
        };
        let manifest = sign(&body, &self.release_keys[..signers]);
        self.releases.push(Release { number, manifest });
    }

    /// The first manifest under `number`.
    pub(crate) fn release(&self, number: u64) -> &SignedManifest {
        let found = self
            .releases
            .iter()
            .find(|release| release.number == number);
        &found.unwrap().manifest
    }

    pub(crate) fn with_id(&self, id: ObjectId) -> Option<&SignedManifest> {
        let mut all = self.releases.iter().map(|release| &release.manifest);
        all.find(|manifest| manifest.id() == id)
    }

    fn sign_roots(&mut self, first: RootBody, seed: u8) {
        let mut body = first;
        let mut add =
            |life: &mut Self, change: &dyn Fn(&Self, &mut RootBody), signers: &[SecretKey]| {
                body.version.0 += 1;
                change(life, &mut body);
                life.roots.push(sign(&body, signers));
            };
        let all = self.root_keys.clone();
        add(
            self,
            &|_, root| root.expires = NOW.plus(500 * DAY_MS),
            &all[..2],
        );
        add(
            self,
            &|life, root| root.revoked_manifests = vec![life.release(REVOKED).id()],
            &all[1..],
        );
        add(
            self,
            &|life, root| {
                root.epoch = Epoch(1);
                root.head_keys = vec![life.head_keys[1].public(), life.new_head_key.public()];
                root.head_keys.sort();
            },
            &all[..2],
        );
        let replaced = crate::support::key(seed + 3);
        let mut next: Vec<SecretKey> = vec![all[0].clone(), all[1].clone(), replaced];
        next.sort_by_key(SecretKey::public);
        add(
            self,
            &|_, root| {
                root.release_min = ReleaseNumber(5);
                root.root_keys = publics(&next);
            },
            &all[..2],
        );
    }

    fn sign_heads(&mut self) {
        let releases = self.releases.clone();
        for (at, release) in (0_u64..).zip(&releases) {
            let body = self.head_body(100 + at, release);
            self.heads.push(sign(&body, &self.head_keys[..1]));
            self.heads.push(sign(&body, &self.head_keys[1..]));
            if at % 3 == 0 {
                // The same number for something else, and one key's word with both signatures.
                let other = &releases[(releases.len() - 1) - usize::try_from(at).unwrap()];
                self.heads
                    .push(sign(&self.head_body(100 + at, other), &self.head_keys[..1]));
                self.heads
                    .push(sign(&self.head_body(200 + at, release), &self.head_keys));
            }
            let later = HeadBody {
                epoch: Epoch(1),
                root_version: RootVersion(4),
                ..self.head_body(10 + at, release)
            };
            self.heads.push(sign(&later, &self.head_keys[1..]));
            self.heads
                .push(sign(&later, std::slice::from_ref(&self.new_head_key)));
        }
        let far = HeadBody {
            seq: Seq(1 << 63),
            release: ReleaseNumber(1 << 63),
            ..self.head_body(0, &releases[0])
        };
        self.heads.push(sign(&far, &self.head_keys[..1]));
    }

    pub(crate) fn head_body(&self, seq: u64, release: &Release) -> HeadBody {
        HeadBody {
            feed: self.id,
            epoch: Epoch(0),
            seq: Seq(seq),
            issued: Timestamp(NOW.0 + seq),
            expires: NOW.plus(HOUR_MS + seq),
            release: ReleaseNumber(release.number),
            manifest: release.manifest.id(),
            manifest_bytes: release.manifest.body_len() as u64,
            root_version: RootVersion(1),
            phase: Phase::LIVE,
            extensions: Vec::new(),
        }
    }

    pub(crate) fn receipt(&self) -> SignedReceipt {
        let body = ReceiptBody {
            feed: self.id,
            release: ReleaseNumber(1),
            manifest: self.release(1).id(),
            state: ServingState::LIVE,
            switched: NOW,
            issued: NOW.plus(1),
            extensions: Vec::new(),
        };
        sign(&body, std::slice::from_ref(&self.node))
    }

    /// A mirror that has walked to root `version` and installed nothing.
    pub(crate) fn trust(&self, version: usize) -> Trust {
        let mut trust = Trust::begin(&self.id, self.roots[0].clone()).unwrap();
        for root in &self.roots[1..version] {
            trust.accept_root(root.clone()).unwrap();
        }
        trust
    }

    /// A head of the trust's epoch for `release`, numbered beyond all others.
    pub(crate) fn fresh_head(&self, trust: &Trust, seq: u64, release: &Release) -> SignedHead {
        let epoch = trust.root().epoch;
        let body = HeadBody {
            epoch,
            ..self.head_body(seq, release)
        };
        sign(&body, &self.head_keys[1..])
    }

    /// The verified head and manifest of `number`, and a mirror that has installed it.
    pub(crate) fn install(&self, trust: &mut Trust, seq: u64, number: u64) -> (Head, Manifest) {
        let release = self.releases.iter().find(|r| r.number == number).unwrap();
        let verdict = trust
            .accept_head(self.fresh_head(trust, seq, release), NOW)
            .unwrap();
        let (Verdict::Newer(head) | Verdict::Current(head)) = verdict;
        let manifest = match trust
            .verify_manifest(release.manifest.clone(), &head)
            .unwrap()
        {
            Vouched::Whole(manifest) => manifest,
            Vouched::Addition(addition) => {
                let anchor = self.with_id(addition.anchor().manifest).unwrap().clone();
                trust.verify_addition(addition, anchor).unwrap().manifest
            }
        };
        trust.install(&manifest);
        (head, manifest)
    }
}
