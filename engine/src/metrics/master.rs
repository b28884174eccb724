//! A master's numbers.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::page::Page;
use super::{Counters, Metrics, counters};
use crate::master::{ConnectedNode, Master, MasterStatus};

/// What was sent to a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// A manifest, list or recipe.
    Object,
    /// Chunks.
    Chunks,
    /// A bundle it asked for.
    Bundle,
    /// Runs.
    Runs,
    /// An announcement, with its bundle if one followed.
    Announcement,
}

impl Sent {
    const ALL: [Self; 5] = [
        Self::Object,
        Self::Chunks,
        Self::Bundle,
        Self::Runs,
        Self::Announcement,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Chunks => "chunks",
            Self::Bundle => "bundle",
            Self::Runs => "runs",
            Self::Announcement => "announcement",
        }
    }
}

/// Why a connection was not served, or not any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too many handshakes are under way.
    Handshakes,
    /// Too many nodes wait to be admitted.
    Strangers,
    /// Its node has more connections than it may.
    Crowded,
}

impl Refused {
    const ALL: [Self; 3] = [Self::Handshakes, Self::Strangers, Self::Crowded];

    fn word(self) -> &'static str {
        match self {
            Self::Handshakes => "handshakes",
            Self::Strangers => "strangers",
            Self::Crowded => "crowded",
        }
    }
}

/// What a master has done since it started.
#[derive(Debug)]
pub(crate) struct MasterCounters {
    pub(crate) retries: Counter,
    refused: Counters,
    sent: Counters,
}

impl Default for MasterCounters {
    fn default() -> Self {
        Self {
            retries: Counter::default(),
            refused: counters("why", &Refused::ALL.map(Refused::word)),
            sent: counters("kind", &Sent::ALL.map(Sent::word)),
        }
    }
}

impl MasterCounters {
    /// A connection was turned away.
    pub(crate) fn refused(&self, why: Refused) {
        self.refused.get_or_create(&[("why", why.word())]).inc();
    }

    /// Counts bytes of one kind.
    pub(crate) fn sent(&self, kind: Sent) -> Counter {
        self.sent.get_or_create_owned(&[("kind", kind.word())])
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "handshake_retries",
            "Connections whose address was asked to prove itself first",
            self.retries.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections that were not served, or not any longer",
            self.refused.clone(),
        );
        registry.register(
            "sent_bytes",
            "Bytes of frames sent to mirrors",
            self.sent.clone(),
        );
    }
}

#[derive(Debug)]
struct Now(Arc<Master>);

impl Metrics {
    /// A master's.
    #[must_use]
    pub fn of_master(master: Arc<Master>) -> Self {
        Self::new(|registry| {
            master.counters().register(registry);
            registry.register_collector(Box::new(Now(master)));
        })
    }
}

impl Collector for Now {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let status = self.0.status();
        let newest = status.newest.as_ref();
        page.gauge(
            "release",
            "The newest release, 0 for none",
            newest.map_or(0, |newest| newest.release),
        )?;
        page.moment(
            "head_issued_timestamp_seconds",
            "When the newest head was issued",
            newest.map(|newest| newest.head_issued_ms),
        )?;
        page.moment(
            "head_expires_timestamp_seconds",
            "When the newest head expires",
            newest.map(|newest| newest.head_expires_ms),
        )?;
        page.gauge("root_version", "The newest root", status.root_version)?;
        page.moment(
            "root_expires_timestamp_seconds",
            "When the newest root expires",
            Some(status.root_expires_ms),
        )?;
        page.gauge(
            "stale",
            "1 while mirrors must take this feed for stale",
            u64::from(status.stale),
        )?;
        let state = |word| count(&status, |node| node.state == word);
        page.gauges(
            "nodes",
            "Nodes by what was decided about them",
            "state",
            &["admitted", "pending", "revoked"].map(|word| (word, state(word))),
        )?;
        page.gauge(
            "connected_nodes",
            "Admitted nodes that are connected",
            count(&status, |node| node.connected && node.state == "admitted"),
        )?;
        let newest = newest.map_or(0, |newest| newest.release);
        let serving = |word| {
            let of =
                |node: &ConnectedNode| node.state == "admitted" && serving(node, newest) == word;
            (word, count(&status, of))
        };
        page.gauges(
            "mirrors",
            "Admitted nodes by what their last receipt says they serve",
            "serving",
            &["newest", "behind", "held", "stale", "unknown"].map(serving),
        )?;
        page.gauge(
            "shared_keys",
            "Admitted nodes whose key seems to be used in more than one place",
            status
                .warnings
                .iter()
                .filter(|w| w.about == "key_shared")
                .count() as u64,
        )?;
        let alarms = |word: &'static str| {
            let of = status.heads.alarms.iter();
            (word, of.filter(|alarm| alarm.kind == word).count() as u64)
        };
        page.gauges(
            "alarms",
            "What somebody must look at",
            "kind",
            &["heads", "restored", "contested", "numbers"].map(alarms),
        )?;
        page.gauge(
            "handshakes",
            "Handshakes under way",
            self.0.handshakes() as u64,
        )
    }
}

fn count(status: &MasterStatus, wanted: impl Fn(&ConnectedNode) -> bool) -> u64 {
    status.nodes.iter().filter(|node| wanted(node)).count() as u64
}

/// What a node serves by its last receipt, where `newest` is the newest release.
fn serving(node: &ConnectedNode, newest: u64) -> &'static str {
    match (node.serving.as_deref(), node.release) {
        (None, _) => "unknown",
        (Some("stale"), _) => "stale",
        (_, Some(release)) if release == newest => "newest",
        (Some("held"), _) => "held",
        _ => "behind",
    }
}
