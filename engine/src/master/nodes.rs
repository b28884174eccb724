//! Who may fetch: the list of nodes. SPEC §7.4.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tidecast_proto::id::Timestamp;
use tidecast_proto::key::PublicKey;
use tidecast_proto::session::Admission;

use super::settings::{CONNECTIONS, NodeSettings, SettingError, SettingsChange};
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
    /// A setting that cannot be: typed, or in the file.
    #[error("node {key}: {source}")]
    Setting {
        key: PublicKey,
        source: SettingError,
    },
    /// Nobody has decided about this node, so there is nothing to set.
    #[error("node {key} was never admitted")]
    NotListed { key: PublicKey },
}

/// A node the operator has decided about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What this master's operator lays down for it.
    #[serde(default, skip_serializing_if = "NodeSettings::is_default")]
    pub settings: NodeSettings,
}

impl Node {
    /// Most connections it may have at once.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        self.settings.connections.unwrap_or(CONNECTIONS)
    }
}

/// What an operator decides about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may fetch.
    Admit,
    /// It may not, whether it could before or not.
    Revoke,
}

/// What a node said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// What its operator calls it.
    pub name: String,
    /// How to reach its operator.
    pub contact: String,
    /// Host names under which clients reach it.
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
        Self::parse(&bytes, &path)
    }

    /// Reads the list that stands in `path`.
    ///
    /// # Errors
    /// [`NodesError`]; whoever wrote the file is at fault.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, NodesError> {
        let listed: BTreeMap<String, Node> =
            serde_json::from_slice(bytes).map_err(|source| NodesError::Malformed {
                path: path.to_owned(),
                source,
            })?;
        listed
            .into_iter()
            .map(|(key, node)| match key.parse() {
                Ok(key) => {
                    let judged = node.settings.check();
                    judged.map_err(|source| NodesError::Setting { key, source })?;
                    Ok((key, node))
                }
                Err(_) => Err(NodesError::BadKey {
                    path: path.to_owned(),
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

    /// Lets a node fetch, keeping what it said about itself; without `details`, what was kept before.
    pub fn admit(&mut self, key: PublicKey, details: Option<Details>, now: Timestamp) -> &Node {
        self.stand(key, true, details, now)
    }

    /// Stops a node and keeps what was known of it. A key that was never admitted can be revoked, too: it then
    /// cannot even wait.
    pub fn revoke(&mut self, key: PublicKey, details: Option<Details>, now: Timestamp) -> &Node {
        // What it says now is of less worth than what was kept when somebody made sure who it is.
        let details = details.filter(|_| !self.0.contains_key(&key));
        self.stand(key, false, details, now)
    }

    fn stand(
        &mut self,
        key: PublicKey,
        admitted: bool,
        details: Option<Details>,
        now: Timestamp,
    ) -> &Node {
        let node = self.0.entry(key).or_default();
        node.admitted = admitted;
        node.since_ms = now.0;
        if let Some(details) = details {
            node.name = details.name;
            node.contact = details.contact;
            node.hosts = details.hosts;
        }
        node
    }

    /// Reads the list, changes it and writes it, so that nobody who decides at the same time is undone. A running
    /// master acts on it at its next [`reload`](super::Master::reload).
    ///
    /// # Errors
    /// [`NodesError`]; the list on disk is the old one or the new one.
    pub fn decide(
        state: &Path,
        key: PublicKey,
        decision: Decision,
        details: Option<Details>,
        now: Timestamp,
    ) -> Result<Node, NodesError> {
        let change = SettingsChange::default();
        Self::decide_and_set(state, key, decision, details, &change, now)
    }

    /// As [`Self::decide`], and sets what is to be different for this node in the same write.
    ///
    /// # Errors
    /// [`NodesError`]; the list on disk is the old one or the new one.
    pub fn decide_and_set(
        state: &Path,
        key: PublicKey,
        decision: Decision,
        details: Option<Details>,
        change: &SettingsChange,
        now: Timestamp,
    ) -> Result<Node, NodesError> {
        let _lock = lock(state)?;
        let mut nodes = Self::load(state)?;
        match decision {
            Decision::Admit => nodes.admit(key, details, now),
            Decision::Revoke => nodes.revoke(key, details, now),
        };
        let node = nodes.change(key, change)?;
        nodes.store(state)?;
        Ok(node)
    }

    /// Sets what is to be different for a node that somebody has decided about.
    ///
    /// # Errors
    /// [`NodesError`]; the list on disk is the old one or the new one.
    pub fn set(state: &Path, key: PublicKey, change: &SettingsChange) -> Result<Node, NodesError> {
        let _lock = lock(state)?;
        let mut nodes = Self::load(state)?;
        let node = nodes.change(key, change)?;
        nodes.store(state)?;
        Ok(node)
    }

    fn change(&mut self, key: PublicKey, change: &SettingsChange) -> Result<Node, NodesError> {
        let node = self.0.get_mut(&key).ok_or(NodesError::NotListed { key })?;
        let changed = node.settings.change(change);
        changed.map_err(|source| NodesError::Setting { key, source })?;
        Ok(node.clone())
    }
}

/// Lets `new` fetch with the details and settings of `old`, but for `change`, and `old` no longer, in one write: at no
/// moment may both, or neither.
///
/// # Errors
/// [`NodesError`]; the list on disk is the old one or the new one.
pub fn replace(
    state: &Path,
    old: PublicKey,
    new: PublicKey,
    change: &SettingsChange,
    now: Timestamp,
) -> Result<Node, NodesError> {
    let _lock = lock(state)?;
    let mut nodes = Nodes::load(state)?;
    let kept = nodes.0.get(&old).cloned().unwrap_or_default();
    nodes.revoke(old, None, now);
    let node = Node {
        admitted: true,
        since_ms: now.0,
        ..kept
    };
    nodes.0.insert(new, node);
    let node = nodes.change(new, change)?;
    nodes.store(state)?;
    Ok(node)
}

/// Held by every process that changes the list or the roots; over when dropped. The folder is locked, since the list itself is
/// replaced whole.
pub(super) fn lock(state: &Path) -> Result<File, FileError> {
    let folder = File::open(state).map_err(FileError::at("open", state))?;
    flock(&folder, FlockOperation::LockExclusive).map_err(FileError::at("lock", state))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::key::SecretKey;

    #[test]
    fn a_decision_survives_on_disk_and_can_be_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let key = SecretKey::from_seed(&[1; 32]).public();
        let decide = |decision, name: Option<&str>, now| {
            let details = name.map(|name| Details {
                name: name.into(),
                ..Details::default()
            });
            Nodes::decide(folder.path(), key, decision, details, Timestamp(now)).unwrap()
        };
        let admission = || Nodes::load(folder.path()).unwrap().admission(&key);
        assert_eq!(admission(), Admission::Unknown);
        decide(Decision::Admit, Some("m"), 1);
        assert_eq!(admission(), Admission::Admitted);
        let revoked = decide(Decision::Revoke, Some("what it says now"), 2);
        assert_eq!(admission(), Admission::Revoked);
        assert_eq!((revoked.name.as_str(), revoked.since_ms), ("m", 2));
        assert_eq!(decide(Decision::Admit, None, 3).name, "m");
        assert_eq!(admission(), Admission::Admitted);
    }

    #[test]
    fn a_key_that_nobody_has_seen_can_be_revoked() {
        let mut nodes = Nodes::default();
        let key = SecretKey::from_seed(&[1; 32]).public();
        nodes.revoke(key, None, Timestamp(1));
        assert_eq!(nodes.admission(&key), Admission::Revoked);
    }

    #[test]
    fn a_node_that_is_replaced_hands_its_details_on() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = [1, 2].map(|seed| SecretKey::from_seed(&[seed; 32]).public());
        let details = Details {
            name: "m".into(),
            ..Details::default()
        };
        let admit = Decision::Admit;
        Nodes::decide(folder.path(), old, admit, Some(details), Timestamp(1)).unwrap();
        let node = replace(
            folder.path(),
            old,
            new,
            &SettingsChange::default(),
            Timestamp(2),
        )
        .unwrap();
        assert_eq!((node.name.as_str(), node.since_ms), ("m", 2));
        let nodes = Nodes::load(folder.path()).unwrap();
        assert_eq!(nodes.admission(&old), Admission::Revoked);
        assert_eq!(nodes.admission(&new), Admission::Admitted);
    }

    #[test]
    fn a_list_edited_into_nonsense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let load = |text: &str| {
            std::fs::write(folder.path().join("nodes.json"), text).unwrap();
            Nodes::load(folder.path())
        };
        assert!(load("{\"zz\": {}}").is_err());
        let key = SecretKey::from_seed(&[1; 32]).public();
        let with = |rate: u64| {
            let settings = format!("{{\"rate_bytes_per_s\": {rate}}}");
            load(&format!(
                "{{\"{key}\": {{\"admitted\": true, \"since_ms\": 1, \"settings\": {settings}}}}}"
            ))
        };
        assert!(with(100_000).is_ok());
        assert!(matches!(with(1), Err(NodesError::Setting { .. })));
    }

    #[test]
    fn what_is_set_for_a_node_stays_whatever_is_decided_about_it() {
        let folder = tempfile::tempdir().unwrap();
        let key = SecretKey::from_seed(&[1; 32]).public();
        let change = SettingsChange {
            name: Some(Some("m7".into())),
            ..SettingsChange::default()
        };
        let unknown = Nodes::set(folder.path(), key, &change);
        assert!(matches!(unknown, Err(NodesError::NotListed { .. })));
        assert!(!folder.path().join("nodes.json").exists());
        let admit = |change| {
            let (admit, now) = (Decision::Admit, Timestamp(1));
            Nodes::decide_and_set(folder.path(), key, admit, None, change, now)
        };
        let wrong = SettingsChange {
            connections: Some(Some(0)),
            ..change.clone()
        };
        assert!(matches!(admit(&wrong), Err(NodesError::Setting { .. })));
        assert!(!folder.path().join("nodes.json").exists());
        admit(&change).unwrap();
        Nodes::decide(folder.path(), key, Decision::Revoke, None, Timestamp(2)).unwrap();
        let note = SettingsChange {
            note: Some(Some("lost".into())),
            ..SettingsChange::default()
        };
        Nodes::set(folder.path(), key, &note).unwrap();
        let node = Nodes::load(folder.path()).unwrap().0[&key].clone();
        assert!(!node.admitted);
        assert_eq!(node.settings.name.as_deref(), Some("m7"));
        assert_eq!(node.settings.note.as_deref(), Some("lost"));
    }
}
