//! Private keys on disk: PKCS#8 PEM, mode 0600, readable by OpenSSL. SPEC §7.2.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::{
    DecodePrivateKey, EncodePrivateKey, KeypairBytes, spki::der::pem::LineEnding,
};
use tidecast_proto::key::SecretKey;

use crate::durable::{self, Access, FileError};

/// Longest key file that is read, in bytes: a PEM key has about 120.
const KEY_FILE_BYTES: usize = 16 * 1024;

/// What group and everybody else may do with a file: nothing, if it is a key.
const OTHERS: u32 = 0o077;

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
    // Without the public key: OpenSSL 3.0 cannot read the form that has it.
    let private = KeypairBytes {
        secret_key: key.as_dalek().to_bytes(),
        public_key: None,
    };
    let pem = private
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
    let missing = || KeyFileError::Missing {
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
        durable::create(&path, b"-----BEGIN NONSENSE-----", Access::OwnerOnly).unwrap();
        assert!(matches!(load(&path), Err(KeyFileError::Malformed { .. })));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        generate_at(&path).unwrap();
        let chmod = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).unwrap();
        };
        for open in [0o640, 0o604, 0o620, 0o601] {
            chmod(open);
            let error = load(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Open { mode, .. } if mode == open));
            assert!(load_or_generate(&path).is_err());
        }
        chmod(0o400);
        load(&path).unwrap();
    }

    #[test]
    fn openssl_reads_our_keys_and_we_read_openssls() {
        use std::process::Command;
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        // The last 32 of the 44 bytes of a SubjectPublicKeyInfo are the key.
        let public_of = |path: &Path| -> String {
            let run = Command::new("openssl")
                .args(["pkey", "-pubout", "-outform", "DER", "-in"])
                .arg(path)
                .output()
                .unwrap();
            assert!(run.status.success(), "{run:?}");
            run.stdout[12..]
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect()
        };
        if Command::new("openssl").arg("version").output().is_err() {
            crate::skip::skip(
                "openssl_reads_our_keys_and_we_read_openssls",
                "there is no openssl command",
            );
            return;
        }
        let key = generate_at(&ours).unwrap();
        assert_eq!(public_of(&ours), key.public().to_string());

        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "ed25519", "-out"])
            .arg(&theirs)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        std::fs::set_permissions(&theirs, std::fs::Permissions::from_mode(0o600)).unwrap();
        let loaded = load(&theirs).unwrap();
        assert_eq!(public_of(&theirs), loaded.public().to_string());
    }

    #[test]
    fn the_form_with_the_public_key_is_read_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        let key = generate().unwrap();
        let pem = key.as_dalek().to_pkcs8_pem(LineEnding::LF).unwrap();
        durable::create(&path, pem.as_bytes(), Access::OwnerOnly).unwrap();
        assert_eq!(load(&path).unwrap().public(), key.public());
    }
}
