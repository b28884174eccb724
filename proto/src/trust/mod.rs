//! What a mirror believes, and what it takes to change that. SPEC §3.7.
//!
//! Every accepted step must be on disk before it is acted on: [`Trust::to_bytes`] is what to write, and it
//! changes whenever a method here returns `Ok`.

mod counters;
mod error;

use alloc::{collections::BTreeMap, vec::Vec};

use crate::addition::{Added, Addition, Vouched};
use crate::codec::{self, CodecError};
use crate::head::{Head, HeadBody, SignedHead};
use crate::id::{FeedId, ObjectId, ReleaseNumber, Seq, Timestamp};
use crate::key::PublicKey;
use crate::limits;
use crate::manifest::{Manifest, ManifestError, SignedManifest};
use crate::root::{Root, RootError, SignedRoot};
use crate::signed::SignedError;

pub use counters::{Contested, Evidence, Installed};
use counters::{Counters, HeldHead};
pub use error::HeadError;

/// A mirror's trust in one feed.
#[derive(Debug, Clone)]
pub struct Trust {
    feed: FeedId,
    root: Root,
    heads: BTreeMap<PublicKey, HeldHead>,
    contested: BTreeMap<PublicKey, Contested>,
    installed: Option<Installed>,
    issued_floor: Timestamp,
}

/// What an acceptable head asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A release to fetch.
    Newer(Head),
    /// The installed release, vouched for afresh.
    Current(Head),
}

impl Verdict {
    /// The head.
    #[must_use]
    pub fn head(&self) -> &Head {
        match self {
            Self::Newer(head) | Self::Current(head) => head,
        }
    }
}

/// A head as a record of the past: what it says, and the head keys of `root` that signed it. It was made under that very
/// root and lives no longer than it allows; whether it is worth anything now, only [`Trust`] says.
///
/// # Errors
/// [`HeadError`]; whoever signed or kept it is at fault.
pub fn past_head(
    signed: SignedHead,
    root: &Root,
    feed: &FeedId,
) -> Result<(Head, Vec<PublicKey>), HeadError> {
    let keys = signed.good_signers(&root.head_keys);
    let head = signed.verify_with(&root.head_keys, 1)?;
    check_origin(&head, feed, root)?;
    check_length(&head, root)?;
    Ok((head, keys))
}

/// Of this feed, and made under a root no newer than `root`.
fn check_origin(head: &Head, feed: &FeedId, root: &Root) -> Result<(), HeadError> {
    if head.feed != *feed {
        return Err(HeadError::WrongFeed {
            got: head.feed,
            expected: *feed,
        });
    }
    if head.root_version > root.version {
        return Err(HeadError::NewerRoot {
            got: head.root_version,
            have: root.version,
        });
    }
    if head.epoch != root.epoch {
        return Err(HeadError::WrongEpoch {
            got: head.epoch,
            have: root.epoch,
        });
    }
    Ok(())
}

/// No longer than a head may live.
fn check_length(head: &Head, root: &Root) -> Result<(), HeadError> {
    let life_ms = head.expires.0 - head.issued.0;
    if life_ms > root.head_ttl_max_ms {
        return Err(HeadError::LivesTooLong {
            got_ms: life_ms,
            max_ms: root.head_ttl_max_ms,
        });
    }
    Ok(())
}

impl Trust {
    /// Begins with a feed's first root, which `fingerprint` vouches for.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn begin(fingerprint: &FeedId, first: SignedRoot) -> Result<Self, RootError> {
        Ok(Self {
            feed: *fingerprint,
            root: first.verify_first(fingerprint)?,
            heads: BTreeMap::new(),
            contested: BTreeMap::new(),
            installed: None,
            issued_floor: Timestamp(0),
        })
    }

    /// Takes up again from what was stored: the chain of roots, first to last, and the counters.
    ///
    /// # Errors
    /// [`RootError`] for the first root that does not follow from the one before; [`CodecError`] inside it when
    /// the counters cannot be read, are of another feed, do not fit the root they name, or hold a head that its key did
    /// not sign. The state folder was damaged.
    pub fn resume(
        fingerprint: &FeedId,
        roots: impl IntoIterator<Item = SignedRoot>,
        counters: Option<&[u8]>,
    ) -> Result<Option<Self>, RootError> {
        let mut roots = roots.into_iter();
        let Some(first) = roots.next() else {
            return Ok(None);
        };
        let mut trust = Self::begin(fingerprint, first)?;
        let mut epochs = alloc::vec![trust.root.epoch];
        for next in roots {
            trust.root = next.verify_next(&trust.root)?;
            epochs.push(trust.root.epoch);
        }
        let Some(bytes) = counters else {
            return Ok(Some(trust));
        };
        let counters: Counters =
            codec::decode_exact("counters", bytes, Self::BYTES_MAX).map_err(SignedError::from)?;
        let damaged = |why| {
            SignedError::from(CodecError::BadField {
                field: "counters",
                why,
            })
        };
        if counters.feed != *fingerprint {
            return Err(damaged("of another feed").into());
        }
        if counters.root_version > trust.root.version {
            return Err(damaged("speak of a root that is missing").into());
        }
        let own = usize::try_from(counters.root_version.0).unwrap_or(usize::MAX);
        if own.checked_sub(1).and_then(|own| epochs.get(own)) != Some(&counters.epoch) {
            return Err(damaged("name another epoch than their root").into());
        }
        trust.installed = counters.installed;
        // A crash between storing a root of a new epoch and storing the counters leaves the old epoch's heads.
        if counters.epoch == trust.root.epoch {
            codec::strictly_ascending("counters.heads", counters.heads.iter().map(|(key, _)| key))
                .map_err(SignedError::from)?;
            codec::strictly_ascending(
                "counters.contested",
                counters.contested.iter().map(|(key, _)| key),
            )
            .map_err(SignedError::from)?;
            trust.heads = counters.heads.into_iter().collect();
            trust.contested = counters.contested.into_iter().collect();
            trust.issued_floor = counters.issued_floor;
        }
        // Keys that a later root has dropped go; those that their own root never named are nobody's.
        let named = |key| trust.root.head_keys.contains(key);
        let mut keys = trust.heads.keys().chain(trust.contested.keys());
        if counters.root_version == trust.root.version && !keys.all(named) {
            return Err(damaged("name a head key that their root does not").into());
        }
        trust.forget_removed_keys();
        for (key, held) in &trust.heads {
            if !held.is_of(key, fingerprint) {
                return Err(damaged("hold a head that its key did not sign").into());
            }
        }
        if !trust
            .contested
            .iter()
            .all(|(key, contested)| contested.is_of(key))
        {
            return Err(damaged("hold a contested head that its key did not sign").into());
        }
        Ok(Some(trust))
    }

    /// Most bytes of the stored counters: a head and the evidence of three more for every key, with room to spare.
    pub const BYTES_MAX: usize = limits::KEYS_PER_ROLE * 5 * limits::SMALL_OBJECT_BYTES;

    /// The counters to store, with the roots beside them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(&Counters {
            feed: self.feed,
            root_version: self.root.version,
            epoch: self.root.epoch,
            heads: self.heads.clone().into_iter().collect(),
            contested: self.contested.clone().into_iter().collect(),
            installed: self.installed,
            issued_floor: self.issued_floor,
        })
    }

    /// The feed.
    #[must_use]
    pub fn feed(&self) -> &FeedId {
        &self.feed
    }

    /// The newest root.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The installed release.
    #[must_use]
    pub fn installed(&self) -> Option<Installed> {
        self.installed
    }

    /// The number of the installed release, 0 before the first.
    #[must_use]
    pub fn installed_release(&self) -> ReleaseNumber {
        self.installed.map_or(ReleaseNumber(0), |i| i.release)
    }

    /// Highest number seen of each head key: what a Hello carries.
    #[must_use]
    pub fn seqs(&self) -> Vec<(PublicKey, Seq)> {
        self.heads
            .iter()
            .map(|(key, held)| (*key, held.seq))
            .collect()
    }

    /// Keys caught signing two heads under one number, and the two heads. Only a root that drops the key or
    /// raises the epoch ends this.
    pub fn equivocators(&self) -> impl Iterator<Item = (PublicKey, &Evidence)> + '_ {
        self.heads
            .iter()
            .filter_map(|(key, held)| Some((*key, held.evidence.as_ref()?)))
    }

    /// Keys that named another manifest for the release that was installed, and the head that did. Ends as
    /// [`Self::equivocators`] does.
    pub fn contested(&self) -> impl Iterator<Item = (PublicKey, &Contested)> + '_ {
        self.contested
            .iter()
            .map(|(key, contested)| (*key, contested))
    }

    /// The moment to judge an update by: fixed when it begins, never before the last accepted head was issued.
    #[must_use]
    pub fn now(&self, clock: Timestamp) -> Timestamp {
        clock.max(self.issued_floor)
    }

    /// The held head of the highest release, of several the one that expires last; none that is evidence itself.
    #[must_use]
    pub fn newest_head(&self) -> Option<(SignedHead, HeadBody)> {
        self.undisputed()
            .max_by_key(|(_, body)| (body.release, body.expires))
    }

    /// When the last of the held heads expires: a thief's that points at a release nobody has must not hide another
    /// master's that is fresh.
    #[must_use]
    pub fn heads_expire(&self) -> Option<Timestamp> {
        self.undisputed().map(|(_, body)| body.expires).max()
    }

    fn undisputed(&self) -> impl Iterator<Item = (SignedHead, HeadBody)> + '_ {
        let held = self.heads.values().filter(|held| !held.is_disputed());
        held.filter_map(|held| {
            let signed = SignedHead::from_bytes(&held.bytes).ok()?;
            let body = signed.open().ok()?;
            Some((signed, body))
        })
    }

    /// The newest head held that points at `manifest`, as received.
    #[must_use]
    pub fn head_of(&self, manifest: &ObjectId) -> Option<&[u8]> {
        self.heads.values().find_map(|held| {
            let body = SignedHead::from_bytes(&held.bytes).ok()?.open().ok()?;
            (body.manifest == *manifest).then_some(&*held.bytes)
        })
    }

    /// When the latest of the held heads was issued.
    #[must_use]
    pub fn latest_issued(&self) -> Option<Timestamp> {
        let heads = self.heads.values().filter_map(|held| {
            let signed = SignedHead::from_bytes(&held.bytes).ok()?;
            Some(signed.open().ok()?.issued)
        });
        heads.max()
    }

    /// Whether what is served is still vouched for at `now`.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.root.expired(now) || self.heads_expire().is_none_or(|expires| now >= expires)
    }

    /// Takes the next root. A new epoch forgets the heads of the old one.
    ///
    /// # Errors
    /// [`RootError`]; nothing changed.
    pub fn accept_root(&mut self, next: SignedRoot) -> Result<(), RootError> {
        let next = next.verify_next(&self.root)?;
        if next.epoch != self.root.epoch {
            self.heads.clear();
            self.contested.clear();
            self.issued_floor = Timestamp(0);
        }
        self.root = next;
        self.forget_removed_keys();
        Ok(())
    }

    fn forget_removed_keys(&mut self) {
        let root = &self.root;
        self.heads.retain(|key, _| root.head_keys.contains(key));
        self.contested.retain(|key, _| root.head_keys.contains(key));
    }

    /// Judges a head at `now` (from [`Self::now`]) and remembers its number.
    ///
    /// # Errors
    /// [`HeadError`]. Only [`HeadError::Equivocation`] and [`HeadError::OtherManifest`] change anything: what is
    /// evidence is kept.
    pub fn accept_head(
        &mut self,
        signed: SignedHead,
        now: Timestamp,
    ) -> Result<Verdict, HeadError> {
        if self.root.expired(now) {
            return Err(HeadError::RootExpired {
                version: self.root.version,
            });
        }
        let head = signed.verify_with(&self.root.head_keys, 1)?;
        check_origin(&head, &self.feed, &self.root)?;
        // Only keys that really signed: naming another master's key beside a bad signature must not move that
        // master's counter.
        let keys = head.signed().good_signers(&self.root.head_keys);
        let bytes = head.to_bytes();
        for key in &keys {
            self.check_seq(*key, &head, &bytes)?;
        }
        // After the numbers: a second head under one number is evidence whatever it says.
        self.check_life(&head, now)?;
        if let Err(error) = self.check_release(&head) {
            self.keep_contested(&error, &keys, &bytes);
            return Err(error);
        }
        for key in keys {
            let evidence = self.heads.remove(&key).and_then(|held| held.evidence);
            let (seq, bytes) = (head.seq, bytes.clone());
            self.heads.insert(
                key,
                HeldHead {
                    seq,
                    bytes,
                    evidence,
                },
            );
        }
        self.issued_floor = self.issued_floor.max(head.issued.min(now));
        Ok(if head.release > self.installed_release() {
            Verdict::Newer(head)
        } else {
            Verdict::Current(head)
        })
    }

    /// Neither from the future nor over, nor longer than a head may live.
    fn check_life(&self, head: &Head, now: Timestamp) -> Result<(), HeadError> {
        if head.issued > now.plus(limits::CLOCK_SKEW_MS as u64) {
            return Err(HeadError::FromTheFuture {
                issued: head.issued,
                now,
            });
        }
        if now >= head.expires {
            return Err(HeadError::Expired {
                expires: head.expires,
                now,
            });
        }
        check_length(head, &self.root)
    }

    /// Points neither below what is installed or allowed nor at what was revoked.
    fn check_release(&self, head: &Head) -> Result<(), HeadError> {
        if head.release < self.root.release_min {
            return Err(HeadError::BelowFloor {
                got: head.release,
                floor: self.root.release_min,
            });
        }
        if self
            .root
            .revoked_manifests
            .binary_search(&head.manifest)
            .is_ok()
        {
            return Err(HeadError::Revoked(head.manifest));
        }
        if let Some(have) = self.installed {
            if head.release < have.release {
                return Err(HeadError::Rollback {
                    got: head.release,
                    have: have.release,
                });
            }
            if head.release == have.release && head.manifest != have.manifest {
                return Err(HeadError::OtherManifest {
                    release: have.release,
                    got: head.manifest,
                    have: have.manifest,
                });
            }
        }
        Ok(())
    }

    /// Two manifests under one release number are evidence, the first of each key.
    fn keep_contested(&mut self, error: &HeadError, keys: &[PublicKey], bytes: &[u8]) {
        if let HeadError::OtherManifest { release, have, .. } = error {
            for key in keys {
                self.contested.entry(*key).or_insert_with(|| Contested {
                    release: *release,
                    installed: *have,
                    head: bytes.to_vec(),
                });
            }
        }
    }

    /// The number must rise; the same bytes again resume after a crash; other bytes under a number are evidence.
    fn check_seq(&mut self, key: PublicKey, head: &Head, bytes: &[u8]) -> Result<(), HeadError> {
        let Some(held) = self.heads.get_mut(&key) else {
            return Ok(());
        };
        if head.seq < held.seq {
            return Err(HeadError::Replayed {
                key,
                got: head.seq,
                have: held.seq,
            });
        }
        if head.seq == held.seq {
            let differs = SignedHead::from_bytes(&held.bytes).is_ok_and(|h| h.id() != head.id());
            if differs && !held.is_disputed() {
                held.evidence = Some(Evidence {
                    seq: head.seq,
                    first: held.bytes.clone(),
                    second: bytes.to_vec(),
                });
            }
            if held.is_disputed() {
                return Err(HeadError::Equivocation { key, seq: head.seq });
            }
        }
        Ok(())
    }

    /// Judges the manifest a head points at. The installed release's own manifest may come again: killed before
    /// the switch, or with its docroot lost, a mirror fetches it anew. For an addition the anchor is needed next:
    /// [`Self::verify_addition`].
    ///
    /// # Errors
    /// [`ManifestError`]; nothing changed.
    pub fn verify_manifest(
        &self,
        signed: SignedManifest,
        head: &Head,
    ) -> Result<Vouched, ManifestError> {
        let again = self
            .installed
            .is_some_and(|installed| installed.manifest == head.manifest);
        if again && signed.id() == head.manifest {
            return signed.vouch(&self.root, &self.feed);
        }
        signed.verify(&self.root, head, self.installed_release())
    }

    /// Judges an addition by its anchor, as received. What it adds is still to be proved genuine.
    ///
    /// # Errors
    /// [`ManifestError`]; nothing changed.
    pub fn verify_addition(
        &self,
        addition: Addition,
        anchor: SignedManifest,
    ) -> Result<Added, ManifestError> {
        let floor = self.installed.map_or(ReleaseNumber(0), |i| i.anchored);
        addition.check(anchor, &self.root, &self.feed, floor)
    }

    /// Whether a head that was accepted under an earlier root may still be followed under this one, at `now` (that of the
    /// update it belongs to). Its number was counted when it was accepted, and nothing is remembered here.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn still_allows(&self, head: &Head, now: Timestamp) -> Result<(), HeadError> {
        if self.root.expired(now) {
            return Err(HeadError::RootExpired {
                version: self.root.version,
            });
        }
        head.signed().require(&self.root.head_keys, 1)?;
        check_origin(head, &self.feed, &self.root)?;
        check_length(head, &self.root)?;
        self.check_release(head)
    }

    /// Raises the release counter: the only way to do so is a verified manifest.
    pub fn install(&mut self, manifest: &Manifest) {
        let own = manifest
            .anchor
            .map_or(manifest.release, |anchor| anchor.release);
        self.raise(manifest, own);
    }

    /// Raises the release counter to what was found installed already. What an addition says of its anchor nobody has
    /// compared here, and fewer keys must not set the number that everybody's additions are held to.
    pub fn install_found(&mut self, found: Vouched) {
        match found {
            Vouched::Whole(manifest) => self.install(&manifest),
            Vouched::Addition(addition) => {
                self.raise(&addition.checked_before(), ReleaseNumber(0));
            }
        }
    }

    fn raise(&mut self, manifest: &Manifest, anchored: ReleaseNumber) {
        if manifest.release > self.installed_release() {
            let before = self.installed.map_or(ReleaseNumber(0), |i| i.anchored);
            self.installed = Some(Installed {
                release: manifest.release,
                manifest: manifest.id(),
                anchored: anchored.max(before),
            });
        }
    }
}
