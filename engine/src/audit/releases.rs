//! A master's releases: each signed by enough keys under the roots it was announced under, and a legal successor.

use std::collections::BTreeMap;
use std::path::Path;

use tidecast_proto::addition::Vouched;
use tidecast_proto::id::{FeedId, ObjectId, ReleaseNumber};
use tidecast_proto::manifest::{Manifest, SignedManifest};
use tidecast_proto::root::Root;

use super::heads::Announced;
use super::ledger::Ledger;
use super::roots::Roots;
use super::{AuditError, RESTORE};
use crate::store::{Store, StoreError};

const UNSIGNED: &str =
    "withdraw it by a higher release that enough keys sign, and find out who announced it";

/// How a release came to be acceptable.
enum Signed {
    Whole,
    Addition(ReleaseNumber),
    /// As an addition to a release whose manifest is gone.
    Unanchored(ReleaseNumber),
}

/// Checks every release in the store in `folder`, oldest first.
pub(super) fn check(
    ledger: &mut Ledger,
    folder: &Path,
    roots: &Roots,
    feed: &FeedId,
    announced: &BTreeMap<ReleaseNumber, Announced>,
) -> Result<(), AuditError> {
    let store = match Store::open(folder) {
        Ok(store) => store,
        Err(StoreError::File(error)) => return Err(error.into()),
        Err(error) => {
            ledger.wrong(folder.display().to_string(), error.to_string(), RESTORE);
            return Ok(());
        }
    };
    let stored: BTreeMap<ReleaseNumber, ObjectId> = store
        .releases()
        .iter()
        .map(|release| (release.release, release.manifest))
        .collect();
    check_announced(ledger, folder, &stored, announced);
    let mut before: Option<Manifest> = None;
    let mut anchored = ReleaseNumber(0);
    for (number, id) in &stored {
        let place = folder
            .join(format!("releases/{number}.manifest"))
            .display()
            .to_string();
        let signed = match store.manifest(*number) {
            Ok(Some(signed)) => signed,
            // Collected since.
            Ok(None) => continue,
            Err(StoreError::File(error)) => return Err(error.into()),
            Err(error) => {
                ledger.wrong(place, error.to_string(), RESTORE);
                continue;
            }
        };
        let told = announced.get(number).filter(|told| told.manifest == *id);
        let under: Vec<&Root> = match told {
            Some(told) => told.roots.iter().filter_map(|v| roots.get(*v)).collect(),
            None => Vec::new(),
        };
        // One that nobody announced must be acceptable under some root: the newest first, for keys are replaced.
        let judged = if under.is_empty() {
            let mut all = roots.0.iter().rev();
            let first = all
                .next()
                .map(|root| vouch(&store, &signed, root, feed, anchored));
            match first {
                Some(Err(error)) => all
                    .find_map(|root| vouch(&store, &signed, root, feed, anchored).ok())
                    .ok_or(error),
                Some(found) => found,
                None => Err("there is no root to hold it against".into()),
            }
        } else {
            under.iter().try_fold(Signed::Whole, |_, root| {
                vouch(&store, &signed, root, feed, anchored)
            })
        };
        let how = match judged {
            Ok(how) => how,
            Err(what) => {
                ledger.wrong(place, format!("release {number}: {what}"), UNSIGNED);
                continue;
            }
        };
        let Ok(manifest) = signed.reopen(id) else {
            ledger.wrong(place, "it holds another manifest than it says", RESTORE);
            continue;
        };
        if manifest.release != *number {
            let what = format!("it holds release {}", manifest.release);
            ledger.wrong(place, what, RESTORE);
            continue;
        }
        if let Err(what) = follows(ledger, &manifest, before.as_ref()) {
            ledger.wrong(place, format!("release {number}: {what}"), UNSIGNED);
        } else {
            let how = match how {
                Signed::Whole => "signed by enough release keys".to_owned(),
                Signed::Addition(to) => format!("adds genuine databases to release {to}"),
                Signed::Unanchored(to) => {
                    ledger.note(format!("release {number} was signed as an addition to release {to}, which is no longer in the store to compare with"));
                    format!("signed as an addition to release {to}")
                }
            };
            ledger.report.releases += 1;
            ledger.good(format!("release {number}: {how}"));
        }
        anchored = anchored.max(manifest.anchor.map_or(*number, |anchor| anchor.release));
        before = Some(manifest);
    }
    Ok(())
}

/// What was announced is in the store, or was collected.
fn check_announced(
    ledger: &mut Ledger,
    folder: &Path,
    stored: &BTreeMap<ReleaseNumber, ObjectId>,
    announced: &BTreeMap<ReleaseNumber, Announced>,
) {
    let newest = stored.keys().next_back().copied().unwrap_or_default();
    let mut gone = Vec::new();
    for (release, told) in announced {
        match stored.get(release) {
            Some(manifest) if *manifest == told.manifest => {}
            Some(manifest) => ledger.wrong(
                folder.display().to_string(),
                format!(
                    "release {release} was announced as manifest {} (record {}), the store has {manifest}",
                    told.manifest, told.record
                ),
                format!("mirrors hold the one that was announced: publish above {release}, and find out who put another one there"),
            ),
            None if *release > newest => ledger.wrong(
                folder.display().to_string(),
                format!("release {release} was announced (record {}), the newest in the store is {newest}", told.record),
                format!("was the store restored from an old backup? Restore a newer one, or publish with --above {release}"),
            ),
            None => gone.push(*release),
        }
    }
    if let (Some(first), Some(last)) = (gone.first(), gone.last()) {
        let which = if first == last {
            format!("release {first} is")
        } else {
            format!("releases {first}-{last} are")
        };
        ledger.note(format!(
            "{which} no longer in the store; their heads were checked, their contents not"
        ));
    }
}

fn vouch(
    store: &Store,
    signed: &SignedManifest,
    root: &Root,
    feed: &FeedId,
    anchored: ReleaseNumber,
) -> Result<Signed, String> {
    let version = root.version;
    let told = |error: &dyn std::error::Error| format!("{error} (under root {version})");
    match signed.clone().vouch(root, feed).map_err(|e| told(&e))? {
        Vouched::Whole(_) => Ok(Signed::Whole),
        Vouched::Addition(addition) => {
            let anchor = addition.anchor();
            match store.manifest(anchor.release) {
                Ok(Some(found)) => addition
                    .check(found, root, feed, anchored)
                    .map(|_| Signed::Addition(anchor.release))
                    .map_err(|error| told(&error)),
                _ => Ok(Signed::Unanchored(anchor.release)),
            }
        }
    }
}

/// Names the release before it, and may follow it.
fn follows(
    ledger: &mut Ledger,
    manifest: &Manifest,
    before: Option<&Manifest>,
) -> Result<(), String> {
    let Some(before) = before else {
        return Ok(());
    };
    if manifest.previous == Some(before.id()) {
        return manifest
            .check_successor_of(before)
            .map_err(|error| error.to_string());
    }
    if before.release.next() < manifest.release && manifest.previous.is_some() {
        ledger.note(format!(
            "release {} follows one that is no longer in the store",
            manifest.release
        ));
        return Ok(());
    }
    Err(format!(
        "it does not name release {} as the one before it",
        before.release
    ))
}
