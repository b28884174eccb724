//! Keys under a passphrase: PKCS#8 with PBES2 (RFC 8018), as OpenSSL 1.1 and later read and write it. SPEC §7.2.

use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::DecodePrivateKey;
use pkcs8::der::{Decode as _, SecretDocument};
use pkcs8::pkcs5::pbes2::{EncryptionScheme, Kdf, Parameters, Salt, ScryptParams};
use pkcs8::pkcs5::{self, EncryptionScheme as Scheme};
use pkcs8::{EncryptedPrivateKeyInfoOwned, EncryptedPrivateKeyInfoRef};
use tidecast_proto::key::SecretKey;

use super::{KeyFileError, Passphrase};

/// What we write with: scrypt, since guessing then costs memory as well as time. 16 MiB and five passes are OWASP's
/// equal of 128 MiB and one, and the most that OpenSSL opens without being told a higher limit (32 MiB).
const SCRYPT_N: u64 = 1 << 14;
const SCRYPT_R: u16 = 8;
const SCRYPT_P: u16 = 5;

/// Most memory that deriving a key may take, in bytes. A key file may come from somebody else.
const DERIVE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Most bytes that scrypt may work through: a few seconds.
const SCRYPT_WORK_MAX: u64 = 1024 * 1024 * 1024;

/// Most rounds of PBKDF2: a few seconds.
const PBKDF2_ROUNDS_MAX: u32 = 10_000_000;

/// A private key that needs its passphrase.
#[derive(Debug)]
pub struct LockedKey {
    path: PathBuf,
    document: SecretDocument,
}

impl LockedKey {
    /// Looks at the form and at what opening it would cost, before anybody is asked for a passphrase.
    pub(super) fn new(path: &Path, document: SecretDocument) -> Result<Self, KeyFileError> {
        let locked = Self {
            path: path.to_owned(),
            document,
        };
        let why = match locked.info()?.encryption_algorithm {
            Scheme::Pbes2(parameters) => match &parameters.kdf {
                kdf if too_dear(kdf) => Some("opening it would take too much time or memory"),
                _ => None,
            },
            _ => Some("its encryption is too weak"),
        };
        match why {
            Some(why) => Err(locked.unusable(why)),
            None => Ok(locked),
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it. Takes a tenth of a second, or as long as its writer wanted.
    ///
    /// # Errors
    /// [`KeyFileError::WrongPassphrase`], also for a damaged file: the two cannot be told apart.
    pub fn unlock(&self, passphrase: &Passphrase) -> Result<SecretKey, KeyFileError> {
        let wrong = || KeyFileError::WrongPassphrase {
            path: self.path.clone(),
        };
        let opened = match self.info()?.decrypt(passphrase.as_bytes()) {
            Ok(opened) => opened,
            Err(pkcs8::Error::EncryptedPrivateKey(
                pkcs5::Error::UnsupportedAlgorithm { .. }
                | pkcs5::Error::AlgorithmParametersInvalid { .. },
            )) => return Err(self.unusable("its encryption is of a kind that is not known here")),
            Err(_) => return Err(wrong()),
        };
        ed25519_dalek::SigningKey::from_pkcs8_der(opened.as_bytes())
            .map(SecretKey::from)
            .map_err(|_| wrong())
    }

    fn info(&self) -> Result<EncryptedPrivateKeyInfoRef<'_>, KeyFileError> {
        EncryptedPrivateKeyInfoRef::from_der(self.document.as_bytes())
            .map_err(|_| self.unusable("its encryption is of a kind that is not known here"))
    }

    fn unusable(&self, why: &'static str) -> KeyFileError {
        KeyFileError::Encryption {
            path: self.path.clone(),
            why,
        }
    }
}

/// Whether a file asks for more than a key is worth.
fn too_dear(kdf: &Kdf) -> bool {
    match kdf {
        Kdf::Pbkdf2(parameters) => parameters.iteration_count > PBKDF2_ROUNDS_MAX,
        Kdf::Scrypt(parameters) => {
            let block = 128 * u64::from(parameters.block_size);
            let table = parameters.cost_parameter.saturating_mul(block);
            let lanes = u64::from(parameters.parallelization);
            // The library takes 0 for a bug of ours.
            parameters.cost_parameter == 0
                || table.saturating_add(lanes * block) > DERIVE_BYTES_MAX
                || table.saturating_mul(lanes) > SCRYPT_WORK_MAX
        }
        _ => true,
    }
}

/// Puts a key's DER under a passphrase.
pub(super) fn lock(
    path: &Path,
    plain: &[u8],
    passphrase: &Passphrase,
) -> Result<SecretDocument, KeyFileError> {
    let failed = |_| KeyFileError::Malformed {
        path: path.to_owned(),
    };
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    getrandom::fill(&mut salt).map_err(KeyFileError::Randomness)?;
    getrandom::fill(&mut iv).map_err(KeyFileError::Randomness)?;
    let parameters = Parameters {
        kdf: Kdf::Scrypt(ScryptParams {
            salt: Salt::new(salt).map_err(|error| failed(error.into()))?,
            cost_parameter: SCRYPT_N,
            block_size: SCRYPT_R,
            parallelization: SCRYPT_P,
            key_length: None,
        }),
        encryption: EncryptionScheme::Aes256Cbc { iv },
    };
    let encrypted = parameters
        .encrypt(passphrase.as_bytes(), plain)
        .map_err(|error| failed(error.into()))?;
    let info = EncryptedPrivateKeyInfoOwned {
        encryption_algorithm: parameters.into(),
        encrypted_data: pkcs8::der::asn1::OctetString::new(encrypted)
            .map_err(|error| failed(error.into()))?,
    };
    SecretDocument::try_from(info).map_err(failed)
}
