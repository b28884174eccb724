//! How a mirror is, as `status` and the web server show it, and what a sync came to. SPEC §10.3.

use serde::{Deserialize, Serialize};

/// What one sync came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SyncReport {
    /// The release before, 0 for none.
    pub from: u64,
    /// The release now.
    pub to: u64,
    /// UDP payload received, in bytes, from dialling to the end (where a connection was up, of this sync only, and of the
    /// bundle that was sent unasked with the release's announcement, whose frames are counted without what carried them).
    pub received_bytes: u64,
    /// UDP payload sent, in bytes.
    pub sent_bytes: u64,
    /// Bytes of changed files that were found on this machine.
    pub reused_bytes: u64,
    /// Bytes of changed files that were fetched, opened.
    pub fetched_bytes: u64,
    /// Bytes of files linked as they were.
    pub linked_bytes: u64,
    /// Files added or changed.
    pub files_changed: u64,
    /// Files that went.
    pub files_removed: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Whether the docroot was switched.
    pub switched: bool,
    /// Why it was done that way: `current`, `no_release`, `fresh`, `update`, `repair`, `prepared`.
    pub reason: String,
    /// What went along each road, cheapest first; roads nothing went along are left out.
    #[serde(default)]
    pub roads: Vec<RoadTotal>,
    /// Files added, changed or repaired, in path order; at most 1,000.
    #[serde(default)]
    pub files: Vec<FileRoad>,
    /// Bytes of the bundle that were read, 0 for none.
    #[serde(default)]
    pub bundle_bytes: u64,
    /// What the operator should know: foreign files moved away and the like.
    pub warnings: Vec<String>,
}

/// Files that a report tells one by one.
pub(super) const FILES_TOLD: usize = 1000;

/// What went along one road.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoadTotal {
    /// [`Road::code`](tidecast_proto::road::Road::code).
    pub road: String,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was received for them: bytes of bundle and runs, or of opened chunks.
    pub received_bytes: u64,
}

/// How one file came, or would come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRoad {
    /// Its path.
    pub path: String,
    /// [`Road::code`](tidecast_proto::road::Road::code).
    pub road: String,
    /// [`RoadReason::code`](tidecast_proto::road::RoadReason::code).
    pub reason: String,
    /// Its bytes.
    pub bytes: u64,
    /// As in [`RoadTotal::received_bytes`].
    pub received_bytes: u64,
}

/// What a sync would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SyncPlan {
    /// The release in the docroot, 0 for none.
    pub from: u64,
    /// The release offered.
    pub to: u64,
    /// The release's notes.
    pub notes: String,
    /// Files that would be added: path and bytes.
    pub added: Vec<(String, u64)>,
    /// Files that would change: path and bytes.
    pub changed: Vec<(String, u64)>,
    /// Files that would go: path and bytes.
    pub removed: Vec<(String, u64)>,
    /// Files that would be linked.
    pub unchanged: u64,
    /// Bytes that would be fetched: the bundle, runs, and chunks, opened.
    pub fetch_bytes: u64,
    /// Bytes of changed files beyond those: they are on this machine, or compressed away.
    pub reuse_bytes: u64,
    /// Length of the bundle that would bring it, if the upstream has one.
    #[serde(default)]
    pub bundle_bytes: Option<u64>,
    /// The road of each file that would be built, in path order; at most 1,000. What comes with a bundle is counted in
    /// [`Self::bundle_bytes`] only.
    #[serde(default)]
    pub files: Vec<FileRoad>,
    /// Most bytes the disk needs on top of what is there.
    pub disk_bytes: u64,
    /// Why: as in [`SyncReport::reason`].
    pub reason: String,
}

/// How far a sync is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The release being fetched; 0 when nothing is.
    pub release: u64,
    /// Bytes of chunks fetched so far, opened.
    pub fetched_bytes: u64,
    /// Bytes to fetch in all.
    pub fetch_bytes: u64,
}

/// The connection to an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// The upstream as configured.
    pub upstream: String,
    /// `connecting`, `pending`, `connected` or `down`.
    pub state: String,
    /// The upstream's public key, once known.
    pub upstream_key: Option<String>,
    /// UDP payload received on this connection, in bytes.
    pub received_bytes: u64,
    /// UDP payload sent on this connection, in bytes.
    pub sent_bytes: u64,
}

/// How a mirror is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MirrorStatus {
    /// Always `mirror`.
    pub role: String,
    /// The feed's name, once its root is known.
    pub feed: Option<String>,
    /// The feed's fingerprint.
    pub fingerprint: String,
    /// This mirror's public key.
    pub node_key: String,
    /// The docroot.
    pub docroot: String,
    /// The release that is served, 0 for none.
    pub release: u64,
    /// Since when, in Unix milliseconds.
    pub switched_ms: Option<u64>,
    /// Whether what is served is no longer vouched for.
    pub stale: bool,
    /// When the newest head expires, in Unix milliseconds.
    pub head_expires_ms: Option<u64>,
    /// When the root expires, in Unix milliseconds.
    pub root_expires_ms: Option<u64>,
    /// Whom it asks.
    pub connection: ConnectionStatus,
    /// How far a running sync is.
    pub progress: Progress,
    /// The last sync that ended well.
    pub last_sync: Option<SyncReport>,
    /// The last thing that went wrong, until something goes right: what, and whose fault it is
    /// (`upstream`, `disk`, `feed`, `network`, `operator`).
    pub last_error: Option<Fault>,
    /// Keys caught signing two heads under one number.
    pub equivocators: Vec<String>,
    /// Keys that named another manifest for the release that was installed.
    #[serde(default)]
    pub contested: Vec<String>,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Who is at fault.
    pub whose: String,
    /// What happened.
    pub what: String,
    /// What to do.
    pub advice: String,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
}
