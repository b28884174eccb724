//! The manifest of the new release: numbered, compared with the one before, signed.

use tidecast_proto::{
    id::{ObjectId, ReleaseNumber},
    key::SecretKey,
    manifest::{File, Manifest, ManifestBody, ManifestError, SignedManifest},
    signed::SignedError,
};

use super::{PublishError, PublishRequest, databases, next_release};
use crate::store::Store;

/// The newest release in the store, if there is one.
#[derive(Debug)]
pub(super) struct Previous {
    manifest: Option<Manifest>,
    /// Whether a mirror that knows only the newest root would install it.
    acceptable: bool,
}

impl Previous {
    pub(super) fn of(store: &Store, request: &PublishRequest<'_>) -> Result<Self, PublishError> {
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
        let (manifest, acceptable) = match signed.clone().verify_stored(request.root, &request.feed)
        {
            Ok(manifest) => (manifest, true),
            Err(_) => {
                let reopened = signed.reopen(&newest.manifest);
                (reopened.map_err(PublishError::Successor)?, false)
            }
        };
        if manifest.feed != request.feed {
            return Err(PublishError::OtherFeed {
                store: manifest.feed,
                asked: request.feed,
            });
        }
        Ok(Self {
            manifest: Some(manifest),
            acceptable,
        })
    }

    pub(super) fn body(&self) -> Option<&ManifestBody> {
        self.manifest.as_deref()
    }

    pub(super) fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// 0 when there is none.
    pub(super) fn number(&self) -> ReleaseNumber {
        self.body().map(|body| body.release).unwrap_or_default()
    }

    pub(super) fn id(&self) -> Option<ObjectId> {
        self.manifest.as_ref().map(Manifest::id)
    }

    /// Whether a release of `body` would change nothing for anybody.
    pub(super) fn holds_the_same(&self, body: &ManifestBody) -> bool {
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

pub(super) fn body(
    request: &PublishRequest<'_>,
    previous: &Previous,
    files: Vec<File>,
) -> ManifestBody {
    ManifestBody {
        feed: request.feed,
        epoch_min: request.root.epoch,
        release: next_release(previous.number(), request.root.release_min),
        previous: previous.id(),
        anchor: None,
        created: request.now,
        notes: request.notes.clone(),
        files,
        flags: request.flags,
        extensions: Vec::new(),
    }
}

/// Signs a release that may follow the one before.
pub(super) fn sign(
    request: &PublishRequest<'_>,
    previous: &Previous,
    body: &ManifestBody,
    keys: &[&SecretKey],
) -> Result<SignedManifest, PublishError> {
    if let Some(previous) = previous.body() {
        body.check_successor_of(previous)
            .map_err(PublishError::Successor)?;
        databases::check_none_goes_back(body, previous)?;
    }
    let signed = SignedManifest::sign(body, keys)?;
    // What mirrors will do with it, done once here.
    match signed.clone().verify_stored(request.root, &request.feed) {
        Ok(_) => Ok(signed),
        Err(ManifestError::Signed(SignedError::Codec(error))) => Err(error.into()),
        Err(error) => Err(PublishError::Successor(error)),
    }
}
