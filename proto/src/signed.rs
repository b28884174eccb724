//! Signed objects: bytes that someone signed, and the only door from them to a value. SPEC §3.1.
//!
//! A [`Signed`] gives no access to its content. The `verify` functions of [`crate::root`], [`crate::manifest`],
//! [`crate::head`] and [`crate::receipt`] turn it into a [`Verified`], and nothing else does.

use alloc::vec::Vec;
use core::{marker::PhantomData, ops::Deref};

use crate::codec::{self, CodecError, Decode, Encode, at_most, strictly_ascending};
use crate::extension::{self, Extension, UnknownCritical};
use crate::id::ObjectId;
use crate::key::{PublicKey, SecretKey, Signature};
use crate::limits;

/// A type that travels signed.
pub trait Body: Encode + Decode<()> {
    /// Its name in messages and, as `tidecast/<NAME>/v1\0`, in front of what is signed: a signature over
    /// one kind of object is worth nothing for another.
    const NAME: &'static str;
    /// Most bytes of the whole signed object.
    const BYTES_MAX: usize;

    /// Its extensions.
    fn extensions(&self) -> &[Extension];

    /// Checks what the encoding alone does not: order, counts, ranges.
    ///
    /// # Errors
    /// The first rule broken.
    fn check(&self) -> Result<(), CodecError>;
}

/// Why an object was refused. Whoever sent it is at fault; nothing was kept.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    /// Not an object at all.
    #[error("{0}")]
    Codec(#[from] CodecError),
    /// Fewer good signatures by distinct, entitled keys than the root asks for.
    #[error("{what}: {good} of {needed} needed signatures are good ({present} present)")]
    TooFewSignatures {
        what: &'static str,
        good: usize,
        needed: usize,
        present: usize,
    },
    /// From a later version that says it must be understood.
    #[error("{what}: {source}")]
    Critical {
        what: &'static str,
        source: UnknownCritical,
    },
}

/// One signature and the key that made it, by its public half, never by an index.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeySignature {
    /// Who signed.
    pub key: PublicKey,
    /// Over `"tidecast/<type>/v1\0" || body`.
    pub signature: Signature,
}

/// The bytes of a signed object: body, then signatures sorted by key.
#[derive(Encode, Decode)]
struct Envelope {
    body: Vec<u8>,
    signatures: Vec<KeySignature>,
}

/// A signed object as received: its signatures can be looked at, its content cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<T> {
    body: Vec<u8>,
    signatures: Vec<KeySignature>,
    kind: PhantomData<fn() -> T>,
}

impl<T: Body> Signed<T> {
    /// Encodes `body` and signs it with each of `keys`.
    ///
    /// # Errors
    /// [`CodecError`] when `body` breaks a rule of its own type or is too large; the caller is at fault.
    pub fn sign(body: &T, keys: &[&SecretKey]) -> Result<Self, CodecError> {
        body.check()?;
        extension::check_form(body.extensions())?;
        let mut signed = Self {
            body: codec::encode(body),
            signatures: Vec::new(),
            kind: PhantomData,
        };
        for key in keys {
            signed.add_signature(key);
        }
        at_most(T::NAME, signed.to_bytes().len(), T::BYTES_MAX)?;
        Ok(signed)
    }

    /// Adds `key`'s signature over the body, replacing an earlier one of the same key.
    pub fn add_signature(&mut self, key: &SecretKey) {
        let signature = KeySignature {
            key: key.public(),
            signature: key.sign(&Self::message(&self.body)),
        };
        match self
            .signatures
            .binary_search_by_key(&signature.key, |s| s.key)
        {
            Ok(at) => self.signatures[at] = signature,
            Err(at) => self.signatures.insert(at, signature),
        }
    }

    /// Takes over the good signatures of `entitled` keys from another copy of the same object. Says whether it is one.
    pub fn gather(&mut self, other: &Self, entitled: &[PublicKey]) -> bool {
        if self.body != other.body {
            return false;
        }
        let good = other.good_signers(entitled);
        for signature in &other.signatures {
            if self.signatures.len() >= limits::KEYS_PER_ROLE {
                break;
            }
            let known = self
                .signatures
                .binary_search_by_key(&signature.key, |s| s.key);
            match known {
                Ok(at) if good.contains(&signature.key) => self.signatures[at] = signature.clone(),
                Err(at) if good.contains(&signature.key) => {
                    self.signatures.insert(at, signature.clone());
                }
                _ => {}
            }
        }
        true
    }

    /// Reads an object's outer form.
    ///
    /// # Errors
    /// [`CodecError`]; the sender is at fault.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let envelope: Envelope = codec::decode_exact(T::NAME, bytes, T::BYTES_MAX)?;
        at_most(
            "signatures",
            envelope.signatures.len(),
            limits::KEYS_PER_ROLE,
        )?;
        strictly_ascending("signatures", envelope.signatures.iter().map(|s| s.key))?;
        Ok(Self {
            body: envelope.body,
            signatures: envelope.signatures,
            kind: PhantomData,
        })
    }

    /// The bytes to store or send.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(&Envelope {
            body: self.body.clone(),
            signatures: self.signatures.clone(),
        })
    }

    /// The object's name: the hash of its body.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        ObjectId::of(&self.body)
    }

    /// The body as received: what the signatures cover.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Length of the body in bytes.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.body.len()
    }

    /// Keys whose signatures are attached, good or not.
    pub fn signers(&self) -> impl Iterator<Item = PublicKey> + '_ {
        self.signatures.iter().map(|s| s.key)
    }

    /// What is signed.
    fn message(body: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(body.len() + 32);
        message.extend_from_slice(b"tidecast/");
        message.extend_from_slice(T::NAME.as_bytes());
        message.extend_from_slice(b"/v1\0");
        message.extend_from_slice(body);
        message
    }

    /// The same object with just the good signatures that keys of `entitled` made, here or on one of `copies`. A copy
    /// with another body brings none.
    #[must_use]
    pub fn with_good_signatures(&self, entitled: &[PublicKey], copies: &[&Self]) -> Self {
        let mut merged = Self {
            body: self.body.clone(),
            signatures: Vec::new(),
            kind: PhantomData,
        };
        let message = Self::message(&self.body);
        let copies = copies.iter().filter(|copy| copy.body == self.body);
        for found in copies
            .flat_map(|copy| &copy.signatures)
            .chain(&self.signatures)
        {
            let at = merged
                .signatures
                .binary_search_by_key(&found.key, |s| s.key);
            if let Err(at) = at
                && entitled.contains(&found.key)
                && found.key.verifies(&message, &found.signature)
            {
                merged.signatures.insert(at, found.clone());
            }
        }
        merged
    }

    /// The distinct keys of `entitled` that signed well. A key that is merely named does not count.
    pub(crate) fn good_signers(&self, entitled: &[PublicKey]) -> Vec<PublicKey> {
        let message = Self::message(&self.body);
        self.signatures
            .iter()
            .filter(|s| entitled.contains(&s.key) && s.key.verifies(&message, &s.signature))
            .map(|s| s.key)
            .collect()
    }

    /// Fails unless `threshold` distinct keys of `entitled` signed well. A threshold of 0 never passes.
    pub(crate) fn require(
        &self,
        entitled: &[PublicKey],
        threshold: usize,
    ) -> Result<(), SignedError> {
        let good = self.good_signers(entitled).len();
        if good < threshold.max(1) {
            return Err(self.too_few(good, threshold));
        }
        Ok(())
    }

    pub(crate) fn too_few(&self, good: usize, needed: usize) -> SignedError {
        SignedError::TooFewSignatures {
            what: T::NAME,
            good,
            needed,
            present: self.signatures.len(),
        }
    }

    /// Decodes the body **before** its signatures are known to be good: only for a root, whose own keys must
    /// be read to check it, and for messages that name what was refused.
    pub(crate) fn open(&self) -> Result<T, SignedError> {
        let body: T = codec::decode_exact(T::NAME, &self.body, T::BYTES_MAX)?;
        extension::check_form(body.extensions())?;
        body.check()?;
        extension::check_critical(body.extensions()).map_err(|source| SignedError::Critical {
            what: T::NAME,
            source,
        })?;
        Ok(body)
    }

    /// Wraps a body whose signatures the caller has just found good.
    pub(crate) fn into_verified(self, body: T) -> Verified<T> {
        Verified { body, signed: self }
    }

    /// Signatures first, then content: the shared first half of every `verify`.
    pub(crate) fn verify_with(
        self,
        entitled: &[PublicKey],
        threshold: usize,
    ) -> Result<Verified<T>, SignedError> {
        self.require(entitled, threshold)?;
        let body = self.open()?;
        Ok(self.into_verified(body))
    }
}

/// An object whose signatures were good when it was verified. Reads as its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    body: T,
    signed: Signed<T>,
}

impl<T: Body> Verified<T> {
    /// The object's name.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        self.signed.id()
    }

    /// The object as it was received, to be stored or handed on.
    #[must_use]
    pub fn signed(&self) -> &Signed<T> {
        &self.signed
    }

    /// The bytes as received.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.signed.to_bytes()
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.body
    }
}
/// The body in a signed object's bytes, without a copy and without a look at its signatures; `None` where none can be.
#[must_use]
pub fn body_of(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)
}
