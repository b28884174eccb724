//! The chain of roots on disk: `roots/1.root`, `roots/2.root` and so on. SPEC §7.3.

use std::path::{Path, PathBuf};

use tidecast_proto::codec::CodecError;
use tidecast_proto::id::RootVersion;
use tidecast_proto::limits;
use tidecast_proto::root::SignedRoot;

use crate::durable::{self, Access, FileError};

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
    for version in 1..=limits::ROOT_WALK as u64 {
        let path = path(folder, RootVersion(version));
        let Some(bytes) = durable::read_optional(&path, limits::ROOT_BYTES)? else {
            break;
        };
        roots.push(
            SignedRoot::from_bytes(&bytes)
                .map_err(|source| RootsError::Malformed { path, source })?,
        );
    }
    Ok(roots)
}

/// Keeps a root.
///
/// # Errors
/// [`FileError`].
pub fn store(folder: &Path, version: RootVersion, root: &SignedRoot) -> Result<(), FileError> {
    std::fs::create_dir_all(folder).map_err(FileError::at("create folder", folder))?;
    durable::write(&path(folder, version), &root.to_bytes(), Access::Everyone)
}
