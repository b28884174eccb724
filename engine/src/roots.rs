//! The chain of roots on disk: `roots/1.root`, `roots/2.root` and so on. SPEC §7.3.

use std::path::{Path, PathBuf};

use tidecast_proto::codec::CodecError;
use tidecast_proto::id::{FeedId, RootVersion};
use tidecast_proto::limits;
use tidecast_proto::root::{Root, RootError, SignedRoot};

use crate::durable::{self, Access, FileError};

/// Longest chain that is kept. One walk brings at most [`limits::ROOT_WALK`] roots, the next goes on from there: a
/// root a day for 44 years.
const CHAIN_ROOTS_MAX: u64 = 16 * limits::ROOT_WALK as u64;

/// Why the chain cannot be read.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootsError {
    /// The disk or its permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not a root.
    #[error("{}: {source}", path.display())]
    Malformed { path: PathBuf, source: CodecError },
    /// More than anybody has a use for. A chain that is cut short would trust keys that were replaced.
    #[error("{} holds more than {CHAIN_ROOTS_MAX} roots", folder.display())]
    TooMany { folder: PathBuf },
}

fn path(folder: &Path, version: RootVersion) -> PathBuf {
    folder.join(format!("{version}.root"))
}

/// Every root from the first to the last, unverified.
///
/// # Errors
/// [`RootsError`].
pub fn load(folder: &Path) -> Result<Vec<SignedRoot>, RootsError> {
    let mut roots = Vec::new();
    for version in 1.. {
        let Some(root) = read(&path(folder, RootVersion(version)))? else {
            break;
        };
        if version > CHAIN_ROOTS_MAX {
            return Err(RootsError::TooMany {
                folder: folder.to_owned(),
            });
        }
        roots.push(root);
    }
    Ok(roots)
}

/// Follows a chain from its first root to the last; `None` when there is none.
///
/// # Errors
/// [`RootError`] of the first that does not follow from the one before.
pub fn follow(
    chain: impl IntoIterator<Item = SignedRoot>,
    feed: &FeedId,
) -> Result<Option<Root>, RootError> {
    let mut chain = chain.into_iter();
    let Some(first) = chain.next() else {
        return Ok(None);
    };
    let mut root = first.verify_first(feed)?;
    for next in chain {
        root = next.verify_next(&root)?;
    }
    Ok(Some(root))
}

/// Reads a root that lies outside a chain: a draft, or one on its way to a master. Nothing is verified.
///
/// # Errors
/// [`RootsError`].
pub fn read(path: &Path) -> Result<Option<SignedRoot>, RootsError> {
    let Some(bytes) = durable::read_optional(path, limits::ROOT_BYTES)? else {
        return Ok(None);
    };
    SignedRoot::from_bytes(&bytes)
        .map(Some)
        .map_err(|source| RootsError::Malformed {
            path: path.to_owned(),
            source,
        })
}

/// The root after `version`, unverified, if it is there.
///
/// # Errors
/// [`RootsError`].
pub fn after(folder: &Path, version: RootVersion) -> Result<Option<SignedRoot>, RootsError> {
    let next = RootVersion(version.0.saturating_add(1));
    if next.0 > CHAIN_ROOTS_MAX {
        return Err(RootsError::TooMany {
            folder: folder.to_owned(),
        });
    }
    read(&path(folder, next))
}

/// Keeps a root.
///
/// # Errors
/// [`FileError`].
pub fn store(folder: &Path, version: RootVersion, root: &SignedRoot) -> Result<(), FileError> {
    std::fs::create_dir_all(folder).map_err(FileError::at("create folder", folder))?;
    durable::write(&path(folder, version), &root.to_bytes(), Access::Everyone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::chunker::Chunking;
    use tidecast_proto::id::{Epoch, FeedName, ReleaseNumber, Timestamp};
    use tidecast_proto::key::SecretKey;
    use tidecast_proto::root::RootBody;

    fn a_root() -> SignedRoot {
        let key = SecretKey::from_seed(&[1; 32]);
        let body = RootBody {
            version: RootVersion(1),
            epoch: Epoch(0),
            feed: FeedName::new("test").unwrap(),
            expires: Timestamp(1),
            root_keys: vec![key.public()],
            root_threshold: 1,
            release_keys: vec![key.public()],
            release_threshold: 1,
            added_threshold: 1,
            head_keys: vec![key.public()],
            head_ttl_max_ms: 1,
            masters: Vec::new(),
            chunking: Chunking::default(),
            revoked_manifests: Vec::new(),
            release_min: ReleaseNumber(0),
            extensions: Vec::new(),
        };
        SignedRoot::sign(&body, &[&key]).unwrap()
    }

    #[test]
    fn a_chain_longer_than_one_walk_loads_whole() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = a_root().to_bytes();
        let length = limits::ROOT_WALK as u64 + 5;
        for version in 1..=length {
            std::fs::write(path(folder.path(), RootVersion(version)), &bytes).unwrap();
        }
        assert_eq!(load(folder.path()).unwrap().len() as u64, length);
        // What comes after a gap is not part of it.
        std::fs::remove_file(path(folder.path(), RootVersion(length - 1))).unwrap();
        assert_eq!(load(folder.path()).unwrap().len() as u64, length - 2);
    }
}
