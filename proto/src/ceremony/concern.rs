//! What a person should think of before signing a root that is legal.

use alloc::{string::String, vec::Vec};
use core::fmt;

use super::KeyRole;
use crate::id::Timestamp;
use crate::key::PublicKey;
use crate::root::RootBody;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// A root's usual life is 400 days; one that is over within this is most likely a slip.
const SHORT_LIFE_DAYS: u64 = 90;

/// Longer than this, nobody remembers how the last one was made.
const LONG_LIFE_DAYS: u64 = 800;

/// Something legal that is seldom meant. Its text is one sentence.
#[expect(missing_docs, reason = "each text names its fields")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {
    /// One thief is enough.
    OneIsEnough { role: KeyRole, keys: usize },
    /// One lost key is enough.
    AllAreNeeded { role: KeyRole, keys: usize },
    /// The old set cannot sign without keys that go.
    LeaversMustSign { needed: usize, staying: usize },
    /// A stolen head key's heads are still believed by those who have seen them.
    EpochKept { removed: usize },
    /// Its life ends before that of the root it replaces.
    ExpiresEarlier,
    /// Its life is very short, or over.
    ShortLife { days: u64 },
    /// Its life is very long.
    LongLife { days: u64 },
    /// Nobody can serve this feed.
    NoMaster,
    /// Mirrors that only know its old address do not find it.
    NoAddress { name: String },
    /// A key that does two jobs is lost for both.
    TwoRoles {
        key: PublicKey,
        first: KeyRole,
        second: KeyRole,
    },
    /// What is published now cannot be fetched until it is signed again.
    ReleaseKeysReplaced,
}

/// What to think of before signing `new`, which follows `old`, at `now`.
#[must_use]
pub fn concerns(old: Option<&RootBody>, new: &RootBody, now: Timestamp) -> Vec<Concern> {
    let mut concerns = Vec::new();
    for (role, keys, threshold) in [
        (KeyRole::Root, new.root_keys.len(), new.root_threshold),
        (
            KeyRole::Release,
            new.release_keys.len(),
            new.release_threshold,
        ),
    ] {
        if keys > 1 && threshold == 1 {
            concerns.push(Concern::OneIsEnough { role, keys });
        } else if keys == usize::from(threshold) {
            concerns.push(Concern::AllAreNeeded { role, keys });
        }
    }
    if let Some(old) = old {
        since(&mut concerns, old, new);
    }
    let days = new.expires.0.saturating_sub(now.0) / DAY_MS;
    if days < SHORT_LIFE_DAYS {
        concerns.push(Concern::ShortLife { days });
    } else if days > LONG_LIFE_DAYS {
        concerns.push(Concern::LongLife { days });
    }
    if new.masters.is_empty() {
        concerns.push(Concern::NoMaster);
    }
    let unreachable = new.masters.iter().filter(|m| m.addresses.is_empty());
    concerns.extend(unreachable.map(|master| Concern::NoAddress {
        name: master.name.clone(),
    }));
    two_roles(&mut concerns, new);
    concerns
}

fn since(concerns: &mut Vec<Concern>, old: &RootBody, new: &RootBody) {
    let count = |had: &[PublicKey], has: &[PublicKey]| -> usize {
        had.iter().filter(|key| has.contains(key)).count()
    };
    let staying = count(&old.root_keys, &new.root_keys);
    if staying < usize::from(old.root_threshold) {
        concerns.push(Concern::LeaversMustSign {
            needed: old.root_threshold.into(),
            staying,
        });
    }
    let removed = old.head_keys.len() - count(&old.head_keys, &new.head_keys);
    if removed > 0 && old.epoch == new.epoch {
        concerns.push(Concern::EpochKept { removed });
    }
    if count(&old.release_keys, &new.release_keys) < usize::from(new.release_threshold) {
        concerns.push(Concern::ReleaseKeysReplaced);
    }
    if new.expires < old.expires {
        concerns.push(Concern::ExpiresEarlier);
    }
}

fn two_roles(concerns: &mut Vec<Concern>, new: &RootBody) {
    let mut keys: Vec<(PublicKey, KeyRole)> = Vec::new();
    for (role, of_role) in [
        (KeyRole::Root, &new.root_keys),
        (KeyRole::Release, &new.release_keys),
        (KeyRole::Head, &new.head_keys),
    ] {
        keys.extend(of_role.iter().map(|key| (*key, role)));
    }
    keys.extend(new.masters.iter().map(|m| (m.node_key, KeyRole::Node)));
    keys.sort_unstable();
    let shared = keys.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    concerns.extend(shared.map(|pair| Concern::TwoRoles {
        key: pair[0].0,
        first: pair[0].1,
        second: pair[1].1,
    }));
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneIsEnough { role, keys } => write!(
                f,
                "any single one of {keys} {role} keys is enough: one thief speaks for all"
            ),
            Self::AllAreNeeded {
                role: KeyRole::Root,
                keys: 1,
            } => f.write_str(
                "there is one root key: if it is lost this feed ends, and every mirror must join another",
            ),
            Self::AllAreNeeded {
                role: KeyRole::Root,
                keys,
            } => write!(
                f,
                "all {keys} root keys must sign: if one is lost this feed ends, and every mirror must join another"
            ),
            Self::AllAreNeeded { role, keys: 1 } => write!(
                f,
                "there is one {role} key: if it is lost nothing can be published until a new root names another"
            ),
            Self::AllAreNeeded { role, keys } => write!(
                f,
                "all {keys} {role} keys must sign: if one is lost nothing can be published until a new root names another"
            ),
            Self::LeaversMustSign { needed, staying } => write!(
                f,
                "{needed} keys of the old root must sign and only {staying} of them stay: keys that go must sign this once more"
            ),
            Self::EpochKept { removed } => write!(
                f,
                "{removed} head key(s) go and the epoch stays: right only if they were in good hands to the end"
            ),
            Self::ExpiresEarlier => f.write_str("it expires earlier than the root it replaces"),
            Self::ShortLife { days } => {
                write!(f, "it expires in {days} days: mirrors then take nothing new")
            }
            Self::LongLife { days } => write!(
                f,
                "it lives {days} days: a habit that comes round so seldom is forgotten"
            ),
            Self::NoMaster => f.write_str("it names no master: no mirror can fetch from anybody"),
            Self::NoAddress { name } => write!(
                f,
                "master {name:?} has no address: mirrors find it only where their operators wrote one down"
            ),
            Self::TwoRoles { key, first, second } => write!(
                f,
                "{key} is a {first} key and a {second} key: lost or stolen once, it is so twice"
            ),
            Self::ReleaseKeysReplaced => f.write_str(
                "what is published now has too few signatures of the release keys that stay: publish again as soon as this root is installed",
            ),
        }
    }
}
