//! What a sync would do, without doing it: `tidecast sync -n`. Writes nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tidecast_proto::bundle::{Origins, bytes_of};
use tidecast_proto::head::SignedHead;
use tidecast_proto::id::{ChunkId, RootVersion, Timestamp};
use tidecast_proto::list::{List, ListError};
use tidecast_proto::manifest::{File, Manifest, SignedManifest};
use tidecast_proto::plan::Plan;
use tidecast_proto::recipe::{Recipe, RecipeError};
use tidecast_proto::road::{Base, BundleState, Choice, Road, RoadFacts, Tried};
use tidecast_proto::root::SignedRoot;
use tidecast_proto::trust::Trust;
use tidecast_proto::wire::{FetchBundle, FetchRuns, ObjectName, RefusalReason};

use super::addition::{self, Anchors};
use super::hold::Held;
use super::memory::Memory;
use super::status::{FILES_TOLD, FileRoad};
use super::{MIRROR_CONFIG, MirrorError, NODE_KEY, SyncError, SyncFailure, SyncPlan, upstream};
use crate::clock::Clock;
use crate::config::MirrorConfig;
use crate::docroot::{self, Peek};
use crate::keyfile;
use crate::network::SystemNetwork;
use crate::quic::{BundleAnswer, Link, LinkError, close_code};

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
    let memory = Memory::new(state);
    let trust = memory.load(&feed).map_err(|e| mirror(e.into()))?;
    let live = docroot::peek(&config.kept_docroot(), &feed).map_err(|e| mirror(e.into()))?;
    let mut tried = Vec::new();
    let mut closed = None;
    for name in &upstream::all(config, trust.as_ref()) {
        let link = match upstream::dial(name, &key, &SystemNetwork).await {
            Ok(link) => link,
            Err(error) => {
                tried.push((name.clone(), error.into()));
                continue;
            }
        };
        let look = Look {
            link: &link,
            memory: &memory,
            config,
            live: live.as_ref(),
            now: clock.now(),
        };
        let planned = look.plan(feed, trust.clone()).await;
        link.connection().close(close_code::DONE, b"");
        match planned {
            Ok(plan) => {
                let held = Held::read(state);
                let root = trust.as_ref().map(Trust::root);
                return Ok(SyncPlan {
                    hold: held.map(|held| held.status(root)),
                    ..plan
                });
            }
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

/// As in a sync: an upstream that only asks for patience closes the road.
fn open_road(
    answer: Result<Option<BundleAnswer>, LinkError>,
) -> Result<Option<BundleAnswer>, LinkError> {
    match answer {
        Err(LinkError::Busy) => Ok(None),
        answer => answer,
    }
}

struct Look<'a> {
    link: &'a Link,
    memory: &'a Memory,
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
        let signed = SignedManifest::from_bytes(&bytes)?;
        let live = self.live.map(|live| &*live.manifest);
        let anchors = Anchors::Ask(self.link);
        let (judged, _) =
            addition::judge(self.memory, &trust, signed, &head, live, anchors).await?;
        let manifest = judged.manifest;
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
        let bundle_bytes = match self.live {
            Some(live) => {
                let fetch = FetchBundle {
                    from: live.manifest.id(),
                    to: manifest.id(),
                };
                // What it would cost stands in front of it; the rest is not sent when the answer is dropped.
                let answer = open_road(self.link.bundle(fetch).await)?;
                answer.map(|answer| answer.header().bytes)
            }
            None => None,
        };
        let bundle = match bundle_bytes {
            None => BundleState::Absent,
            Some(bytes) if bytes > plan.build_bytes() => BundleState::TooDear,
            Some(_) => BundleState::Good { holds_file: true },
        };
        let mut on_this_machine = self
            .live
            .map(|live| live.chunks.clone())
            .unwrap_or_default();
        let mut fetch_bytes = match bundle {
            BundleState::Good { .. } => bundle_bytes.unwrap_or(0),
            _ => 0,
        };
        let mut files = Vec::new();
        for file in plan.to_build() {
            let (choice, bytes) = self.road(file, bundle, &mut on_this_machine).await?;
            fetch_bytes += bytes;
            if files.len() < FILES_TOLD {
                files.push(FileRoad {
                    path: file.path.to_string(),
                    road: choice.road.code().into(),
                    reason: choice.reason.code().into(),
                    bytes: file.size,
                    received_bytes: bytes,
                });
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
            reuse_bytes: plan.build_bytes().saturating_sub(fetch_bytes),
            disk_bytes: plan.build_bytes(),
            bundle_bytes,
            files,
            reason: if self.live.is_some() {
                "update"
            } else {
                "fresh"
            }
            .into(),
            hold: None,
        })
    }

    /// The road a file would take, and what would be received for it; what a bundle brings is counted with the bundle.
    async fn road(
        &self,
        file: &File,
        bundle: BundleState,
        on_this_machine: &mut BTreeSet<ChunkId>,
    ) -> Result<(Choice, u64), SyncError> {
        let old = self
            .live
            .and_then(|live| Some((live, live.manifest.file(file.path.as_str())?)));
        let base_list = match old {
            Some((live, old)) => live.opened_list(old)?,
            None => None,
        };
        let mut facts = RoadFacts {
            base: match (self.live, old, &base_list) {
                (None, ..) => Base::NothingLive,
                (_, None, _) => Base::None,
                (.., Some(_)) => Base::Opened,
                (.., None) => Base::NotOpened,
            },
            opens: file.recipe.is_some(),
            bundle,
            runs: Tried::NotYet,
            differs: false,
            missing_opened_bytes: Some(0),
            whole_bytes: file.size,
        };
        let mut opened = None;
        loop {
            let choice = facts.choose();
            let (Road::Runs | Road::Chunks, Some(base)) = (choice.road, &base_list) else {
                let bytes = match choice.road {
                    Road::Whole => self.missing(&self.list(file).await?, on_this_machine),
                    _ => 0,
                };
                return Ok((choice, bytes));
            };
            if opened.is_none() {
                opened = self.opened_list(file).await?;
            }
            let Some(list) = &opened else {
                facts.opens = false;
                continue;
            };
            let missing = Origins::new(list, &[base]);
            let missing: u64 = missing
                .missing()
                .map(|range| bytes_of(&list.entries()[range]))
                .sum();
            if choice.road == Road::Chunks && facts.missing_opened_bytes == Some(missing) {
                return Ok((choice, missing));
            }
            facts.missing_opened_bytes = Some(missing);
            if choice.road == Road::Runs {
                let fetch = FetchRuns {
                    list: list.id(),
                    bases: vec![base.id()],
                };
                let answer = match list.id() == base.id() {
                    true => None,
                    false => open_road(self.link.runs(fetch).await)?,
                };
                match answer.map(|answer| answer.header().bytes) {
                    Some(bytes) if bytes <= file.size => return Ok((choice, bytes)),
                    _ => facts.runs = Tried::Closed,
                }
            }
        }
    }

    /// Bytes of the chunks that would be fetched, each once, however often it occurs.
    fn missing(&self, list: &List, on_this_machine: &mut BTreeSet<ChunkId>) -> u64 {
        let entries = list.entries().iter();
        let missing = entries.filter(|entry| on_this_machine.insert(entry.id));
        missing.map(|entry| u64::from(entry.len)).sum()
    }

    /// The list of what a file opens to; `None` when the upstream has none.
    async fn opened_list(&self, file: &File) -> Result<Option<List>, SyncError> {
        let Some(id) = file.recipe else {
            return Ok(None);
        };
        let absent = |error| match error {
            LinkError::Absent { .. } => Ok(None),
            error => Err(SyncError::from(error)),
        };
        let recipe = match self.link.object(ObjectName::Recipe(id)).await {
            Ok(bytes) => match Recipe::decode(&bytes, id, file.size) {
                Ok(recipe) => recipe,
                Err(error @ RecipeError::WrongId { .. }) => return Err(error.into()),
                // As in a sync: the file would come whole.
                Err(_) => return Ok(None),
            },
            Err(error) => return absent(error),
        };
        let (id, bytes) = (recipe.opened(), recipe.opened_bytes());
        match self.link.object(ObjectName::List(id)).await {
            Ok(list) => match List::decode(&list, id, bytes) {
                Ok(list) => Ok(Some(list)),
                Err(error @ ListError::WrongId { .. }) => Err(error.into()),
                Err(_) => Ok(None),
            },
            Err(error) => absent(error),
        }
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
