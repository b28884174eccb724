//! The master: announces releases, lets nodes in, serves what they lack. SPEC §6, §7.

mod bundles;
mod export;
mod feed;
pub(crate) mod heads;
mod nodes;
mod queue;
mod send;
mod serve;
mod sessions;
mod status;
mod testimony;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use tidecast_proto::id::{FeedId, ObjectId, ReleaseNumber, RootVersion, Timestamp};
use tidecast_proto::key::{PublicKey, SecretKey};
use tidecast_proto::manifest::ManifestError;
use tidecast_proto::session::{Admission, FeedView};
use tokio::sync::watch;

pub use export::{ExportError, Exported, export};
pub use feed::{
    Feed, FeedError, HEAD_KEY, MASTER_CONFIG, NODE_KEY, NewFeed, RELEASE_KEY, ROOT_KEY, init,
};
pub use heads::{HeadSigner, HeadsError, IssuedHead, RESIGN_MS, announced, newest_head};
pub use nodes::{Decision, Details, Node, Nodes, NodesError};
pub use status::{ConnectedNode, MasterStatus, ReleaseStatus};
pub use testimony::{Alarm, HeadsStatus};

use crate::clock::Clock;
use crate::control::{Command, Handler, Refusal};
use crate::quic::{self, Bind, ListenError};
use crate::store::{Store, StoreError, StoredRelease};
use bundles::Bundles;
use sessions::Sessions;
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
    /// The stored newest release does not verify: it was changed on disk, or its keys were replaced.
    #[error("the newest release in the store is not acceptable: {0}")]
    Manifest(#[from] ManifestError),
    /// The socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// What sessions see; replaced whole whenever something changed.
#[derive(Debug)]
struct View {
    feed: FeedId,
    roots: Vec<Vec<u8>>,
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
    node_key: SecretKey,
    store: Store,
    clock: Arc<dyn Clock>,
    signer: Mutex<HeadSigner>,
    view: ArcSwap<View>,
    /// Counts changes of `view`; sessions look for news when it moves.
    news: watch::Sender<u64>,
    sessions: Arc<Sessions>,
    testimonies: Testimonies,
    bundles: Bundles,
    started: Timestamp,
}

impl Master {
    /// Loads the feed in `state` and signs a fresh head if there is a release.
    ///
    /// # Errors
    /// [`MasterError`].
    pub fn open(state: &Path, clock: Arc<dyn Clock>) -> Result<Self, MasterError> {
        let feed = Feed::load(state)?;
        let view = View {
            feed: feed.id,
            roots: feed.roots.clone(),
            head: None,
            nodes: Nodes::load(state)?,
        };
        let master = Self {
            node_key: feed.node_key()?,
            bundles: Bundles::new(
                &feed.store_folder(),
                feed.config.retention.bundle_cache_bytes,
            ),
            store: Store::open(&feed.store_folder())?,
            signer: Mutex::new(HeadSigner::open(state, feed.head_key()?)?),
            view: ArcSwap::from_pointee(view),
            news: watch::Sender::new(0),
            sessions: Arc::default(),
            testimonies: Testimonies::default(),
            started: clock.now(),
            clock,
            feed,
        };
        match master.reload() {
            Err(MasterError::Heads(error)) if error.is_contradiction() => {
                // Mirrors that hold what was announced are served on with the head they have, while it lives.
                tracing::error!(%error, "no fresh head is signed; {}", error.advice());
                let view = master.view.load_full();
                let head = master
                    .lock_signer()
                    .still_good(&master.feed.root, master.clock.now());
                master.show(head, view.nodes.clone());
            }
            reloaded => reloaded?,
        }
        Ok(master)
    }

    /// The feed.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Looks at the list of nodes and at the store again, signs a head when it is due, and tells every session.
    ///
    /// # Errors
    /// [`MasterError`], the first of them; each of the three that can be used is: a full disk must not keep a
    /// revoked node in, nor a mistake in the list a release back.
    pub fn reload(&self) -> Result<(), MasterError> {
        // Held throughout: two reloads at once must not publish an older view after a newer one.
        let mut signer = self.lock_signer();
        let nodes = Nodes::load(&self.feed.state).map(|nodes| {
            let head = self.view.load().head.clone();
            self.show(head, nodes);
        });
        let head = self.newest_head(&mut signer);
        self.testimonies.signed(&head);
        let head = head.map(|head| {
            let nodes = self.view.load().nodes.clone();
            self.show(head, nodes);
        });
        nodes?;
        head
    }

    /// Lets every session see this.
    fn show(&self, head: Option<IssuedHead>, nodes: Nodes) {
        self.view.store(Arc::new(View {
            feed: self.feed.id,
            roots: self.feed.roots.clone(),
            head,
            nodes,
        }));
        if let Some(head) = &self.view.load().head {
            self.bundles.lead_to(StoredRelease {
                release: head.body.release,
                manifest: head.body.manifest,
            });
        }
        // Last: whoever hears of it finds everything in its place.
        self.news.send_modify(|count| *count += 1);
    }

    fn newest_head(&self, signer: &mut HeadSigner) -> Result<Option<IssuedHead>, MasterError> {
        self.store.refresh()?;
        let old = self.view.load_full();
        self.current_head(signer, old.head.as_ref())
    }

    /// The head to announce: the old one while it is fresh and points at the newest release.
    fn current_head(
        &self,
        signer: &mut HeadSigner,
        old: Option<&IssuedHead>,
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
        if let Some(old) = old
            && old.body.manifest == newest.manifest
            && !old.is_due(now)
            && old.body.seq >= signer.last()
        {
            return Ok(Some(old.clone()));
        }
        let Some(signed) = self.store.manifest(newest.release)? else {
            return Ok(old.cloned());
        };
        let manifest = signed.verify_stored(&self.feed.root, &self.feed.id)?;
        Ok(Some(signer.sign(
            self.feed.id,
            &self.feed.root,
            &manifest,
            now,
        )?))
    }

    fn lock_signer(&self) -> MutexGuard<'_, HeadSigner> {
        self.signer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn head_is_due(&self) -> bool {
        let view = self.view.load();
        let last = self.lock_signer().last();
        view.head
            .as_ref()
            .is_some_and(|head| head.is_due(self.clock.now()) || head.body.seq < last)
    }

    /// An endpoint that shows this master's key; its address is known before it serves.
    ///
    /// # Errors
    /// [`MasterError::Listen`].
    pub fn listen(&self, bind: Bind) -> Result<quinn::Endpoint, MasterError> {
        Ok(quic::server(bind, &self.node_key)?)
    }

    /// Serves until `shutdown` completes, then says goodbye to every mirror.
    pub async fn serve(
        self: Arc<Self>,
        endpoint: quinn::Endpoint,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
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
                tracing::error!(%error, "cannot sign a fresh head; mirrors will call this feed stale");
            }
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
                self.reload().map_err(|error| error.to_string())?;
                status()
            }
            Command::Sync | Command::Import { .. } => {
                Err("this daemon is a master; it has nothing to sync".into())
            }
        }
    }
}
