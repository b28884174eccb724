//! How a mirror is, as `status` and the web server show it, and what a sync came to. SPEC §10.3.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tidecast_proto::id::Timestamp;
use tidecast_proto::trust::Trust;

use super::after::{self, AfterStatus};
use super::care::MendedStatus;
use super::hold::{Held, HoldStatus};
use super::memory::Memory;
use super::node_keys::{FormerKey, NodeKeys};
use super::scrub::Scrub;
use super::staleness::stale_since;
use super::{MIRROR_CONFIG, MirrorError, upstream};
use crate::config::MirrorConfig;
use crate::docroot;
use crate::warning::Warning;

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
    /// Bytes of the lists that were fetched to know which chunks.
    #[serde(default)]
    pub list_bytes: u64,
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
    /// Why it was done that way: `current`, `no_release`, `fresh`, `update`, `repair`, `prepared`, `import`, `held`.
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
    /// That the operator has said to stay, so that none of this would be done.
    #[serde(default)]
    pub hold: Option<HoldStatus>,
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
    /// The upstream as configured, or as the newest root names it.
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
    /// The key it had before, while some upstream may know only that one.
    #[serde(default)]
    pub former_key: Option<FormerKey>,
    /// The docroot.
    pub docroot: String,
    /// The release that is served, 0 for none.
    pub release: u64,
    /// Since when, in Unix milliseconds.
    pub switched_ms: Option<u64>,
    /// That the operator has said to stay on it.
    #[serde(default)]
    pub hold: Option<HoldStatus>,
    /// The release that the newest head names; 0 before the first.
    #[serde(default)]
    pub head_release: u64,
    /// Whether what is served is no longer vouched for.
    pub stale: bool,
    /// Since when, in Unix milliseconds.
    #[serde(default)]
    pub stale_since_ms: Option<u64>,
    /// When the newest head was issued, in Unix milliseconds.
    #[serde(default)]
    pub head_issued_ms: Option<u64>,
    /// When the newest head expires, in Unix milliseconds.
    pub head_expires_ms: Option<u64>,
    /// The newest root's number.
    #[serde(default)]
    pub root_version: Option<u64>,
    /// When the root expires, in Unix milliseconds.
    pub root_expires_ms: Option<u64>,
    /// What is well today and will not stay so.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Whom it asks.
    pub connection: ConnectionStatus,
    /// How far a running sync is.
    pub progress: Progress,
    /// The last sync that switched, or else the first that ended well.
    pub last_sync: Option<SyncReport>,
    /// When a sync last ended well since the daemon started, in Unix milliseconds.
    #[serde(default)]
    pub last_success_ms: Option<u64>,
    /// The last thing that went wrong, until something goes right: what, and whose fault it is
    /// (`network`, `operator`, `feed`, `upstream`, `clock`, `disk`, `tidecast`).
    pub last_error: Option<Fault>,
    /// How the files are read again and again, to find what rots.
    #[serde(default)]
    pub scrub: ScrubStatus,
    /// How telling hook and clamd of the last switch went, for each that is configured and was told of any.
    #[serde(default)]
    pub after: Vec<AfterStatus>,
    /// The last time that something in the docroot was not as this mirror had left it, and was mended.
    #[serde(default)]
    pub mended: Option<MendedStatus>,
    /// Keys caught signing two heads under one number.
    pub equivocators: Vec<String>,
    /// Keys that named another manifest for the release that was installed.
    #[serde(default)]
    pub contested: Vec<String>,
}

impl MirrorStatus {
    /// Whether a newer release is out and not installed because the operator has said to stay.
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        self.hold.is_some() && self.head_release > self.release
    }

    /// Says that the operator has said to stay, as far as one who believes `trust` can tell.
    pub(super) fn hold(&mut self, held: Option<&Held>, trust: Option<&Trust>) {
        self.hold = held.map(|held| held.status(trust.map(Trust::root)));
    }

    /// Says what follows from whom this mirror believes; `clock` is what time it is.
    pub(super) fn believe(&mut self, trust: &Trust, clock: Timestamp) {
        let root = trust.root();
        self.feed = Some(root.feed.to_string());
        self.stale_since_ms = stale_since(trust, clock).map(|since| since.0);
        self.stale = self.stale_since_ms.is_some();
        if let Some((_, head)) = trust.newest_head() {
            self.head_release = head.release.0;
            self.head_issued_ms = Some(head.issued.0);
            self.head_expires_ms = Some(head.expires.0);
        }
        self.root_version = Some(root.version.0);
        self.root_expires_ms = Some(root.expires.0);
        let keys = trust.equivocators();
        self.equivocators = keys.map(|(key, _)| key.to_string()).collect();
        let keys = trust.contested();
        self.contested = keys.map(|(key, _)| key.to_string()).collect();
        self.warnings = Warning::of_root(root, trust.now(clock))
            .into_iter()
            .collect();
    }
}

/// How a mirror looks for rot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// Every byte is read once in so many seconds; 0 for never.
    pub every_s: u64,
    /// When the pass under way began, in Unix milliseconds.
    pub pass_started_ms: Option<u64>,
    /// The last file it has read; empty when it begins.
    pub read_to: String,
    /// When the last pass ended that read everything, in Unix milliseconds.
    pub last_pass_ms: Option<u64>,
    /// Damaged files found since this mirror was set up, also by `verify --heal`.
    pub found: u64,
    /// Of these, those that are right again, or gone with their release.
    pub healed: u64,
    /// Those that wait to be healed.
    pub waiting: u64,
}

/// How a mirror is by what lies on disk, for when no daemon runs. Takes no lock and changes nothing; `now` is what
/// time it is.
///
/// # Errors
/// [`MirrorError`].
pub fn status_on_disk(
    state: &Path,
    config: &MirrorConfig,
    now: Timestamp,
) -> Result<MirrorStatus, MirrorError> {
    let feed = config.feed_id(&state.join(MIRROR_CONFIG))?;
    let kept = config.kept_docroot();
    let live = if kept.exists() {
        docroot::peek(&kept, &feed)?
    } else {
        None
    };
    let keys = NodeKeys::load(state)?;
    let trust = Memory::new(state).load(&feed)?;
    let mut status = MirrorStatus {
        role: "mirror".into(),
        fingerprint: feed.to_string(),
        node_key: keys.present().public().to_string(),
        former_key: keys.status(&upstream::all(config, trust.as_ref())),
        docroot: config.docroot.display().to_string(),
        release: live.map_or(0, |live| live.manifest.release.0),
        ..MirrorStatus::default()
    };
    status.connection.state = "down".into();
    status.connection.upstream = config.upstreams.first().cloned().unwrap_or_default();
    status.scrub = Scrub::open(state, config).status();
    if let Some(trust) = &trust {
        status.believe(trust, now);
    }
    status.after = after::status_on_disk(state, config);
    status.hold(Held::read(state).as_ref(), trust.as_ref());
    Ok(status)
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
