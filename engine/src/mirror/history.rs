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

use crate::chain_log::{ChainLog, ChainLogError, Format, Record, RecordKind};
use crate::durable::{self, Access, FileError};

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
    log: ChainLog,
    so_far: SoFar,
}

impl History {
    /// Opens the log in `state`. One that is damaged is set aside, for `audit` to be seen, and a new one begun: a mirror
    /// must not stop serving because of what it wrote down.
    ///
    /// # Errors
    /// [`ChainLogError`] of the disk.
    pub(super) fn open(
        state: &Path,
        feed: FeedId,
        trust: Option<&Trust>,
        roots: &[SignedRoot],
        now: Timestamp,
    ) -> Result<Self, ChainLogError> {
        let path = state.join(TRUST_LOG);
        let mut so_far = SoFar::default();
        let mut opened = ChainLog::open(&path, &FORMAT, &mut |record| so_far.take(record));
        if so_far.wrong || matches!(opened, Err(ChainLogError::Damaged { .. })) {
            let aside = set_aside(&path)?;
            tracing::error!(log = %path.display(), aside = %aside.display(),
                "the record of what this mirror believed is damaged; a new one is begun");
            so_far = SoFar::default();
            opened = ChainLog::open(&path, &FORMAT, &mut |record| so_far.take(record));
        }
        let mut history = Self {
            state: state.to_owned(),
            feed,
            log: opened?,
            so_far,
        };
        if let Some(trust) = trust {
            let mut steps = Vec::new();
            if history.log.is_empty() {
                steps.push(Step::Began {
                    feed,
                    root: trust.root().version,
                    installed: trust.installed(),
                });
            } else {
                // Put into the folder by somebody else, and verified a moment ago like any other.
                let known = usize::try_from(history.so_far.root.0).unwrap_or(usize::MAX);
                let later = (1..).zip(roots).skip(known);
                steps.extend(later.map(|(version, root)| Step::Root {
                    version: RootVersion(version),
                    id: root.id(),
                }));
            }
            history.add(steps, now)?;
        }
        Ok(history)
    }

    /// Adds steps, before anything is done in their name.
    ///
    /// # Errors
    /// [`ChainLogError`]; none was taken.
    pub(super) fn add(
        &mut self,
        mut steps: Vec<Step>,
        now: Timestamp,
    ) -> Result<(), ChainLogError> {
        for step in &steps {
            step.alarm();
        }
        let evidence = &self.so_far.evidence;
        steps.retain(|step| {
            let accused = step.accused();
            let told = accused.and_then(|key| evidence.get(&key).copied());
            told.is_none_or(|told| told < EVIDENCE_PER_KEY)
        });
        if steps.is_empty() {
            return Ok(());
        }
        if self.log.is_empty() && !matches!(steps.first(), Some(Step::Began { .. })) {
            let began = Step::Began {
                feed: self.feed,
                root: RootVersion(0),
                installed: None,
            };
            steps.insert(0, began);
        }
        let records: Vec<_> = steps.iter().map(|step| step.encode(now)).collect();
        self.log.begin(&mut |_| {})?.append(&records)?;
        for step in &steps {
            self.so_far.step(step);
            // The counters hold it, too; an operator sends what lies here.
            if let Err(error) = step.keep_evidence(&self.state.join(EVIDENCE)) {
                tracing::error!(%error, "evidence could not be written to its own file");
            }
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

fn set_aside(path: &Path) -> Result<PathBuf, FileError> {
    let mut names = (1..=DAMAGED_MAX).map(|number| path.with_file_name(damaged_name(number)));
    // The last one is overwritten: whoever never looks keeps the first eight.
    let aside = names
        .clone()
        .find(|name| !name.exists())
        .or(names.next_back())
        .unwrap_or_else(|| path.with_extension("damaged"));
    std::fs::rename(path, &aside).map_err(FileError::at("rename", path))?;
    durable::sync_folder_of(path)?;
    Ok(aside)
}
