//! Bundles a master has ready, and one more at a time. SPEC §7.6.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tidecast_proto::id::ObjectId;
use tidecast_proto::key::PublicKey;
use tidecast_proto::manifest::Manifest;
use tidecast_proto::wire::{FetchBundle, FetchRuns};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Master;
use super::queue::{Place, Places, Queue, Queued};
use crate::bundle::{self, BundleBuildError, BundleCache};
use crate::store::{Store, StoredRelease};

/// Cores that are held open, and with it how many releases mirrors may be behind before files are opened anew.
const OPEN_MAX: usize = 16;

/// Bundles remembered as impossible; there is one for each release that is kept, at most.
const IMPOSSIBLE_MAX: usize = 4096;

/// Nodes that have something built or wait for it. One build takes seconds to a minute, so the last of them still
/// comes within [`QUEUE_PATIENCE`]; whoever finds it full fetches chunks, which takes no building.
const QUEUE_MAX: usize = 4;

/// A build that has not begun by then is given up: mirrors wait ten minutes, and it takes some of them itself.
const QUEUE_PATIENCE: Duration = Duration::from_secs(300);

/// Nodes that runs are held in memory for while they are built and read, of [`bundle::RUNS_BYTES_MAX`] each: 256 MiB,
/// however slowly they read.
const RUNS_HELD_MAX: usize = 4;

/// What a master knows of bundles.
#[derive(Debug)]
pub(super) struct Bundles {
    cache: BundleCache,
    known: Mutex<Known>,
    queue: Queue,
    /// Bundles that are being built or wait for it, each with something that ends when it is done.
    under_way: Mutex<BTreeMap<(ObjectId, ObjectId), watch::Receiver<()>>>,
    runs_held: Places,
}

/// Runs on their way out.
#[derive(Debug)]
pub(super) struct HeldRuns {
    pub(super) bytes: Bytes,
    /// Kept until they are sent.
    _place: Place,
}

#[derive(Debug, Default)]
struct Known {
    to: Option<StoredRelease>,
    /// By the manifest they start from.
    open: BTreeMap<ObjectId, Bytes>,
    impossible: BTreeSet<ObjectId>,
}

impl Bundles {
    pub(super) fn new(store: &Path, cache_bytes: u64) -> Self {
        Self {
            cache: BundleCache::new(store, cache_bytes),
            known: Mutex::default(),
            queue: Queue::new(QUEUE_MAX),
            under_way: Mutex::default(),
            runs_held: Places::new(RUNS_HELD_MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<(ObjectId, ObjectId), watch::Receiver<()>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn build_of(&self, fetch: FetchBundle) -> Option<watch::Receiver<()>> {
        self.under_way().get(&(fetch.from, fetch.to)).cloned()
    }

    /// From now on bundles lead to `newest`; others go, once nobody reads them any more.
    pub(super) fn lead_to(&self, newest: StoredRelease) {
        let mut known = self.lock();
        if known.to == Some(newest) {
            return;
        }
        *known = Known {
            to: Some(newest),
            ..Known::default()
        };
        drop(known);
        self.sweep(newest);
    }

    fn sweep(&self, newest: StoredRelease) {
        if let Err(error) = self.cache.sweep(newest.release) {
            tracing::warn!(%error, "cannot tidy up the cached bundles");
        }
    }

    /// A core that is ready; `Some(None)` when there can be none.
    fn ready(&self, store: &Store, fetch: FetchBundle) -> Option<Option<Bytes>> {
        let mut known = self.lock();
        let Some(to) = known.to.filter(|to| to.manifest == fetch.to) else {
            return Some(None);
        };
        if fetch.from == fetch.to || known.impossible.contains(&fetch.from) {
            return Some(None);
        }
        if let Some(core) = known.open.get(&fetch.from) {
            return Some(Some(core.clone()));
        }
        let Some(from) = release_of(store, fetch.from) else {
            return Some(None);
        };
        let core = self.cache.open(from, to)?;
        if known.open.len() >= OPEN_MAX {
            known.open.pop_first();
        }
        known.open.insert(fetch.from, core.clone());
        Some(Some(core))
    }

    fn impossible(&self, fetch: FetchBundle) {
        let mut known = self.lock();
        if known.to.is_some_and(|to| to.manifest == fetch.to)
            && known.impossible.len() < IMPOSSIBLE_MAX
        {
            known.impossible.insert(fetch.from);
        }
    }
}

impl Master {
    /// The core of a bundle, if it is ready.
    pub(super) fn ready_bundle(&self, fetch: FetchBundle) -> Option<Bytes> {
        self.bundles.ready(&self.store, fetch).flatten()
    }

    /// The core of a bundle, built for `node` if need be; `None` when there can be none, or too much is being built.
    /// Whoever asks for the same one waits for the same build, which goes on when nobody waits any more.
    pub(super) async fn bundle(
        self: Arc<Self>,
        node: PublicKey,
        fetch: FetchBundle,
    ) -> Option<Bytes> {
        let bundles = &self.bundles;
        if let Some(ready) = bundles.ready(&self.store, fetch) {
            return ready;
        }
        let mut build = match bundles.build_of(fetch) {
            Some(build) => build,
            None => {
                let queued = bundles.queue.enter(node, QUEUE_PATIENCE).await?;
                if let Some(ready) = bundles.ready(&self.store, fetch) {
                    return ready;
                }
                self.begin(queued, fetch)
            }
        };
        // Ends with an error when the other end is dropped: the build is over.
        while build.changed().await.is_ok() {}
        self.bundles.ready(&self.store, fetch).flatten()
    }

    /// Begins a build, or joins the one that has begun meanwhile.
    fn begin(self: &Arc<Self>, queued: Queued, fetch: FetchBundle) -> watch::Receiver<()> {
        let mut under_way = self.bundles.under_way();
        let key = (fetch.from, fetch.to);
        if let Some(build) = under_way.get(&key) {
            return build.clone();
        }
        let (done, build) = watch::channel(());
        under_way.insert(key, build.clone());
        drop(under_way);
        let master = Arc::clone(self);
        tokio::spawn(async move {
            // One receiver is the one in the map: whoever asked has gone.
            if let Some(turn) = queued.turn().await
                && done.receiver_count() > 1
            {
                let builder = Arc::clone(&master);
                // A panic is told by the runtime; whoever waits finds nothing ready.
                let _ = master
                    .blocking
                    .run(move || {
                        builder.build(fetch);
                        drop(turn);
                    })
                    .await;
            }
            master.bundles.under_way().remove(&key);
            drop(done);
        });
        build
    }

    fn build(&self, fetch: FetchBundle) {
        let manifest = |id| stored_manifest(&self.store, id);
        let built = manifest(fetch.from)
            .and_then(|from| Ok((from, manifest(fetch.to)?)))
            .and_then(|(from, to)| {
                let report = self.bundles.cache.build(&self.store, &from, &to)?;
                tracing::info!(from = %from.release, to = %to.release, bytes = report.bytes, "bundle built");
                Ok(())
            });
        match built {
            Ok(()) => {
                let to = self.bundles.lock().to;
                if let Some(to) = to {
                    self.bundles.sweep(to);
                }
            }
            Err(error) => {
                tracing::info!(from = %fetch.from, %error, "no bundle is made; mirrors fetch chunks");
                // A full disk may have room again by the next question.
                if matches!(
                    error,
                    BundleBuildError::Gone { .. }
                        | BundleBuildError::TooLarge { .. }
                        | BundleBuildError::ManifestTooLarge { .. }
                ) {
                    self.bundles.impossible(fetch);
                }
            }
        }
    }

    /// Runs for lists, built for `node`; `None` when there can be none, or too much is being built or sent.
    pub(super) async fn runs(
        self: Arc<Self>,
        node: PublicKey,
        fetch: FetchRuns,
    ) -> Option<HeldRuns> {
        let lists = fetch.bases.iter().chain([&fetch.list]);
        if lists.into_iter().any(|id| self.store.list(id).is_none()) {
            return None;
        }
        let deadline = Instant::now() + QUEUE_PATIENCE;
        let place = self.bundles.runs_held.take(node, deadline).await?;
        let queued = self.bundles.queue.enter(node, QUEUE_PATIENCE).await?;
        let turn = queued.turn().await?;
        let built = self.blocking.run(move || {
            let runs = bundle::runs(&self.store, &fetch);
            drop(turn);
            // What a slow reader has held for it is no more than what it reads.
            let bytes = Bytes::from(runs?.into_boxed_slice());
            Ok::<_, BundleBuildError>(HeldRuns {
                bytes,
                _place: place,
            })
        });
        match built.await {
            Some(Ok(runs)) => Some(runs),
            Some(Err(error)) => {
                tracing::info!(%error, "no runs are made; mirrors fetch chunks");
                None
            }
            // The runtime is shutting down.
            None => None,
        }
    }
}

fn release_of(store: &Store, manifest: ObjectId) -> Option<StoredRelease> {
    let releases = store.releases();
    releases
        .into_iter()
        .rev()
        .find(|release| release.manifest == manifest)
}

/// A stored manifest by its id.
pub(super) fn stored_manifest(store: &Store, id: ObjectId) -> Result<Manifest, BundleBuildError> {
    let gone = || BundleBuildError::Gone {
        what: format!("manifest {id}"),
    };
    let stored = release_of(store, id).ok_or_else(gone)?;
    let signed = store.manifest(stored.release)?.ok_or_else(gone)?;
    Ok(signed.reopen(&id)?)
}
