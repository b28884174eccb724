//! What admitted nodes say of this master's past, and what follows from it. SPEC §7.5.
//!
//! A master that was restored from an old backup does not know what it announced since; its mirrors do. Their word
//! raises numbers, within what the clock allows, and alarms; it never moves a release.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tidecast_proto::id::{ObjectId, ReleaseNumber, Seq};
use tidecast_proto::key::PublicKey;
use tidecast_proto::limits;
use tidecast_proto::receipt::ReceiptBody;
use tidecast_proto::session::Admission;
use tidecast_proto::wire::Hello;
use tokio::time::Instant;

use super::{HEAD_CHECK, Master, MasterError, Nodes};
use crate::publish::believable;
use crate::store::Store;

/// A node's word makes us sign at most this often, whatever connects meanwhile: one that lies must not keep the disk
/// busy. Whoever comes in between is served by the next look at the head's age.
const RESIGN_PAUSE: std::time::Duration = std::time::Duration::from_secs(10);

/// Alarms that are told: so many about numbers, and so many about releases.
const ALARMS_TOLD: usize = 10;

/// Something about this master's own past that somebody must look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// `heads` (no head can be signed), `restored` (a node holds a newer release), `contested` (a node holds another
    /// release under a number of ours), `numbers` (a node speaks of numbers of our head key from the future, or of a
    /// release beyond belief).
    pub kind: String,
    /// What is so.
    pub what: String,
    /// What to do.
    pub advice: String,
    /// The node whose word it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_key: Option<String>,
}

/// How the head service is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadsStatus {
    /// The highest number used or known of this master's head key.
    pub seq: u64,
    /// The highest release that a head was signed for, 0 for none.
    pub announced: u64,
    /// The highest believable release that an admitted node holds, 0 for none.
    pub held: u64,
    /// That node's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// What somebody must look at.
    pub alarms: Vec<Alarm>,
}

/// One node's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Testimony {
    /// The highest number it has seen of our head key, and which key that was.
    seq: Option<(PublicKey, Seq)>,
    release: ReleaseNumber,
    manifest: Option<ObjectId>,
}

/// The word of each admitted node, and why no head could be signed at the last try.
#[derive(Debug, Default)]
pub(super) struct Testimonies(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    nodes: BTreeMap<PublicKey, Testimony>,
    /// When a head was last signed because of somebody's word.
    resigned: Option<Instant>,
    trouble: Option<Trouble>,
}

/// Why no head could be signed.
#[derive(Debug)]
struct Trouble {
    what: String,
    advice: String,
    /// When that was tried last.
    tried: Instant,
}

impl Testimonies {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps how the last try to sign ended.
    pub(super) fn signed<T>(&self, result: &Result<T, MasterError>) {
        self.lock().trouble = result.as_ref().err().map(|error| Trouble {
            what: error.to_string(),
            advice: error.advice(),
            tried: Instant::now(),
        });
    }

    /// Whether it is time to try again what failed the last time; `None` when it did not fail.
    pub(super) fn retry_is_due(&self) -> Option<bool> {
        let heard = self.lock();
        let trouble = heard.trouble.as_ref()?;
        Some(trouble.tried.elapsed() >= HEAD_CHECK)
    }

    /// Whether a head may be signed now because of somebody's word. If so, the next one may wait.
    pub(super) fn may_resign(&self) -> bool {
        if self.retry_is_due() == Some(false) {
            return false;
        }
        let mut heard = self.lock();
        let due = heard.resigned.is_none_or(|at| at.elapsed() >= RESIGN_PAUSE);
        if due {
            heard.resigned = Some(Instant::now());
        }
        due
    }
}

impl Master {
    /// Takes in an admitted node's Hello, before it is answered: a head with a number it has seen already would be
    /// refused there as an older one again.
    pub(super) fn hear_hello(&self, node: &PublicKey, body: &[u8]) {
        if self.view.load().nodes.admission(node) != Admission::Admitted {
            return;
        }
        // One that cannot be read is refused in a moment.
        let Ok(hello) = Hello::decode(body) else {
            return;
        };
        if hello.feed != self.feed.id {
            return;
        }
        let mut seat = self.lock_seat();
        let our_key = seat.key();
        let seq = hello
            .seqs
            .iter()
            .find(|(key, _)| *key == our_key)
            .map(|(_, seq)| *seq);
        let testimony = Testimony {
            seq: seq.map(|seq| (our_key, seq)),
            release: hello.release,
            manifest: hello.manifest,
        };
        let said = self.testimonies.lock().nodes.get(node) == Some(&testimony);
        self.hear(*node, testimony, self.believed(seat.announced()));
        let Some(seq) = seq.filter(|seq| *seq > seat.last()) else {
            return;
        };
        let latest = self.clock.now().plus(limits::CLOCK_SKEW_MS as u64);
        if seq.0 > latest.0 {
            if said || !self.words_told.allow(node, self.clock.now()) {
                return;
            }
            tracing::error!(%node, %seq, "this node has seen a number of our head key from the future: our clock is behind, it lies, or somebody else signs with our key");
            return;
        }
        if self.words_told.allow(node, self.clock.now()) {
            tracing::warn!(%node, %seq, "this node has seen a higher number of our head key than we know: restored from a backup?");
        }
        seat.raise(seq);
        drop(seat);
        if self.testimonies.may_resign()
            && let Err(error) = self.reload()
        {
            tracing::error!(%error, "cannot sign a fresh head");
        }
    }

    /// Takes in an admitted node's receipt.
    pub(super) fn hear_receipt(&self, node: PublicKey, receipt: &ReceiptBody) {
        let seq = self.testimonies.lock().nodes.get(&node).and_then(|t| t.seq);
        let believed = self.believed(self.lock_seat().announced());
        self.hear(
            node,
            Testimony {
                seq,
                release: receipt.release,
                manifest: Some(receipt.manifest).filter(|_| receipt.release.0 > 0),
            },
            believed,
        );
    }

    /// The highest release that a node is believed to hold.
    fn believed(&self, announced: Option<(ReleaseNumber, ObjectId)>) -> ReleaseNumber {
        let newest = self.store.newest().map_or(ReleaseNumber(0), |n| n.release);
        let announced = announced.map_or(ReleaseNumber(0), |(release, _)| release);
        let floor = self.view.load().root.release_min;
        believable(newest.max(announced).max(floor))
    }

    fn hear(&self, node: PublicKey, testimony: Testimony, believed: ReleaseNumber) {
        // Once for each thing it says: nobody fills a log by saying it again.
        let said = self.testimonies.lock().nodes.get(&node) == Some(&testimony);
        if !said
            && let Some(alarm) = self.alarm_of(&node, testimony, believed)
            && self.words_told.allow(&node, self.clock.now())
        {
            tracing::error!(%node, kind = alarm.kind, "{}", alarm.what);
        }
        let view = self.view.load();
        let mut heard = self.testimonies.lock();
        heard.nodes.insert(node, testimony);
        // Bounded by the nodes that are admitted.
        heard
            .nodes
            .retain(|node, _| view.nodes.admission(node) == Admission::Admitted);
    }

    /// What is wrong with the releases that `node` speaks of.
    fn alarm_of(
        &self,
        node: &PublicKey,
        testimony: Testimony,
        believed: ReleaseNumber,
    ) -> Option<Alarm> {
        let newest = self.store.newest().map_or(ReleaseNumber(0), |n| n.release);
        let (kind, what, advice) = if testimony.release > believed {
            (
                "numbers",
                format!(
                    "a node says that it holds release {}, the newest here is {newest}: nobody can have made so many since",
                    testimony.release
                ),
                format!(
                    "that node lies, or its docroot is another feed's: revoke it, `tidecast node revoke {node}`"
                ),
            )
        } else if testimony.release > newest {
            (
                "restored",
                format!(
                    "a mirror holds release {}, the newest here is {newest}",
                    testimony.release
                ),
                format!(
                    "unless another master has announced it: this store was restored from an old backup. Restore a newer one, or go past it with `tidecast publish --above {} TREE`",
                    testimony.release
                ),
            )
        } else {
            let held = testimony.manifest?;
            let ours = manifest_of(&self.store, testimony.release)?;
            if held == ours {
                return None;
            }
            (
                "contested",
                format!(
                    "a mirror holds manifest {held} as release {}, here it is {ours}",
                    testimony.release
                ),
                "two releases were signed under one number: ask every holder of a release key, and compare with other mirrors; `tidecast audit` on both sides says which was announced".into(),
            )
        };
        Some(Alarm {
            kind: kind.into(),
            what,
            advice,
            node_key: Some(node.to_string()),
        })
    }

    /// How the head service is.
    pub(super) fn heads_status(&self, nodes: &Nodes) -> HeadsStatus {
        let (our_key, seq, announced) = {
            let seat = self.lock_seat();
            (seat.key(), seat.last(), seat.announced())
        };
        let heard = self.testimonies.lock();
        let admitted = || {
            let all = heard.nodes.iter();
            all.filter(|(node, _)| nodes.admission(node) == Admission::Admitted)
        };
        let believed = self.believed(announced);
        let held = admitted()
            .filter(|(_, testimony)| testimony.release <= believed)
            .max_by_key(|(_, testimony)| testimony.release);
        let mut alarms = Vec::new();
        if let Some(Trouble { what, advice, .. }) = &heard.trouble {
            alarms.push(Alarm {
                kind: "heads".into(),
                what: format!("no head can be signed: {what}"),
                advice: advice.clone(),
                node_key: None,
            });
        }
        let latest = self.clock.now().plus(limits::CLOCK_SKEW_MS as u64);
        let from_the_future = admitted().filter_map(|(node, testimony)| {
            let (_, seen) = testimony
                .seq
                .filter(|(key, seen)| *key == our_key && *seen > seq.max(Seq(latest.0)))?;
            Some(Alarm {
                kind: "numbers".into(),
                what: format!("a mirror has seen number {seen} of this master's head key, which it has not signed"),
                advice: "check this machine's clock; if it is right, that mirror lies, or somebody else signs with this head key: replace it by a new root with another epoch".into(),
                node_key: Some(node.to_string()),
            })
        });
        let of_releases =
            admitted().filter_map(|(node, said)| self.alarm_of(node, *said, believed));
        // Liars do not hide what honest nodes say.
        let (lies, of_releases): (Vec<_>, Vec<_>) =
            of_releases.partition(|alarm| alarm.kind == "numbers");
        alarms.extend(from_the_future.chain(lies).take(ALARMS_TOLD));
        alarms.extend(of_releases.into_iter().take(ALARMS_TOLD));
        HeadsStatus {
            seq: seq.0,
            announced: announced.map_or(0, |(release, _)| release.0),
            held: held.map_or(0, |(_, testimony)| testimony.release.0),
            held_by: held
                .filter(|(_, testimony)| testimony.release.0 > 0)
                .map(|(node, _)| node.to_string()),
            alarms,
        }
    }
}

fn manifest_of(store: &Store, release: ReleaseNumber) -> Option<ObjectId> {
    let releases = store.releases();
    let at = releases
        .binary_search_by_key(&release, |stored| stored.release)
        .ok()?;
    Some(releases[at].manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_a_failed_try_nobodys_word_has_a_head_signed_before_the_next_look() {
        let heard = Testimonies::default();
        assert!(heard.may_resign());
        assert!(!heard.may_resign(), "at most every 10 s");
        tokio::time::advance(RESIGN_PAUSE).await;
        assert!(heard.may_resign());

        heard.signed::<()>(&Err(super::super::HeadsError::Exhausted.into()));
        tokio::time::advance(RESIGN_PAUSE).await;
        assert_eq!(heard.retry_is_due(), Some(false));
        assert!(!heard.may_resign());
        tokio::time::advance(HEAD_CHECK - RESIGN_PAUSE).await;
        assert_eq!(heard.retry_is_due(), Some(true));
        heard.signed(&Ok(()));
        assert_eq!(heard.retry_is_due(), None);
        assert!(heard.may_resign());
    }
}
