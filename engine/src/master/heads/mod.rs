//! The head service: signs what is newest, hourly and at once when there is a release. SPEC §7.5.

mod error;
pub(crate) mod log;
mod seat;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use tidecast_proto::head::{HeadBody, Phase, SignedHead};
use tidecast_proto::id::{FeedId, ObjectId, ReleaseNumber, Seq, Timestamp};
use tidecast_proto::key::{PublicKey, SecretKey};
use tidecast_proto::limits;
use tidecast_proto::manifest::Manifest;
use tidecast_proto::root::Root;

use crate::chain_log::ChainLog;

pub use error::HeadsError;
use log::Past;
pub(crate) use seat::Seat;

/// How often a head is signed again when nothing happens, unless it lives for less than two of these.
pub const RESIGN_MS: u64 = 3600 * 1000;

/// How far numbers jump, at random and at most, at a start where the clock does not vouch for new ones: a master that
/// was restored from a backup, and whose clock is wrong, too, would otherwise count the same numbers again.
const JUMP_MAX: u64 = 1 << 24;

/// No master ran before: a clock that says so has lost its battery. 2025-01-01.
const EARLIEST_MS: u64 = 1_735_689_600_000;

/// The head that was signed last in `state`; `None` before the first.
///
/// # Errors
/// [`HeadsError`].
pub fn newest_head(state: &Path) -> Result<Option<Vec<u8>>, HeadsError> {
    Ok(log::peek(state)?.newest)
}

/// The highest release that the master in `state` has signed a head for, and its manifest.
///
/// # Errors
/// [`HeadsError`].
pub fn announced(state: &Path) -> Result<Option<(ReleaseNumber, ObjectId)>, HeadsError> {
    Ok(log::peek(state)?.announced)
}

/// A head as it goes out.
#[derive(Debug, Clone)]
pub struct IssuedHead {
    /// Its name.
    pub id: ObjectId,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it says.
    pub body: HeadBody,
}

impl IssuedHead {
    /// Whether it should be signed again: it is old, or the clock was set back and mirrors would take it for one
    /// from the future.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        let (issued, life_ms) = (self.body.issued, self.body.expires.0 - self.body.issued.0);
        issued > now || now.0 - issued.0 >= RESIGN_MS.min(life_ms / 2)
    }
}

/// Signs heads with this master's key.
#[derive(Debug)]
pub struct HeadSigner {
    key: SecretKey,
    log: ChainLog,
    path: PathBuf,
    past: Past,
    /// The highest number that was tried here, or that others have seen of this key.
    floor: Seq,
    /// Nothing was signed since the start.
    fresh: bool,
}

impl HeadSigner {
    /// Takes up where this master stopped: the whole log in `state` is read and its chain checked.
    ///
    /// # Errors
    /// [`HeadsError`]; nothing may be signed before it is put right.
    pub fn open(state: &Path, key: SecretKey) -> Result<Self, HeadsError> {
        let (log, path, past) = log::open(state)?;
        Ok(Self {
            key,
            log,
            path,
            floor: past.last,
            past,
            fresh: true,
        })
    }

    /// The key it signs with.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.key.public()
    }

    /// The highest number used or known.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.floor.max(self.past.last)
    }

    /// The highest release a head was signed for, and its manifest.
    #[must_use]
    pub fn announced(&self) -> Option<(ReleaseNumber, ObjectId)> {
        self.past.announced
    }

    /// Numbers go on above `seq`, which somebody has seen of this key.
    pub fn raise(&mut self, seq: Seq) {
        self.floor = self.floor.max(seq);
    }

    /// The head signed last, while mirrors that believe `root` would take it.
    #[must_use]
    pub fn still_good(&self, root: &Root, now: Timestamp) -> Option<IssuedHead> {
        let signed = SignedHead::from_bytes(self.past.newest.as_deref()?).ok()?;
        let body = signed.claims()?;
        let known = root.head_keys.iter();
        let good = known
            .clone()
            .any(|key| signed.signers().any(|by| by == *key))
            && body.epoch == root.epoch
            && now < body.expires;
        good.then(|| IssuedHead {
            id: signed.id(),
            bytes: signed.to_bytes(),
            body,
        })
    }

    /// Whether a head for this release would contradict what this master has announced.
    ///
    /// # Errors
    /// [`HeadsError::OlderThanAnnounced`], [`HeadsError::OtherThanAnnounced`].
    pub fn check_release(
        &self,
        release: ReleaseNumber,
        manifest: ObjectId,
    ) -> Result<(), HeadsError> {
        self.past.check_release(release, manifest)
    }

    /// Signs a head for `manifest`. It is in the log, on disk, before anybody but this function sees it: killed
    /// anywhere, restored from a backup, with its clock wrong, a master hands out no two heads under one number.
    ///
    /// # Errors
    /// [`HeadsError`]; the number is not used again by this process.
    pub fn sign(
        &mut self,
        feed: FeedId,
        root: &Root,
        manifest: &Manifest,
        now: Timestamp,
    ) -> Result<IssuedHead, HeadsError> {
        let Self { log, past, .. } = self;
        // Another process may have signed meanwhile.
        let turn = log.begin(&mut |record| past.take(record))?;
        past.check(&self.path)?;
        let last = self.floor.max(past.last);
        let mut next = last.0.checked_add(1).ok_or(HeadsError::Exhausted)?;
        if self.fresh && now.0 <= past.last.0.max(EARLIEST_MS) {
            let jump = getrandom::u64().map_err(HeadsError::Randomness)? % JUMP_MAX;
            next = next.checked_add(jump).ok_or(HeadsError::Exhausted)?;
        }
        let seq = Seq(next.max(now.0));
        let body = HeadBody {
            feed,
            epoch: root.epoch,
            seq,
            issued: now,
            expires: now.plus(root.head_ttl_max_ms),
            release: manifest.release,
            manifest: manifest.id(),
            manifest_bytes: manifest.signed().body_len() as u64,
            root_version: root.version,
            phase: Phase::LIVE,
            extensions: Vec::new(),
        };
        past.check_release(body.release, body.manifest)?;
        let signed = SignedHead::sign(&body, &[&self.key])?;
        let bytes = signed.to_bytes();
        debug_assert!(bytes.len() <= limits::SMALL_OBJECT_BYTES);
        self.floor = seq;
        turn.append(&[(log::HEAD, bytes.clone())])?;
        self.fresh = false;
        self.past.last = seq;
        self.past.newest = Some(bytes.clone());
        if self
            .past
            .announced
            .is_none_or(|(had, _)| body.release > had)
        {
            self.past.announced = Some((body.release, body.manifest));
        }
        Ok(IssuedHead {
            id: signed.id(),
            bytes,
            body,
        })
    }
}
