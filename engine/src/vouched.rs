//! A stored release seen with the newest root: whether mirrors that know only that would install it. SPEC §3.3, §7.7.

use tidecast_proto::addition::{NotAnAddition, Vouched};
use tidecast_proto::id::{FeedId, ReleaseNumber};
use tidecast_proto::manifest::{Anchor, Manifest, ManifestError, SignedManifest};
use tidecast_proto::root::Root;

use crate::store::{Store, StoreError};

/// Why a stored release is not acceptable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnacceptableError {
    /// Its signatures, its anchor, or the root.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Its anchor cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Verifies a manifest of `store`, for an addition with the anchor that lies there. What it adds was checked when it
/// was published, and mirrors prove it again.
///
/// # Errors
/// [`UnacceptableError`]; the release was changed on disk, too few signed, or the root has moved on.
pub(crate) fn verify(
    store: &Store,
    signed: SignedManifest,
    root: &Root,
    feed: &FeedId,
) -> Result<Manifest, UnacceptableError> {
    let addition = match signed.vouch(root, feed)? {
        Vouched::Whole(manifest) => return Ok(manifest),
        Vouched::Addition(addition) => addition,
    };
    let anchor = addition.anchor();
    let found = find(store, anchor)?.ok_or(ManifestError::NotAnAddition {
        anchor,
        why: NotAnAddition::NoAnchor,
    })?;
    Ok(addition
        .check(found, root, feed, ReleaseNumber(0))?
        .manifest)
}

/// Why the newest release of `store` cannot be announced under `root`; `None` when it can, or there is none.
///
/// # Errors
/// [`StoreError`] when it, or its anchor, is damaged.
pub fn concern_of_newest(
    store: &Store,
    root: &Root,
    feed: &FeedId,
) -> Result<Option<(ReleaseNumber, ManifestError)>, StoreError> {
    let Some(newest) = store.newest() else {
        return Ok(None);
    };
    let Some(signed) = store.manifest(newest.release)? else {
        return Ok(None);
    };
    match verify(store, signed, root, feed) {
        Ok(_) => Ok(None),
        Err(UnacceptableError::Manifest(error)) => Ok(Some((newest.release, error))),
        Err(UnacceptableError::Store(error)) => Err(error),
    }
}

/// The manifest that `anchor` names, if the store has it.
///
/// # Errors
/// [`StoreError`] when it is damaged.
pub(crate) fn find(store: &Store, anchor: Anchor) -> Result<Option<SignedManifest>, StoreError> {
    let found = store.manifest(anchor.release)?;
    Ok(found.filter(|signed| signed.id() == anchor.manifest))
}
