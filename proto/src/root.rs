//! The root: who may sign releases and heads, and which masters exist. SPEC §3.2.

use alloc::{string::String, vec::Vec};

use crate::chunker::Chunking;
use crate::codec::{CodecError, Decode, Encode, at_most, plain_text, strictly_ascending};
use crate::extension::{Extension, Extensions};
use crate::id::{Epoch, FeedId, FeedName, ObjectId, ReleaseNumber, RootVersion, Timestamp};
use crate::key::PublicKey;
use crate::limits;
use crate::signed::{Body, Signed, SignedError, Verified};

/// A master as the root knows it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Master {
    /// For people.
    pub name: String,
    /// The raw public key it presents in TLS.
    pub node_key: PublicKey,
    /// `host:port`, best first.
    pub addresses: Vec<String>,
}

/// What a root says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RootBody {
    /// 1 for the first, then each exactly one more than the one before.
    pub version: RootVersion,
    /// Raised when a lost head key is replaced.
    pub epoch: Epoch,
    /// The feed's name; the same in every root of a feed.
    pub feed: FeedName,
    /// From then on nothing new but newer roots is accepted.
    pub expires: Timestamp,
    /// May sign the next root.
    pub root_keys: Vec<PublicKey>,
    /// How many of them must.
    pub root_threshold: u16,
    /// May sign manifests.
    pub release_keys: Vec<PublicKey>,
    /// How many of them must.
    pub release_threshold: u16,
    /// How many of them suffice for a release that only adds genuine databases to an earlier one; at most
    /// [`Self::release_threshold`].
    pub added_threshold: u16,
    /// May sign heads; one signature is enough.
    pub head_keys: Vec<PublicKey>,
    /// Longest life of a head, in milliseconds.
    pub head_ttl_max_ms: u64,
    /// The masters.
    pub masters: Vec<Master>,
    /// How content is cut, fixed for the life of the feed.
    pub chunking: Chunking,
    /// Manifests that must not be installed although their signatures are good.
    pub revoked_manifests: Vec<ObjectId>,
    /// Releases below this one are never accepted.
    pub release_min: ReleaseNumber,
    /// Room to grow.
    pub extensions: Extensions,
}

/// A root as received.
pub type SignedRoot = Signed<RootBody>;
/// A root that the fingerprint or the root before it vouches for.
pub type Root = Verified<RootBody>;

/// Why a root was refused. The trusted root stays what it was.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// Malformed, or not signed by enough keys of the old set or of its own.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// The upstream serves another feed, or the fingerprint was mistyped.
    #[error("root 1 is {got}, but the fingerprint given is {expected}")]
    WrongFingerprint { got: FeedId, expected: FeedId },
    /// Roots are walked one by one.
    #[error("root {got} offered where root {expected} is next")]
    WrongVersion {
        got: RootVersion,
        expected: RootVersion,
    },
    /// Signed well, but of another feed.
    #[error("root of feed {got}, expected {expected}")]
    WrongFeed { got: FeedName, expected: FeedName },
    /// Epochs and the release floor only rise.
    #[error("{field} goes back from {had} to {got}")]
    GoesBack {
        field: &'static str,
        had: u64,
        got: u64,
    },
    /// Content is cut one way for the life of a feed.
    #[error("the chunking changes, which no root may do")]
    ChunkingChanged,
}

impl Body for RootBody {
    const NAME: &'static str = "root";
    const BYTES_MAX: usize = limits::ROOT_BYTES;

    fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    fn check(&self) -> Result<(), CodecError> {
        check_keys("root_keys", &self.root_keys, self.root_threshold)?;
        check_keys("release_keys", &self.release_keys, self.release_threshold)?;
        if self.added_threshold == 0 || self.added_threshold > self.release_threshold {
            return Err(CodecError::BadField {
                field: "added_threshold",
                why: "is 0 or above release_threshold",
            });
        }
        check_keys("head_keys", &self.head_keys, 1)?;
        if self.head_ttl_max_ms == 0 {
            return Err(CodecError::BadField {
                field: "head_ttl_max_ms",
                why: "is 0",
            });
        }
        if self.version.0 == 0 {
            return Err(CodecError::BadField {
                field: "version",
                why: "roots count from 1",
            });
        }
        at_most("masters", self.masters.len(), limits::MASTERS)?;
        strictly_ascending("masters", self.masters.iter().map(|m| m.node_key))?;
        for master in &self.masters {
            plain_text("masters.name", &master.name, limits::DETAIL_BYTES)?;
            at_most(
                "masters.addresses",
                master.addresses.len(),
                limits::ADDRESSES_PER_MASTER,
            )?;
            for address in &master.addresses {
                plain_text("masters.addresses", address, limits::NAME_BYTES)?;
            }
        }
        self.chunking.check()?;
        at_most(
            "revoked_manifests",
            self.revoked_manifests.len(),
            limits::REVOKED_MANIFESTS,
        )?;
        strictly_ascending("revoked_manifests", self.revoked_manifests.iter())
    }
}

fn check_keys(field: &'static str, keys: &[PublicKey], threshold: u16) -> Result<(), CodecError> {
    at_most(field, keys.len(), limits::KEYS_PER_ROLE)?;
    strictly_ascending(field, keys.iter())?;
    if threshold == 0 || usize::from(threshold) > keys.len() {
        return Err(CodecError::BadField {
            field,
            why: "the threshold is 0 or more than there are keys",
        });
    }
    Ok(())
}

impl RootBody {
    /// Whether this may come after `current`, whoever signed it: one version up, of the same feed, nothing going back.
    ///
    /// # Errors
    /// [`RootError`]: what no mirror would follow.
    pub fn follows(&self, current: &Self) -> Result<(), RootError> {
        let expected = RootVersion(current.version.0.saturating_add(1));
        if self.version != expected {
            return Err(RootError::WrongVersion {
                got: self.version,
                expected,
            });
        }
        if self.feed != current.feed {
            return Err(RootError::WrongFeed {
                got: self.feed.clone(),
                expected: current.feed.clone(),
            });
        }
        for (field, had, got) in [
            ("epoch", current.epoch.0, self.epoch.0),
            ("release_min", current.release_min.0, self.release_min.0),
        ] {
            if got < had {
                return Err(RootError::GoesBack { field, had, got });
            }
        }
        if self.chunking != current.chunking {
            return Err(RootError::ChunkingChanged);
        }
        Ok(())
    }
}

impl SignedRoot {
    /// The first root: the fingerprint vouches for it, and it must be signed by its own keys.
    ///
    /// # Errors
    /// [`RootError`]; the upstream serves something else, or the fingerprint is mistyped.
    pub fn verify_first(self, fingerprint: &FeedId) -> Result<Root, RootError> {
        let got = FeedId(self.id().0);
        if got != *fingerprint {
            return Err(RootError::WrongFingerprint {
                got,
                expected: *fingerprint,
            });
        }
        let body = self.open()?;
        if body.version != RootVersion(1) {
            return Err(RootError::WrongVersion {
                got: body.version,
                expected: RootVersion(1),
            });
        }
        self.require(&body.root_keys, body.root_threshold.into())?;
        Ok(self.into_verified(body))
    }

    /// The root after `current`: signed by the old set **and** by its own, one version up. Neither root's
    /// expiry is looked at: roots are walked even past it, only the last one's counts.
    ///
    /// # Errors
    /// [`RootError`]; `current` stays the trusted one.
    pub fn verify_next(self, current: &Root) -> Result<Root, RootError> {
        self.require(&current.root_keys, current.root_threshold.into())?;
        let body = self.open()?;
        self.require(&body.root_keys, body.root_threshold.into())?;
        body.follows(current)?;
        Ok(self.into_verified(body))
    }
}

impl Root {
    /// Whether `key` belongs to a master of this root.
    #[must_use]
    pub fn names_master(&self, key: &PublicKey) -> bool {
        self.masters.iter().any(|m| m.node_key == *key)
    }

    /// Whether nothing new may be accepted at `now` until a newer root comes.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> bool {
        now >= self.expires
    }
}
