//! `trust.log`: every step of what this mirror came to believe, for whoever asks later whether each was authorised, and
//! what it caught others at. SPEC §8.13.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidecast_proto::codec::{self, CodecError};
use tidecast_proto::head::SignedHead;
use tidecast_proto::id::{FeedId, ObjectId, ReleaseNumber, RootVersion, Timestamp};
use tidecast_proto::key::PublicKey;
use tidecast_proto::limits;
use tidecast_proto::root::SignedRoot;
use tidecast_proto::trust::{Installed, Trust};

use super::memory::MemoryError;
use crate::chain_log::{ChainLog, ChainLogError, Format, Record, RecordKind};
use crate::durable::{self, Access, FileError};
use crate::roots;

/// The log's name in the state folder.
pub(crate) const TRUST_LOG: &str = "trust.log";

/// Where evidence lies, as it was received.
pub(crate) const EVIDENCE: &str = "evidence";

pub(crate) const FORMAT: Format = Format {
    domain: "tidecast trust.log v1",
    // Two heads and what is said of them.
    body_bytes_max: 3 * limits::SMALL_OBJECT_BYTES,
};

/// Pieces of evidence against one key that are kept under one root: a thief could go on for ever.
const EVIDENCE_PER_KEY: u32 = 4;

/// Damaged logs that are kept beside the good one.
pub(crate) const DAMAGED_MAX: u32 = 9;

const BEGAN: RecordKind = RecordKind(1);
const ROOT: RecordKind = RecordKind(2);
const INSTALLED: RecordKind = RecordKind(3);
const TWO_HEADS: RecordKind = RecordKind(4);
const CONTESTED: RecordKind = RecordKind(5);

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The log begins: at first contact, or where an earlier version or a lost log left off.
    Began {
        feed: FeedId,
        root: RootVersion,
        installed: Option<Installed>,
    },
    /// A root was accepted.
    Root { version: RootVersion, id: ObjectId },
    /// A release was installed, for this head if it is still known.
    Installed {
        installed: Installed,
        head: Option<Vec<u8>>,
    },
    /// A key signed two heads under one number.
    TwoHeads {
        key: PublicKey,
        first: Vec<u8>,
        second: Vec<u8>,
    },
    /// A key named another manifest for the installed release.
    Contested {
        key: PublicKey,
        release: ReleaseNumber,
        installed: ObjectId,
        head: Vec<u8>,
    },
}

impl Step {
    pub(crate) fn encode(&self, at: Timestamp) -> (RecordKind, Vec<u8>) {
        let plain = |i: &Installed| (i.release, i.manifest, i.anchored);
        match self {
            Self::Began {
                feed,
                root,
                installed,
            } => (
                BEGAN,
                codec::encode(&(at, *feed, *root, installed.as_ref().map(plain))),
            ),
            Self::Root { version, id } => (ROOT, codec::encode(&(at, *version, *id))),
            Self::Installed { installed, head } => (
                INSTALLED,
                codec::encode(&(at, plain(installed), head.clone())),
            ),
            Self::TwoHeads { key, first, second } => (
                TWO_HEADS,
                codec::encode(&(at, *key, first.clone(), second.clone())),
            ),
            Self::Contested {
                key,
                release,
                installed,
                head,
            } => (
                CONTESTED,
                codec::encode(&(at, *key, *release, *installed, head.clone())),
            ),
        }
    }

    /// Reads a record: the step, and when it was taken.
    pub(crate) fn decode(record: &Record) -> Result<(Timestamp, Self), CodecError> {
        const MAX: usize = FORMAT.body_bytes_max;
        let body = &record.body;
        let plain = |(release, manifest, anchored)| Installed {
            release,
            manifest,
            anchored,
        };
        Ok(match record.kind {
            BEGAN => {
                let (at, feed, root, installed): (_, _, _, Option<_>) =
                    codec::decode_exact("began", body, MAX)?;
                let installed = installed.map(plain);
                let began = Self::Began {
                    feed,
                    root,
                    installed,
                };
                (at, began)
            }
            ROOT => {
                let (at, version, id) = codec::decode_exact("root accepted", body, MAX)?;
                (at, Self::Root { version, id })
            }
            INSTALLED => {
                let (at, installed, head) = codec::decode_exact("installed", body, MAX)?;
                let installed = plain(installed);
                (at, Self::Installed { installed, head })
            }
            TWO_HEADS => {
                let (at, key, first, second) = codec::decode_exact("two heads", body, MAX)?;
                (at, Self::TwoHeads { key, first, second })
            }
            CONTESTED => {
                let (at, key, release, installed, head) =
                    codec::decode_exact("contested", body, MAX)?;
                let contested = Self::Contested {
                    key,
                    release,
                    installed,
                    head,
                };
                (at, contested)
            }
            _ => {
                return Err(CodecError::BadField {
                    field: "kind",
                    why: "written by a later version of tidecast",
                });
            }
        })
    }

    /// What leads from one belief to the next, in the order it is to be told.
    pub(super) fn between(
        before: Option<&Trust>,
        after: &Trust,
        root: Option<&SignedRoot>,
    ) -> Vec<Self> {
        let mut steps = Vec::new();
        if let Some(root) = root {
            steps.push(Self::Root {
                version: after.root().version,
                id: root.id(),
            });
        }
        for (key, evidence) in after.equivocators() {
            let known = before.is_some_and(|before| {
                let mut all = before.equivocators();
                all.any(|(had, was)| had == key && was == evidence)
            });
            if !known {
                steps.push(Self::TwoHeads {
                    key,
                    first: evidence.first.clone(),
                    second: evidence.second.clone(),
                });
            }
        }
        for (key, contested) in after.contested() {
            let known = before.is_some_and(|before| {
                let mut all = before.contested();
                all.any(|(had, was)| had == key && was == contested)
            });
            if !known {
                steps.push(Self::Contested {
                    key,
                    release: contested.release,
                    installed: contested.installed,
                    head: contested.head.clone(),
                });
            }
        }
        if let Some(installed) = after.installed()
            && before.and_then(Trust::installed) != Some(installed)
        {
            steps.push(Self::Installed {
                installed,
                head: after.head_of(&installed.manifest).map(<[u8]>::to_vec),
            });
        }
        steps
    }

    fn accused(&self) -> Option<PublicKey> {
        match self {
            Self::TwoHeads { key, .. } | Self::Contested { key, .. } => Some(*key),
            _ => None,
        }
    }
}

/// What the log says so far, as far as it matters for going on.
#[derive(Debug, Default)]
struct SoFar {
    root: RootVersion,
    evidence: BTreeMap<PublicKey, u32>,
    wrong: bool,
}

impl SoFar {
    fn take(&mut self, record: &Record) {
        match Step::decode(record) {
            Ok((_, step)) => self.step(&step),
            Err(_) => self.wrong = true,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Began { root, .. } => self.root = *root,
            Step::Root { version, .. } => {
                self.root = *version;
                self.evidence.clear();
            }
            _ => {}
        }
        if let Some(key) = step.accused() {
            *self.evidence.entry(key).or_default() += 1;
        }
    }
}

/// The log that a running mirror adds to.
#[derive(Debug)]
pub(super) struct History {
    state: PathBuf,
    feed: FeedId,
    /// None while it can be neither read nor begun anew, which is tried again before the next step.
    open: Option<Open>,
}

/// A log that holds all that led to what is believed.
#[derive(Debug)]
struct Open {
    log: ChainLog,
    so_far: SoFar,
}

impl History {
    /// The log in `state`; [`Self::catch_up`] opens it.
    pub(super) fn new(state: &Path, feed: FeedId) -> Self {
        Self {
            state: state.to_owned(),
            feed,
            open: None,
        }
    }

    /// Opens the log unless it is open, and adds what it lacks of how `trust` came about. One that is damaged is set aside,
    /// for `audit` to be seen, and a new one begun: a mirror must not stop because of what it wrote down.
    ///
    /// # Errors
    /// [`MemoryError`] of the disk; nothing may be believed anew until it is gone.
    pub(super) fn catch_up(
        &mut self,
        trust: Option<&Trust>,
        now: Timestamp,
    ) -> Result<(), MemoryError> {
        if self.open.is_some() {
            return Ok(());
        }
        let path = self.state.join(TRUST_LOG);
        let mut open = match Open::read(&path) {
            Ok(open) if !open.so_far.wrong => open,
            Ok(_) | Err(ChainLogError::Damaged { .. }) => {
                set_aside(&path, "damaged")?;
                Open::read(&path)?
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(trust) = trust {
            let steps = if open.log.is_empty() {
                vec![Step::Began {
                    feed: self.feed,
                    root: trust.root().version,
                    installed: trust.installed(),
                }]
            } else {
                // Put into the folder by somebody else, and verified like any other.
                let known = usize::try_from(open.so_far.root.0).unwrap_or(usize::MAX);
                let newest = usize::try_from(trust.root().version.0).unwrap_or(usize::MAX);
                let roots = roots::load(&self.state.join("roots"))?;
                let later = (1..).zip(&roots).take(newest).skip(known);
                let step = |(version, root): (u64, &SignedRoot)| Step::Root {
                    version: RootVersion(version),
                    id: root.id(),
                };
                later.map(step).collect()
            };
            open.append(&steps, now)?;
        }
        self.open = Some(open);
        Ok(())
    }

    /// Adds steps that lead on from `before`, before anything is done in their name. A log that was replaced or damaged
    /// meanwhile is set aside, and a new one begun.
    ///
    /// # Errors
    /// [`MemoryError`]; none was taken.
    pub(super) fn add(
        &mut self,
        before: Option<&Trust>,
        steps: &[Step],
        now: Timestamp,
    ) -> Result<(), MemoryError> {
        for step in steps {
            step.alarm();
        }
        self.catch_up(before, now)?;
        match self.append(steps, now) {
            Ok(()) => {}
            Err(ChainLogError::Replaced { path }) => {
                // It may be whole, and still is not what this mirror wrote.
                set_aside(&path, "replaced")?;
                self.begin_again(before, steps, now)?;
            }
            // What is there now is found out by reading it, as after a crash.
            Err(ChainLogError::Damaged { .. } | ChainLogError::Unsure { .. }) => {
                self.begin_again(before, steps, now)?;
            }
            Err(error) => return Err(error.into()),
        }
        for step in steps {
            // The counters hold it, too; an operator sends what lies here.
            if let Err(error) = step.keep_evidence(&self.state.join(EVIDENCE)) {
                tracing::error!(%error, "evidence could not be written to its own file");
            }
        }
        Ok(())
    }

    fn begin_again(
        &mut self,
        before: Option<&Trust>,
        steps: &[Step],
        now: Timestamp,
    ) -> Result<(), MemoryError> {
        self.open = None;
        self.catch_up(before, now)?;
        Ok(self.append(steps, now)?)
    }

    fn append(&mut self, steps: &[Step], now: Timestamp) -> Result<(), ChainLogError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let evidence = &open.so_far.evidence;
        let wanted = |step: &&Step| {
            let accused = step.accused();
            let told = accused.and_then(|key| evidence.get(&key).copied());
            told.is_none_or(|told| told < EVIDENCE_PER_KEY)
        };
        let mut steps: Vec<Step> = steps.iter().filter(wanted).cloned().collect();
        if steps.is_empty() {
            return Ok(());
        }
        if open.log.is_empty() {
            let began = Step::Began {
                feed: self.feed,
                root: RootVersion(0),
                installed: None,
            };
            steps.insert(0, began);
        }
        open.append(&steps, now)
    }
}

impl Open {
    fn read(path: &Path) -> Result<Self, ChainLogError> {
        let mut so_far = SoFar::default();
        let log = ChainLog::open(path, &FORMAT, &mut |record| so_far.take(record))?;
        Ok(Self { log, so_far })
    }

    fn append(&mut self, steps: &[Step], now: Timestamp) -> Result<(), ChainLogError> {
        if steps.is_empty() {
            return Ok(());
        }
        let records: Vec<_> = steps.iter().map(|step| step.encode(now)).collect();
        self.log.begin(&mut |_| {})?.append(&records)?;
        for step in steps {
            self.so_far.step(step);
        }
        Ok(())
    }
}

impl Step {
    /// Says aloud what somebody was caught at.
    fn alarm(&self) {
        let id = |bytes: &[u8]| {
            let signed = SignedHead::from_bytes(bytes);
            signed.map_or_else(|_| "unreadable".into(), |head| head.id().to_string())
        };
        match self {
            Self::TwoHeads { key, first, second } => {
                tracing::error!(%key, first = id(first), second = id(second),
                    "equivocation: this key signed two heads under one number; neither is installed. Send the files in `evidence` to the feed's operators");
            }
            Self::Contested {
                key,
                release,
                installed,
                head,
            } => {
                let named = SignedHead::from_bytes(head).ok().and_then(|h| h.claims());
                let named = named.map_or_else(String::new, |head| head.manifest.to_string());
                tracing::error!(%key, %release, %installed, named,
                    "equivocation: this key names another manifest for the installed release; it is not installed. Send the files in `evidence` to the feed's operators");
            }
            _ => {}
        }
    }

    /// Writes what was received to files of its own.
    fn keep_evidence(&self, folder: &Path) -> Result<(), FileError> {
        let heads: Vec<&Vec<u8>> = match self {
            Self::TwoHeads { first, second, .. } => vec![first, second],
            Self::Contested { head, .. } => vec![head],
            _ => return Ok(()),
        };
        crate::master::private_folder(folder)?;
        for bytes in heads {
            let Some((id, head)) = SignedHead::from_bytes(bytes)
                .ok()
                .and_then(|signed| Some((signed.id(), signed.claims()?)))
            else {
                continue;
            };
            let short = &id.to_string()[..16];
            let name = match self {
                Self::Contested { release, .. } => format!("release-{release}-{short}"),
                _ => format!("head-{}-{short}", head.seq),
            };
            durable::write(&folder.join(name), bytes, Access::OwnerOnly)?;
        }
        Ok(())
    }
}

/// Where a damaged log goes.
pub(crate) fn damaged_name(number: u32) -> String {
    format!("{TRUST_LOG}.damaged.{number}")
}

/// Takes a log that was found to be `what` out of the way; one of no bytes is nothing to keep.
fn set_aside(path: &Path, what: &str) -> Result<(), FileError> {
    let mut names = (1..=DAMAGED_MAX).map(|number| path.with_file_name(damaged_name(number)));
    // The last one is overwritten: whoever never looks keeps the first eight.
    let aside = names
        .clone()
        .find(|name| !name.exists())
        .or(names.next_back())
        .unwrap_or_else(|| path.with_extension("damaged"));
    if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
        std::fs::remove_file(path).map_err(FileError::at("remove", path))?;
        tracing::error!(log = %path.display(),
            "the record of what this mirror believed is gone; a new one is begun");
    } else {
        std::fs::rename(path, &aside).map_err(FileError::at("rename", path))?;
        tracing::error!(log = %path.display(), aside = %aside.display(),
            "the record of what this mirror believed is {what}; a new one is begun");
    }
    durable::sync_folder_of(path)
}
