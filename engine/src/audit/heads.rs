//! A master's heads: each signed by a key that was entitled to, numbers rising, releases never falling.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tidecast_proto::head::SignedHead;
use tidecast_proto::id::{FeedId, ObjectId, ReleaseNumber, RootVersion, Seq};
use tidecast_proto::key::PublicKey;
use tidecast_proto::trust::past_head;

use super::ledger::Ledger;
use super::roots::Roots;
use super::{AuditError, RESTORE};
use crate::chain_log::{self, ChainLogError, Record};
use crate::master::heads::log::{EARLIER, EARLIER_SEQ, Earlier, FORMAT, HEAD, HEADS_LOG};

/// What to do about a head nobody was entitled to sign.
const ROTATE: &str = "somebody can write into this master's state, or has its head key: find out who, then replace the key by a new root with another epoch";

/// A release that heads were signed for.
#[derive(Debug)]
pub(super) struct Announced {
    pub(super) manifest: ObjectId,
    pub(super) manifest_bytes: u64,
    /// The first record that names it.
    pub(super) record: u64,
    /// Roots under which it was announced.
    pub(super) roots: BTreeSet<RootVersion>,
}

#[derive(Debug, Default)]
struct Replay {
    seqs: BTreeMap<PublicKey, Seq>,
    last: Seq,
    release: ReleaseNumber,
    root: RootVersion,
    announced: BTreeMap<ReleaseNumber, Announced>,
}

/// Replays the log in `state`; what was announced comes back.
pub(super) fn replay(
    ledger: &mut Ledger,
    state: &Path,
    roots: &Roots,
    feed: &FeedId,
) -> Result<BTreeMap<ReleaseNumber, Announced>, AuditError> {
    let path = state.join(HEADS_LOG);
    let mut replay = Replay::default();
    let read = chain_log::read(&path, &FORMAT, &mut |record| {
        if let Err(what) = replay.take(ledger, record, roots, feed) {
            let place = format!("{}, record {}", path.display(), record.number);
            ledger.wrong(place, what, ROTATE);
        }
    });
    match read {
        Ok(None) => ledger.note("no head was signed yet"),
        Ok(Some(end)) if end.torn_bytes > 0 => ledger.note(format!(
            "{}: {} bytes at the end are an unfinished record, as a crash leaves one; it was never handed out",
            path.display(),
            end.torn_bytes
        )),
        Ok(Some(_)) => {}
        Err(ChainLogError::File(error)) => return Err(error.into()),
        Err(error) => ledger.wrong(path.display().to_string(), error.to_string(), RESTORE),
    }
    if state.join(EARLIER_SEQ).exists() {
        ledger.note(format!(
            "{EARLIER_SEQ} of an earlier version is still there; the master takes it over at its next start"
        ));
    }
    Ok(replay.announced)
}

impl Replay {
    fn take(
        &mut self,
        ledger: &mut Ledger,
        record: &Record,
        roots: &Roots,
        feed: &FeedId,
    ) -> Result<(), String> {
        match record.kind {
            HEAD => self.head(ledger, record.number, &record.body, roots, feed),
            EARLIER => {
                let earlier = Earlier::decode(&record.body).map_err(|error| error.to_string())?;
                ledger.good(format!(
                    "record {}: number {} taken over from an earlier version",
                    record.number, earlier.seq
                ));
                if earlier.seq < self.last {
                    return Err(format!(
                        "number {} of an earlier version is below {}, used before",
                        earlier.seq, self.last
                    ));
                }
                if let Some(head) = earlier.head {
                    self.head(ledger, record.number, &head, roots, feed)?;
                }
                self.last = self.last.max(earlier.seq);
                for seq in self.seqs.values_mut() {
                    *seq = (*seq).max(earlier.seq);
                }
                Ok(())
            }
            _ => Err("its kind is not known: a later version of tidecast wrote it".into()),
        }
    }

    fn head(
        &mut self,
        ledger: &mut Ledger,
        record: u64,
        bytes: &[u8],
        roots: &Roots,
        feed: &FeedId,
    ) -> Result<(), String> {
        let signed = SignedHead::from_bytes(bytes).map_err(|error| error.to_string())?;
        let claims = signed.claims().ok_or("it holds no head")?;
        let root = roots.get(claims.root_version).ok_or_else(|| {
            format!(
                "a head made under root {}, which is not there",
                claims.root_version
            )
        })?;
        let (head, keys) = past_head(signed, root, feed).map_err(|error| error.to_string())?;
        if head.root_version < self.root {
            return Err(format!(
                "a head made under root {} after one made under root {}",
                head.root_version, self.root
            ));
        }
        for key in &keys {
            let last = self.seqs.get(key).copied().unwrap_or(Seq(0)).max(self.last);
            if head.seq <= last {
                return Err(format!("number {} after number {last}", head.seq));
            }
        }
        if head.release < self.release {
            return Err(format!(
                "release {} is announced after release {}",
                head.release, self.release
            ));
        }
        let announced = self.announced.entry(head.release).or_insert(Announced {
            manifest: head.manifest,
            manifest_bytes: head.manifest_bytes,
            record,
            roots: BTreeSet::new(),
        });
        if (announced.manifest, announced.manifest_bytes) != (head.manifest, head.manifest_bytes) {
            return Err(format!(
                "manifest {} is announced as release {}, in record {} it was {}",
                head.manifest, head.release, announced.record, announced.manifest
            ));
        }
        announced.roots.insert(head.root_version);
        for key in keys {
            self.seqs.insert(key, head.seq);
        }
        (self.last, self.release, self.root) = (head.seq, head.release, head.root_version);
        ledger.report.heads += 1;
        ledger.good(format!(
            "record {record}: head {} for release {}, signed by a head key of root {}",
            head.seq, head.release, head.root_version
        ));
        Ok(())
    }
}
