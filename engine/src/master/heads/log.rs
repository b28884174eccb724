//! `heads.log`: every head this master has signed, in order. SPEC §7.5.

use std::path::{Path, PathBuf};

use tidecast_proto::codec::{self, CodecError};
use tidecast_proto::head::SignedHead;
use tidecast_proto::id::{ObjectId, ReleaseNumber, Seq};
use tidecast_proto::limits;

use super::HeadsError;
use crate::chain_log::{ChainLog, Format, Record, RecordKind};
use crate::durable::{self, FileError};

/// The log's name in the state folder.
pub(crate) const HEADS_LOG: &str = "heads.log";

/// An earlier version's last number.
pub(crate) const EARLIER_SEQ: &str = "head.seq";
/// An earlier version's last head.
pub(crate) const EARLIER_HEAD: &str = "head.newest";

pub(crate) const FORMAT: Format = Format {
    domain: "tidecast heads.log v1",
    // A head, or what was taken over of an earlier version.
    body_bytes_max: 2 * limits::SMALL_OBJECT_BYTES,
};

/// A signed head, as it was handed out.
pub(crate) const HEAD: RecordKind = RecordKind(1);
/// What an earlier version left: [`Earlier`].
pub(crate) const EARLIER: RecordKind = RecordKind(2);

/// The last number and the last head of a version that kept no log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Earlier {
    pub(crate) seq: Seq,
    pub(crate) head: Option<Vec<u8>>,
}

impl Earlier {
    fn encode(&self) -> Vec<u8> {
        codec::encode(&(self.seq, self.head.clone()))
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, CodecError> {
        let (seq, head) = codec::decode_exact("taken over", body, FORMAT.body_bytes_max)?;
        Ok(Self { seq, head })
    }
}

/// What the log comes to.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    /// The highest number used.
    pub(super) last: Seq,
    /// The highest release that a head was signed for, and its manifest.
    pub(super) announced: Option<(ReleaseNumber, ObjectId)>,
    /// The head signed last.
    pub(super) newest: Option<Vec<u8>>,
    /// The first record that no head signer wrote.
    pub(super) wrong: Option<(u64, &'static str)>,
}

impl Past {
    pub(super) fn take(&mut self, record: &Record) {
        let taken = match record.kind {
            HEAD => self.head(&record.body),
            EARLIER => Earlier::decode(&record.body)
                .map_err(|_| "it cannot be read")
                .and_then(|earlier| {
                    self.last = self.last.max(earlier.seq);
                    earlier.head.map_or(Ok(()), |head| self.announce(&head))
                }),
            _ => Err("a later version wrote it: upgrade"),
        };
        if let Err(why) = taken {
            self.wrong.get_or_insert((record.number, why));
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let before = self.last;
        self.announce(bytes)?;
        if self.last <= before {
            return Err("its number is not above those before");
        }
        Ok(())
    }

    fn announce(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let head = SignedHead::from_bytes(bytes)
            .ok()
            .and_then(|signed| signed.claims())
            .ok_or("it holds no head")?;
        self.last = self.last.max(head.seq);
        if self.announced.is_none_or(|(had, _)| head.release > had) {
            self.announced = Some((head.release, head.manifest));
        }
        self.newest = Some(bytes.to_vec());
        Ok(())
    }

    /// A release below one that was announced, or another one under its number, is never announced.
    pub(super) fn check_release(
        &self,
        release: ReleaseNumber,
        manifest: ObjectId,
    ) -> Result<(), HeadsError> {
        match self.announced {
            Some((announced, _)) if release < announced => Err(HeadsError::OlderThanAnnounced {
                got: release,
                announced,
            }),
            Some((number, announced)) if release == number && manifest != announced => {
                Err(HeadsError::OtherThanAnnounced {
                    release,
                    got: manifest,
                    announced,
                })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check(&self, path: &Path) -> Result<(), HeadsError> {
        match self.wrong {
            None => Ok(()),
            Some((record, why)) => Err(HeadsError::NoHead {
                path: path.to_owned(),
                record,
                why,
            }),
        }
    }
}

/// Opens the log in `state` and takes over what an earlier version left there, so that its numbers are not used again.
pub(super) fn open(state: &Path) -> Result<(ChainLog, PathBuf, Past), HeadsError> {
    let path = state.join(HEADS_LOG);
    let mut past = Past::default();
    let mut log = ChainLog::open(&path, &FORMAT, &mut |record| past.take(record))?;
    past.check(&path)?;
    let counter = state.join(EARLIER_SEQ);
    if let Some(bytes) = durable::read_optional(&counter, 32)? {
        let seq = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .map(Seq)
            .ok_or_else(|| HeadsError::BadCounter {
                path: counter.clone(),
            })?;
        if seq > past.last {
            let newest = state.join(EARLIER_HEAD);
            let head = durable::read_optional(&newest, limits::SMALL_OBJECT_BYTES)?;
            let earlier = Earlier { seq, head };
            let body = earlier.encode();
            log.begin(&mut |record| past.take(record))?
                .append(&[(EARLIER, body)])?;
            past.last = past.last.max(seq);
            if let Some(head) = earlier.head {
                // One that cannot be read vouches for nothing; the number is what counts.
                let _ = past.announce(&head);
            }
        }
        for name in [EARLIER_HEAD, EARLIER_SEQ] {
            let path = state.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(FileError::at("remove", &path)(error).into());
                }
                _ => {}
            }
        }
        durable::sync_folder_of(&counter)?;
    }
    Ok((log, path, past))
}

/// What the log in `state` comes to, without changing anything.
pub(super) fn peek(state: &Path) -> Result<Past, HeadsError> {
    let path = state.join(HEADS_LOG);
    let mut past = Past::default();
    crate::chain_log::read(&path, &FORMAT, &mut |record| past.take(record))?;
    past.check(&path)?;
    if let Some(head) =
        durable::read_optional(&state.join(EARLIER_HEAD), limits::SMALL_OBJECT_BYTES)?
        && past.newest.is_none()
    {
        // Not taken over yet.
        let _ = past.announce(&head);
    }
    Ok(past)
}
