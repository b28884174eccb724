//! A stored release seen with the newest root: whether mirrors that know only that would install it. SPEC §3.3, §7.7.

use tidecast_proto::addition::{NotAnAddition, Vouched};
use tidecast_proto::id::{FeedId, ReleaseNumber, RootVersion};
use tidecast_proto::manifest::{Anchor, Manifest, ManifestError, SignedManifest};
use tidecast_proto::root::Root;
use tidecast_proto::signed::SignedError;

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

/// What to do about a newest release that cannot be announced under `root`, in one line. Its signatures are over a body that
/// the store has closed, so nothing can be added to it: only a release above it helps.
#[must_use]
pub fn advice(release: ReleaseNumber, root: RootVersion, why: &ManifestError) -> String {
    match why {
        ManifestError::Signed(SignedError::TooFewSignatures { needed: 1, .. })
        | ManifestError::NotAnAddition { .. } => format!(
            "mirrors keep release {release} and take nothing new: publish the same files again with a release key that root {root} names, `tidecast publish --force TREE`"
        ),
        ManifestError::Signed(SignedError::TooFewSignatures { needed, .. }) => format!(
            "mirrors keep release {release} and take nothing new: propose the same files again, `tidecast release propose --force TREE`, and have {needed} holders of release keys that root {root} names sign it, `tidecast release sign`"
        ),
        ManifestError::Revoked(_) | ManifestError::BelowFloor { .. } => format!(
            "root {root} took release {release} back: publish files that are good, `tidecast publish --force TREE`"
        ),
        _ => format!(
            "publish a release above {release}: `tidecast publish --force TREE`; if nobody replaced keys, look who changed the store: `tidecast audit`"
        ),
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
