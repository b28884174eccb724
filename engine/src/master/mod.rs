//! The master: announces releases, lets nodes in, serves what they lack. SPEC §6, §7.

mod acquaintance;
mod bundles;
mod crowd;
mod export;
mod feed;
pub(crate) mod heads;
mod lines;
mod nodes;
mod pace;
mod queue;
mod send;
mod serve;
mod sessions;
mod settings;
mod staleness;
mod status;
mod succession;
mod testimony;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use tidecast_proto::id::{FeedId, ObjectId, ReleaseNumber, RootVersion, Timestamp};
use tidecast_proto::key::{PublicKey, SecretKey};
use tidecast_proto::manifest::ManifestError;
use tidecast_proto::root::Root;
use tidecast_proto::session::{Admission, FeedView};
use tokio::sync::watch;

pub use export::{ExportError, Exported, export};
pub(crate) use feed::private_folder;
pub use feed::{
    Feed, FeedError, HEAD_KEY, HEAD_TTL_MS, MASTER_CONFIG, NODE_KEY, NewFeed, RELEASE_KEY,
    ROOT_KEY, ROOT_LIFE_MS, ROOTS, init, init_from_roots,
};
pub use heads::{HeadSigner, HeadsError, IssuedHead, RESIGN_MS, announced, newest_head};
pub use nodes::{Decision, Details, Node, Nodes, NodesError, replace};
pub use settings::{
    CONNECTIONS, CONNECTIONS_MAX, NOTE_BYTES, NodeSettings, RATE_BYTES_PER_S_MAX,
    RATE_BYTES_PER_S_MIN, SettingError, SettingsChange,
};
pub use status::{ConnectedNode, MasterStatus, ReleaseStatus, status_on_disk};
pub use succession::{InstallError, Installed, install, next_key};
pub use testimony::{Alarm, HeadsStatus};

use crate::blocking::Blocking;
use crate::clock::Clock;
use crate::control::{Command, Handler, Refusal};
use crate::metrics::MasterCounters;
use crate::quic::{self, Bind, ListenError};
use crate::roots;
use crate::store::{Store, StoreError, StoredRelease};
use crate::vouched::{self, UnacceptableError};
use bundles::Bundles;
use crowd::Crowd;
use heads::Seat;
use lines::Lines;
use pace::Paces;
use sessions::Sessions;
use staleness::Told;
use testimony::Testimonies;

/// How often a daemon that serves looks whether its head is due.
const HEAD_CHECK: Duration = Duration::from_secs(20);

/// Why a master cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MasterError {
    /// The feed.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The list of nodes.
    #[error(transparent)]
    Nodes(#[from] NodesError),
    /// The release store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The head service.
    #[error(transparent)]
    Heads(#[from] HeadsError),
    /// The stored newest release does not verify: its keys were replaced, a root withdrew it, or it was changed on disk.
    #[error("release {release} cannot be announced under root {root}: {source}")]
    Unannounceable {
        /// The newest in the store.
        release: ReleaseNumber,
        /// The newest.
        root: RootVersion,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A newer root gave this master's part to another key.
    #[error(
        "root {version} does not name this master's head key {key}: it signs no heads any more"
    )]
    Retired {
        /// The key.
        key: PublicKey,
        /// The newest root.
        version: RootVersion,
    },
}

impl MasterError {
    /// What to do about a head that cannot be signed.
    fn advice(&self) -> String {
        match self {
            Self::Heads(error) => error.advice(),
            Self::Unannounceable {
                release,
                root,
                source,
            } => vouched::advice(*release, *root, source),
            Self::Retired { .. } => {
                "make the key the root names this master's, or stop this master".into()
            }
            _ => "the master's log says more".into(),
        }
    }
}

/// What came of looking at everything again.
struct Looked {
    roots: Result<(), MasterError>,
    nodes: Result<(), NodesError>,
    head: Result<(), MasterError>,
}

/// What sessions see; replaced whole whenever something changed.
#[derive(Debug, Clone)]
struct View {
    feed: FeedId,
    /// The newest root.
    root: Root,
    /// Every root as it is sent, the first at 0.
    roots: Arc<Vec<Vec<u8>>>,
    /// The key that heads are signed with.
    head_key: PublicKey,
    head: Option<IssuedHead>,
    nodes: Nodes,
}

impl FeedView for View {
    fn feed(&self) -> FeedId {
        self.feed
    }

    fn root_version(&self) -> RootVersion {
        RootVersion(self.roots.len() as u64)
    }

    fn root(&self, version: RootVersion) -> Option<Vec<u8>> {
        let index = usize::try_from(version.0).ok()?.checked_sub(1)?;
        self.roots.get(index).cloned()
    }

    fn head(&self) -> Option<(ObjectId, Vec<u8>)> {
        self.head.as_ref().map(|head| (head.id, head.bytes.clone()))
    }

    fn newest(&self) -> Option<ObjectId> {
        self.head.as_ref().map(|head| head.body.manifest)
    }

    fn admission(&self, node: &PublicKey) -> Admission {
        self.nodes.admission(node)
    }
}

/// A master that serves one feed.
#[derive(Debug)]
pub struct Master {
    feed: Feed,
    /// The key shown in TLS; a newer root may name another.
    node_key: watch::Sender<SecretKey>,
    store: Store,
    clock: Arc<dyn Clock>,
    seat: Mutex<Seat>,
    view: ArcSwap<View>,
    /// Counts changes of `view`; sessions look for news when it moves.
    news: watch::Sender<u64>,
    sessions: Arc<Sessions>,
    testimonies: Testimonies,
    /// Log lines about receipts, and about what else nodes say.
    receipts_told: Lines,
    words_told: Lines,
    bundles: Bundles,
    blocking: Blocking,
    /// Connections of each node.
    crowd: Arc<Crowd>,
    paces: Paces,
    counters: MasterCounters,
    told: Mutex<Told>,
    started: Timestamp,
}

impl Master {
    /// Loads the feed in `state` and signs a fresh head if there is a release. If that cannot be done, roots are served
    /// all the same, with the last head where that is still right: mirrors need a new root most when heads fail. The
    /// log and the status say so, and [`Self::reload`] does.
    ///
    /// # Errors
    /// [`MasterError`].
    pub fn open(state: &Path, clock: Arc<dyn Clock>) -> Result<Self, MasterError> {
        Self::open_in(state, clock, Blocking::Threads)
    }

    /// Like [`Self::open`], with bundles built where the caller says.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(
        state: &Path,
        clock: Arc<dyn Clock>,
        blocking: Blocking,
    ) -> Result<Self, MasterError> {
        let feed = Feed::load(state)?;
        let head_key = feed.head_key()?;
        let view = View {
            feed: feed.id,
            root: feed.root.clone(),
            roots: Arc::new(feed.roots.clone()),
            head_key: head_key.public(),
            head: None,
            nodes: Nodes::load(state)?,
        };
        let master = Self {
            node_key: watch::Sender::new(feed.node_key()?),
            bundles: Bundles::new(
                &feed.store_folder(),
                feed.config.retention.bundle_cache_bytes,
            ),
            store: Store::open(&feed.store_folder())?,
            seat: Mutex::new(Seat::new(head_key)),
            view: ArcSwap::from_pointee(view),
            news: watch::Sender::new(0),
            sessions: Arc::default(),
            testimonies: Testimonies::default(),
            receipts_told: Lines::default(),
            words_told: Lines::default(),
            blocking,
            crowd: Arc::default(),
            paces: Paces::default(),
            counters: MasterCounters::default(),
            told: Mutex::default(),
            started: clock.now(),
            clock,
            feed,
        };
        let looked = master.look();
        let nodes = looked.nodes.map_err(MasterError::from);
        for error in [looked.roots.err(), nodes.err()].into_iter().flatten() {
            tracing::error!(%error, "a part of the state cannot be read; going on without it");
        }
        if let Err(error) = looked.head {
            tracing::error!(%error, "no fresh head is signed; {}", error.advice());
            if matches!(&error, MasterError::Heads(error) if error.leaves_the_last()) {
                // Mirrors that hold what was announced are served on with the head they have, while it lives.
                let root = master.newest_root();
                let head = master.lock_seat().still_good(&root, master.clock.now());
                master.show(|view| view.head = head);
            }
        }
        Ok(master)
    }

    /// The feed.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Looks at roots, the list of nodes and the store again, signs a head when it is due, and tells every session.
    ///
    /// # Errors
    /// [`MasterError`], the first of them; each of the four that can be used is: a full disk must not keep a
    /// revoked node in, nor a mistake in the list a release back.
    pub fn reload(&self) -> Result<(), MasterError> {
        let looked = self.look();
        looked.roots?;
        looked.nodes?;
        looked.head
    }

    fn look(&self) -> Looked {
        // Held throughout: two reloads at once must not publish an older view after a newer one.
        let mut seat = self.lock_seat();
        let walked = self.take_roots();
        let keys = self.take_keys(&mut seat);
        let nodes = Nodes::load(&self.feed.state).map(|nodes| self.show(|view| view.nodes = nodes));
        let head = self.newest_head(&mut seat);
        self.testimonies.signed(&head);
        Looked {
            roots: walked.and(keys),
            nodes,
            head: head.map(|head| self.show(|view| view.head = head)),
        }
    }

    /// Takes roots that were installed since. Those before one that cannot be used are served.
    fn take_roots(&self) -> Result<(), MasterError> {
        let folder = self.feed.state.join(ROOTS);
        let mut view = View::clone(&self.view.load());
        let had = view.root.version;
        let walked = loop {
            let next = match roots::after(&folder, view.root.version) {
                Ok(Some(next)) => next,
                Ok(None) => break Ok(()),
                Err(error) => break Err(FeedError::from(error)),
            };
            let bytes = next.to_bytes();
            match next.verify_next(&view.root) {
                Ok(root) => view.root = root,
                Err(source) => break Err(FeedError::Chain { folder, source }),
            }
            Arc::make_mut(&mut view.roots).push(bytes);
            tracing::info!(root = %view.root.version, "root installed");
        };
        if view.root.version != had {
            view.head.take_if(|head| head.body.epoch != view.root.epoch);
            self.show(|shown| *shown = view);
        }
        Ok(walked?)
    }

    /// Takes the keys that the newest root gives this master.
    fn take_keys(&self, seat: &mut Seat) -> Result<(), MasterError> {
        let view = self.view.load_full();
        let adopted = succession::look_for_keys(&self.feed.state, &view.root);
        match &adopted {
            Ok(switched) => {
                for role in switched {
                    tracing::info!(%role, root = %view.root.version, "switched to the key that the root names");
                }
            }
            Err(error) => {
                tracing::error!(%error, root = %view.root.version, "cannot look for the keys that the root names");
            }
        }
        let node_key = self.feed.node_key()?;
        if !view.root.names_master(&node_key.public()) {
            tracing::warn!(key = %node_key.public(), root = %view.root.version,
                "the root does not name this master's node key: mirrors turn away from it");
        }
        let head_key = self.feed.head_key()?;
        if head_key.public() != seat.key() {
            *seat = Seat::new(head_key);
            self.show(|view| {
                view.head_key = seat.key();
                view.head = None;
            });
        }
        if node_key.public() != self.node_key.borrow().public() {
            self.node_key.send_replace(node_key);
        }
        adopted?;
        Ok(())
    }

    /// Lets every session see what `change` makes of the view.
    fn show(&self, change: impl FnOnce(&mut View)) {
        let mut view = View::clone(&self.view.load());
        change(&mut view);
        self.view.store(Arc::new(view));
        if let Some(head) = &self.view.load().head {
            self.bundles.lead_to(StoredRelease {
                release: head.body.release,
                manifest: head.body.manifest,
            });
        }
        self.hold_to_settings();
        // Last: whoever hears of it finds everything in its place.
        self.news.send_modify(|count| *count += 1);
    }

    fn newest_head(&self, seat: &mut Seat) -> Result<Option<IssuedHead>, MasterError> {
        self.store.refresh()?;
        let view = self.view.load_full();
        self.current_head(seat.signer(&self.feed.state)?, &view)
    }

    /// The head to announce: the old one while it is fresh, points at the newest release and speaks of the newest root.
    fn current_head(
        &self,
        signer: &mut HeadSigner,
        view: &View,
    ) -> Result<Option<IssuedHead>, MasterError> {
        let newest = self.store.newest();
        let (release, manifest) = newest.map_or((ReleaseNumber(0), ObjectId([0; 32])), |newest| {
            (newest.release, newest.manifest)
        });
        signer.check_release(release, manifest)?;
        let Some(newest) = newest else {
            return Ok(None);
        };
        let now = self.clock.now();
        if let Some(old) = &view.head
            && old.body.manifest == newest.manifest
            && old.body.root_version == view.root.version
            && !old.is_due(now)
            && old.body.seq >= signer.last()
        {
            return Ok(Some(old.clone()));
        }
        if !view.root.head_keys.contains(&view.head_key) {
            return Err(MasterError::Retired {
                key: view.head_key,
                version: view.root.version,
            });
        }
        let Some(signed) = self.store.manifest(newest.release)? else {
            return Ok(view.head.clone());
        };
        let verified = vouched::verify(&self.store, signed, &view.root, &self.feed.id);
        let manifest = verified.map_err(|error| match error {
            UnacceptableError::Manifest(source) => MasterError::Unannounceable {
                release: newest.release,
                root: view.root.version,
                source,
            },
            UnacceptableError::Store(error) => error.into(),
        })?;
        Ok(Some(signer.sign(
            self.feed.id,
            &view.root,
            &manifest,
            now,
        )?))
    }

    fn lock_seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn head_is_due(&self) -> bool {
        if let Some(due) = self.testimonies.retry_is_due() {
            return due;
        }
        let view = self.view.load();
        let last = self.lock_seat().last();
        view.head.as_ref().is_some_and(|head| {
            head.is_due(self.clock.now()) || (head.body.seq < last && self.testimonies.may_resign())
        })
    }

    /// An endpoint that shows this master's key; its address is known before it serves.
    ///
    /// # Errors
    /// [`MasterError::Listen`].
    pub fn listen(&self, bind: Bind) -> Result<quinn::Endpoint, MasterError> {
        Ok(quic::server(bind, &self.node_key.borrow())?)
    }

    /// Serves until `shutdown` completes, then says goodbye to every mirror.
    pub async fn serve(
        self: Arc<Self>,
        endpoint: quinn::Endpoint,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut node_key = self.node_key.subscribe();
        // A root may have come between listening and serving.
        node_key.mark_changed();
        loop {
            tokio::select! {
                Ok(()) = node_key.changed() => {
                    let key = node_key.borrow_and_update().clone();
                    match quic::server_config(&key) {
                        // Connections that are up stay; new ones are shown the new key.
                        Ok(config) => endpoint.set_server_config(Some(config)),
                        Err(error) => tracing::error!(%error, "cannot show the new node key"),
                    }
                    continue;
                }
                () = &mut shutdown => break,
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => self.clone().admit_connection(incoming),
                    None => break,
                },
                () = tokio::time::sleep(HEAD_CHECK) => {}
            }
            if self.head_is_due()
                && let Err(error) = self.reload()
            {
                tracing::error!(%error, "cannot sign a fresh head, and mirrors will call this feed stale; {}", error.advice());
            }
            self.look_at_clock();
        }
        endpoint.close(quic::close_code::SHUTDOWN, b"shutting down");
        // Goodbyes should get out, but a peer that does not acknowledge must not hold up the end.
        let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
    }
}

impl Handler for Master {
    async fn handle(&self, command: Command) -> Result<Value, Refusal> {
        let status = || {
            serde_json::to_value(self.status()).map_err(|error| Refusal::from(error.to_string()))
        };
        match command {
            Command::Status => status(),
            Command::Reload => {
                self.reload()
                    .map_err(|error| format!("{error}; {}", error.advice()))?;
                status()
            }
            Command::Sync
            | Command::Import { .. }
            | Command::Doubt { .. }
            | Command::Hold { .. }
            | Command::Unhold => Err("this daemon is a master; it has nothing to sync".into()),
        }
    }
}
