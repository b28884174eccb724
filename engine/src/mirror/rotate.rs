//! Another node key for a mirror: made beside the old one, shown to the masters, and taken once they let it in.
//! SPEC §8.1.

use std::path::{Path, PathBuf};

use tidecast_proto::key::{PublicKey, SecretKey};
use tidecast_proto::root::SignedRoot;
use tidecast_proto::trust::Trust;
use tidecast_proto::wire::RefusalReason;

use super::error::SyncError;
use super::events::Wish;
use super::memory::Memory;
use super::once::SyncFailure;
use super::{MIRROR_CONFIG, Mirror, MirrorError, NODE_KEY, upstream};
use crate::config::MirrorConfig;
use crate::durable::{self, FileError};
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
    if !is_let_in(config, trust.as_ref(), &key, &SystemNetwork).await? {
        return Ok(NextKey::Waiting(key.public()));
    }
    take(state)?;
    Ok(NextKey::Taken(key.public()))
}

/// The next key becomes this node's, in one step: a crash leaves the old one or the new one.
fn take(state: &Path) -> Result<(), FileError> {
    let present = state.join(NODE_KEY);
    std::fs::rename(path(state), &present).map_err(FileError::at("rename to", &present))?;
    durable::sync_folder_of(&present)
}

/// Whether some upstream lets `key` in; `false` when one lets it wait.
async fn is_let_in(
    config: &MirrorConfig,
    trust: Option<&Trust>,
    key: &SecretKey,
    network: &dyn Network,
) -> Result<bool, SyncFailure> {
    let mut tried = Vec::new();
    let mut waits = false;
    for name in upstream::all(config, trust) {
        let link = match upstream::dial(&name, key, network).await {
            Ok(link) => link,
            Err(error) => {
                tried.push((name, error.into()));
                continue;
            }
        };
        let greeted = greet(&link, config, trust).await;
        link.connection().close(close_code::DONE, b"");
        match greeted {
            Ok(()) => return Ok(true),
            Err(SyncError::Link(LinkError::Refused(refused)))
                if refused.reason == RefusalReason::PENDING =>
            {
                waits = true;
            }
            Err(error) => tried.push((name, error)),
        }
    }
    if waits {
        return Ok(false);
    }
    Err(SyncFailure::Unreachable { tried })
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

    /// Shows the next key, if there is one, to the upstreams, and goes on with it once one of them lets it in.
    ///
    /// # Errors
    /// [`RotateError`].
    pub(super) async fn show_next_key(&self) -> Result<NextKey, RotateError> {
        let _one = self.rotating.lock().await;
        let Some(key) = load(&self.state)? else {
            return Ok(NextKey::None);
        };
        let trust = self.beliefs.trust();
        if !is_let_in(&self.config, trust.as_ref(), &key, &*self.network).await? {
            tracing::info!(key = %key.public(), "the next node key waits to be admitted");
            return Ok(NextKey::Waiting(key.public()));
        }
        take(&self.state)?;
        let public = key.public();
        *self
            .node_key
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = key;
        tracing::info!(key = %public, "the next node key is this node's key now");
        let wishes = self
            .wishes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        if let Some(wishes) = wishes {
            // Fails only when the loop has ended.
            let _ = wishes.send(Wish::Redial).await;
        }
        Ok(NextKey::Taken(public))
    }
}
