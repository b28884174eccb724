//! What a sync would do, without doing it: `tidecast sync -n`. Writes nothing.

use std::path::Path;
use std::sync::Arc;

use tidecast_proto::head::SignedHead;
use tidecast_proto::id::{RootVersion, Timestamp};
use tidecast_proto::list::List;
use tidecast_proto::manifest::{File, Manifest, SignedManifest};
use tidecast_proto::plan::Plan;
use tidecast_proto::root::SignedRoot;
use tidecast_proto::trust::Trust;
use tidecast_proto::wire::{ObjectName, RefusalReason};

use super::memory::Memory;
use super::{MIRROR_CONFIG, MirrorError, NODE_KEY, SyncError, SyncFailure, SyncPlan, upstream};
use crate::clock::Clock;
use crate::config::MirrorConfig;
use crate::docroot::{self, Peek};
use crate::keyfile;
use crate::network::SystemNetwork;
use crate::quic::{Link, LinkError, close_code};

/// Asks the first upstream that answers, and compares what it offers with the docroot.
///
/// # Errors
/// [`SyncFailure`].
pub async fn plan(
    state: &Path,
    config: &MirrorConfig,
    clock: Arc<dyn Clock>,
) -> Result<SyncPlan, SyncFailure> {
    let mirror = |error: MirrorError| SyncFailure::Mirror(error);
    let feed = config
        .feed_id(&state.join(MIRROR_CONFIG))
        .map_err(|e| mirror(e.into()))?;
    let key = keyfile::load(&state.join(NODE_KEY)).map_err(|e| mirror(e.into()))?;
    let trust = Memory::new(state)
        .load(&feed)
        .map_err(|e| mirror(e.into()))?;
    let live = docroot::peek(&config.docroot, &feed).map_err(|e| mirror(e.into()))?;
    let mut tried = Vec::new();
    let mut closed = None;
    for name in &config.upstreams {
        let link = match upstream::dial(name, &key, &SystemNetwork).await {
            Ok(link) => link,
            Err(error) => {
                tried.push((name.clone(), error.into()));
                continue;
            }
        };
        let look = Look {
            link: &link,
            config,
            live: live.as_ref(),
            now: clock.now(),
        };
        let planned = look.plan(feed, trust.clone()).await;
        link.connection().close(close_code::DONE, b"");
        match planned {
            Ok(plan) => return Ok(plan),
            Err(SyncError::Link(LinkError::Refused(refused))) => {
                // As a sync would: another upstream may let us in.
                closed.get_or_insert(if refused.reason == RefusalReason::PENDING {
                    SyncFailure::Pending { key: key.public() }
                } else {
                    SyncFailure::Refused(refused)
                });
            }
            Err(error) => tried.push((name.clone(), error)),
        }
    }
    Err(closed.unwrap_or(SyncFailure::Unreachable { tried }))
}

struct Look<'a> {
    link: &'a Link,
    config: &'a MirrorConfig,
    live: Option<&'a Peek>,
    now: Timestamp,
}

impl Look<'_> {
    async fn plan(
        &self,
        feed: tidecast_proto::id::FeedId,
        trust: Option<Trust>,
    ) -> Result<SyncPlan, SyncError> {
        let mut trust = match trust {
            Some(trust) => trust,
            None => Trust::begin(&feed, upstream::first_root(self.link).await?)?,
        };
        let key = self.link.upstream();
        // Nothing is said to, or believed of, a server that is no master of the feed.
        while !trust.root().names_master(&key) {
            let next = RootVersion(trust.root().version.0.saturating_add(1));
            match self.link.root(next).await? {
                Some(bytes) => trust.accept_root(SignedRoot::from_bytes(&bytes)?)?,
                None => return Err(SyncError::NotAMaster(key)),
            }
        }
        let hello = upstream::hello(feed, self.config, Some(&trust));
        let welcome = self.link.greet(&hello).await?;
        while trust.root().version < welcome.root_version {
            let next = RootVersion(trust.root().version.0.saturating_add(1));
            trust.accept_root(self.root(next).await?)?;
        }
        let from = self.live.map_or(0, |live| live.manifest.release.0);
        let staying = |reason: &str| SyncPlan {
            from,
            to: from,
            reason: reason.into(),
            ..SyncPlan::default()
        };
        let Some(head) = welcome.head else {
            return Ok(staying("no_release"));
        };
        let now = trust.now(self.now);
        let head = trust
            .accept_head(SignedHead::from_bytes(&head)?, now)?
            .head()
            .clone();
        if self
            .live
            .is_some_and(|live| live.manifest.id() == head.manifest)
        {
            return Ok(staying("current"));
        }
        let bytes = self
            .link
            .object(ObjectName::Manifest(head.manifest))
            .await?;
        let manifest = trust.verify_manifest(SignedManifest::from_bytes(&bytes)?, &head)?;
        if let Some(live) = self.live {
            manifest.check_replaces(&live.manifest)?;
        }
        self.compare(&manifest).await
    }

    async fn root(&self, version: RootVersion) -> Result<SignedRoot, SyncError> {
        let bytes = self
            .link
            .root(version)
            .await?
            .ok_or_else(|| LinkError::Absent {
                what: format!("root {version}"),
            })?;
        Ok(SignedRoot::from_bytes(&bytes)?)
    }

    async fn compare(&self, manifest: &Manifest) -> Result<SyncPlan, SyncError> {
        let old = self.live.map(|live| &**live.manifest);
        let plan = Plan::new(manifest, old);
        let named = |files: &[&File]| {
            files
                .iter()
                .map(|f| (f.path.to_string(), f.size))
                .collect::<Vec<_>>()
        };
        let mut on_this_machine = self
            .live
            .map(|live| live.chunks.clone())
            .unwrap_or_default();
        let (mut fetch_bytes, mut reuse_bytes) = (0, 0);
        for file in plan.to_build() {
            for entry in self.list(file).await?.entries() {
                let bytes = u64::from(entry.len);
                // A chunk is fetched once, however often it occurs.
                if on_this_machine.insert(entry.id) {
                    fetch_bytes += bytes;
                } else {
                    reuse_bytes += bytes;
                }
            }
        }
        Ok(SyncPlan {
            from: self.live.map_or(0, |live| live.manifest.release.0),
            to: manifest.release.0,
            notes: manifest.notes.clone(),
            added: named(&plan.added),
            changed: named(&plan.changed),
            removed: named(&plan.removed),
            unchanged: plan.unchanged.len() as u64,
            fetch_bytes,
            reuse_bytes,
            disk_bytes: plan.build_bytes(),
            reason: if self.live.is_some() {
                "update"
            } else {
                "fresh"
            }
            .into(),
        })
    }

    async fn list(&self, file: &File) -> Result<List, SyncError> {
        match file.list {
            Some(id) => {
                let bytes = self.link.object(ObjectName::List(id)).await?;
                Ok(List::decode(&bytes, id, file.size)?)
            }
            None => List::of_small_file(file.hash, file.size).ok_or_else(|| {
                LinkError::Protocol("a file longer than one chunk has no list".into()).into()
            }),
        }
    }
}
