//! One sync: from a head to a switched docroot. SPEC §8.6.
//!
//! Everything is checked before it is kept, and every counter is on disk before it is acted on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidecast_proto::fetch::ChunkQueue;
use tidecast_proto::head::{Head, Phase};
use tidecast_proto::id::{ChunkId, ListId, ObjectId, RecipeId};
use tidecast_proto::list::List;
use tidecast_proto::manifest::{Manifest, SignedManifest};
use tidecast_proto::plan::Plan;
use tidecast_proto::recipe::Recipe;
use tidecast_proto::signed;
use tidecast_proto::trust::Trust;
use tidecast_proto::wire::ObjectName;
use tokio::task::JoinSet;

use super::addition::{Anchors, Judged};
use super::error::SyncError;
use super::road::{ByBundle, Journeys, is_of_the_link};
use super::status::{Progress, SyncReport};
use super::work::{Begin, RootSource, Work, building, moved_away, no_build};
use crate::docroot::{Build, BuildBytes, DocrootError, MendReport};
use crate::quic::{Link, LinkError, PushedBundle};

/// Lists asked for at once; each may be 4 MiB.
const LISTS_AT_ONCE: usize = 4;

/// What a sync works with.
#[derive(Debug, Clone)]
pub(super) struct Sync {
    pub(super) link: Link,
    pub(super) work: Work,
    /// Whether a docroot that is current is checked and mended as well.
    pub(super) thorough: bool,
    /// A bundle that came with the head.
    pub(super) pushed: Option<Arc<PushedBundle>>,
}

/// Where fetched chunks go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// To their places in the files being built.
    Files,
    /// To the spool, for a rebuild.
    Spool,
}

impl Sync {
    /// Brings the docroot to what `head` points at.
    ///
    /// # Errors
    /// [`SyncError`].
    pub(super) async fn run(&self, head: &[u8]) -> Result<SyncReport, SyncError> {
        let _turn = self.work.turn.lock().await;
        self.link.be_patient_anew();
        let started = tokio::time::Instant::now();
        let (received, sent) = self.link.traffic();
        let brought = self.bring_to(head).await;
        self.work.let_go().await;
        let mut report = brought?;
        let (received_now, sent_now) = self.link.traffic();
        // A bundle that came with the head was here before this sync began; the release cost it all the same.
        let news_bytes = self.pushed.as_ref().map_or(0, |pushed| pushed.news_bytes);
        report.received_bytes = received_now.saturating_sub(received) + news_bytes;
        report.sent_bytes = sent_now.saturating_sub(sent);
        report.seconds = started.elapsed().as_secs_f64();
        Ok(report)
    }

    async fn bring_to(&self, head: &[u8]) -> Result<SyncReport, SyncError> {
        let clock = self.work.clock.now();
        let roots = RootSource::Link(&self.link);
        let judged = self.work.judge(head, clock, roots).await;
        // A root that came with the head may have taken this server's part from it.
        self.check_master()?;
        let live = self.work.live().await?;
        let (trust, head) = match judged {
            Ok(judged) => judged,
            Err(error) => {
                self.heal_anyway(live.as_ref()).await;
                return Err(error);
            }
        };
        let from = live.as_ref().map_or(0, |live| live.release.0);
        if let Some(live) = live.as_ref().filter(|live| live.id() == head.manifest) {
            let mut report = self.stay(&trust, live).await?;
            let moved = self.work.write_timestamp(&trust, &head, clock).await?;
            report.warnings.extend(moved_away(moved.as_slice()));
            report.warnings.extend(self.work.show().await?);
            self.fill_gaps().await;
            return Ok(report);
        }
        if let Some(held) = self.work.hold.forbids(&head.manifest) {
            // What it stays on is looked after like the newest.
            let mut report = match &live {
                Some(live) => self.stay(&trust, live).await?,
                None => SyncReport::default(),
            };
            report.held_back(&held, head.release, &trust);
            return Ok(report);
        }
        self.work.fits(head.manifest).await?;
        let mut by_bundle = match &live {
            Some(live) => self.by_bundle(&trust, &head, live).await?,
            None => ByBundle::default(),
        };
        let judged = match by_bundle.release.take() {
            Some(judged) => judged,
            None => {
                let judged = self.manifest(&trust, &head, live.as_deref()).await?;
                if let Some(live) = &live {
                    judged.manifest.check_replaces(live)?;
                }
                let begun = self.work.begin(&judged.manifest, Begin::Release).await?;
                by_bundle.damaged = begun.damaged;
                judged
            }
        };
        let manifest = judged.manifest.clone();
        let mut report = SyncReport {
            from,
            to: manifest.release.0,
            reason: if live.is_some() { "update" } else { "fresh" }.into(),
            ..SyncReport::default()
        };
        let plan = Plan::new(&manifest, live.as_deref().map(|live| &**live));
        report.files_changed = plan.to_build().count() as u64;
        report.files_removed = plan.removed.len() as u64;
        drop(plan);
        let mut journeys = Journeys::new(&manifest, live.as_ref(), by_bundle);
        self.travel(&trust, &mut journeys).await?;
        let moved = self.complete(&trust, &manifest, &mut journeys).await?;
        report.moved(moved);
        journeys.tell(&mut report);
        self.work.prove(&judged, live.as_ref()).await?;
        if head.phase == Phase::PREPARE {
            report.reason = "prepared".into();
            report.to = from;
            self.heal_anyway(live.as_ref()).await;
            return Ok(report);
        }
        self.work
            .go_live(&trust, &head, clock, &manifest, &mut report)
            .await?;
        self.fill_gaps().await;
        Ok(report)
    }

    /// Fetches what the next release will want to build on. What cannot be had now is asked for by the next sync.
    async fn fill_gaps(&self) {
        if let Err(error) = self.try_to_fill_gaps().await {
            tracing::info!(%error, "recipes and lists for the next release could not be fetched yet");
        }
    }

    async fn try_to_fill_gaps(&self) -> Result<(), SyncError> {
        let gaps = self.work.disk.run(|disk| disk.docroot.gaps()).await??;
        for (id, size) in gaps.recipes {
            skip_unless_lost(self.fill_recipe(id, size).await)?;
        }
        // Those that have just come name lists, too.
        let gaps = self.work.disk.run(|disk| disk.docroot.gaps()).await??;
        for (id, bytes) in gaps.lists {
            skip_unless_lost(self.fill_list(id, bytes).await)?;
        }
        Ok(())
    }

    async fn fill_recipe(&self, id: RecipeId, size: u64) -> Result<(), SyncError> {
        let bytes = self.link.object(ObjectName::Recipe(id)).await?;
        let recipe = Recipe::decode(&bytes, id, size)?;
        let disk = &self.work.disk;
        Ok(disk
            .run(move |disk| disk.docroot.add_recipe(&id, &recipe))
            .await??)
    }

    async fn fill_list(&self, id: ListId, bytes: u64) -> Result<(), SyncError> {
        let list = List::decode(&self.link.object(ObjectName::List(id)).await?, id, bytes)?;
        let disk = &self.work.disk;
        Ok(disk
            .run(move |disk| disk.docroot.add_list(&id, &list))
            .await??)
    }

    /// Heals what is live where this sync does not get as far as replacing it. What was signed once vouches for its own
    /// content: that takes no fresh head, only somebody who still has the chunks.
    async fn heal_anyway(&self, live: Option<&Arc<Manifest>>) {
        let (true, Some(live), Some(trust)) = (self.thorough, live, self.work.beliefs.trust())
        else {
            return;
        };
        match self.stay(&trust, live).await {
            Ok(report) => {
                for warning in &report.warnings {
                    tracing::warn!("{warning}");
                }
            }
            Err(error) => {
                tracing::warn!(release = %live.release, %error, "the live release could not be healed");
            }
        }
    }

    /// The docroot has the release already: when asked to be thorough, its names, links and files are checked,
    /// and what is damaged is fetched again.
    async fn stay(&self, trust: &Trust, live: &Arc<Manifest>) -> Result<SyncReport, SyncError> {
        let mut report = SyncReport {
            from: live.release.0,
            to: live.release.0,
            reason: "current".into(),
            ..SyncReport::default()
        };
        if !self.thorough {
            return Ok(report);
        }
        let mended = self.work.disk.run(|disk| disk.docroot.mend()).await??;
        report.warnings = mended.lines();
        if !mended.damaged.is_empty() {
            report.reason = "repair".into();
            report.files_changed = mended.damaged.len() as u64;
            let mut journeys = Journeys::of_repair(live, &mended.damaged);
            let begin = Begin::Repair(mended.damaged);
            self.work.begin(live, begin).await?;
            report.moved(self.complete(trust, live, &mut journeys).await?);
            journeys.tell(&mut report);
            self.work
                .disk
                .run(|disk| match disk.build.take() {
                    Some(build) => disk.docroot.finish_repair(build),
                    None => Err(no_build()),
                })
                .await??;
        }
        Ok(report)
    }

    /// Fetches and judges the manifest.
    async fn manifest(
        &self,
        trust: &Trust,
        head: &Head,
        live: Option<&Manifest>,
    ) -> Result<Judged, SyncError> {
        let bytes = self
            .link
            .object(ObjectName::Manifest(head.manifest))
            .await?;
        // Before anything of it is copied: it may be 16 MiB of anything.
        if signed::body_of(&bytes).map(ObjectId::of) != Some(head.manifest) {
            return Err(LinkError::Corrupt {
                what: format!("manifest {}", head.manifest),
            }
            .into());
        }
        let signed = SignedManifest::from_bytes(&bytes)?;
        drop(bytes);
        let anchors = Anchors::Ask(&self.link);
        self.work
            .judge_manifest(trust, signed, head, live, anchors)
            .await
    }

    /// Builds what is still lacking of the tree from chunks of the files as they are, as far as the switch.
    async fn complete(
        &self,
        trust: &Trust,
        manifest: &Arc<Manifest>,
        journeys: &mut Journeys,
    ) -> Result<BuildBytes, SyncError> {
        let chunker = Work::chunker(trust);
        let disk = &self.work.disk;
        let lists = disk.run(|disk| building(disk)?.missing_lists()).await??;
        self.fetch_lists(lists).await?;
        let (missing, by_file) = disk
            .run(move |disk| {
                let build = building(disk)?;
                build.start(&chunker)?;
                build.check_space()?;
                let missing: Vec<_> = build.missing().collect();
                Ok::<_, DocrootError>((missing, build.missing_by_file()))
            })
            .await??;
        journeys.whole(by_file);
        let fetch_bytes = missing.iter().map(|entry| u64::from(entry.len)).sum();
        self.work.progress.send_replace(Progress {
            release: manifest.release.0,
            fetched_bytes: 0,
            fetch_bytes,
        });
        let ids = missing.iter().map(|entry| entry.id).collect();
        let fetched = self.fetch_chunks(ids, fetch_bytes, Into::Files).await;
        self.work.progress.send_replace(Progress::default());
        fetched?;
        Ok(disk
            .run(|disk| disk.build.as_ref().map(Build::bytes))
            .await?
            .unwrap_or_default())
    }

    async fn fetch_lists(&self, lists: Vec<(ListId, u64)>) -> Result<(), SyncError> {
        let mut wanted = lists.into_iter();
        let mut fetching = JoinSet::new();
        loop {
            while fetching.len() < LISTS_AT_ONCE
                && let Some((id, size)) = wanted.next()
            {
                let link = self.link.clone();
                fetching.spawn(async move {
                    let bytes = link.object(ObjectName::List(id)).await?;
                    Ok::<_, SyncError>((id, List::decode(&bytes, id, size)?))
                });
            }
            let Some(fetched) = fetching.join_next().await else {
                return Ok(());
            };
            let (id, list) = fetched.map_err(|_| super::disk::DiskGone)??;
            self.work
                .disk
                .run(move |disk| building(disk)?.add_list(id, list))
                .await??;
        }
    }

    /// Fetches chunks; each is opened, hashed and written on the disk thread while the next ones come in.
    pub(super) async fn fetch_chunks(
        &self,
        missing: Vec<ChunkId>,
        fetch_bytes: u64,
        into: Into,
    ) -> Result<(), SyncError> {
        let queue = ChunkQueue::new(missing);
        let failed = Arc::new(Failed::default());
        let fetched = self
            .link
            .at_a_useful_rate(async {
                // Errors of our own side travel in `failed`; the rate rule only knows those of the link.
                match self.pump(queue, &failed, fetch_bytes, into).await {
                    Ok(()) => Ok(()),
                    Err(SyncError::Link(error)) => Err(error),
                    Err(other) => {
                        failed.set(other);
                        Ok(())
                    }
                }
            })
            .await;
        // What was handed to the disk is done first, so that an interrupted fetch keeps all of it.
        self.work.disk.run(|_| ()).await?;
        match failed.take() {
            Some(error) => Err(error),
            None => Ok(fetched?),
        }
    }

    async fn pump(
        &self,
        mut queue: ChunkQueue,
        failed: &Arc<Failed>,
        fetch_bytes: u64,
        into: Into,
    ) -> Result<(), SyncError> {
        let fetched = Arc::new(AtomicU64::new(0));
        let mut requests = JoinSet::new();
        while !queue.is_done() && !failed.is_set() {
            while let Some(ids) = queue.next_request() {
                let (failed, fetched) = (failed.clone(), fetched.clone());
                requests.spawn(self.clone().request(ids, failed, fetched, into));
            }
            let Some(ended) = requests.join_next().await else {
                break;
            };
            ended.map_err(|_| super::disk::DiskGone)??;
            queue.request_ended();
            self.work.progress.send_modify(|progress| {
                progress.fetched_bytes = fetched.load(Ordering::Relaxed).min(fetch_bytes);
            });
        }
        Ok(())
    }

    /// One request: its chunks go to the disk thread as they arrive.
    async fn request(
        self,
        ids: Vec<ChunkId>,
        failed: Arc<Failed>,
        fetched: Arc<AtomicU64>,
        into: Into,
    ) -> Result<(), SyncError> {
        let mut answers = self.link.chunks(ids.clone()).await?;
        for id in ids {
            if failed.is_set() {
                return Ok(());
            }
            let packed = answers.next(id).await?;
            // What crosses the wire twice shows in these lines, also of a process that was killed.
            tracing::trace!(chunk = %id, bytes = packed.opened_bytes(), "received");
            let (failed, fetched) = (failed.clone(), fetched.clone());
            self.work
                .disk
                .post(move |disk| {
                    let put = packed.open().map_err(SyncError::from).and_then(|bytes| {
                        fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                        let build = building(disk)?;
                        match into {
                            Into::Files => build.put(&packed.id, &bytes).map(drop)?,
                            Into::Spool => build.spool_chunk(&packed.id, &bytes)?,
                        }
                        Ok(())
                    });
                    if let Err(error) = put {
                        failed.set(error);
                    }
                })
                .await?;
        }
        Ok(())
    }
}

/// One object that is absent or cannot be read must not keep the others away.
fn skip_unless_lost(filled: Result<(), SyncError>) -> Result<(), SyncError> {
    match filled {
        Err(SyncError::Link(error)) if !is_of_the_link(&error) => {
            tracing::info!(%error, "passed over; the next sync asks again");
            Ok(())
        }
        Err(error @ (SyncError::Recipe(_) | SyncError::List(_))) => {
            tracing::info!(%error, "passed over; the next sync asks again");
            Ok(())
        }
        other => other,
    }
}

impl MendReport {
    /// What an operator is told.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = self.warnings.clone();
        lines.extend(
            self.restored
                .iter()
                .map(|name| format!("{name} was put right")),
        );
        lines.extend(moved_away(&self.moved_away));
        let damaged = self.damaged.iter();
        lines.extend(
            damaged.map(|path| format!("{path} is not what was signed any more; it is healed")),
        );
        lines
    }
}

impl SyncReport {
    /// What a build came to.
    pub(super) fn moved(&mut self, bytes: BuildBytes) {
        self.linked_bytes = bytes.linked;
        self.reused_bytes = bytes.reused;
        self.fetched_bytes = bytes.written;
        self.list_bytes = bytes.lists;
    }
}

/// The first thing that went wrong on our side of a fetch.
#[derive(Debug, Default)]
struct Failed(Mutex<Option<SyncError>>);

impl Failed {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<SyncError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, error: SyncError) {
        self.lock().get_or_insert(error);
    }

    fn is_set(&self) -> bool {
        self.lock().is_some()
    }

    fn take(&self) -> Option<SyncError> {
        self.lock().take()
    }
}
