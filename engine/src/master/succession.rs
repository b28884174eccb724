//! A newer root on a master: taking it, and the keys it gives this master. SPEC §7.2, §7.3.

use std::path::{Path, PathBuf};

use tidecast_proto::ceremony::KeyRole;
use tidecast_proto::id::RootVersion;
use tidecast_proto::root::{Root, RootBody, RootError, SignedRoot};

use super::feed::{Feed, FeedError, HEAD_KEY, NODE_KEY, ROOTS};
use super::nodes;
use crate::durable::{self, FileError};
use crate::keyfile::{self, KeyFileError};
use crate::roots;

/// Why roots were not installed. Those before the one named are.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The feed's own files.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// It does not follow from what is installed, or not enough keys have signed it.
    #[error("{version}: {source}", version = shown(*version))]
    Refused {
        version: RootVersion,
        source: RootError,
    },
    /// Two roots of one number: mirrors that have the other will never take this one.
    #[error("another root {version} is installed; mirrors that have taken it refuse this one")]
    Contradicts { version: RootVersion },
}

fn shown(version: RootVersion) -> String {
    match version.0 {
        0 => "not a root".into(),
        _ => format!("root {version}"),
    }
}

/// What came of an installation.
#[derive(Debug)]
pub struct Installed {
    /// The newest root before.
    pub from: RootVersion,
    /// The newest root now.
    pub root: Root,
    /// Keys of this master that were switched to their successors.
    pub switched: Vec<KeyRole>,
}

/// Takes roots, in any order; those that are installed already are passed over. A running master acts on them at its
/// next [`reload`](super::Master::reload).
///
/// # Errors
/// [`InstallError`].
pub fn install(state: &Path, offered: Vec<SignedRoot>) -> Result<Installed, InstallError> {
    let _lock = nodes::lock(state).map_err(FeedError::File)?;
    let feed = Feed::load(state)?;
    let folder = state.join(ROOTS);
    let from = feed.root.version;
    let mut root = feed.root;
    let mut offered: Vec<(RootVersion, SignedRoot)> = offered
        .into_iter()
        .map(|signed| {
            (
                signed.draft().map_or(RootVersion(0), |body| body.version),
                signed,
            )
        })
        .collect();
    offered.sort_by_key(|(version, _)| *version);
    for (version, signed) in offered {
        if version.0 > 0 && version <= root.version {
            let index = usize::try_from(version.0 - 1).unwrap_or(usize::MAX);
            let same = feed
                .roots
                .get(index)
                .and_then(|bytes| SignedRoot::from_bytes(bytes).ok())
                .map_or_else(|| root.signed().id(), |installed| installed.id())
                == signed.id();
            if !same {
                return Err(InstallError::Contradicts { version });
            }
            continue;
        }
        let next = signed
            .verify_next(&root)
            .map_err(|source| InstallError::Refused { version, source })?;
        roots::store(&folder, next.version, next.signed()).map_err(FeedError::File)?;
        root = next;
    }
    let switched = adopt_keys(state, &root)?;
    Ok(Installed {
        from,
        root,
        switched,
    })
}

/// Where the key that is to replace `name` waits until a root names it.
#[must_use]
pub fn next_key(state: &Path, name: &str) -> PathBuf {
    let stem = name.strip_suffix(".key").unwrap_or(name);
    state.join(format!("{stem}.next.key"))
}

/// Switches to every successor that `root` names where it does not name the present key. The old key stays beside it
/// as `*.old.key`. Done again after a crash it comes to the same. The caller holds the state folder's lock.
///
/// # Errors
/// [`FeedError`]; a key that was not switched is the old one.
fn adopt_keys(state: &Path, root: &RootBody) -> Result<Vec<KeyRole>, FeedError> {
    let mut switched = Vec::new();
    for (role, name) in [(KeyRole::Head, HEAD_KEY), (KeyRole::Node, NODE_KEY)] {
        let (present, next) = (state.join(name), next_key(state, name));
        let named = |key: Result<_, KeyFileError>| match key {
            Ok(key) => {
                let key: tidecast_proto::key::SecretKey = key;
                Ok(root.names(role, &key.public()))
            }
            Err(KeyFileError::Missing { .. }) => Ok(false),
            Err(error) => Err(FeedError::Key(error)),
        };
        if named(keyfile::load(&present))? || !named(keyfile::load(&next))? {
            continue;
        }
        let stem = name.strip_suffix(".key").unwrap_or(name);
        let old = state.join(format!("{stem}.old.key"));
        durable::second_name(&present, &old)?;
        std::fs::rename(&next, &present).map_err(FileError::at("rename to", &present))?;
        durable::sync_folder_of(&present)?;
        switched.push(role);
    }
    Ok(switched)
}

/// As [`adopt_keys`], under the lock that [`install`] holds: for whoever does not hold it.
///
/// # Errors
/// As [`adopt_keys`].
pub(super) fn look_for_keys(state: &Path, root: &RootBody) -> Result<Vec<KeyRole>, FeedError> {
    let _lock = nodes::lock(state).map_err(FeedError::File)?;
    adopt_keys(state, root)
}
