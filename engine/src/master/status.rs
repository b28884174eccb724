//! How a master is, as `status` and `node list` show it. SPEC §10.2.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tidecast_proto::head::SignedHead;
use tidecast_proto::id::{ObjectId, ReleaseNumber, Timestamp};
use tidecast_proto::key::PublicKey;

use super::sessions::Peer;
use super::staleness::{head_expires, stale_since};
use super::{Feed, HeadsStatus, Master, MasterError, Node, Nodes, newest_head};
use crate::metrics::MasterCounters;
use crate::store::Store;
use crate::warning::Warning;

/// A node as the operator sees it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
    /// What this master's operator calls it, else what its own does.
    pub name: String,
    /// How to reach its operator; as with the name.
    pub contact: String,
    /// What this master's operator wrote about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Most bytes a second that its answers may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bytes_per_s: Option<u64>,
    /// Connections it has, once it is let in.
    #[serde(default)]
    pub connections: usize,
    /// Most connections it may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<usize>,
    /// Host names under which clients reach it.
    pub hosts: Vec<String>,
    /// The release in its docroot by its last receipt, else by its Hello.
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
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
    /// Whether mirrors must take this feed for stale: its root or its newest head has expired.
    #[serde(default)]
    pub stale: bool,
    /// Since when, in Unix milliseconds.
    #[serde(default)]
    pub stale_since_ms: Option<u64>,
    /// What is well today and will not stay so; at most 100.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// The newest release, if there is one.
    pub newest: Option<ReleaseStatus>,
    /// How the head service is; zeros while no daemon runs.
    #[serde(default)]
    pub heads: HeadsStatus,
    /// Admitted, pending and revoked nodes, by key.
    pub nodes: Vec<ConnectedNode>,
}

impl Master {
    /// What it has done since it started.
    pub(crate) fn counters(&self) -> &MasterCounters {
        &self.counters
    }

    /// Handshakes under way.
    pub(crate) fn handshakes(&self) -> usize {
        self.sessions.handshakes()
    }

    /// How this master is.
    #[must_use]
    pub fn status(&self) -> MasterStatus {
        let view = self.view.load();
        let now = self.clock.now();
        let peers = self.sessions.snapshot();
        let since = stale_since(&self.newest_root(), head_expires(view.head.as_ref()), now);
        MasterStatus {
            role: "master".into(),
            feed: self.feed.config.feed.clone(),
            fingerprint: self.feed.id.to_string(),
            node_key: self.node_key.borrow().public().to_string(),
            root_version: view.root.version.0,
            root_expires_ms: view.root.expires.0,
            started_ms: self.started.0,
            stale: since.is_some(),
            stale_since_ms: since.map(|since| since.0),
            warnings: self.warnings(&peers, now),
            newest: view.head.as_ref().map(|head| ReleaseStatus {
                release: head.body.release.0,
                manifest: head.body.manifest.to_string(),
                head_issued_ms: head.body.issued.0,
                head_expires_ms: head.body.expires.0,
            }),
            heads: self.heads_status(&view.nodes),
            nodes: self.nodes(peers),
        }
    }

    fn nodes(&self, peers: Vec<Peer>) -> Vec<ConnectedNode> {
        let view = self.view.load();
        // A node may be connected twice for a moment, when it comes back before its old connection is given up.
        let peers: BTreeMap<PublicKey, Peer> = peers
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
        let connected = ConnectedNode {
            connected: peer.is_some(),
            address: peer.map(|peer| peer.address.to_string()),
            connected_since_ms: peer.map(|peer| peer.connected.0),
            name: hello.map(|h| h.name.clone()).unwrap_or_default(),
            contact: hello.map(|h| h.contact.clone()).unwrap_or_default(),
            hosts: hello.map(|h| h.hosts.clone()).unwrap_or_default(),
            connections: self.crowd.connections(key),
            release: receipt
                .as_ref()
                .map(|r| r.release.0)
                .or(hello.map(|h| h.release.0)),
            serving: receipt.as_ref().map(|r| r.state.word().into()),
            switched_ms: receipt.as_ref().map(|r| r.switched.0),
            receipt_ms: receipt.as_ref().map(|r| r.issued.0),
            ..ConnectedNode::listed(key, node)
        };
        connected.kept(node)
    }
}

impl ConnectedNode {
    /// What the list of nodes says of one; nobody has decided about it without `node`.
    fn listed(key: &PublicKey, node: Option<&Node>) -> Self {
        let settings = node.map(|node| &node.settings);
        Self {
            node_key: key.to_string(),
            state: match node {
                None => "pending",
                Some(node) if node.admitted => "admitted",
                Some(_) => "revoked",
            }
            .into(),
            note: settings.and_then(|settings| settings.note.clone()),
            rate_bytes_per_s: settings.and_then(|settings| settings.rate_bytes_per_s),
            connections_max: node.map(Node::connections_max),
            ..Self::default()
        }
    }

    /// Prefers what this master's operator wrote to what the node says, and that to what was kept.
    fn kept(mut self, node: Option<&Node>) -> Self {
        let Some(node) = node else {
            return self;
        };
        for (shown, set, kept) in [
            (&mut self.name, &node.settings.name, &node.name),
            (&mut self.contact, &node.settings.contact, &node.contact),
        ] {
            if let Some(set) = set {
                shown.clone_from(set);
            } else if shown.is_empty() {
                shown.clone_from(kept);
            }
        }
        if self.hosts.is_empty() {
            self.hosts.clone_from(&node.hosts);
        }
        self
    }

    /// The list as it lies on disk, with nobody connected.
    #[must_use]
    pub fn all_listed(nodes: &Nodes) -> Vec<Self> {
        let each = nodes.0.iter();
        each.map(|(key, node)| Self::listed(key, Some(node)).kept(Some(node)))
            .collect()
    }
}

/// How a master is by what lies on disk, for when no daemon runs; `now` is what time it is.
///
/// # Errors
/// [`MasterError`].
pub fn status_on_disk(state: &Path, now: Timestamp) -> Result<MasterStatus, MasterError> {
    let feed = Feed::load(state)?;
    let folder = feed.store_folder();
    let newest = if folder.exists() {
        Store::open(&folder)?.newest()
    } else {
        None
    };
    let newest = match newest {
        Some(newest) => Some(ReleaseStatus::on_disk(
            state,
            newest.release,
            newest.manifest,
        )?),
        None => None,
    };
    // A release that no daemon has announced yet has no head.
    let head = newest.as_ref().map(|newest| newest.head_expires_ms);
    let head = head.filter(|ms| *ms > 0).map(Timestamp);
    let since = stale_since(&feed.root, head, now);
    Ok(MasterStatus {
        role: "master".into(),
        heads: HeadsStatus::default(),
        feed: feed.config.feed.clone(),
        fingerprint: feed.id.to_string(),
        node_key: feed.node_key()?.public().to_string(),
        root_version: feed.root.version.0,
        root_expires_ms: feed.root.expires.0,
        stale: since.is_some(),
        stale_since_ms: since.map(|since| since.0),
        warnings: Warning::of_root(&feed.root, now).into_iter().collect(),
        newest,
        nodes: ConnectedNode::all_listed(&Nodes::load(state)?),
        ..MasterStatus::default()
    })
}

impl ReleaseStatus {
    /// With the head that was signed last, if it is this release's.
    fn on_disk(
        state: &Path,
        release: ReleaseNumber,
        manifest: ObjectId,
    ) -> Result<Self, MasterError> {
        let bytes = newest_head(state)?;
        let head = bytes
            .and_then(|bytes| SignedHead::from_bytes(&bytes).ok())
            .and_then(|signed| signed.claims())
            .filter(|head| head.manifest == manifest);
        Ok(Self {
            release: release.0,
            manifest: manifest.to_string(),
            head_issued_ms: head.as_ref().map_or(0, |head| head.issued.0),
            head_expires_ms: head.as_ref().map_or(0, |head| head.expires.0),
        })
    }
}
