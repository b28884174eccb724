//! The head key's place in a daemon: there whether or not anything can be signed. SPEC §7.5.

use std::path::Path;

use tidecast_proto::id::{ObjectId, ReleaseNumber, Seq, Timestamp};
use tidecast_proto::key::{PublicKey, SecretKey};
use tidecast_proto::root::Root;

use super::{HeadSigner, HeadsError, IssuedHead};

/// A head key, and its signer once the log could be opened.
#[derive(Debug)]
pub(crate) struct Seat {
    key: SecretKey,
    signer: Option<HeadSigner>,
    /// The highest number that others have seen of the key: it must outlast a log that cannot be opened yet.
    floor: Seq,
}

impl Seat {
    /// Nothing is read yet.
    pub(crate) fn new(key: SecretKey) -> Self {
        Self {
            key,
            signer: None,
            floor: Seq(0),
        }
    }

    /// Opens the log if that was not done.
    ///
    /// # Errors
    /// As [`HeadSigner::open`]; it is tried again at the next call.
    pub(crate) fn signer(&mut self, state: &Path) -> Result<&mut HeadSigner, HeadsError> {
        let mut signer = match self.signer.take() {
            Some(signer) => signer,
            None => HeadSigner::open(state, self.key.clone())?,
        };
        signer.raise(self.floor);
        Ok(self.signer.insert(signer))
    }

    /// The key it signs with.
    pub(crate) fn key(&self) -> PublicKey {
        self.key.public()
    }

    /// The highest number used or known.
    pub(crate) fn last(&self) -> Seq {
        let used = self.signer.as_ref().map_or(Seq(0), HeadSigner::last);
        used.max(self.floor)
    }

    /// Numbers go on above `seq`, which somebody has seen of this key.
    pub(crate) fn raise(&mut self, seq: Seq) {
        self.floor = self.floor.max(seq);
    }

    /// The highest release a head was signed for, and its manifest.
    pub(crate) fn announced(&self) -> Option<(ReleaseNumber, ObjectId)> {
        self.signer.as_ref().and_then(HeadSigner::announced)
    }

    /// As [`HeadSigner::still_good`].
    pub(crate) fn still_good(&self, root: &Root, now: Timestamp) -> Option<IssuedHead> {
        let signer = self.signer.as_ref();
        signer.and_then(|signer| signer.still_good(root, now))
    }
}
