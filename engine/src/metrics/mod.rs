//! Numbers for those who watch many daemons at once: OpenMetrics text over HTTP. SPEC §10.6.
//!
//! What is counted lies beside what does it (`MirrorCounters`, `MasterCounters`); what is so at the moment is
//! read from the daemon's status at each scrape. No label names a node, an address or a path: their number has no bound.

mod master;
mod mirror;
mod page;
mod server;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub(crate) use master::{MasterCounters, Refused, Sent};
pub(crate) use mirror::MirrorCounters;
pub use mirror::WebReport;
pub use server::{CONTENT_TYPE, serve};

/// Before every name.
const PREFIX: &str = "tidecast";

/// One label and its value.
type Label = [(&'static str, &'static str); 1];

/// A counter for each value of one label.
type Counters = Family<Label, Counter>;

/// Counters that are there, at 0, before the first is raised: a rate over something absent is an error to whoever
/// watches.
fn counters(label: &'static str, values: &[&'static str]) -> Counters {
    let family = Counters::default();
    for value in values {
        drop(family.get_or_create(&[(label, *value)]));
    }
    family
}

/// What a daemon measures, ready to be read.
#[derive(Clone)]
pub struct Metrics(Arc<Registry>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// With what both kinds of daemon say of themselves.
    fn new(fill: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What runs", version);
        fill(&mut registry);
        Self(Arc::new(registry))
    }

    /// All of it now, as OpenMetrics text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string has no way to fail, and our collectors add no errors of their own.
        let _ = text::encode(&mut text, &self.0);
        text
    }
}
