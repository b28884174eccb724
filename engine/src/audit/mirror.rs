//! The replay of a mirror.

use std::path::Path;

use tidecast_proto::addition::Vouched;
use tidecast_proto::head::SignedHead;
use tidecast_proto::id::{FeedId, RootVersion, Timestamp};
use tidecast_proto::limits;
use tidecast_proto::manifest::Manifest;
use tidecast_proto::root::Root;
use tidecast_proto::trust::{Installed, Trust, past_head};

use super::ledger::Ledger;
use super::roots::Roots;
use super::{AuditError, RESTORE};
use crate::chain_log::{self, ChainLogError, Record};
use crate::config::{self, MirrorConfig};
use crate::docroot::{self, DocrootError};
use crate::durable;
use crate::mirror::MIRROR_CONFIG;
use crate::mirror::history::{DAMAGED_MAX, EVIDENCE, FORMAT, Step, TRUST_LOG, damaged_name};
use crate::roots;

/// What to do about a step nobody was entitled to.
const FORGED: &str = "somebody can write into this mirror's state: find out who; then join again, with the fingerprint, into a new state folder";

#[derive(Debug, Default)]
struct Replay {
    root: RootVersion,
    last: Option<Seen>,
    before_last: Option<Seen>,
    begun: bool,
    /// The root that may be in the log without lying in its folder.
    unstored: Option<RootVersion>,
}

/// An installed release, and which roots may have been the newest when it was installed: one, but where the log began
/// later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    installed: Installed,
    oldest: RootVersion,
    newest: RootVersion,
}

pub(super) fn audit(ledger: &mut Ledger, state: &Path, now: Timestamp) -> Result<(), AuditError> {
    ledger.report.role = "mirror";
    let path = state.join(MIRROR_CONFIG);
    let config: MirrorConfig = config::load(&path)?;
    let feed = config.feed_id(&path)?;
    // In the order opposite to that in which a mirror takes a step: the log knows every step that shows elsewhere.
    let live = match docroot::peek(&config.kept_docroot(), &feed) {
        Ok(live) => live.map(|live| live.manifest),
        Err(error @ DocrootError::Io { .. }) => {
            ledger.wrong(
                config.docroot.display().to_string(),
                error.to_string(),
                "look at its disk",
            );
            None
        }
        Err(error) => {
            let advice = error.advice().unwrap_or(RESTORE);
            ledger.wrong(
                config.docroot.display().to_string(),
                error.to_string(),
                advice,
            );
            None
        }
    };
    let counters = durable::read_optional(&state.join("counters"), Trust::BYTES_MAX)?;
    let log = state.join(TRUST_LOG);
    // Roots last, because the log names them before they lie there; their chain comes first all the same.
    let mut records = Vec::new();
    let read = chain_log::read(&log, &FORMAT, &mut |record| records.push(record.clone()));
    let roots = Roots::walk(ledger, state, &feed)?;
    let mut replay = Replay {
        unstored: unstored(state, &roots, &feed, counters.as_deref()),
        ..Replay::default()
    };
    for record in &records {
        if let Err(what) = replay.take(ledger, record, &roots, &feed) {
            let place = format!("{}, record {}", log.display(), record.number);
            ledger.wrong(place, what, FORGED);
        }
    }
    match read {
        Ok(None) if roots.newest().is_none() => {
            ledger.note("this mirror has not met its feed yet");
        }
        Ok(None) => ledger.wrong(
            log.display().to_string(),
            "there is no record of what this mirror believed",
            "an earlier version kept none: start the mirror once, and it begins one; otherwise find out who removed it",
        ),
        Ok(Some(end)) if end.torn_bytes > 0 => ledger.note(format!(
            "{}: {} bytes at the end are an unfinished record, as a crash leaves one; nothing was done in its name",
            log.display(),
            end.torn_bytes
        )),
        Ok(Some(_)) => {}
        Err(ChainLogError::File(error)) => return Err(error.into()),
        Err(error) => ledger.wrong(log.display().to_string(), error.to_string(), RESTORE),
    }
    for aside in (1..=DAMAGED_MAX).map(|number| state.join(damaged_name(number))) {
        if aside.exists() {
            ledger.wrong(
                aside.display().to_string(),
                "an earlier record of what this mirror believed was damaged and set aside",
                "look whether the disk is failing, or who can write there; then remove the file",
            );
        }
    }
    if state.join(EVIDENCE).exists() {
        ledger.note(format!(
            "evidence against the feed's keys lies in {}: send it to the feed's operators",
            state.join(EVIDENCE).display()
        ));
    }
    if roots.newest().is_none() {
        return Ok(());
    }
    let installed = check_counters(ledger, state, &roots, &feed, counters.as_deref(), now)?;
    replay.check_end(ledger, state, installed);
    check_live(ledger, &config, &roots, &feed, live.as_deref(), &replay);
    Ok(())
}

/// The root that a crash may have left in the log alone: the next one, if the counters do not speak of it. A later
/// step that names it says that it was there.
fn unstored(
    state: &Path,
    roots: &Roots,
    feed: &FeedId,
    counters: Option<&[u8]>,
) -> Option<RootVersion> {
    let signed = roots::load(&state.join("roots")).ok()?;
    let count = roots.0.len() as u64;
    let all_hold = signed.len() as u64 == count;
    let spoken_of = match Trust::resume(feed, signed, counters) {
        Ok(Some(_)) => false,
        Ok(None) => counters.is_some(),
        Err(_) => true,
    };
    (all_hold && !spoken_of).then(|| RootVersion(count + 1))
}

impl Replay {
    fn take(
        &mut self,
        ledger: &mut Ledger,
        record: &Record,
        roots: &Roots,
        feed: &FeedId,
    ) -> Result<(), String> {
        let (at, step) = Step::decode(record).map_err(|error| error.to_string())?;
        if !self.begun && !matches!(step, Step::Began { .. }) {
            return Err("the log does not say where it begins".into());
        }
        let number = record.number;
        let say = match step {
            Step::Began { .. } if self.begun => return Err("it begins a second time".into()),
            Step::Began {
                feed: of,
                root,
                installed,
            } => {
                if of != *feed {
                    return Err(format!("it is of feed {of}"));
                }
                self.begun = true;
                self.root = root;
                self.last = installed.map(|installed| Seen {
                    installed,
                    oldest: RootVersion(1),
                    newest: root,
                });
                match (root, installed) {
                    (RootVersion(0), _) => "the log begins at first contact".to_owned(),
                    (root, Some(installed)) => {
                        ledger.note(format!(
                            "what led to root {root} and release {} was before the log began",
                            installed.release
                        ));
                        format!(
                            "the log begins at root {root}, release {}",
                            installed.release
                        )
                    }
                    (root, None) => format!("the log begins at root {root}"),
                }
            }
            Step::Root { version, .. } if Some(version) == self.unstored => {
                ledger.note(format!(
                    "root {version} was about to be accepted when the mirror was killed or lost its power; nothing was done in its name"
                ));
                format!("root {version} is not there")
            }
            Step::Root { version, id } => self.root(version, id, roots)?,
            Step::Installed { installed, head } => {
                let said = self.installed(installed, head, roots, feed)?;
                ledger.report.installs += 1;
                said
            }
            Step::TwoHeads { key, first, second } => {
                let ids = [
                    accused(&first, &key, roots)?,
                    accused(&second, &key, roots)?,
                ];
                if ids[0] == ids[1] {
                    return Err("the two heads held as evidence are one".into());
                }
                ledger.note(format!("key {key} signed two heads under one number"));
                format!("evidence against key {key} kept")
            }
            Step::Contested {
                key, release, head, ..
            } => {
                accused(&head, &key, roots)?;
                ledger.note(format!(
                    "key {key} named another manifest for release {release} than the installed one"
                ));
                format!("evidence against key {key} kept")
            }
        };
        ledger.good(format!("record {number}, {} ms: {say}", at.0));
        Ok(())
    }

    fn root(
        &mut self,
        version: RootVersion,
        id: tidecast_proto::id::ObjectId,
        roots: &Roots,
    ) -> Result<String, String> {
        let root = roots
            .get(version)
            .ok_or_else(|| format!("root {version} was accepted, but is not there"))?;
        if root.id() != id {
            return Err(format!(
                "root {version} was accepted as {id}, there is {}",
                root.id()
            ));
        }
        // Killed between the log and the file, a mirror takes a root again.
        if version.0 > self.root.0 + 1 {
            return Err(format!(
                "root {version} was accepted after root {}",
                self.root
            ));
        }
        self.root = self.root.max(version);
        Ok(format!("root {version} accepted"))
    }

    fn installed(
        &mut self,
        installed: Installed,
        head: Option<Vec<u8>>,
        roots: &Roots,
        feed: &FeedId,
    ) -> Result<String, String> {
        let release = installed.release;
        if let Some(Seen {
            installed: last, ..
        }) = self.last
        {
            let again = (last.release, last.manifest) == (release, installed.manifest);
            if release < last.release || (release == last.release && !again) {
                return Err(format!(
                    "release {release} was installed after release {}",
                    last.release
                ));
            }
            if installed.anchored < last.anchored {
                return Err(format!(
                    "release {release} goes back to release {}, the one before to {}",
                    installed.anchored, last.anchored
                ));
            }
        }
        if installed.anchored > release {
            return Err(format!(
                "release {release} goes back to {}",
                installed.anchored
            ));
        }
        let said = match head {
            None => format!("release {release} installed; its head was not kept"),
            Some(bytes) => {
                let signed = SignedHead::from_bytes(&bytes).map_err(|error| error.to_string())?;
                let version = signed.claims().ok_or("no head")?.root_version;
                let root = roots
                    .get(version)
                    .filter(|_| version <= self.root)
                    .ok_or_else(|| {
                        format!("installed for a head of root {version}, unknown then")
                    })?;
                let (head, keys) =
                    past_head(signed, root, feed).map_err(|error| error.to_string())?;
                if (head.release, head.manifest) != (release, installed.manifest) {
                    return Err(format!(
                        "release {release} was installed for a head that names release {}",
                        head.release
                    ));
                }
                let now = roots.get(self.root).ok_or("no root")?;
                if head.epoch != now.epoch {
                    return Err(format!("installed for a head of epoch {}", head.epoch));
                }
                if !keys.iter().any(|key| now.head_keys.contains(key)) {
                    return Err(format!(
                        "release {release} was installed for a head whose key root {}, the newest then, does not name",
                        now.version
                    ));
                }
                if release < now.release_min {
                    return Err(format!(
                        "release {release} is below the floor of root {}",
                        now.version
                    ));
                }
                if now.revoked_manifests.binary_search(&head.manifest).is_ok() {
                    return Err(format!(
                        "release {release} was revoked by root {}",
                        now.version
                    ));
                }
                format!(
                    "release {release} installed, for head {} of root {version}",
                    head.seq
                )
            }
        };
        let seen = Seen {
            installed,
            oldest: self.root,
            newest: self.root,
        };
        self.before_last = self
            .last
            .replace(seen)
            .filter(|before| before.installed != installed)
            .or(self.before_last);
        Ok(said)
    }

    /// The counters stand where the log ends, or one step before, if the mirror was killed in between.
    fn check_end(&self, ledger: &mut Ledger, state: &Path, counters: Option<Installed>) {
        let [last, before_last] =
            [self.last, self.before_last].map(|seen| seen.map(|seen| seen.installed));
        if counters == last {
            return;
        }
        if counters == before_last {
            ledger.note("the mirror was killed while it installed its last release, or is about to switch to it");
            return;
        }
        let told = |installed: Option<Installed>| {
            installed.map_or_else(
                || "none".to_owned(),
                |i| format!("{} ({})", i.release, i.manifest),
            )
        };
        ledger.wrong(
            state.join("counters").display().to_string(),
            format!(
                "the installed release is {}, by the log it is {}",
                told(counters),
                told(last)
            ),
            "one of the two was restored from a backup, or changed by somebody; if it was you, sync once",
        );
    }
}

/// A head that its key really signed.
fn accused(
    bytes: &[u8],
    key: &tidecast_proto::key::PublicKey,
    roots: &Roots,
) -> Result<tidecast_proto::id::ObjectId, String> {
    let signed = SignedHead::from_bytes(bytes).map_err(|error| error.to_string())?;
    signed.claims().ok_or("no head")?;
    let id = signed.id();
    // What else is wrong with it is part of the evidence; a head that another key signed is none.
    let mut roots = roots.0.iter().rev();
    let by_key = roots.any(|root| signed.signed_by(root).contains(key));
    if by_key {
        Ok(id)
    } else {
        Err(format!("evidence against key {key} that it did not sign"))
    }
}

fn check_counters(
    ledger: &mut Ledger,
    state: &Path,
    roots: &Roots,
    feed: &FeedId,
    counters: Option<&[u8]>,
    now: Timestamp,
) -> Result<Option<Installed>, AuditError> {
    let place = state.join("counters").display().to_string();
    // As the mirror itself takes them up; the chain was walked a moment ago.
    let signed = roots::load(&state.join("roots")).unwrap_or_default();
    let trust = match Trust::resume(feed, signed, counters) {
        Ok(Some(trust)) => trust,
        Ok(None) => return Ok(None),
        Err(error) => {
            ledger.wrong(place, error.to_string(), RESTORE);
            return Ok(None);
        }
    };
    let floor = trust.now(Timestamp(0));
    let epoch = trust.root().epoch;
    let same_keys = |root: &&Root| root.head_keys == trust.root().head_keys;
    let keys_stayed = roots
        .0
        .iter()
        .filter(|root| root.epoch == epoch)
        .all(|root| same_keys(&root));
    let latest = trust.latest_issued();
    let skew = limits::CLOCK_SKEW_MS as u64;
    let wrong = match latest {
        // The later of the two belongs to a key that a root has dropped.
        Some(latest) => floor.plus(skew) < latest || (keys_stayed && floor > latest),
        None => false,
    } || floor > now.plus(skew);
    if wrong {
        ledger.wrong(
            place,
            format!("its floor for the clock is {floor}, which no head it holds has raised it to"),
            RESTORE,
        );
    } else if counters.is_some() {
        ledger.good(format!(
            "counters: heads of {} keys, each signed by its key",
            trust.seqs().len()
        ));
    }
    Ok(trust.installed())
}

fn check_live(
    ledger: &mut Ledger,
    config: &MirrorConfig,
    roots: &Roots,
    feed: &FeedId,
    live: Option<&Manifest>,
    replay: &Replay,
) {
    let place = config.docroot.display().to_string();
    let Some(live) = live else {
        match replay.last {
            None => {}
            Some(_) if replay.before_last.is_none() => {
                ledger.note("nothing is served yet: the first release is about to be");
            }
            Some(last) => ledger.wrong(
                place,
                format!(
                    "nothing is served, but release {} was installed",
                    last.installed.release
                ),
                "is the docroot mounted? Then sync once",
            ),
        }
        return;
    };
    let known = [replay.last, replay.before_last];
    let mut known = known.iter().flatten();
    let Some(seen) = known.find(|seen| seen.installed.manifest == live.id()) else {
        ledger.wrong(
            place,
            format!(
                "release {} ({}) is served, which the log does not know as the last one installed",
                live.release,
                live.id()
            ),
            "find out who can write into the docroot; then sync once",
        );
        return;
    };
    let signed = live.signed();
    // By the root that was the newest when it was installed: what an earlier or a later one allows counts nothing.
    let then = (seen.oldest.0..=seen.newest.0).rev();
    let mut first = None;
    for root in then.filter_map(|version| roots.get(RootVersion(version))) {
        let how = match signed.clone().vouch(root, feed) {
            Ok(Vouched::Whole(_)) => "signed by enough release keys",
            Ok(Vouched::Addition(addition)) => {
                let to = addition.anchor().release;
                ledger.note(format!("release {} was signed as an addition to release {to}; the mirror compared the two when it installed it", live.release));
                "signed as an addition"
            }
            Err(error) => {
                first.get_or_insert((error, root.version));
                continue;
            }
        };
        ledger.report.releases += 1;
        let when = match seen.oldest == seen.newest {
            true => "the newest when it was installed",
            false => "which was before the log began",
        };
        ledger.good(format!(
            "release {} is served: {how} of root {}, {when}",
            live.release, root.version
        ));
        return;
    }
    if let Some((error, version)) = first {
        ledger.wrong(
            place,
            format!(
                "release {} is served: {error} (under root {version}, the newest when it was installed)",
                live.release
            ),
            "stop serving it; tell the feed's operators, and join again with the fingerprint",
        );
    }
}
