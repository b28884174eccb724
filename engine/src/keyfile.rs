//! Private keys on disk: PKCS#8 PEM, mode 0600, readable by OpenSSL. SPEC §7.2.

use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding};
use tidecast_proto::key::SecretKey;

use crate::durable::{self, Access, FileError};

/// Longest key file that is read, in bytes: a PEM key has about 120.
const KEY_FILE_BYTES: usize = 16 * 1024;

/// Why a key cannot be used. The key file stays as it is.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The disk or its permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is none.
    #[error("no key at {}", path.display())]
    Missing { path: PathBuf },
    /// Not an unencrypted ed25519 key in PKCS#8 PEM form.
    #[error("{} is not an ed25519 private key in PKCS#8 PEM form", path.display())]
    Malformed { path: PathBuf },
    /// The system's source of randomness failed.
    #[error("no randomness for a new key: {0}")]
    Randomness(getrandom::Error),
}

/// A fresh key.
///
/// # Errors
/// [`KeyFileError::Randomness`].
pub fn generate() -> Result<SecretKey, KeyFileError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(KeyFileError::Randomness)?;
    Ok(SecretKey::from_seed(&seed))
}

/// Makes a fresh key and keeps it at `path`, which must not exist.
///
/// # Errors
/// [`KeyFileError`]; an existing file is never replaced.
pub fn generate_at(path: &Path) -> Result<SecretKey, KeyFileError> {
    let key = generate()?;
    let pem = key
        .as_dalek()
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|_| KeyFileError::Malformed {
            path: path.to_owned(),
        })?;
    durable::create(path, pem.as_bytes(), Access::OwnerOnly)?;
    Ok(key)
}

/// Reads the key at `path`.
///
/// # Errors
/// [`KeyFileError`].
pub fn load(path: &Path) -> Result<SecretKey, KeyFileError> {
    let bytes =
        durable::read_optional(path, KEY_FILE_BYTES)?.ok_or_else(|| KeyFileError::Missing {
            path: path.to_owned(),
        })?;
    std::str::from_utf8(&bytes)
        .ok()
        .and_then(|pem| ed25519_dalek::SigningKey::from_pkcs8_pem(pem).ok())
        .map(SecretKey::from)
        .ok_or_else(|| KeyFileError::Malformed {
            path: path.to_owned(),
        })
}

/// The key at `path`, made when it is not there yet.
///
/// # Errors
/// [`KeyFileError`].
pub fn load_or_generate(path: &Path) -> Result<SecretKey, KeyFileError> {
    match load(path) {
        Err(KeyFileError::Missing { .. }) => generate_at(path),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        let key = generate_at(&path).unwrap();
        assert_eq!(load(&path).unwrap().public(), key.public());
        assert!(generate_at(&path).is_err());
        assert_eq!(load_or_generate(&path).unwrap().public(), key.public());
    }

    #[test]
    fn something_else_is_said_to_be_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        assert!(matches!(load(&path), Err(KeyFileError::Missing { .. })));
        std::fs::write(&path, "-----BEGIN NONSENSE-----").unwrap();
        assert!(matches!(load(&path), Err(KeyFileError::Malformed { .. })));
    }
}
