//! The manifest of the new release: numbered, compared with the one before, signed.

use tidecast_proto::{
    id::{FeedId, ObjectId, ReleaseNumber},
    key::SecretKey,
    manifest::{File, Manifest, ManifestBody, ManifestError, SignedManifest},
    root::Root,
    signed::SignedError,
};

use super::content::Terms;
use super::{PublishError, PublishRequest, databases, next_release};
use crate::store::Store;
use crate::vouched::{self, UnacceptableError};

/// The newest release in the store, if there is one.
#[derive(Debug)]
pub(crate) struct Previous {
    manifest: Option<Manifest>,
    /// Whether a mirror that knows only the newest root would install it.
    acceptable: bool,
}

impl Previous {
    pub(crate) fn of(store: &Store, root: &Root, feed: &FeedId) -> Result<Self, PublishError> {
        let Some((newest, signed)) = store
            .newest()
            .map(|newest| {
                store
                    .manifest(newest.release)
                    .map(|signed| (newest, signed))
            })
            .transpose()?
            .and_then(|(newest, signed)| Some((newest, signed?)))
        else {
            return Ok(Self {
                manifest: None,
                acceptable: false,
            });
        };
        // It was verified before it was stored; the keys that vouched for it may have been replaced since.
        let (manifest, acceptable) = match vouched::verify(store, signed.clone(), root, feed) {
            Ok(manifest) => (manifest, true),
            Err(UnacceptableError::Store(error)) => return Err(error.into()),
            Err(UnacceptableError::Manifest(_)) => {
                let reopened = signed.reopen(&newest.manifest);
                (reopened.map_err(PublishError::Successor)?, false)
            }
        };
        if manifest.feed != *feed {
            return Err(PublishError::OtherFeed {
                store: manifest.feed,
                asked: *feed,
            });
        }
        Ok(Self {
            manifest: Some(manifest),
            acceptable,
        })
    }

    pub(crate) fn body(&self) -> Option<&ManifestBody> {
        self.manifest.as_deref()
    }

    pub(crate) fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// 0 when there is none.
    pub(crate) fn number(&self) -> ReleaseNumber {
        self.body().map(|body| body.release).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> Option<ObjectId> {
        self.manifest.as_ref().map(Manifest::id)
    }

    /// Whether a mirror that knows only the newest root would install it.
    pub(crate) fn is_acceptable(&self) -> bool {
        self.acceptable
    }

    /// Whether a release of `body` would change nothing for anybody.
    pub(crate) fn holds_the_same(&self, body: &ManifestBody) -> bool {
        // When a file was modified travels for people to see; it makes no release.
        let key = |file: &File| {
            (
                file.path.clone(),
                file.hash,
                file.executable,
                file.database.clone(),
            )
        };
        let same = |previous: &ManifestBody| {
            previous
                .files
                .iter()
                .map(key)
                .eq(body.files.iter().map(key))
        };
        self.acceptable && self.body().is_some_and(same)
    }
}

/// The given keys that count, when they are enough: known before hours of reading.
pub(super) fn usable_keys<'a>(
    request: &PublishRequest<'a>,
    warnings: &mut Vec<String>,
) -> Result<Vec<&'a SecretKey>, PublishError> {
    let (mut usable, mut seen) = (Vec::new(), Vec::new());
    for key in request.keys {
        let public = key.public();
        if request.root.release_keys.binary_search(&public).is_err() {
            warnings.push(format!("key {public} is no release key of this feed"));
        } else if !seen.contains(&public) {
            seen.push(public);
            usable.push(key);
        }
    }
    let needed = usize::from(request.root.release_threshold);
    if usable.len() < needed {
        return Err(PublishError::TooFewKeys {
            usable: usable.len(),
            needed,
            given: request.keys.len(),
        });
    }
    if request.root.expired(request.now) {
        let warning =
            "the feed's root has expired: no mirror installs this release before a newer root";
        warnings.push(warning.to_owned());
    }
    Ok(usable)
}

/// What a release of `files` after `previous` says; whoever only wants to add sets the anchor.
///
/// # Errors
/// [`PublishError::DatabaseTwice`], [`PublishError::NumbersUsedUp`].
pub(crate) fn checked_body(
    terms: &Terms<'_>,
    previous: &Previous,
    files: Vec<File>,
    warnings: &mut Vec<String>,
) -> Result<ManifestBody, PublishError> {
    databases::check_names_unique(&files)?;
    warnings.extend(databases::unpaired_signatures(&files, previous.body()));
    let body = body(terms, previous, files)?;
    warnings.extend(databases::rollbacks(&body, previous.body()));
    Ok(body)
}

fn body(
    terms: &Terms<'_>,
    previous: &Previous,
    files: Vec<File>,
) -> Result<ManifestBody, PublishError> {
    Ok(ManifestBody {
        feed: terms.feed,
        epoch_min: terms.root.epoch,
        release: next_release(previous.number(), terms.root.release_min, terms.above)?,
        previous: previous.id(),
        anchor: None,
        created: terms.now,
        notes: terms.notes.to_owned(),
        files,
        flags: terms.flags,
        extensions: Vec::new(),
    })
}

/// Whether a release of `body` may follow `previous`.
///
/// # Errors
/// [`PublishError::Successor`].
pub(crate) fn check_follows(
    body: &ManifestBody,
    previous: Option<&ManifestBody>,
) -> Result<(), PublishError> {
    if let Some(previous) = previous {
        body.check_successor_of(previous)
            .map_err(PublishError::Successor)?;
        databases::check_none_goes_back(body, previous)?;
    }
    Ok(())
}

/// Signs a release that may follow the one before.
pub(super) fn sign(
    terms: &Terms<'_>,
    previous: &Previous,
    body: &ManifestBody,
    keys: &[&SecretKey],
) -> Result<SignedManifest, PublishError> {
    check_follows(body, previous.body())?;
    let signed = SignedManifest::sign(body, keys)?;
    // What mirrors will do with it, done once here.
    match signed.clone().verify_stored(terms.root, &terms.feed) {
        Ok(_) => Ok(signed),
        Err(ManifestError::Signed(SignedError::Codec(error))) => Err(error.into()),
        Err(error) => Err(PublishError::Successor(error)),
    }
}
