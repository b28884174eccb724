//! Releases that several sigmakers sign: proposed, looked at, signed on machines of their own, put together. SPEC §7.8.
//!
//! A proposal is a signed object like any other manifest, only with too few signatures yet. Its name is the hash of its body,
//! so nobody can change what others have signed, and signatures that were made on copies belong to the same thing.

mod accept;
mod compare;
mod error;
mod folder;
mod make;
mod withdraw;

use std::path::Path;

use tidecast_proto::id::{FeedId, ObjectId, Timestamp};
use tidecast_proto::key::{PublicKey, SecretKey};
use tidecast_proto::limits;
use tidecast_proto::manifest::{ManifestBody, ManifestError, SignedManifest};
use tidecast_proto::root::Root;

pub use accept::{Accepted, accept};
pub use compare::{Difference, DifferenceKind, compare};
pub use error::ProposalError;
pub use folder::{Folder, Open};
pub use make::{ProposeRequest, Proposed, What, propose};
pub use withdraw::{DatabaseBack, Withdrawal, withdrawal};

use crate::durable::{self, Access};

/// Digits of its id that a proposal's file is named by: enough that two never meet by chance.
const NAME_DIGITS: usize = 16;

/// A manifest that is to be signed: what it says is shown to people, and nothing acts on it yet.
#[derive(Debug, Clone)]
pub struct Proposal {
    signed: SignedManifest,
    body: ManifestBody,
}

/// Who has signed a proposal so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Release keys whose signatures hold, ascending.
    pub signers: Vec<PublicKey>,
    /// How many it takes.
    pub needed: usize,
    /// Keys beside signatures that do not count: no release keys, or not of this text.
    pub ignored: Vec<PublicKey>,
}

impl Tally {
    /// Whether it can become a release.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.signers.len() >= self.needed
    }
}

impl Proposal {
    /// One that nobody has signed.
    pub(crate) fn new(body: ManifestBody) -> Result<Self, ProposalError> {
        let signed = SignedManifest::sign(&body, &[])?;
        Ok(Self { signed, body })
    }

    /// Reads the file at `path`. If its name is one that [`Self::file_name`] gives, it must be this proposal's.
    ///
    /// # Errors
    /// [`ProposalError`]; whoever sent the file is at fault.
    pub fn read(path: &Path) -> Result<Self, ProposalError> {
        let bytes = durable::read_optional(path, limits::MANIFEST_BYTES)?;
        let bytes = bytes.ok_or_else(|| ProposalError::NotThere {
            what: path.display().to_string(),
        })?;
        let malformed = |source| ProposalError::Malformed {
            path: path.to_owned(),
            source,
        };
        let signed = SignedManifest::from_bytes(&bytes).map_err(|e| malformed(e.into()))?;
        let body = signed.claims().map_err(malformed)?;
        let proposal = Self { signed, body };
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|name| folder::is_name(name))
            && name != proposal.file_name()
        {
            return Err(ProposalError::Tampered {
                path: path.to_owned(),
                is: proposal.file_name(),
            });
        }
        Ok(proposal)
    }

    /// Puts it under `path`, whole.
    ///
    /// # Errors
    /// [`ProposalError::File`].
    pub fn write(&self, path: &Path) -> Result<(), ProposalError> {
        Ok(durable::write(
            path,
            &self.signed.to_bytes(),
            Access::Everyone,
        )?)
    }

    /// Changes the copy in the file at `path`, and becomes that copy: signatures that came there since it was read stay.
    /// One that is gone, because it has become a release, does not come back.
    ///
    /// # Errors
    /// [`ProposalError::NotThere`], [`ProposalError::OtherProposal`], what `change` finds, or of the disk; the file is as
    /// it was.
    pub fn amend<T>(
        &mut self,
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, ProposalError>,
    ) -> Result<T, ProposalError> {
        let _turn = folder::turn(path)?;
        let mut there = Self::read(path)?;
        if there.id() != self.id() {
            return Err(ProposalError::OtherProposal {
                got: there.id(),
                expected: self.id(),
            });
        }
        let changed = change(&mut there)?;
        there.write(path)?;
        *self = there;
        Ok(changed)
    }

    /// The hash of what is signed: what sigmakers compare.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        self.signed.id()
    }

    /// What it says.
    #[must_use]
    pub fn body(&self) -> &ManifestBody {
        &self.body
    }

    /// `<release>-<first digits of the id>.manifest`.
    #[must_use]
    pub fn file_name(&self) -> String {
        let id = self.id().to_string();
        let digits = id.get(..NAME_DIGITS).unwrap_or(&id);
        format!("{}-{digits}{}", self.body.release, folder::SUFFIX)
    }

    /// Who has signed it.
    #[must_use]
    pub fn tally(&self, root: &Root) -> Tally {
        let signers = self.signed.signed_by(root);
        let ignored = self.signed.signers();
        let needed = match self.body.anchor {
            Some(_) => root.added_threshold,
            None => root.release_threshold,
        };
        Tally {
            ignored: ignored.filter(|key| !signers.contains(key)).collect(),
            signers,
            needed: needed.into(),
        }
    }

    /// Whether anything may be signed for `feed` under `root`, and this may be.
    ///
    /// # Errors
    /// [`ProposalError`].
    pub fn check(&self, root: &Root, feed: &FeedId, now: Timestamp) -> Result<(), ProposalError> {
        if self.body.feed != *feed {
            return Err(ProposalError::WrongFeed {
                got: self.body.feed,
                expected: *feed,
            });
        }
        if root.expired(now) {
            return Err(ProposalError::RootExpired);
        }
        if self.body.epoch_min > root.epoch {
            return Err(ManifestError::Epoch {
                needed: self.body.epoch_min,
                have: root.epoch,
            }
            .into());
        }
        if root.revoked_manifests.binary_search(&self.id()).is_ok() {
            return Err(ManifestError::Revoked(self.id()).into());
        }
        if self.body.release < root.release_min {
            return Err(ManifestError::BelowFloor {
                got: self.body.release,
                floor: root.release_min,
            }
            .into());
        }
        Ok(())
    }

    /// Adds the signature of `key`.
    ///
    /// # Errors
    /// [`ProposalError::NotAReleaseKey`] or [`ProposalError::SignedAlready`]; nothing was added.
    pub fn sign(&mut self, key: &SecretKey, root: &Root) -> Result<(), ProposalError> {
        let public = key.public();
        if root.release_keys.binary_search(&public).is_err() {
            return Err(ProposalError::NotAReleaseKey(public));
        }
        if self.signed.signed_by(root).contains(&public) {
            return Err(ProposalError::SignedAlready(public));
        }
        self.signed.add_signature(key);
        Ok(())
    }

    /// Takes over the good signatures of another copy, and lets go of those that do not count. Returns how many are new.
    ///
    /// # Errors
    /// [`ProposalError::OtherProposal`].
    pub fn merge(&mut self, copy: &Self, root: &Root) -> Result<usize, ProposalError> {
        if copy.id() != self.id() {
            return Err(ProposalError::OtherProposal {
                got: copy.id(),
                expected: self.id(),
            });
        }
        let before = self.signed.signed_by(root).len();
        self.signed = self
            .signed
            .with_good_signatures(&root.release_keys, &[&copy.signed]);
        Ok(self.signed.signers().count() - before)
    }
}
