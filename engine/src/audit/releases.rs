//! A master's releases: each signed by enough keys under the roots it was announced under, and a legal successor.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tidecast_proto::addition::Vouched;
use tidecast_proto::id::{FeedId, ObjectId, ReleaseNumber, RootVersion};
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
        let judged = match told {
            Some(told) => under_all(&store, &signed, &told.roots, roots, feed, anchored),
            None => under_one(
                &store,
                &signed,
                between(announced, *number, roots),
                roots,
                feed,
                anchored,
            ),
        };
        let (how, under) = match judged {
            Ok(judged) => judged,
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
            ledger.good(format!("release {number}: {how}, by root {under}"));
        }
        anchored = anchored.max(manifest.anchor.map_or(*number, |anchor| anchor.release));
        before = Some(manifest);
    }
    Ok(())
}

/// Judges a release that was announced by each root that was the newest while it was; says by which, the last.
fn under_all(
    store: &Store,
    signed: &SignedManifest,
    versions: &BTreeSet<RootVersion>,
    roots: &Roots,
    feed: &FeedId,
    anchored: ReleaseNumber,
) -> Result<(Signed, RootVersion), String> {
    let mut judged = Err("there is no root to hold it against".into());
    for root in versions.iter().filter_map(|version| roots.get(*version)) {
        judged = Ok((vouch(store, signed, root, feed, anchored)?, root.version));
    }
    judged
}

/// Judges a release that nobody announced by the roots that can have been the newest when it was made: one must allow it.
fn under_one(
    store: &Store,
    signed: &SignedManifest,
    (oldest, newest): (RootVersion, RootVersion),
    roots: &Roots,
    feed: &FeedId,
    anchored: ReleaseNumber,
) -> Result<(Signed, RootVersion), String> {
    let mut first = None;
    let then = (oldest.0..=newest.0).rev().map(RootVersion);
    for root in then.filter_map(|version| roots.get(version)) {
        match vouch(store, signed, root, feed, anchored) {
            Ok(how) => return Ok((how, root.version)),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| "there is no root to hold it against".into()))
}

/// The first and the last root that can have been the newest when a release was made: releases and roots only go up, so
/// none older than under which a lower one was announced, nor newer than under which a higher one was.
fn between(
    announced: &BTreeMap<ReleaseNumber, Announced>,
    number: ReleaseNumber,
    roots: &Roots,
) -> (RootVersion, RootVersion) {
    let below = announced.range(..number).next_back();
    let above = announced.range(number.next()..).next();
    let first = below.and_then(|(_, told)| told.roots.first().copied());
    let last = above.and_then(|(_, told)| told.roots.first().copied());
    let newest = roots.newest().map_or(RootVersion(0), |root| root.version);
    (first.unwrap_or(RootVersion(1)), last.unwrap_or(newest))
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
