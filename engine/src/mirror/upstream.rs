//! Which upstreams there are, and the way from one of them to a welcome: resolve, dial, learn roots, check the key, say
//! Hello. SPEC §6.3, §6.7.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tidecast_proto::id::{FeedId, ReleaseNumber, RootVersion};
use tidecast_proto::key::SecretKey;
use tidecast_proto::root::SignedRoot;
use tidecast_proto::trust::Trust;
use tidecast_proto::wire::{DEFAULT_PORT, Hello, PROTOCOL, Serves, Welcome};

use super::Mirror;
use super::error::SyncError;
use super::sync::Sync;
use super::work::RootSource;
use crate::config::MirrorConfig;
use crate::network::Network;
use crate::quic::{self, Link, LinkError, close_code};

/// Name look-up and handshake together must be through by then, so that "does not answer" is said within 5 s.
const DIAL_TIMEOUT: Duration = Duration::from_millis(4_500);

/// How long an address may keep the next one of the same name waiting (RFC 8305).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;

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

/// Dials an upstream: its addresses one after another, without waiting long for any; the first that answers wins.
///
/// # Errors
/// [`LinkError::Connect`] when the name does not resolve; [`LinkError::NoAnswer`] when nobody answers.
pub(super) async fn dial(
    upstream: &str,
    key: &SecretKey,
    network: &dyn Network,
) -> Result<Link, LinkError> {
    tokio::time::timeout(DIAL_TIMEOUT, dial_any(upstream, key, network))
        .await
        .unwrap_or(Err(LinkError::NoAnswer))
}

async fn dial_any(
    upstream: &str,
    key: &SecretKey,
    network: &dyn Network,
) -> Result<Link, LinkError> {
    let mut addresses = resolve(upstream, network)
        .await?
        .into_iter()
        .take(ADDRESSES);
    let mut dialling = FuturesUnordered::new();
    let mut last_error = LinkError::NoAnswer;
    loop {
        if let Some(address) = addresses.next() {
            dialling.push(dial_address(address, key, network));
        }
        tokio::select! {
            Some(dialled) = dialling.next() => match dialled {
                Ok(link) => return Ok(link),
                Err(error) => last_error = error,
            },
            () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if addresses.len() > 0 => {}
            else => return Err(last_error),
        }
    }
}

async fn dial_address(
    address: SocketAddr,
    key: &SecretKey,
    network: &dyn Network,
) -> Result<Link, LinkError> {
    let failed = |error: &dyn std::error::Error| LinkError::Connect(error.to_string());
    let bind = network.bind_for(address).map_err(|error| failed(&error))?;
    let endpoint = quic::client(bind, key).map_err(|error| failed(&error))?;
    Link::connect(&endpoint, address).await
}

async fn resolve(upstream: &str, network: &dyn Network) -> Result<Vec<SocketAddr>, LinkError> {
    let upstream = with_port(upstream);
    let failed = |why: String| LinkError::Connect(format!("{upstream}: {why}"));
    let addresses = network
        .resolve(&upstream)
        .await
        .map_err(|error| failed(error.to_string()))?;
    if addresses.is_empty() {
        return Err(failed("the name has no address".into()));
    }
    Ok(addresses)
}

impl Sync {
    /// Makes sure that this link leads to a master of the feed. A mirror without a root takes any server's, and
    /// believes only what the fingerprint vouches for.
    ///
    /// # Errors
    /// [`SyncError`]; the caller closes the link.
    pub(super) async fn prove_master(&self, feed: &FeedId) -> Result<(), SyncError> {
        let beliefs = &self.work.beliefs;
        if beliefs.trust().is_none() {
            let root = first_root(&self.link).await?;
            let trust = Trust::begin(feed, root.clone())?;
            let change = beliefs.change().await;
            // Another upstream's answer may have come first; the fingerprint knows only one.
            if change.trust().is_none() {
                change.keep(&trust, Some(&root))?;
                tracing::info!(feed = %trust.root().feed, "first root accepted: the fingerprint matches");
            }
        }
        if self.check_master().is_err() {
            self.work.walk_roots(RootSource::Link(&self.link)).await?;
        }
        self.check_master()
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
        let trust = self.work.beliefs.trust();
        let welcome = self
            .link
            .greet(&hello(feed, config, trust.as_ref()))
            .await?;
        if trust.is_some_and(|trust| welcome.root_version > trust.root().version) {
            self.work.walk_roots(RootSource::Link(&self.link)).await?;
            self.check_master()?;
        }
        Ok(welcome)
    }

    /// The newest root must name the server's key.
    ///
    /// # Errors
    /// [`SyncError::NotAMaster`].
    pub(super) fn check_master(&self) -> Result<(), SyncError> {
        let key = self.link.upstream();
        match self.work.beliefs.trust() {
            Some(trust) if !trust.root().names_master(&key) => Err(SyncError::NotAMaster(key)),
            _ => Ok(()),
        }
    }
}

/// Upstreams that are asked, at most: each costs up to [`DIAL_TIMEOUT`] in a round where none answers.
const UPSTREAMS_MAX: usize = 32;

/// Whom a mirror asks: those its operator wrote down, then the addresses of masters that the newest root names.
pub(super) fn all(config: &MirrorConfig, trust: Option<&Trust>) -> Vec<String> {
    let mut upstreams = config.upstreams.clone();
    let masters = trust.map(|trust| trust.root().masters.iter());
    for address in masters.into_iter().flatten().flat_map(|m| &m.addresses) {
        let known = |upstream: &String| with_port(upstream) == with_port(address);
        if upstreams.len() < UPSTREAMS_MAX && !upstreams.iter().any(known) {
            upstreams.push(address.clone());
        }
    }
    upstreams
}

/// The first root as an upstream sends it.
///
/// # Errors
/// [`SyncError`].
pub(super) async fn first_root(link: &Link) -> Result<SignedRoot, SyncError> {
    let bytes = link
        .root(RootVersion(1))
        .await?
        .ok_or_else(|| LinkError::Absent {
            what: "the feed's first root".into(),
        })?;
    Ok(SignedRoot::from_bytes(&bytes)?)
}

/// What this mirror says first.
pub(super) fn hello(feed: FeedId, config: &MirrorConfig, trust: Option<&Trust>) -> Hello {
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
}

/// What an upstream said that was asked beside the present one.
#[derive(Debug, Default)]
pub(super) struct Opinion {
    /// Whether it would let us in.
    pub(super) up: bool,
    /// Its head, judged and found to be worth a sync.
    pub(super) head: Option<Vec<u8>>,
}

impl Mirror {
    /// Whom to ask, under which root.
    pub(super) fn upstreams(&self) -> (RootVersion, Vec<String>) {
        let trust = self.beliefs.trust();
        let version = trust.as_ref().map_or(RootVersion(0), |t| t.root().version);
        (version, all(&self.config, trust.as_ref()))
    }

    /// What `upstream` says beside the present one, whose link `sync` has. Answering a handshake is not enough to be up: a
    /// master restored without its list of nodes does that too. Newer roots that it has are taken, and its head is judged
    /// like any other.
    pub(super) async fn second_opinion(&self, upstream: &str, mut sync: Sync) -> Opinion {
        // Each of two keys once, and the first again where neither is known.
        for _ in 0..3 {
            let (key, shown) = self.keys.for_upstream(upstream);
            let Ok(link) = self.dial(upstream, &key).await else {
                break;
            };
            sync.link = link;
            let answered = match sync.prove_master(&self.feed).await {
                Ok(()) => self.ask(upstream, &sync).await,
                Err(error) => Err(error),
            };
            sync.link.connection().close(close_code::DONE, b"");
            match answered {
                Ok(opinion) => return opinion,
                Err(SyncError::Link(LinkError::Refused(refused)))
                    if self.keys.refused(upstream, shown, refused.reason) => {}
                Err(_) => break,
            }
        }
        Opinion::default()
    }

    async fn ask(&self, upstream: &str, sync: &Sync) -> Result<Opinion, SyncError> {
        let welcome = sync.greet(self.feed, &self.config).await?;
        let mut opinion = Opinion {
            up: true,
            head: None,
        };
        let Some(head) = welcome.head else {
            return Ok(opinion);
        };
        let was_stale = self.stale_since_ms().is_some();
        let roots = RootSource::Link(&sync.link);
        match sync.work.judge(&head, self.clock.now(), roots).await {
            // Of the release that is installed there are as many heads as masters, and one fresh one is enough.
            Ok((trust, judged)) if was_stale || judged.release > trust.installed_release() => {
                tracing::info!(upstream, release = %judged.release, "another upstream has a newer head");
                opinion.head = Some(head);
            }
            Ok(_) => {}
            // Only a word aside: the present upstream is not left for it.
            Err(error) => {
                tracing::warn!(upstream, whose = error.whose(), %error, "another upstream's head is of no use");
            }
        }
        Ok(opinion)
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
