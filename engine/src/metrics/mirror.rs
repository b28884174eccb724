//! A mirror's numbers.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tidecast_proto::road::Road;

use super::page::Page;
use super::{Counters, Metrics, counters};
use crate::http::{HttpReport, KindSnapshot};
use crate::mirror::{Mirror, SyncReport};

/// Upper ends of the buckets of a switch's duration, in seconds: a pushed bundle takes a tenth, the first release of a
/// large feed over a thin line an hour.
const SWITCH_SECONDS: [f64; 9] = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0, 600.0, 3600.0];

/// Whose fault a failed sync may be. SPEC §10.3.
const WHOSE: [&str; 7] = [
    "network", "operator", "feed", "upstream", "clock", "disk", "tidecast",
];

/// What becomes of damaged files.
const DAMAGED: [&str; 2] = ["found", "healed"];

/// The states of a connection. SPEC §10.3.
const STATES: [&str; 4] = ["connecting", "pending", "connected", "down"];

/// What a mirror has done since it started.
#[derive(Debug)]
pub(crate) struct MirrorCounters {
    switches: Counter,
    switch_seconds: Histogram,
    bytes: Counters,
    files: Counters,
    failures: Counters,
    damaged: Counters,
    scrubbed: Counter,
    hook_runs: Counters,
    clamd_reloads: Counters,
}

impl Default for MirrorCounters {
    fn default() -> Self {
        Self {
            switches: Counter::default(),
            switch_seconds: Histogram::new(SWITCH_SECONDS),
            bytes: counters("from", &["fetched", "reused", "linked"]),
            files: counters("road", &Road::ALL.map(Road::code)),
            failures: counters("whose", &WHOSE),
            damaged: counters("state", &DAMAGED),
            scrubbed: Counter::default(),
            hook_runs: counters("outcome", &["ok", "failed"]),
            clamd_reloads: counters("outcome", &["ok", "failed"]),
        }
    }
}

impl MirrorCounters {
    /// A sync ended well.
    pub(crate) fn synced(&self, report: &SyncReport) {
        for (from, bytes) in [
            ("fetched", report.fetched_bytes),
            ("reused", report.reused_bytes),
            ("linked", report.linked_bytes),
        ] {
            self.bytes.get_or_create(&[("from", from)]).inc_by(bytes);
        }
        for total in &report.roads {
            if let Some(road) = Road::ALL.into_iter().find(|r| r.code() == total.road) {
                let files = self.files.get_or_create(&[("road", road.code())]);
                files.inc_by(total.files);
            }
        }
        if report.switched {
            self.switches.inc();
            self.switch_seconds.observe(report.seconds);
        }
    }

    /// An attempt failed.
    pub(crate) fn failed(&self, whose: &'static str) {
        self.failures.get_or_create(&[("whose", whose)]).inc();
    }

    /// So many damaged files were `found` or `healed`.
    pub(crate) fn damaged_files(&self, state: &'static str, files: u64) {
        self.damaged
            .get_or_create(&[("state", state)])
            .inc_by(files);
    }

    /// The scrub has read so much.
    pub(crate) fn scrubbed(&self, bytes: u64) {
        self.scrubbed.inc_by(bytes);
    }

    /// A hook (or else a clamd) was told of a switch.
    pub(crate) fn told(&self, whom: &str, ok: bool) {
        let of = match whom {
            "hook" => &self.hook_runs,
            _ => &self.clamd_reloads,
        };
        let outcome = if ok { "ok" } else { "failed" };
        of.get_or_create(&[("outcome", outcome)]).inc();
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "switches",
            "Releases this docroot was switched to",
            self.switches.clone(),
        );
        registry.register(
            "switch_duration_seconds",
            "From judging a head to the switched docroot",
            self.switch_seconds.clone(),
        );
        registry.register(
            "release_bytes",
            "Bytes of releases by where they came from",
            self.bytes.clone(),
        );
        registry.register(
            "release_files",
            "Files of releases by the road they came along",
            self.files.clone(),
        );
        registry.register(
            "sync_failures",
            "Failed attempts by whose fault they were",
            self.failures.clone(),
        );
        registry.register(
            "damaged_files",
            "Served files found to hold other bytes than were signed, and those that are right again",
            self.damaged.clone(),
        );
        registry.register(
            "scrubbed_bytes",
            "Bytes the scrub has read",
            self.scrubbed.clone(),
        );
        registry.register(
            "hook_runs",
            "Runs of the hook after a switch",
            self.hook_runs.clone(),
        );
        registry.register(
            "clamd_reloads",
            "Times clamd was asked to load a release",
            self.clamd_reloads.clone(),
        );
    }
}

/// Asks the mirror's own web server, if there is one, how it does. Must not block.
pub type WebReport = Arc<dyn Fn() -> HttpReport + Send + Sync>;

struct Now {
    mirror: Arc<Mirror>,
    web: Option<WebReport>,
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Now").finish_non_exhaustive()
    }
}

impl Metrics {
    /// A mirror's, with its web server's if it has one.
    #[must_use]
    pub fn of_mirror(mirror: Arc<Mirror>, web: Option<WebReport>) -> Self {
        Self::new(|registry| {
            mirror.counters().register(registry);
            registry.register_collector(Box::new(Now { mirror, web }));
        })
    }
}

impl Collector for Now {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let status = self.mirror.status();
        page.gauge(
            "release",
            "The release that is served, 0 for none",
            status.release,
        )?;
        page.moment(
            "release_switched_timestamp_seconds",
            "Since when it is",
            status.switched_ms,
        )?;
        page.moment(
            "head_issued_timestamp_seconds",
            "When the newest head was issued",
            status.head_issued_ms,
        )?;
        page.moment(
            "head_expires_timestamp_seconds",
            "When the newest head expires",
            status.head_expires_ms,
        )?;
        page.gauge("root_version", "The newest root", status.root_version)?;
        page.moment(
            "root_expires_timestamp_seconds",
            "When the newest root expires",
            status.root_expires_ms,
        )?;
        page.gauge(
            "stale",
            "1 while nobody vouches for what is served",
            u64::from(status.stale),
        )?;
        page.gauge(
            "held",
            "1 while the operator has said to stay on this release",
            u64::from(status.hold.is_some()),
        )?;
        page.gauge(
            "head_release",
            "The release that the newest head names, 0 for none",
            status.head_release,
        )?;
        page.moment(
            "last_success_timestamp_seconds",
            "When a sync last ended well",
            status.last_success_ms,
        )?;
        page.moment(
            "scrub_last_pass_timestamp_seconds",
            "When the scrub had last read every file",
            status.scrub.last_pass_ms,
        )?;
        page.gauge(
            "equivocating_keys",
            "Head keys caught signing two heads under one number",
            status.equivocators.len() as u64,
        )?;
        page.gauge(
            "contested_releases",
            "Head keys that named another manifest for the installed release",
            status.contested.len() as u64,
        )?;
        let state = status.connection.state.as_str();
        page.gauges(
            "connection_state",
            "1 for the state the connection to an upstream is in",
            "state",
            &STATES.map(|word| (word, u64::from(word == state))),
        )?;
        let (received, sent) = self.mirror.traffic();
        page.counter(
            "received_bytes",
            "UDP payload received from upstreams",
            received,
        )?;
        page.counter("sent_bytes", "UDP payload sent to upstreams", sent)?;
        self.encode_web(&mut page)
    }
}

impl Now {
    fn encode_web(&self, page: &mut Page<'_>) -> fmt::Result {
        let report = self.web.as_ref().map(|web| web());
        let kinds = report.map(|report| {
            let served = report.served;
            [
                ("database", served.database),
                ("cdiff", served.cdiff),
                ("other", served.other),
            ]
        });
        let kinds = || kinds.into_iter().flatten();
        let answers = kinds().flat_map(|(kind, of)| {
            statuses(&of).map(|(status, count)| ([("kind", kind), ("status", status)], count))
        });
        page.counters(
            "http_requests",
            "Requests to the built-in web server by kind of file and status",
            answers,
        )?;
        page.counters(
            "http_body_bytes",
            "Bytes of bodies really sent to clients",
            kinds().map(|(kind, of)| ([("kind", kind)], of.body_bytes)),
        )?;
        page.counters(
            "http_cut_short",
            "Answers of which not every byte was taken",
            kinds().map(|(kind, of)| ([("kind", kind)], of.cut_short)),
        )?;
        let connections = report.into_iter().flat_map(|report| {
            let served = report.served;
            [
                ("served", served.connections),
                ("refused", served.connections_refused),
                ("dropped", served.connections_dropped),
            ]
        });
        page.counters(
            "http_connections",
            "Connections of clients: served, refused with 503, dropped",
            connections.map(|(outcome, count)| ([("outcome", outcome)], count)),
        )?;
        page.counter(
            "http_mirror_checks",
            "Requests of ClamAV-MirrorCheck, counted nowhere else",
            report.map(|report| report.served.mirror_checks),
        )?;
        page.counter(
            "http_files_unserved",
            "Times a file of the release could not be served as signed",
            report.map(|report| report.served.files_unserved),
        )?;
        page.counter(
            "access_log_lines_dropped",
            "Lines the access log lost",
            report.map(|report| report.lines_dropped),
        )
    }
}

fn statuses(of: &KindSnapshot) -> [(&'static str, u64); 5] {
    [
        ("200", of.whole),
        ("206", of.partial),
        ("304", of.not_modified),
        ("4xx", of.client_errors),
        ("5xx", of.server_errors),
    ]
}
