//! Private keys on disk: PKCS#8 PEM, mode 0600, readable by OpenSSL, under a passphrase if wanted. SPEC §7.2.

mod locked;
mod passphrase;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use pkcs8::der::SecretDocument;
use pkcs8::der::pem::PemLabel as _;
use pkcs8::der::zeroize::Zeroizing;
use pkcs8::{EncryptedPrivateKeyInfoOwned, LineEnding};
use tidecast_proto::key::{PublicKey, SecretKey};

use crate::durable::{self, Access, FileError};
pub use locked::LockedKey;
pub use passphrase::{PASSPHRASE_BYTES, Passphrase, PassphraseError};

/// Longest key file that is read, in bytes: a PEM key has about 120, an encrypted one 400.
const KEY_FILE_BYTES: usize = 16 * 1024;

/// What group and everybody else may do with a file: nothing, if it is a key.
const OTHERS: u32 = 0o077;

/// The first line of a public key in PEM form, as `openssl pkey -pubout` writes it.
const PUBLIC_LABEL: &str = "PUBLIC KEY";

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
    /// Others than its owner may read or change it.
    #[error("{} is open to others: its mode is {mode:04o}", path.display())]
    Open { path: PathBuf, mode: u32 },
    /// Not an ed25519 key in PKCS#8 PEM form.
    #[error("{} is not an ed25519 private key in PKCS#8 PEM form", path.display())]
    Malformed { path: PathBuf },
    /// Under a passphrase, where there is nobody to ask for it.
    #[error("{} is under a passphrase", path.display())]
    Locked { path: PathBuf },
    /// Encrypted in a way we do not open.
    #[error("{} cannot be opened: {why}", path.display())]
    Encryption { path: PathBuf, why: &'static str },
    /// Or the file is damaged: the two look alike.
    #[error("wrong passphrase for {}, or the file is damaged", path.display())]
    WrongPassphrase { path: PathBuf },
    /// The file named holds no passphrase.
    #[error("{}: {why}", path.display())]
    Passphrase { path: PathBuf, why: PassphraseError },
    /// The file named holds something else.
    #[error("{} is not text", path.display())]
    NotText { path: PathBuf },
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
    create(path, &key, None)?;
    Ok(key)
}

/// Keeps `key` at `path`, which must not exist; under `passphrase` if there is one.
///
/// # Errors
/// [`KeyFileError`]; an existing file is never replaced.
pub fn create(
    path: &Path,
    key: &SecretKey,
    passphrase: Option<&Passphrase>,
) -> Result<(), KeyFileError> {
    let malformed = || KeyFileError::Malformed {
        path: path.to_owned(),
    };
    // Without the public key: OpenSSL 3.0 cannot read the form that has it.
    let private = KeypairBytes {
        secret_key: key.as_dalek().to_bytes(),
        public_key: None,
    };
    let pem = match passphrase {
        None => private
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| malformed())?,
        Some(passphrase) => {
            let plain = private.to_pkcs8_der().map_err(|_| malformed())?;
            locked::lock(path, plain.as_bytes(), passphrase)?
                .to_pem(EncryptedPrivateKeyInfoOwned::PEM_LABEL, LineEnding::LF)
                .map_err(|_| malformed())?
        }
    };
    Ok(durable::create(path, pem.as_bytes(), Access::OwnerOnly)?)
}

/// A private key as it was found.
#[derive(Debug)]
pub enum Found {
    /// Ready.
    Key(SecretKey),
    /// Needs its passphrase.
    Locked(LockedKey),
}

/// Reads the key at `path`.
///
/// # Errors
/// [`KeyFileError`].
pub fn find(path: &Path) -> Result<Found, KeyFileError> {
    let missing = || KeyFileError::Missing {
        path: path.to_owned(),
    };
    let malformed = || KeyFileError::Malformed {
        path: path.to_owned(),
    };
    let mode = match std::fs::metadata(path) {
        Ok(facts) => facts.permissions().mode() & 0o7777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
        Err(error) => return Err(FileError::at("look at", path)(error).into()),
    };
    if mode & OTHERS != 0 {
        return Err(KeyFileError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    let bytes = durable::read_optional(path, KEY_FILE_BYTES)?.ok_or_else(missing)?;
    let bytes = Zeroizing::new(bytes);
    let pem = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
    let (label, document) = SecretDocument::from_pem(pem).map_err(|_| malformed())?;
    if label == EncryptedPrivateKeyInfoOwned::PEM_LABEL {
        return LockedKey::new(path, document).map(Found::Locked);
    }
    ed25519_dalek::SigningKey::from_pkcs8_pem(pem)
        .map(|key| Found::Key(SecretKey::from(key)))
        .map_err(|_| malformed())
}

/// Reads the key at `path` where nobody can be asked for a passphrase.
///
/// # Errors
/// [`KeyFileError`]; [`KeyFileError::Locked`] when it is under one.
pub fn load(path: &Path) -> Result<SecretKey, KeyFileError> {
    match find(path)? {
        Found::Key(key) => Ok(key),
        Found::Locked(_) => Err(KeyFileError::Locked {
            path: path.to_owned(),
        }),
    }
}

/// The public key at `path`, in PEM form; `None` when the file holds a private one.
///
/// # Errors
/// [`KeyFileError`].
pub fn find_public(path: &Path) -> Result<Option<PublicKey>, KeyFileError> {
    let bytes =
        durable::read_optional(path, KEY_FILE_BYTES)?.ok_or_else(|| KeyFileError::Missing {
            path: path.to_owned(),
        })?;
    let bytes = Zeroizing::new(bytes);
    let Some(text) = std::str::from_utf8(&bytes)
        .ok()
        .filter(|text| text.contains(PUBLIC_LABEL))
    else {
        return Ok(None);
    };
    let malformed = || KeyFileError::Malformed {
        path: path.to_owned(),
    };
    let (_, document) = SecretDocument::from_pem(text).map_err(|_| malformed())?;
    PublicKey::from_spki(document.as_bytes())
        .map(Some)
        .map_err(|_| malformed())
}

/// A public key in PEM form, as OpenSSL reads it.
///
/// # Errors
/// [`KeyFileError::Malformed`], which does not happen.
pub fn public_pem(key: &PublicKey) -> Result<String, KeyFileError> {
    let malformed = |_| KeyFileError::Malformed {
        path: PathBuf::from(PUBLIC_LABEL),
    };
    let document = pkcs8::Document::try_from(key.to_spki()).map_err(malformed)?;
    document
        .to_pem(PUBLIC_LABEL, LineEnding::LF)
        .map_err(malformed)
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
