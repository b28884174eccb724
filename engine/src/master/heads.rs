//! The head service: signs what is newest, hourly and at once when there is a release. SPEC §7.5.

use std::path::{Path, PathBuf};

use tidecast_proto::codec::CodecError;
use tidecast_proto::head::{HeadBody, Phase, SignedHead};
use tidecast_proto::id::{FeedId, ObjectId, Seq, Timestamp};
use tidecast_proto::key::SecretKey;
use tidecast_proto::limits;
use tidecast_proto::manifest::Manifest;
use tidecast_proto::root::Root;

use crate::durable::{self, Access, FileError};

/// How often a head is signed again when nothing happens, unless it lives for less than two of these.
pub const RESIGN_MS: u64 = 3600 * 1000;

/// Why no head could be signed. The last one stays in use.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadsError {
    /// The disk or its permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// The number's file holds something else.
    #[error("{}: not a number; restore it, or the last number {} wrote, before signing", path.display(), "this master")]
    BadCounter { path: PathBuf },
    /// Settings that make no head.
    #[error("cannot make a head: {0}")]
    Head(#[from] CodecError),
}

/// Signs heads with this master's key.
#[derive(Debug)]
pub struct HeadSigner {
    key: SecretKey,
    counter: PathBuf,
    newest: PathBuf,
    last: Seq,
}

/// The newest head's file in the state folder: what a bundle is exported with.
const NEWEST: &str = "head.newest";

/// The head that was signed last in `state`; `None` before the first.
///
/// # Errors
/// [`FileError`].
pub fn newest_head(state: &Path) -> Result<Option<Vec<u8>>, FileError> {
    durable::read_optional(&state.join(NEWEST), limits::SMALL_OBJECT_BYTES)
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

impl HeadSigner {
    /// Takes up where this master stopped.
    ///
    /// # Errors
    /// [`HeadsError`].
    pub fn open(state: &Path, key: SecretKey) -> Result<Self, HeadsError> {
        let counter = state.join("head.seq");
        let last = match durable::read_optional(&counter, 32)? {
            None => Seq(0),
            Some(bytes) => std::str::from_utf8(&bytes)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .map(Seq)
                .ok_or_else(|| HeadsError::BadCounter {
                    path: counter.clone(),
                })?,
        };
        Ok(Self {
            key,
            counter,
            newest: state.join(NEWEST),
            last,
        })
    }

    /// Signs a head for `manifest`. Its number is on disk before the head exists: a master killed here, or
    /// restored from a backup (the clock is part of the number), never signs two heads under one number.
    ///
    /// # Errors
    /// [`HeadsError`].
    pub fn sign(
        &mut self,
        feed: FeedId,
        root: &Root,
        manifest: &Manifest,
        now: Timestamp,
    ) -> Result<IssuedHead, HeadsError> {
        let seq = Seq(self.last.0.saturating_add(1).max(now.0));
        durable::write(
            &self.counter,
            format!("{seq}\n").as_bytes(),
            Access::OwnerOnly,
        )?;
        self.last = seq;
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
        let signed = SignedHead::sign(&body, &[&self.key])?;
        let bytes = signed.to_bytes();
        debug_assert!(bytes.len() <= limits::SMALL_OBJECT_BYTES);
        durable::write(&self.newest, &bytes, Access::OwnerOnly)?;
        Ok(IssuedHead {
            id: signed.id(),
            bytes,
            body,
        })
    }
}
