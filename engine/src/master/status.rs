//! How a master is, as `status` and `node list` show it. SPEC §10.2.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidecast_proto::key::PublicKey;

use super::sessions::Peer;
use super::{HeadsStatus, Master, Node};

/// A node as the operator sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectedNode {
    /// Its public key, 64 hex digits.
    pub node_key: String,
    /// `admitted`, `pending` or `revoked`.
    pub state: String,
    /// Whether it is connected now.
    pub connected: bool,
    /// Where from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Since when it is connected, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_since_ms: Option<u64>,
    /// What its operator calls it.
    pub name: String,
    /// How to reach its operator.
    pub contact: String,
    /// Host names under which clients reach it.
    pub hosts: Vec<String>,
    /// The release in its docroot by its last receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// `live`, `stale` or `held`, by the same receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<String>,
    /// When it switched to that release, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switched_ms: Option<u64>,
    /// When that receipt was signed, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt_ms: Option<u64>,
}

/// The newest release and its head.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReleaseStatus {
    /// Its number.
    pub release: u64,
    /// Its manifest, 64 hex digits.
    pub manifest: String,
    /// When the head was signed, in Unix milliseconds.
    pub head_issued_ms: u64,
    /// When the head stops being believed, in Unix milliseconds.
    pub head_expires_ms: u64,
}

/// How a master is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MasterStatus {
    /// Always `master`.
    pub role: String,
    /// The feed's name.
    pub feed: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// This master's public key.
    pub node_key: String,
    /// The newest root's number.
    pub root_version: u64,
    /// When that root expires, in Unix milliseconds.
    pub root_expires_ms: u64,
    /// Since when the daemon runs, in Unix milliseconds.
    pub started_ms: u64,
    /// The newest release, if there is one.
    pub newest: Option<ReleaseStatus>,
    /// How the head service is; zeros while no daemon runs.
    #[serde(default)]
    pub heads: HeadsStatus,
    /// Admitted, pending and revoked nodes, by key.
    pub nodes: Vec<ConnectedNode>,
}

impl Master {
    /// How this master is.
    #[must_use]
    pub fn status(&self) -> MasterStatus {
        let view = self.view.load();
        MasterStatus {
            role: "master".into(),
            feed: self.feed.config.feed.clone(),
            fingerprint: self.feed.id.to_string(),
            node_key: self.node_key.borrow().public().to_string(),
            root_version: view.root.version.0,
            root_expires_ms: view.root.expires.0,
            started_ms: self.started.0,
            newest: view.head.as_ref().map(|head| ReleaseStatus {
                release: head.body.release.0,
                manifest: head.body.manifest.to_string(),
                head_issued_ms: head.body.issued.0,
                head_expires_ms: head.body.expires.0,
            }),
            heads: self.heads_status(&view.nodes),
            nodes: self.nodes(),
        }
    }

    fn nodes(&self) -> Vec<ConnectedNode> {
        let view = self.view.load();
        // A node may be connected twice for a moment, when it comes back before its old connection is given up.
        let peers: BTreeMap<PublicKey, Peer> = self
            .sessions
            .snapshot()
            .into_iter()
            .filter(|peer| peer.hello.is_some())
            .map(|peer| (peer.node, peer))
            .collect();
        let listed = view
            .nodes
            .0
            .iter()
            .map(|(key, node)| self.node(key, Some(node), peers.get(key)));
        let pending = peers
            .iter()
            .filter(|(key, _)| !view.nodes.0.contains_key(key))
            .map(|(key, peer)| self.node(key, None, Some(peer)));
        listed.chain(pending).collect()
    }

    fn node(&self, key: &PublicKey, node: Option<&Node>, peer: Option<&Peer>) -> ConnectedNode {
        let hello = peer.and_then(|peer| peer.hello.as_ref());
        let receipt = self.sessions.receipt(key);
        let said = |said: Option<&String>, kept: Option<&String>| {
            said.filter(|text| !text.is_empty())
                .or(kept)
                .cloned()
                .unwrap_or_default()
        };
        ConnectedNode {
            node_key: key.to_string(),
            state: match node {
                None => "pending",
                Some(node) if node.admitted => "admitted",
                Some(_) => "revoked",
            }
            .into(),
            connected: peer.is_some(),
            address: peer.map(|peer| peer.address.to_string()),
            connected_since_ms: peer.map(|peer| peer.connected.0),
            name: said(hello.map(|h| &h.name), node.map(|n| &n.name)),
            contact: said(hello.map(|h| &h.contact), node.map(|n| &n.contact)),
            hosts: hello
                .map(|h| h.hosts.clone())
                .or_else(|| node.map(|n| n.hosts.clone()))
                .unwrap_or_default(),
            release: receipt
                .as_ref()
                .map(|r| r.release.0)
                .or(hello.map(|h| h.release.0)),
            serving: receipt.as_ref().map(|r| r.state.word().into()),
            switched_ms: receipt.as_ref().map(|r| r.switched.0),
            receipt_ms: receipt.as_ref().map(|r| r.issued.0),
        }
    }
}
