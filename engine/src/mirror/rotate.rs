//! Another node key for a mirror: made beside the old one, shown to the masters, and taken once one lets it in.
//! SPEC §8.1.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidecast_proto::id::Timestamp;
use tidecast_proto::key::{PublicKey, SecretKey};
use tidecast_proto::root::SignedRoot;
use tidecast_proto::trust::Trust;
use tidecast_proto::wire::{RefusalReason, Refused};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

use super::error::SyncError;
use super::events::Wish;
use super::memory::Memory;
use super::node_keys::{Asked, NodeKeys, Shown};
use super::once::SyncFailure;
use super::{MIRROR_CONFIG, Mirror, MirrorError, upstream};
use crate::clock::{Clock as _, SystemClock};
use crate::config::MirrorConfig;
use crate::durable::FileError;
use crate::keyfile::{self, KeyFileError};
use crate::network::{Network, SystemNetwork};
use crate::quic::{Link, LinkError, close_code};

/// Where the key waits that is to replace the mirror's.
pub const NEXT_NODE_KEY: &str = "node.next.key";

/// Why the next key could not be taken. The present one is still this node's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The disk or its permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// No upstream could be asked, or none had anything good to say.
    #[error(transparent)]
    Asking(#[from] SyncFailure),
}

/// How the next key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextKey {
    /// There is none.
    None,
    /// It waits to be admitted.
    Waiting(PublicKey),
    /// It was let in and is this node's key now.
    Taken(PublicKey),
}

fn path(state: &Path) -> PathBuf {
    state.join(NEXT_NODE_KEY)
}

fn load(state: &Path) -> Result<Option<SecretKey>, KeyFileError> {
    match keyfile::load(&path(state)) {
        Ok(key) => Ok(Some(key)),
        Err(KeyFileError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Shows the next key, made if it is not there, to the upstreams, while no daemon runs; takes it if it is let in.
///
/// # Errors
/// [`RotateError`].
pub async fn rotate(state: &Path, config: &MirrorConfig) -> Result<NextKey, RotateError> {
    let failed = |error: MirrorError| RotateError::Asking(SyncFailure::Mirror(error));
    let feed = config
        .feed_id(&state.join(MIRROR_CONFIG))
        .map_err(|error| failed(error.into()))?;
    let trust = Memory::new(state)
        .load(&feed)
        .map_err(|error| failed(error.into()))?;
    let key = keyfile::load_or_generate(&path(state))?;
    let keys = NodeKeys::load(state)?;
    let asking = Asking {
        config,
        trust: trust.as_ref(),
        network: &SystemNetwork,
    };
    asking.take(&keys, key, SystemClock.now()).await
}

/// How many masters the newest root names, as this mirror knows it: each keeps a list of nodes of its own.
///
/// # Errors
/// [`MirrorError`].
pub fn masters(state: &Path, config: &MirrorConfig) -> Result<usize, MirrorError> {
    let feed = config.feed_id(&state.join(MIRROR_CONFIG))?;
    let trust = Memory::new(state).load(&feed)?;
    Ok(trust.map_or(1, |trust| trust.root().masters.len()))
}

/// How an upstream takes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Welcome,
    Refused(RefusalReason),
}

/// Whom keys are shown to, and what for.
struct Asking<'a> {
    config: &'a MirrorConfig,
    trust: Option<&'a Trust>,
    network: &'a dyn Network,
}

impl Asking<'_> {
    fn upstreams(&self) -> Vec<String> {
        upstream::all(self.config, self.trust)
    }

    /// Shows `key` to `upstream`, as far as its answer.
    async fn ask(&self, upstream: &str, key: &SecretKey) -> Result<Said, SyncError> {
        let link = upstream::dial(upstream, key, self.network).await?;
        let greeted = greet(&link, self.config, self.trust).await;
        link.connection().close(close_code::DONE, b"");
        match greeted {
            Ok(()) => Ok(Said::Welcome),
            Err(SyncError::Link(LinkError::Refused(refused))) => Ok(Said::Refused(refused.reason)),
            Err(error) => Err(error),
        }
    }

    /// Shows the next key to upstreams, until one lets it in.
    async fn next(&self, key: &SecretKey) -> Result<Asked, SyncFailure> {
        let (mut asked, mut tried) = (Asked::default(), Vec::new());
        for upstream in self.upstreams() {
            match self.ask(&upstream, key).await {
                Ok(Said::Welcome) => {
                    asked.by = Some(upstream);
                    return Ok(asked);
                }
                Ok(Said::Refused(RefusalReason::PENDING)) => asked.unknown.push(upstream),
                Ok(Said::Refused(reason)) => {
                    let refused = LinkError::Refused(Refused::new(reason, "the next node key"));
                    tried.push((upstream, refused.into()));
                }
                Err(error) => tried.push((upstream, error)),
            }
        }
        if asked.unknown.is_empty() {
            return Err(SyncFailure::Unreachable { tried });
        }
        Ok(asked)
    }

    /// Takes the next key if some upstream lets it in.
    async fn take(
        &self,
        keys: &NodeKeys,
        next: SecretKey,
        now: Timestamp,
    ) -> Result<NextKey, RotateError> {
        let public = next.public();
        let asked = self.next(&next).await?;
        let Some(by) = &asked.by else {
            return Ok(NextKey::Waiting(public));
        };
        // Whether the one that let the next key in has thrown the present one out is known to nobody else.
        let present = self.ask(by, &keys.present()).await;
        let revoked = matches!(present, Ok(Said::Refused(RefusalReason::REVOKED)));
        keys.take(next, !revoked && !keys.is_revoked(), &asked, now)?;
        keys.settle(&self.upstreams(), now);
        Ok(NextKey::Taken(public))
    }

    /// Shows the present key to those that have not said yet that it may come, while the former one is kept. Says which
    /// of them let only the former in before.
    async fn present(&self, keys: &NodeKeys, now: Timestamp) -> Vec<String> {
        let mut changed = Vec::new();
        for upstream in keys.unsettled(&self.upstreams()) {
            match self.ask(&upstream, &keys.present()).await {
                Ok(Said::Welcome) => {
                    if keys.welcomed(&upstream, Shown::Present) {
                        changed.push(upstream);
                    }
                }
                Ok(Said::Refused(reason)) => {
                    keys.refused(&upstream, Shown::Present, reason);
                }
                Err(error) => {
                    tracing::debug!(upstream, %error, "not asked about the present node key");
                }
            }
        }
        keys.settle(&self.upstreams(), now);
        changed
    }
}

/// As far as the Welcome, and only with a master of the feed. Nothing is kept.
async fn greet(link: &Link, config: &MirrorConfig, trust: Option<&Trust>) -> Result<(), SyncError> {
    let unusable = |_| LinkError::Protocol("no usable configuration".into());
    let feed = config.feed_id(Path::new(MIRROR_CONFIG)).map_err(unusable)?;
    let mut trust = match trust {
        Some(trust) => trust.clone(),
        None => Trust::begin(&feed, upstream::first_root(link).await?)?,
    };
    let key = link.upstream();
    for _ in 0..tidecast_proto::limits::ROOT_WALK {
        if trust.root().names_master(&key) {
            break;
        }
        let next = tidecast_proto::id::RootVersion(trust.root().version.0.saturating_add(1));
        let Some(bytes) = link.root(next).await? else {
            break;
        };
        trust.accept_root(SignedRoot::from_bytes(&bytes)?)?;
    }
    if !trust.root().names_master(&key) {
        return Err(SyncError::NotAMaster(key));
    }
    link.greet(&upstream::hello(feed, config, Some(&trust)))
        .await?;
    Ok(())
}

impl Mirror {
    pub(super) fn has_next_key(&self) -> bool {
        path(&self.state).exists()
    }

    /// Whether some key is to be shown to upstreams that do not know it yet.
    pub(super) fn is_rotating(&self) -> bool {
        self.has_next_key() || self.keys.former().is_some()
    }

    /// As [`Self::show_keys`], on a task of its own; `None` when that is being done already.
    pub(super) fn show_keys_soon(self: &Arc<Self>) -> Option<JoinHandle<()>> {
        // Taken here: tasks that only wait for their turn would pile up behind an upstream that does not answer.
        let turn = self.rotating.clone().try_lock_owned().ok()?;
        let mirror = self.clone();
        Some(tokio::spawn(async move {
            if let Err(error) = mirror.show_keys_in(turn).await {
                tracing::warn!(%error, "the next node key cannot be used");
            }
        }))
    }

    /// Shows the next key, if there is one, to the upstreams, and goes on with it once one of them lets it in. Then
    /// shows the present one to those that knew only the former.
    ///
    /// # Errors
    /// [`RotateError`].
    pub(super) async fn show_keys(&self) -> Result<NextKey, RotateError> {
        self.show_keys_in(self.rotating.clone().lock_owned().await)
            .await
    }

    async fn show_keys_in(&self, _turn: OwnedMutexGuard<()>) -> Result<NextKey, RotateError> {
        let next = self.show_next_key().await?;
        let trust = self.beliefs.trust();
        let changed = self
            .asking(trust.as_ref())
            .present(&self.keys, self.clock.now())
            .await;
        let at = self.present().connection.upstream.clone();
        if matches!(next, NextKey::Taken(_)) || changed.contains(&at) {
            self.redial().await;
        }
        Ok(next)
    }

    fn asking<'a>(&'a self, trust: Option<&'a Trust>) -> Asking<'a> {
        Asking {
            config: &self.config,
            trust,
            network: &*self.network,
        }
    }

    async fn show_next_key(&self) -> Result<NextKey, RotateError> {
        let Some(key) = load(&self.state)? else {
            return Ok(NextKey::None);
        };
        let trust = self.beliefs.trust();
        let asking = self.asking(trust.as_ref());
        let next = asking.take(&self.keys, key, self.clock.now()).await?;
        match &next {
            NextKey::Taken(key) => tracing::info!(%key, "the next node key is this node's key now"),
            NextKey::Waiting(key) => tracing::info!(%key, "the next node key waits to be admitted"),
            NextKey::None => {}
        }
        Ok(next)
    }

    /// Leaves the connection for one with another key.
    async fn redial(&self) {
        let wishes = self
            .wishes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        if let Some(wishes) = wishes {
            // Fails only when the loop has ended.
            let _ = wishes.send(Wish::Redial).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::mirror::{DiskMode, NODE_KEY, Surroundings};
    use crate::quic::Bind;

    /// Names never resolve, and nobody says so.
    #[derive(Debug)]
    struct Silence;

    impl Network for Silence {
        fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            Box::pin(std::future::pending())
        }

        fn bind_for(&self, _: SocketAddr) -> io::Result<Bind> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[tokio::test]
    async fn keys_are_shown_by_one_task_at_most_whatever_upstreams_do() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path();
        for name in [NODE_KEY, NEXT_NODE_KEY] {
            keyfile::generate_at(&state.join(name)).unwrap();
        }
        let config = MirrorConfig {
            fingerprint: "ab".repeat(32),
            upstreams: vec!["nowhere.example:1".into()],
            docroot: state.join("docroot"),
            scrub_s: 0,
            ..MirrorConfig::default()
        };
        let surroundings = Surroundings {
            network: Arc::new(Silence),
            disk: DiskMode::Thread,
            ..Surroundings::system(Arc::new(SystemClock))
        };
        let (mirror, _) = Mirror::open_in(state, config, surroundings).unwrap();
        let first = mirror.show_keys_soon().unwrap();
        for _ in 0..100 {
            assert!(mirror.show_keys_soon().is_none());
        }
        first.abort();
        let _ = first.await;
        mirror.show_keys_soon().unwrap().abort();
    }
}
