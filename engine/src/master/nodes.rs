//! Who may fetch: the list of nodes. SPEC §7.4.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidecast_proto::id::Timestamp;
use tidecast_proto::key::PublicKey;
use tidecast_proto::session::Admission;

use crate::durable::{self, Access, FileError};

/// Longest list that is read, in bytes: some 50,000 nodes.
const NODES_BYTES: usize = 32 * 1024 * 1024;

/// Why the list cannot be used. It stays as it is.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodesError {
    /// The disk or its permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// Edited by hand, or damaged.
    #[error("{}: {source}", path.display())]
    Malformed {
        path: PathBuf,
        source: serde_json::Error,
    },
    /// A key that is no key.
    #[error("{}: node {key:?} is not an ed25519 public key in 64 hex digits", path.display())]
    BadKey { path: PathBuf, key: String },
}

/// A node the operator has decided about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Whether it may fetch; otherwise it was revoked.
    pub admitted: bool,
    /// When that was decided, in Unix milliseconds.
    pub since_ms: u64,
    /// What its operator calls it.
    #[serde(default)]
    pub name: String,
    /// How to reach its operator.
    #[serde(default)]
    pub contact: String,
    /// Host names under which clients reach it.
    #[serde(default)]
    pub hosts: Vec<String>,
}

/// The list, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes(pub BTreeMap<PublicKey, Node>);

impl Nodes {
    fn path(state: &Path) -> PathBuf {
        state.join("nodes.json")
    }

    /// Reads the list; there is none at first.
    ///
    /// # Errors
    /// [`NodesError`].
    pub fn load(state: &Path) -> Result<Self, NodesError> {
        let path = Self::path(state);
        let Some(bytes) = durable::read_optional(&path, NODES_BYTES)? else {
            return Ok(Self::default());
        };
        let listed: BTreeMap<String, Node> =
            serde_json::from_slice(&bytes).map_err(|source| NodesError::Malformed {
                path: path.clone(),
                source,
            })?;
        listed
            .into_iter()
            .map(|(key, node)| match key.parse() {
                Ok(parsed) => Ok((parsed, node)),
                Err(_) => Err(NodesError::BadKey {
                    path: path.clone(),
                    key,
                }),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Writes the list.
    ///
    /// # Errors
    /// [`NodesError`]; the list on disk is the old one or the new one.
    pub fn store(&self, state: &Path) -> Result<(), NodesError> {
        let path = Self::path(state);
        let listed: BTreeMap<String, &Node> = self
            .0
            .iter()
            .map(|(key, node)| (key.to_string(), node))
            .collect();
        let mut bytes =
            serde_json::to_vec_pretty(&listed).map_err(|source| NodesError::Malformed {
                path: path.clone(),
                source,
            })?;
        bytes.push(b'\n');
        Ok(durable::write(&path, &bytes, Access::OwnerOnly)?)
    }

    /// Where a node stands.
    #[must_use]
    pub fn admission(&self, key: &PublicKey) -> Admission {
        match self.0.get(key) {
            Some(node) if node.admitted => Admission::Admitted,
            Some(_) => Admission::Revoked,
            None => Admission::Unknown,
        }
    }

    /// Lets a node fetch, keeping what it said about itself.
    pub fn admit(&mut self, key: PublicKey, details: Node) {
        self.0.insert(key, details);
    }

    /// Stops a node. Returns whether it was known.
    pub fn revoke(&mut self, key: &PublicKey, now: Timestamp) -> bool {
        let Some(node) = self.0.get_mut(key) else {
            return false;
        };
        node.admitted = false;
        node.since_ms = now.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::key::SecretKey;

    #[test]
    fn a_decision_survives_on_disk_and_can_be_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let key = SecretKey::from_seed(&[1; 32]).public();
        let mut nodes = Nodes::load(folder.path()).unwrap();
        assert_eq!(nodes.admission(&key), Admission::Unknown);
        assert!(!nodes.revoke(&key, Timestamp(1)));
        nodes.admit(
            key,
            Node {
                admitted: true,
                since_ms: 1,
                name: "m".into(),
                contact: String::new(),
                hosts: Vec::new(),
            },
        );
        nodes.store(folder.path()).unwrap();
        let mut nodes = Nodes::load(folder.path()).unwrap();
        assert_eq!(nodes.admission(&key), Admission::Admitted);
        assert!(nodes.revoke(&key, Timestamp(2)));
        assert_eq!(nodes.admission(&key), Admission::Revoked);
    }

    #[test]
    fn a_list_edited_into_nonsense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("nodes.json"), "{\"zz\": {}}").unwrap();
        assert!(Nodes::load(folder.path()).is_err());
    }
}
