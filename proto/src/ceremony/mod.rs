//! Making a root: what the next one changes, who has signed it, and what to think of before signing. SPEC §3.2, §7.3.
//!
//! Nothing here is needed to judge a root; [`crate::root`] does that. This is for the people who make one.

mod concern;
mod diff;
mod draft;
mod quorum;

use core::fmt;

use crate::key::PublicKey;
use crate::root::RootBody;

pub use concern::{Concern, concerns};
pub use diff::{RootChange, changes_between};
pub use draft::{DraftError, EpochChange, KeyChanges, MasterChange, RootChanges};
pub use quorum::{Quorum, Signatures};

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyRole {
    /// Signs roots.
    Root,
    /// Signs releases.
    Release,
    /// Signs heads.
    Head,
    /// Shown in TLS.
    Node,
}

impl KeyRole {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Root, Self::Release, Self::Head, Self::Node];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Release => "release",
            Self::Head => "head",
            Self::Node => "node",
        }
    }
}

impl RootBody {
    /// Whether this root names `key` in a role.
    #[must_use]
    pub fn names(&self, role: KeyRole, key: &PublicKey) -> bool {
        match role {
            KeyRole::Root => self.root_keys.contains(key),
            KeyRole::Release => self.release_keys.contains(key),
            KeyRole::Head => self.head_keys.contains(key),
            KeyRole::Node => self.masters.iter().any(|master| master.node_key == *key),
        }
    }
}

impl fmt::Display for KeyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
