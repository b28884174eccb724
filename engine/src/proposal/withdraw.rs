//! What it takes to undo a release by a newer one.

use std::collections::BTreeMap;

use tidecast_proto::id::{ObjectId, ReleaseNumber};
use tidecast_proto::manifest::{File, Flags, Manifest, ManifestBody};
use tidecast_proto::name::ReleasePath;

use super::ProposalError;
use crate::publish::{Change, ChangeKind, changes};
use crate::store::{ReleaseError, Store, StoreError};

/// What withdrawing a release would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// The release that is withdrawn.
    pub release: ReleaseNumber,
    /// Its manifest: what a root can revoke.
    pub manifest: ObjectId,
    /// The release whose files come back.
    pub before: ReleaseNumber,
    /// All files of the new release.
    pub files: Vec<File>,
    /// What the new release does to the newest one, in path order.
    pub changes: Vec<Change>,
    /// Files that later releases changed again, and that stay.
    pub kept: Vec<ReleasePath>,
    /// Databases that would be older than clients have them.
    pub back: Vec<DatabaseBack>,
    /// The flags it takes.
    pub flags: Flags,
}

/// A database that goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseBack {
    /// Where it is.
    pub path: ReleasePath,
    /// The version that clients have by now.
    pub had: u64,
    /// The version that comes back.
    pub back_to: u64,
}

impl DatabaseBack {
    /// The lowest version that every client would take.
    #[must_use]
    pub fn rebuild_as(&self) -> u64 {
        self.had.saturating_add(1)
    }
}

/// Plans a release in which every path that `release` changed, and that is still as it made it, is again what it was
/// before. Changes nothing.
///
/// # Errors
/// [`ProposalError`].
pub fn withdrawal(store: &Store, release: ReleaseNumber) -> Result<Withdrawal, ProposalError> {
    let withdrawn =
        manifest(store, |stored| stored.0 == release)?.ok_or(ProposalError::NoRelease(release))?;
    let before = match withdrawn.previous {
        Some(previous) => manifest(store, |stored| stored.1 == previous)?,
        None => None,
    };
    let before = before.ok_or(ProposalError::NothingBefore(release))?;
    let newest = store.newest().ok_or(ProposalError::NoRelease(release))?;
    let newest = manifest(store, |stored| stored.1 == newest.manifest)?
        .ok_or(ProposalError::NoRelease(release))?;

    let mut files: BTreeMap<ReleasePath, File> = newest
        .files
        .iter()
        .map(|file| (file.path.clone(), file.clone()))
        .collect();
    let (mut kept, mut touched) = (Vec::new(), false);
    for change in changes(&withdrawn, Some(&before)) {
        let path = change.path.as_str();
        let now = newest.file(path);
        let still = match (withdrawn.file(path), now) {
            (Some(made), Some(now)) => now.same_as(made) && now.database == made.database,
            (None, None) => true,
            _ => false,
        };
        if !still {
            kept.push(change.path);
            continue;
        }
        touched = true;
        if change.kind == ChangeKind::Added {
            files.remove(&change.path);
        } else if let Some(old) = before.file(path) {
            if !store.holds(old) {
                return Err(ProposalError::ContentGone {
                    path: change.path,
                    release: before.release,
                });
            }
            files.insert(change.path, old.clone());
        }
    }
    if !touched {
        return Err(ProposalError::NothingLeft(release));
    }
    if files.is_empty() {
        return Err(ProposalError::Empties(release));
    }
    let body = ManifestBody {
        files: files.into_values().collect(),
        ..(*newest).clone()
    };
    let changes = changes(&body, Some(&newest));
    let back = going_back(&changes);
    let dropped = changes
        .iter()
        .filter(|change| change.kind == ChangeKind::Removed)
        .count();
    Ok(Withdrawal {
        release,
        manifest: withdrawn.id(),
        before: before.release,
        flags: Flags {
            allow_shrink: dropped * 2 > newest.files.len(),
            allow_database_rollback: !back.is_empty(),
        },
        files: body.files,
        changes,
        kept,
        back,
    })
}

fn going_back(changes: &[Change]) -> Vec<DatabaseBack> {
    let back = |change: &Change| {
        let database = change.database.as_ref()?;
        let (had, back_to) = (database.old?, database.new?);
        (back_to < had).then(|| DatabaseBack {
            path: change.path.clone(),
            had,
            back_to,
        })
    };
    changes.iter().filter_map(back).collect()
}

/// A manifest that was verified before it was stored.
fn manifest(
    store: &Store,
    is_it: impl Fn((ReleaseNumber, ObjectId)) -> bool,
) -> Result<Option<Manifest>, StoreError> {
    let releases = store.releases();
    let found = releases
        .iter()
        .find(|stored| is_it((stored.release, stored.manifest)));
    let Some(stored) = found else {
        return Ok(None);
    };
    let Some(signed) = store.manifest(stored.release)? else {
        return Ok(None);
    };
    let reopened = signed.reopen(&stored.manifest);
    reopened.map(Some).map_err(|error| StoreError::Release {
        path: store
            .folder()
            .join(format!("releases/{}.manifest", stored.release)),
        source: ReleaseError::from(error),
    })
}
