//! Keys and signatures: ed25519, strict, domain-separated. SPEC §3.1.

use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

use crate::codec::{Decode, DecodeError, Decoder, Encode, impl_borrow_decode};
use crate::id::ParseIdError;

/// The first bytes of an ed25519 SubjectPublicKeyInfo; the 32 key bytes follow (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A public key that is a point of the curve and not one of the few weak ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
pub struct PublicKey([u8; 32]);

/// Why 32 bytes are no usable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a point of the curve.
    #[error("not an ed25519 public key")]
    NotAPoint,
    /// A point of small order: anybody can make signatures for it.
    #[error("a weak ed25519 public key")]
    Weak,
    /// Not 64 hex digits.
    #[error(transparent)]
    Text(#[from] ParseIdError),
}

impl PublicKey {
    /// Checks and keeps a key.
    ///
    /// # Errors
    /// [`KeyError`]; whoever sent it is at fault.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        // A few points can be written in two ways; as two keys they would count as two signers.
        if key.to_edwards().compress().as_bytes() != &bytes {
            return Err(KeyError::NotAPoint);
        }
        Ok(Self(bytes))
    }

    /// Reads the raw public key a TLS peer presents (RFC 7250): 44 bytes of SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`KeyError`]; the peer is at fault.
    pub fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        let raw = spki.strip_prefix(&SPKI_PREFIX).ok_or(KeyError::NotAPoint)?;
        Self::from_bytes(raw.try_into().map_err(|_| KeyError::NotAPoint)?)
    }

    /// The key as SubjectPublicKeyInfo, 44 bytes.
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), &self.0].concat()
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` is this key's over `message` (RFC 8032, the strict form).
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
            key.verify_strict(message, &signature).is_ok()
        })
    }
}

impl<C> Decode<C> for PublicKey {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::from_bytes(<[u8; 32]>::decode(decoder)?)
            .map_err(|_| DecodeError::Other("unusable public key"))
    }
}

impl_borrow_decode!(PublicKey);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PublicKey({})",
            &blake3::Hash::from_bytes(self.0).to_hex()[..8]
        )
    }
}

impl core::str::FromStr for PublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(crate::id::parse_hex(text)?)
    }
}

/// 64 bytes that claim to be a signature.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

/// A private key. Erased when dropped; never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of a 32-byte seed, which the caller took from a good source of randomness.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The other half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` as it is; callers outside this crate sign objects, through [`crate::signed::Signed`].
    #[must_use]
    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }

    /// The key for code that writes key files or speaks TLS.
    #[must_use]
    pub fn as_dalek(&self) -> &SigningKey {
        &self.0
    }
}

impl From<SigningKey> for SecretKey {
    fn from(key: SigningKey) -> Self {
        Self(key)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_and_impossible_keys_are_refused() {
        assert_eq!(PublicKey::from_bytes([0; 32]), Err(KeyError::Weak));
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::from_bytes(identity), Err(KeyError::Weak));
        assert_eq!(PublicKey::from_bytes([2; 32]), Err(KeyError::NotAPoint));
    }

    #[test]
    fn a_point_has_one_spelling() {
        // y = 3 is on the curve; p + 3, with p = 2^255 - 19, decodes to the same point.
        let mut canonical = [0; 32];
        canonical[0] = 3;
        let mut second = [0xff; 32];
        (second[0], second[31]) = (0xf0, 0x7f);
        assert!(PublicKey::from_bytes(canonical).is_ok());
        assert_eq!(PublicKey::from_bytes(second), Err(KeyError::NotAPoint));
    }

    #[test]
    fn a_tls_key_reads_back() {
        let key = SecretKey::from_seed(&[7; 32]).public();
        assert_eq!(key.to_spki().len(), 44);
        assert_eq!(PublicKey::from_spki(&key.to_spki()), Ok(key));
        assert!(PublicKey::from_spki(&key.to_spki()[1..]).is_err());
    }
}
