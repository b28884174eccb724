//! What differs between two roots, in words.

use alloc::{string::String, vec::Vec};
use core::fmt;

use super::KeyRole;
use crate::id::{Epoch, FeedName, ObjectId, ReleaseNumber, Timestamp};
use crate::key::PublicKey;
use crate::root::{Master, RootBody};

/// One difference. Its text is one line.
#[expect(missing_docs, reason = "each text names its fields")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootChange {
    /// A key that may sign from now on.
    KeyAdded { role: KeyRole, key: PublicKey },
    /// A key that may no longer.
    KeyRemoved { role: KeyRole, key: PublicKey },
    /// How many of a role must sign.
    Threshold {
        what: &'static str,
        from: u16,
        to: u16,
    },
    /// A new master.
    MasterAdded(Master),
    /// A master that is none any more.
    MasterRemoved(Master),
    /// A master shows another key.
    MasterKey {
        name: String,
        from: PublicKey,
        to: PublicKey,
    },
    /// A master is reached elsewhere.
    MasterAddresses {
        name: String,
        from: Vec<String>,
        to: Vec<String>,
    },
    /// Mirrors forget the heads they have seen.
    Epoch { from: Epoch, to: Epoch },
    /// When this root's life ends.
    Expires { from: Timestamp, to: Timestamp },
    /// How long a head may live, in milliseconds.
    HeadLife { from_ms: u64, to_ms: u64 },
    /// The lowest release that is accepted.
    ReleaseMin {
        from: ReleaseNumber,
        to: ReleaseNumber,
    },
    /// A manifest that must not be installed any more.
    Revoked(ObjectId),
    /// A manifest that may be installed again.
    Unrevoked(ObjectId),
    /// Another feed: no mirror follows.
    Feed { from: FeedName, to: FeedName },
    /// Content is cut another way: no mirror follows.
    Chunking,
    /// Fields that this version does not know.
    Extensions,
}

/// Every difference from `old` to `new` but the version: keys, thresholds, masters, the rest.
#[must_use]
pub fn changes_between(old: &RootBody, new: &RootBody) -> Vec<RootChange> {
    let mut changes = Vec::new();
    if old.feed != new.feed {
        changes.push(RootChange::Feed {
            from: old.feed.clone(),
            to: new.feed.clone(),
        });
    }
    for (role, had, has) in [
        (KeyRole::Root, &old.root_keys, &new.root_keys),
        (KeyRole::Release, &old.release_keys, &new.release_keys),
        (KeyRole::Head, &old.head_keys, &new.head_keys),
    ] {
        let removed = had.iter().filter(|key| !has.contains(key));
        changes.extend(removed.map(|key| RootChange::KeyRemoved { role, key: *key }));
        let added = has.iter().filter(|key| !had.contains(key));
        changes.extend(added.map(|key| RootChange::KeyAdded { role, key: *key }));
    }
    for (what, from, to) in [
        ("root", old.root_threshold, new.root_threshold),
        ("release", old.release_threshold, new.release_threshold),
        ("addition", old.added_threshold, new.added_threshold),
    ] {
        if from != to {
            changes.push(RootChange::Threshold { what, from, to });
        }
    }
    masters(&mut changes, &old.masters, &new.masters);
    if old.epoch != new.epoch {
        changes.push(RootChange::Epoch {
            from: old.epoch,
            to: new.epoch,
        });
    }
    if old.head_ttl_max_ms != new.head_ttl_max_ms {
        changes.push(RootChange::HeadLife {
            from_ms: old.head_ttl_max_ms,
            to_ms: new.head_ttl_max_ms,
        });
    }
    if old.release_min != new.release_min {
        changes.push(RootChange::ReleaseMin {
            from: old.release_min,
            to: new.release_min,
        });
    }
    let (had, has) = (&old.revoked_manifests, &new.revoked_manifests);
    let revoked = has.iter().filter(|id| !had.contains(id));
    changes.extend(revoked.map(|id| RootChange::Revoked(*id)));
    let unrevoked = had.iter().filter(|id| !has.contains(id));
    changes.extend(unrevoked.map(|id| RootChange::Unrevoked(*id)));
    if old.chunking != new.chunking {
        changes.push(RootChange::Chunking);
    }
    if old.extensions != new.extensions {
        changes.push(RootChange::Extensions);
    }
    if old.expires != new.expires {
        changes.push(RootChange::Expires {
            from: old.expires,
            to: new.expires,
        });
    }
    changes
}

/// Masters are told apart by their names, which is what people know them by.
fn masters(changes: &mut Vec<RootChange>, old: &[Master], new: &[Master]) {
    let named = |masters: &'_ [Master], name: &str| -> Option<Master> {
        masters.iter().find(|master| master.name == name).cloned()
    };
    for had in old {
        let Some(has) = named(new, &had.name) else {
            changes.push(RootChange::MasterRemoved(had.clone()));
            continue;
        };
        if had.node_key != has.node_key {
            changes.push(RootChange::MasterKey {
                name: had.name.clone(),
                from: had.node_key,
                to: has.node_key,
            });
        }
        if had.addresses != has.addresses {
            changes.push(RootChange::MasterAddresses {
                name: had.name.clone(),
                from: had.addresses.clone(),
                to: has.addresses,
            });
        }
    }
    let added = new.iter().filter(|has| named(old, &has.name).is_none());
    changes.extend(added.cloned().map(RootChange::MasterAdded));
}

/// Addresses as one word.
fn at(addresses: &[String]) -> String {
    if addresses.is_empty() {
        return "no address".into();
    }
    addresses.join(" ")
}

impl fmt::Display for RootChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyAdded { role, key } => write!(f, "+ {role} key {key}"),
            Self::KeyRemoved { role, key } => write!(f, "- {role} key {key}"),
            Self::Threshold { what, from, to } => {
                write!(f, "~ {what} signatures needed: {from} -> {to}")
            }
            Self::MasterAdded(master) => {
                let at = at(&master.addresses);
                write!(f, "+ master {:?} {} at {at}", master.name, master.node_key)
            }
            Self::MasterRemoved(master) => {
                let at = at(&master.addresses);
                write!(f, "- master {:?} {} at {at}", master.name, master.node_key)
            }
            Self::MasterKey { name, from, to } => {
                write!(f, "~ master {name:?} node key: {from} -> {to}")
            }
            Self::MasterAddresses { name, from, to } => {
                write!(f, "~ master {name:?} addresses: {} -> {}", at(from), at(to))
            }
            Self::Epoch { from, to } => write!(
                f,
                "~ epoch: {from} -> {to} (mirrors forget the heads they have seen)"
            ),
            Self::Expires { from, to } => {
                let days = to.0.abs_diff(from.0) / (24 * 3600 * 1000);
                let way = if to >= from { "later" } else { "EARLIER" };
                write!(f, "~ expires: {days} days {way} than before")
            }
            Self::HeadLife { from_ms, to_ms } => {
                let (from_s, to_s) = (from_ms / 1000, to_ms / 1000);
                write!(f, "~ longest life of a head: {from_s} s -> {to_s} s")
            }
            Self::ReleaseMin { from, to } => write!(f, "~ lowest release accepted: {from} -> {to}"),
            Self::Revoked(id) => write!(f, "+ revoked manifest {id}"),
            Self::Unrevoked(id) => write!(f, "- revoked manifest {id} (may be installed AGAIN)"),
            Self::Feed { from, to } => write!(f, "~ feed: {from} -> {to} (no mirror follows)"),
            Self::Chunking => f.write_str("~ chunking (no mirror follows)"),
            Self::Extensions => f.write_str("~ fields that this version of tidecast does not know"),
        }
    }
}
