//! Whether mirrors must take this feed for stale, and what its operator is warned of. SPEC §3.7, §10.2.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::PoisonError;

use tidecast_proto::id::Timestamp;
use tidecast_proto::key::PublicKey;
use tidecast_proto::root::{Root, RootBody};

use super::sessions::{Peer, Standing};
use super::{IssuedHead, Master};
use crate::warning::{Reminder, Warning};

/// Warnings that a status lists.
const WARNINGS_MAX: usize = 100;

/// What the log was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    stale: bool,
    reminder: Reminder,
}

/// Since when mirrors must take the feed for stale: its root has expired, or its newest head has. `None` while they
/// need not.
pub(super) fn stale_since(
    root: &RootBody,
    head: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let ends = head.map_or(root.expires, |head| head.min(root.expires));
    (ends <= now).then_some(ends)
}

/// When a head expires.
pub(super) fn head_expires(head: Option<&IssuedHead>) -> Option<Timestamp> {
    head.map(|head| head.body.expires)
}

impl Master {
    /// Tells the log when the feed became stale, when it no longer is, and of a root that expires.
    pub(super) fn look_at_clock(&self) {
        let now = self.clock.now();
        let root = self.newest_root();
        let since = stale_since(&root, head_expires(self.view.load().head.as_ref()), now);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.stale != since.is_some() {
            told.stale = since.is_some();
            if told.stale {
                tracing::error!(
                    "stale: the root or the newest head has expired; mirrors serve what they have and take nothing new"
                );
            } else {
                tracing::info!("a fresh head is out: no longer stale");
            }
        }
        if let Some(warning) = Warning::of_root(&root, now)
            && told.reminder.is_due(&warning, now)
        {
            warning.log();
        }
    }

    /// What is well at `now` and will not stay so; `peers` are connected.
    pub(super) fn warnings(&self, peers: &[Peer], now: Timestamp) -> Vec<Warning> {
        let root = Warning::of_root(&self.newest_root(), now);
        root.into_iter()
            .chain(self.shared_keys(peers, now))
            .take(WARNINGS_MAX)
            .collect()
    }

    /// Admitted nodes that look as if their key were used in more than one place.
    fn shared_keys(&self, peers: &[Peer], now: Timestamp) -> Vec<Warning> {
        let view = self.view.load();
        let mut places: BTreeMap<PublicKey, BTreeSet<IpAddr>> = BTreeMap::new();
        for peer in peers {
            if peer.standing == Standing::Admitted {
                let address = peer.address.ip().to_canonical();
                places.entry(peer.node).or_default().insert(address);
            }
        }
        let admitted = view.nodes.0.iter().filter(|(_, node)| node.admitted);
        admitted
            .filter_map(|(key, node)| {
                let places = places.get(key).map_or(0, BTreeSet::len);
                let (level, what) = if self.crowd.crowded(key, now).is_some() {
                    let most = node.connections_max();
                    ("warning", format!("had more connections than {most} within a day, and the oldest were closed"))
                } else if places > 1 {
                    ("notice", format!("is connected from {places} addresses at once"))
                } else {
                    return None;
                };
                Some(Warning {
                    about: "key_shared".into(),
                    level: level.into(),
                    what: format!("node {key} {what}: is its key used in more than one place?"),
                    days: None,
                })
            })
            .collect()
    }

    /// The root that heads are signed under.
    pub(super) fn newest_root(&self) -> Root {
        self.view.load().root.clone()
    }
}
