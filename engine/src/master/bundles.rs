//! Bundles a master has ready, and one more at a time. SPEC §7.6.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidecast_proto::id::ObjectId;
use tidecast_proto::manifest::Manifest;
use tidecast_proto::wire::{FetchBundle, FetchRuns};

use super::Master;
use crate::bundle::{self, BundleBuildError, BundleCache};
use crate::store::{Store, StoredRelease};

/// Cores that are held open, and with it how many releases mirrors may be behind before files are opened anew.
const OPEN_MAX: usize = 16;

/// Bundles remembered as impossible; there is one for each release that is kept, at most.
const IMPOSSIBLE_MAX: usize = 4096;

/// What a master knows of bundles.
#[derive(Debug)]
pub(super) struct Bundles {
    cache: BundleCache,
    known: Mutex<Known>,
    /// Held by whatever builds: it takes a whole core and a good deal of memory.
    building: Arc<tokio::sync::Mutex<()>>,
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
            building: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The core of a bundle, built if need be; `None` when there can be none. Whoever asks for the same one waits for
    /// the same build, which goes on when nobody waits any more.
    pub(super) async fn bundle(self: Arc<Self>, fetch: FetchBundle) -> Option<Bytes> {
        if let Some(ready) = self.bundles.ready(&self.store, fetch) {
            return ready;
        }
        let place = self.bundles.building.clone().lock_owned().await;
        if let Some(ready) = self.bundles.ready(&self.store, fetch) {
            return ready;
        }
        let built = tokio::task::spawn_blocking(move || {
            let core = self.build(fetch);
            drop(place);
            core
        });
        built.await.unwrap_or(None)
    }

    fn build(&self, fetch: FetchBundle) -> Option<Bytes> {
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
                self.bundles.ready(&self.store, fetch).flatten()
            }
            Err(error) => {
                tracing::info!(from = %fetch.from, %error, "no bundle");
                // A full disk may have room again by the next question.
                if matches!(
                    error,
                    BundleBuildError::Gone { .. } | BundleBuildError::TooLarge { .. }
                ) {
                    self.bundles.impossible(fetch);
                }
                None
            }
        }
    }

    /// Runs for lists; `None` when there can be none.
    pub(super) async fn runs(self: Arc<Self>, fetch: FetchRuns) -> Option<Bytes> {
        let lists = fetch.bases.iter().chain([&fetch.list]);
        if lists.into_iter().any(|id| self.store.list(id).is_none()) {
            return None;
        }
        let place = self.bundles.building.clone().lock_owned().await;
        let built = tokio::task::spawn_blocking(move || {
            let runs = bundle::runs(&self.store, &fetch);
            drop(place);
            runs
        });
        match built.await {
            Ok(Ok(runs)) => Some(runs.into()),
            Ok(Err(error)) => {
                tracing::info!(%error, "no runs");
                None
            }
            // The runtime is shutting down.
            Err(_) => None,
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
