//! From a configured upstream to a welcome: resolve, dial, learn roots, check the key, say Hello. SPEC §6.3.

use std::net::SocketAddr;
use std::time::Duration;

use tidecast_proto::id::{FeedId, ReleaseNumber, RootVersion};
use tidecast_proto::key::SecretKey;
use tidecast_proto::root::SignedRoot;
use tidecast_proto::trust::Trust;
use tidecast_proto::wire::{DEFAULT_PORT, Hello, PROTOCOL, Serves, Welcome};

use super::error::SyncError;
use super::sync::Sync;
use crate::config::MirrorConfig;
use crate::network::Network;
use crate::quic::{self, Link, LinkError};

/// Name look-up must be through by then.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(4);

/// `host`, `host:port`, `[v6]` or `[v6]:port` with the port filled in.
#[must_use]
pub fn with_port(upstream: &str) -> String {
    let bare_v6 = upstream.parse::<std::net::Ipv6Addr>().is_ok();
    if bare_v6 {
        return format!("[{upstream}]:{DEFAULT_PORT}");
    }
    let after_brackets = upstream.rsplit(']').next().unwrap_or(upstream);
    if after_brackets.contains(':') {
        upstream.into()
    } else {
        format!("{upstream}:{DEFAULT_PORT}")
    }
}

/// Dials an upstream.
///
/// # Errors
/// [`LinkError::Connect`] when the name does not resolve; [`LinkError::NoAnswer`] when nobody answers.
pub(super) async fn dial(
    upstream: &str,
    key: &SecretKey,
    network: &dyn Network,
) -> Result<Link, LinkError> {
    let failed = |error: &dyn std::error::Error| LinkError::Connect(error.to_string());
    let address = resolve(upstream, network).await?;
    let bind = network.bind_for(address).map_err(|error| failed(&error))?;
    let endpoint = quic::client(bind, key).map_err(|error| failed(&error))?;
    Link::connect(&endpoint, address).await
}

async fn resolve(upstream: &str, network: &dyn Network) -> Result<SocketAddr, LinkError> {
    let upstream = with_port(upstream);
    let failed = |why: String| LinkError::Connect(format!("{upstream}: {why}"));
    tokio::time::timeout(RESOLVE_TIMEOUT, network.resolve(&upstream))
        .await
        .map_err(|_| failed("the name look-up does not answer".into()))?
        .map_err(|error| failed(error.to_string()))?
        .first()
        .copied()
        .ok_or_else(|| failed("the name has no address".into()))
}

impl Sync {
    /// Makes sure that this link leads to a master of the feed. A mirror without a root takes any server's, and
    /// believes only what the fingerprint vouches for.
    ///
    /// # Errors
    /// [`SyncError`]; the caller closes the link.
    pub(super) async fn prove_master(&self, feed: &FeedId) -> Result<(), SyncError> {
        let mut guard = self.trust.lock().await;
        if guard.is_none() {
            let bytes = self
                .link
                .root(RootVersion(1))
                .await?
                .ok_or_else(|| LinkError::Absent {
                    what: "the feed's first root".into(),
                })?;
            let root = SignedRoot::from_bytes(&bytes)?;
            let trust = Trust::begin(feed, root.clone())?;
            self.memory.keep_root(&root, &trust)?;
            tracing::info!(feed = %trust.root().feed, "first root accepted: the fingerprint matches");
            *guard = Some(trust);
        }
        let Some(trust) = guard.as_mut() else {
            return Err(LinkError::Protocol("no root".into()).into());
        };
        let key = self.link.upstream();
        if !trust.root().names_master(&key) {
            self.walk_roots(trust).await?;
        }
        if !trust.root().names_master(&key) {
            return Err(SyncError::NotAMaster(key));
        }
        Ok(())
    }

    /// Says Hello, and fetches newer roots the welcome speaks of.
    ///
    /// # Errors
    /// [`SyncError`]; [`LinkError::Refused`] also while we wait to be admitted.
    pub(super) async fn greet(
        &self,
        feed: FeedId,
        config: &MirrorConfig,
    ) -> Result<Welcome, SyncError> {
        let hello = {
            let guard = self.trust.lock().await;
            let trust = guard.as_ref();
            Hello {
                protocol: PROTOCOL,
                feed,
                root_version: trust.map_or(RootVersion(0), |t| t.root().version),
                seqs: trust.map(Trust::seqs).unwrap_or_default(),
                release: trust.map_or(ReleaseNumber(0), Trust::installed_release),
                manifest: trust.and_then(Trust::installed).map(|i| i.manifest),
                serves: Serves::NOTHING,
                name: config.name.clone(),
                contact: config.contact.clone(),
                hosts: config.hosts.clone(),
                extensions: Vec::new(),
            }
        };
        let welcome = self.link.greet(&hello).await?;
        let mut guard = self.trust.lock().await;
        if let Some(trust) = guard.as_mut()
            && welcome.root_version > trust.root().version
        {
            self.walk_roots(trust).await?;
            if !trust.root().names_master(&self.link.upstream()) {
                return Err(SyncError::NotAMaster(self.link.upstream()));
            }
        }
        Ok(welcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_filled_in() {
        for (given, full) in [
            ("master.example.org", "master.example.org:4873"),
            ("master.example.org:99", "master.example.org:99"),
            ("192.0.2.1", "192.0.2.1:4873"),
            ("2001:db8::1", "[2001:db8::1]:4873"),
            ("[2001:db8::1]", "[2001:db8::1]:4873"),
            ("[2001:db8::1]:99", "[2001:db8::1]:99"),
        ] {
            assert_eq!(with_port(given), full);
        }
    }
}
