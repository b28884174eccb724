//! The next root out of the present one.

use alloc::{string::String, vec::Vec};

use super::KeyRole;
use crate::codec::CodecError;
use crate::id::{Epoch, ObjectId, ReleaseNumber, RootVersion, Timestamp};
use crate::key::PublicKey;
use crate::root::{Master, RootBody};
use crate::signed::Body as _;

/// Changes to the keys of one role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChanges {
    /// Keys to add.
    pub add: Vec<PublicKey>,
    /// Keys to take away.
    pub remove: Vec<PublicKey>,
    /// How many must sign from then on; as before without.
    pub threshold: Option<u16>,
}

/// A change to one master, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterChange {
    /// A new one, or another in the place of the one of this name.
    Set(Master),
    /// Another node key.
    Key(String, PublicKey),
    /// Other addresses.
    Addresses(String, Vec<String>),
    /// It is no master any more.
    Remove(String),
}

/// What becomes of the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EpochChange {
    /// Raised exactly when a head key is taken away: mirrors then forget all that was signed with it.
    #[default]
    WithHeadKeys,
    /// Stays, although a head key goes: it was in good hands to the end.
    Keep,
    /// Raised: every master signs its heads anew, and mirrors forget the numbers of the old ones.
    Raise,
}

/// What the next root changes; what is not named stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootChanges {
    /// Who signs roots.
    pub root: KeyChanges,
    /// Who signs releases.
    pub release: KeyChanges,
    /// Who signs heads; one signature is enough, so a threshold here means nothing.
    pub head: KeyChanges,
    /// How many release keys must sign an addition; as before without, but never more than must sign a release.
    pub added_threshold: Option<u16>,
    /// Masters, one change after the other.
    pub masters: Vec<MasterChange>,
    /// The epoch.
    pub epoch: EpochChange,
    /// Longest life of a head, in milliseconds.
    pub head_ttl_max_ms: Option<u64>,
    /// Manifests that must not be installed any more.
    pub revoke: Vec<ObjectId>,
    /// Releases below this one are refused from then on.
    pub release_min: Option<ReleaseNumber>,
}

/// Why there is no next root. Whoever asked for it is at fault.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DraftError {
    /// Added twice, or by mistake.
    #[error("{key} is a {role} key already")]
    KeyIsThere { role: KeyRole, key: PublicKey },
    /// Taken away twice, or mistyped.
    #[error("{key} is no {role} key of this root")]
    NoSuchKey { role: KeyRole, key: PublicKey },
    /// Mistyped.
    #[error("this root names no master {name:?}")]
    NoSuchMaster { name: String },
    /// Two masters may share neither name nor key.
    #[error("two masters would have the node key {key}")]
    SharedKey { key: PublicKey },
    /// Mirrors would refuse it.
    #[error("releases below {had} are refused already; {got} would allow them again")]
    FloorGoesBack {
        had: ReleaseNumber,
        got: ReleaseNumber,
    },
    /// Breaks a rule that every root keeps.
    #[error("no such root can be: {0}")]
    Rule(#[from] CodecError),
}

impl RootBody {
    /// The root after this one: one version up, with `changes`, expiring at `expires`.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn next(&self, changes: &RootChanges, expires: Timestamp) -> Result<Self, DraftError> {
        let mut next = self.clone();
        next.version = RootVersion(self.version.0.saturating_add(1));
        next.expires = expires;
        change_keys(KeyRole::Root, &mut next.root_keys, &changes.root)?;
        change_keys(KeyRole::Release, &mut next.release_keys, &changes.release)?;
        change_keys(KeyRole::Head, &mut next.head_keys, &changes.head)?;
        let threshold = |changes: &KeyChanges, had| changes.threshold.unwrap_or(had);
        next.root_threshold = threshold(&changes.root, self.root_threshold);
        next.release_threshold = threshold(&changes.release, self.release_threshold);
        next.added_threshold = changes
            .added_threshold
            .unwrap_or_else(|| self.added_threshold.min(next.release_threshold));
        for change in &changes.masters {
            change_master(&mut next.masters, change)?;
        }
        next.masters.sort_by_key(|master| master.node_key);
        let raise = match changes.epoch {
            EpochChange::WithHeadKeys => !changes.head.remove.is_empty(),
            EpochChange::Keep => false,
            EpochChange::Raise => true,
        };
        if raise {
            next.epoch = Epoch(self.epoch.0.saturating_add(1));
        }
        if let Some(head_ttl_max_ms) = changes.head_ttl_max_ms {
            next.head_ttl_max_ms = head_ttl_max_ms;
        }
        next.revoked_manifests.extend(&changes.revoke);
        next.revoked_manifests.sort_unstable();
        next.revoked_manifests.dedup();
        if let Some(floor) = changes.release_min {
            if floor < self.release_min {
                return Err(DraftError::FloorGoesBack {
                    had: self.release_min,
                    got: floor,
                });
            }
            next.release_min = floor;
        }
        next.check()?;
        Ok(next)
    }
}

fn change_keys(
    role: KeyRole,
    keys: &mut Vec<PublicKey>,
    changes: &KeyChanges,
) -> Result<(), DraftError> {
    for key in &changes.remove {
        match keys.binary_search(key) {
            Ok(at) => keys.remove(at),
            Err(_) => return Err(DraftError::NoSuchKey { role, key: *key }),
        };
    }
    for key in &changes.add {
        match keys.binary_search(key) {
            Ok(_) => return Err(DraftError::KeyIsThere { role, key: *key }),
            Err(at) => keys.insert(at, *key),
        }
    }
    Ok(())
}

fn change_master(masters: &mut Vec<Master>, change: &MasterChange) -> Result<(), DraftError> {
    let find = |masters: &mut Vec<Master>, name: &str| {
        let found = masters.iter().position(|master| master.name == name);
        found.ok_or_else(|| DraftError::NoSuchMaster { name: name.into() })
    };
    match change {
        MasterChange::Set(master) => {
            masters.retain(|other| other.name != master.name);
            masters.push(master.clone());
        }
        MasterChange::Key(name, key) => {
            let at = find(masters, name)?;
            masters[at].node_key = *key;
        }
        MasterChange::Addresses(name, addresses) => {
            let at = find(masters, name)?;
            masters[at].addresses.clone_from(addresses);
        }
        MasterChange::Remove(name) => {
            let at = find(masters, name)?;
            masters.remove(at);
        }
    }
    let mut keys: Vec<PublicKey> = masters.iter().map(|master| master.node_key).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(DraftError::SharedKey { key: pair[0] }),
        None => Ok(()),
    }
}
