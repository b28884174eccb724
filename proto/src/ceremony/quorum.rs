//! Who has signed a root, and how many are still needed.

use alloc::vec::Vec;

use crate::key::PublicKey;
use crate::root::{RootBody, SignedRoot};
use crate::signed::SignedError;

/// Signatures of one set of root keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// How many there must be.
    pub needed: usize,
    /// Keys whose signature is good.
    pub signed: Vec<PublicKey>,
    /// Keys that could still sign.
    pub open: Vec<PublicKey>,
}

impl Quorum {
    /// How many more there must be.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.needed.saturating_sub(self.signed.len())
    }
}

/// Who has signed a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures {
    /// Of the keys of the root before; `None` for the first, and where that root is not known.
    pub old: Option<Quorum>,
    /// Of its own keys.
    pub own: Quorum,
    /// Keys that are named beside a signature that counts for neither.
    pub idle: Vec<PublicKey>,
}

impl Signatures {
    /// Whether mirrors would take it, as far as signatures go.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.own.missing() == 0 && self.old.as_ref().is_none_or(|old| old.missing() == 0)
    }
}

impl SignedRoot {
    /// What it says, **before** anybody has looked who signed it: for the people who are about to sign.
    ///
    /// # Errors
    /// [`SignedError`]: not a root, or one of a later version.
    pub fn draft(&self) -> Result<RootBody, SignedError> {
        self.open()
    }

    /// Who has signed it, beside `previous` if that is known.
    ///
    /// # Errors
    /// [`SignedError`] when it is no root.
    pub fn signatures(&self, previous: Option<&RootBody>) -> Result<Signatures, SignedError> {
        let body = self.open()?;
        let quorum = |keys: &[PublicKey], threshold: u16| {
            let signed = self.good_signers(keys);
            let open = keys.iter().filter(|key| !signed.contains(key));
            Quorum {
                needed: threshold.into(),
                open: open.copied().collect(),
                signed,
            }
        };
        let old = previous.map(|old| quorum(&old.root_keys, old.root_threshold));
        let own = quorum(&body.root_keys, body.root_threshold);
        let counts = |key: &PublicKey| {
            own.signed.contains(key) || old.as_ref().is_some_and(|old| old.signed.contains(key))
        };
        Ok(Signatures {
            idle: self.signers().filter(|key| !counts(key)).collect(),
            old,
            own,
        })
    }
}
