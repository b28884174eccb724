//! A mirror: keeps a docroot at the newest release and says how it is. SPEC §8.

mod addition;
mod after;
mod care;
mod clamd;
mod course;
mod disk;
mod error;
mod events;
pub(crate) mod history;
mod hold;
mod hook;
mod import;
mod memory;
mod node_keys;
mod once;
mod plan;
mod receipt;
pub(crate) mod road;
mod rotate;
mod sampled;
mod scrub;
pub(crate) mod site;
mod staleness;
mod status;
mod sync;
mod upstream;
mod vouched_clock;
mod work;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tidecast_proto::id::FeedId;
use tidecast_proto::key::SecretKey;
use tokio::sync::{mpsc, watch};

pub use crate::genuine::Unproved;
pub use after::AfterStatus;
pub use care::MendedStatus;
pub use disk::{DiskGone, DiskMode};
pub use error::SyncError;
pub use hold::{
    HOLD_DELIBERATE_MS, HOLD_REASON_BYTES, HoldError, HoldReport, HoldStatus, hold, unhold,
};
pub use import::ImportError;
pub use memory::MemoryError;
pub use node_keys::{FormerKey, OLD_NODE_KEY};
pub use once::SyncFailure;
pub use plan::plan;
pub use road::BundleFault;
pub use rotate::{NEXT_NODE_KEY, NextKey, RotateError, masters, rotate};
pub use sampled::{note_sampled, sampled_to};
pub use status::{
    ConnectionStatus, Fault, FileRoad, MirrorStatus, Progress, RoadTotal, ScrubStatus, SyncPlan,
    SyncReport, status_on_disk,
};
pub use upstream::with_port;

use crate::clock::Clock;
use crate::config::{ConfigError, Layout, MirrorConfig};
use crate::control::{Command, Handler, Refusal};
use crate::docroot::{Docroot, DocrootError, Options, Recovery};
use crate::durable;
use crate::http::{HealthHandle, SiteHandle};
use crate::keyfile::KeyFileError;
use crate::metrics::MirrorCounters;
use crate::network::{Network, SystemNetwork};
use crate::quic::{Link, LinkError};
use crate::warning::Reminder;
use after::After;
use course::Running;
use disk::Disk;
use events::{Notice, Wish};
use hold::Hold;
use memory::{Beliefs, Memory};
use node_keys::{NodeKeys, Shown};
use vouched_clock::VouchedClock;
use work::Work;

/// The configuration's name in the state folder: what makes a folder a mirror's.
pub const MIRROR_CONFIG: &str = "mirror.toml";
/// Proves who this node is.
pub const NODE_KEY: &str = "node.key";

/// How long a command waits for a sync that the daemon does for it.
const ASKED_SYNC_TIMEOUT: Duration = Duration::from_secs(3600);

/// Why a mirror cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// This node's key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// What it remembers of whom it trusts.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The docroot.
    #[error(transparent)]
    Docroot(#[from] DocrootError),
    /// The system gave no thread.
    #[error("cannot start the disk thread: {0}")]
    Thread(std::io::Error),
    /// A bug.
    #[error(transparent)]
    Disk(#[from] DiskGone),
}

/// What a mirror takes from its surroundings; a simulator hands in its own.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where datagrams go.
    pub network: Arc<dyn Network>,
    /// Where the disk's work is done.
    pub disk: DiskMode,
    /// What a mirror's pauses vary by: drawn by chance where there is none, so that mirrors do not march in step.
    pub jitter: Option<u64>,
}

impl Surroundings {
    /// This machine's, but for the clock.
    #[must_use]
    pub fn system(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            network: Arc::new(SystemNetwork),
            disk: DiskMode::Thread,
            jitter: None,
        }
    }
}

/// What changes while a mirror runs, for those who ask.
#[derive(Debug, Default)]
struct Present {
    connection: ConnectionStatus,
    link: Option<Link>,
    /// The key that the link was dialled with.
    shown: Shown,
    last_sync: Option<SyncReport>,
    last_error: Option<Fault>,
    /// What keeps the docroot from being worked with.
    docroot_fault: Option<Fault>,
    mended: Option<MendedStatus>,
    switched_ms: Option<u64>,
    /// Whether it was said that nobody vouches for what is served.
    stale: bool,
    /// Whether `timestamp` says so; unknown at first, and after something went wrong with it.
    marked_stale: Option<bool>,
    reminder: Reminder,
    last_success_ms: Option<u64>,
    /// What was found and put right at the start, in one line.
    recovered: Option<String>,
    /// UDP payload received and sent on the connections before this one.
    traffic_before: (u64, u64),
}

impl Present {
    /// UDP payload received and sent on every connection that an upstream let us in on.
    fn traffic(&self) -> (u64, u64) {
        let (received, sent) = self.traffic_before;
        let now = self.link.as_ref().map(Link::traffic).unwrap_or_default();
        (received + now.0, sent + now.1)
    }

    fn replace_link(&mut self, link: Option<Link>) {
        let same = |old: &Link| {
            let id = |link: &Link| link.connection().stable_id();
            link.as_ref().is_some_and(|new| id(new) == id(old))
        };
        if !self.link.as_ref().is_some_and(same) {
            self.traffic_before = self.traffic();
        }
        self.link = link;
    }
}

/// A mirror of one feed.
#[derive(Debug)]
pub struct Mirror {
    config: MirrorConfig,
    state: PathBuf,
    feed: FeedId,
    /// Change when `node rotate` has been through.
    keys: NodeKeys,
    /// Held while keys are shown to upstreams.
    rotating: Arc<tokio::sync::Mutex<()>>,
    clock: Arc<dyn Clock>,
    vouched: Arc<VouchedClock>,
    network: Arc<dyn Network>,
    jitter: Option<u64>,
    beliefs: Arc<Beliefs>,
    disk: Disk,
    hold: Arc<Hold>,
    after: After,
    progress: watch::Sender<Progress>,
    turn: Arc<tokio::sync::Mutex<()>>,
    cut: road::Cut,
    site: SiteHandle,
    health: HealthHandle,
    counters: MirrorCounters,
    scrub: scrub::Scrub,
    present: Mutex<Present>,
    wishes: Mutex<Option<mpsc::Sender<Wish>>>,
    /// Every notice of the loop, for commands that wait for one.
    notices: tokio::sync::broadcast::Sender<Result<SyncReport, String>>,
}

impl Mirror {
    /// Opens the state in `state` and the docroot, whose lock it takes, and brings both out of any state a
    /// crash may have left them in. Beside the mirror comes what was found and put right in the docroot.
    ///
    /// # Errors
    /// [`MirrorError`]; nothing was changed, except that a docroot may have been recovered.
    pub fn open(
        state: &Path,
        config: MirrorConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<(Arc<Self>, Recovery), MirrorError> {
        Self::open_in(state, config, Surroundings::system(clock))
    }

    /// Like [`Self::open`], in surroundings of the caller's making.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(
        state: &Path,
        config: MirrorConfig,
        surroundings: Surroundings,
    ) -> Result<(Arc<Self>, Recovery), MirrorError> {
        let Surroundings {
            clock,
            network,
            disk,
            jitter,
        } = surroundings;
        let feed = config.feed_id(&state.join(MIRROR_CONFIG))?;
        let after = After::of(state, &config)?;
        let keys = NodeKeys::load(state)?;
        let memory = Memory::new(state);
        let trust = memory.load(&feed)?;
        let options = Options {
            grace: Duration::from_secs(config.grace_s),
            // Only before the first contact: later a missing docroot means a missing mount.
            create: trust.is_none(),
            ..Options::default()
        };
        let vouched = Arc::new(VouchedClock::new(clock.clone()));
        let (path, dated, now) = (config.kept_docroot(), vouched.clone(), clock.clone());
        let front = (config.layout == Layout::Exchange).then(|| config.docroot.clone());
        let (disk, (recovery, memory, trust)) = Disk::start(disk, move || {
            let (mut docroot, recovery) = Docroot::open(&path, feed, options, dated)?;
            if let Some(front) = front {
                docroot.set_front(&front);
                for to in docroot.show()?.moved_away {
                    tracing::warn!("a file that is not of the release was moved to {to}");
                }
            }
            let memory = memory.record(feed, trust.as_ref(), now);
            let trust = memory.raise_to(&docroot, trust);
            Ok((docroot, (recovery, memory, trust)))
        })?;
        let beliefs = Arc::new(Beliefs::new(memory, trust));
        vouched.believe(beliefs.clone());
        let mirror = Arc::new(Self {
            state: state.to_owned(),
            feed,
            keys,
            rotating: Arc::default(),
            clock,
            network,
            jitter,
            beliefs,
            vouched,
            hold: Arc::new(Hold::of(state)),
            after,
            disk,
            progress: watch::Sender::new(Progress::default()),
            turn: Arc::default(),
            cut: road::Cut::default(),
            site: SiteHandle::default(),
            health: HealthHandle::default(),
            counters: MirrorCounters::default(),
            present: Mutex::new(Present {
                recovered: (!recovery.is_clean()).then(|| recovery.to_string()),
                ..Present::default()
            }),
            scrub: scrub::Scrub::open(state, &config),
            wishes: Mutex::default(),
            notices: tokio::sync::broadcast::Sender::new(16),
            config,
        });
        Ok((mirror, recovery))
    }

    /// The configuration it runs with.
    #[must_use]
    pub fn config(&self) -> &MirrorConfig {
        &self.config
    }

    /// How far a running sync is.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// What the web server serves.
    #[must_use]
    pub fn site(&self) -> SiteHandle {
        self.site.clone()
    }

    /// What `/healthz` says.
    #[must_use]
    pub fn health(&self) -> HealthHandle {
        self.health.clone()
    }

    /// What it has done since it started.
    pub(crate) fn counters(&self) -> &MirrorCounters {
        &self.counters
    }

    /// UDP payload received from upstreams and sent to them since it started, in bytes.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        self.present().traffic()
    }

    /// This node's public key.
    #[must_use]
    pub fn node_key(&self) -> tidecast_proto::key::PublicKey {
        self.keys.present().public()
    }

    /// Keeps the docroot at the newest release until `shutdown` completes. Everything that goes wrong is logged,
    /// shown in the status and tried again.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        // First of all: a command may come as soon as this begins.
        let (wishes, wished) = mpsc::channel(16);
        *self.wishes.lock().unwrap_or_else(PoisonError::into_inner) = Some(wishes.clone());
        self.publish_site().await;
        let following = self.follow();
        let (notices, mut noticed) = mpsc::unbounded_channel();
        let running = tokio::spawn(Running::new(self.clone(), notices, false).run(wished));
        let mirror = self.clone();
        let telling = tokio::spawn(async move {
            while let Some(notice) = noticed.recv().await {
                // Whoever asked waits for a sync that began after the asking: those are thorough.
                if matches!(
                    notice,
                    Notice::Synced {
                        thorough: false,
                        ..
                    }
                ) {
                    continue;
                }
                let result = notice.into_result(&mirror).map_err(|e| e.to_string());
                // Nobody may be waiting.
                let _ = mirror.notices.send(result);
            }
        });
        let scrubbing = tokio::spawn(self.clone().scrub());
        shutdown.await;
        scrubbing.abort();
        *self.wishes.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // Fails only when the loop has ended already. A sync under way is cut; its work is kept on disk.
        let _ = wishes.send(Wish::Stop).await;
        let _ = running.await;
        telling.abort();
        following.end().await;
    }

    fn work(&self) -> Work {
        Work {
            beliefs: self.beliefs.clone(),
            disk: self.disk.clone(),
            clock: self.clock.clone(),
            hold: self.hold.clone(),
            progress: self.progress.clone(),
            turn: self.turn.clone(),
            cut: self.cut.clone(),
        }
    }

    async fn dial(&self, upstream: &str, key: &SecretKey) -> Result<Link, LinkError> {
        upstream::dial(upstream, key, &*self.network).await
    }

    /// Tells the running loop, if there is one that has not ended.
    async fn wish(&self, wish: Wish) {
        let wishes = self.wishes.lock();
        let wishes = wishes.unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(wishes) = wishes {
            // Fails only when the loop has just ended.
            let _ = wishes.send(wish).await;
        }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_connection(&self, state: &str, upstream: Option<&str>) {
        let mut present = self.present();
        present.connection.state = state.into();
        if let Some(upstream) = upstream {
            present.connection.upstream = upstream.into();
        }
    }

    fn set_link(&self, link: Option<Link>, shown: Shown) {
        let mut present = self.present();
        present.shown = shown;
        present.connection.upstream_key = link.as_ref().map(|l| l.upstream().to_string());
        present.replace_link(link);
    }

    fn set_error(&self, error: &SyncError) {
        self.counters.failed(error.whose());
        self.present().last_error = Some(error.fault(self.clock.now()));
    }

    fn forget_error(&self) {
        self.present().last_error = None;
    }

    /// An upstream has let us in: what was wrong with the way there no longer is.
    fn forget_link_error(&self) {
        self.present()
            .last_error
            .take_if(|fault| matches!(&*fault.whose, "network" | "operator"));
    }

    fn set_report(&self, report: &SyncReport) {
        self.counters.synced(report);
        let mut present = self.present();
        present.last_success_ms = Some(self.clock.now().0);
        if report.switched || present.last_sync.is_none() {
            present.last_sync = Some(report.clone());
        }
    }

    /// Lets go of trees whose grace is over and of what was moved away long ago, and keeps health current.
    async fn tidy(&self) {
        // What was moved away is kept for weeks; a clock that is ahead for a minute must not end them.
        let (now, state) = (self.vouched.now(), self.state.clone());
        let expiring = self.disk.run(move |disk| {
            for folder in ["", "roots", "evidence"] {
                if let Err(error) = durable::remove_old_temporaries(&state.join(folder), now) {
                    tracing::warn!(%error, "what somebody who was killed left stays");
                }
            }
            disk.docroot.expire(now)
        });
        match expiring.await {
            // Said by whoever looks after the docroot.
            Ok(Err(DocrootError::Replaced { .. })) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot remove old trees"),
            Ok(Ok(expired)) => {
                if expired.given_up {
                    tracing::info!(
                        "a release that was begun and not added to for a week was removed"
                    );
                }
                for to in &expired.moved_away {
                    tracing::warn!(
                        "a file of the docroot's time before tidecast was moved to {to}"
                    );
                }
            }
            Err(error) => tracing::error!(%error, "disk"),
        }
        // What could not be written may find room now.
        self.beliefs.look_after_record(&self.disk).await;
        self.present().marked_stale = None;
        self.publish_health();
    }
}

impl Handler for Mirror {
    async fn handle(&self, command: Command) -> Result<Value, Refusal> {
        let json = |value: Result<Value, serde_json::Error>| {
            value.map_err(|error| Refusal::from(error.to_string()))
        };
        match command {
            Command::Status => json(serde_json::to_value(self.status())),
            Command::Reload => {
                self.show_keys().await.map_err(|error| error.to_string())?;
                json(serde_json::to_value(self.status()))
            }
            Command::Sync => json(serde_json::to_value(self.look().await?)),
            Command::Doubt { paths } => {
                let doubted = self.doubt(paths).await.map_err(|error| error.to_string())?;
                Ok(serde_json::json!({ "doubted": doubted }))
            }
            Command::Hold { reason } => {
                let report = self.hold(reason).await.map_err(refused_hold)?;
                json(serde_json::to_value(report))
            }
            Command::Unhold => {
                let report = self.unhold().await.map_err(refused_hold)?;
                json(serde_json::to_value(report))
            }
            Command::Import { path, at_ms } => {
                let at = at_ms.map(tidecast_proto::id::Timestamp);
                let report = self.import(&path, at).await.map_err(|error| Refusal {
                    what: error.told(),
                    kind: Some(error.kind()),
                })?;
                json(serde_json::to_value(report))
            }
        }
    }
}

fn refused_hold(error: HoldError) -> Refusal {
    Refusal {
        kind: Some(error.kind()),
        what: match error.advice() {
            Some(advice) => format!("{error} ({advice})"),
            None => error.to_string(),
        },
    }
}

impl Mirror {
    /// Has the running loop look for news, and waits for how that ends.
    async fn look(&self) -> Result<SyncReport, String> {
        let started = tokio::time::Instant::now();
        let traffic = || {
            let link = self.present().link.clone();
            link.map(|link| link.traffic())
        };
        let before = traffic();
        let mut notices = self.notices.subscribe();
        // Not kept while waiting: the loop's end must not wait for this.
        let wishes = self
            .wishes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or("the daemon is just starting or shutting down; try again")?;
        wishes
            .send(Wish::Look)
            .await
            .map_err(|_| "the daemon is shutting down")?;
        drop(wishes);
        let mut report = tokio::time::timeout(ASKED_SYNC_TIMEOUT, notices.recv())
            .await
            .map_err(|_| "the sync has not ended within an hour")?
            .map_err(|error| error.to_string())??;
        report.seconds = started.elapsed().as_secs_f64();
        if let Some((received, sent)) = traffic() {
            let (received_before, sent_before) = before.unwrap_or_default();
            report.received_bytes = received.saturating_sub(received_before);
            report.sent_bytes = sent.saturating_sub(sent_before);
        }
        Ok(report)
    }
}
