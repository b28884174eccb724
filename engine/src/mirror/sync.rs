//! One sync: from a head to a switched docroot. SPEC §8.6.
//!
//! Everything is checked before it is kept, and every counter is on disk before it is acted on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidecast_proto::chunker::Chunker;
use tidecast_proto::fetch::ChunkQueue;
use tidecast_proto::head::{Head, Phase, SignedHead};
use tidecast_proto::id::{ChunkId, ListId, RootVersion, Timestamp};
use tidecast_proto::limits;
use tidecast_proto::list::List;
use tidecast_proto::manifest::{Manifest, SignedManifest};
use tidecast_proto::plan::Plan;
use tidecast_proto::root::SignedRoot;
use tidecast_proto::trust::{HeadError, Trust, Verdict};
use tidecast_proto::wire::ObjectName;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::disk::{Disk, DiskState};
use super::error::SyncError;
use super::memory::{Beliefs, Change};
use super::status::{Progress, SyncReport};
use crate::clock::Clock;
use crate::docroot::{Build, BuildBytes, DocrootError, MendReport};
use crate::quic::{Link, LinkError};

/// Lists asked for at once; each may be 4 MiB.
const LISTS_AT_ONCE: usize = 4;

/// What a sync works with.
#[derive(Debug, Clone)]
pub(super) struct Sync {
    pub(super) link: Link,
    pub(super) beliefs: Arc<Beliefs>,
    pub(super) disk: Disk,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) progress: watch::Sender<Progress>,
    /// Whether a docroot that is current is checked and mended as well.
    pub(super) thorough: bool,
}

impl Sync {
    /// Fetches the roots we lack, one by one, each kept before the next is asked for. Roots are walked past
    /// expiry; only the last one's counts.
    ///
    /// # Errors
    /// [`SyncError`]; what was accepted so far stays.
    pub(super) async fn walk_roots(
        &self,
        change: &Change<'_>,
        mut trust: Trust,
    ) -> Result<Trust, SyncError> {
        for _ in 0..limits::ROOT_WALK {
            let next = RootVersion(trust.root().version.0.saturating_add(1));
            let Some(bytes) = self.link.root(next).await? else {
                break;
            };
            let root = SignedRoot::from_bytes(&bytes)?;
            trust.accept_root(root.clone())?;
            change.keep(&trust, Some(&root))?;
            tracing::info!(root = %next, "root accepted");
        }
        Ok(trust)
    }

    /// Brings the docroot to what `head` points at.
    ///
    /// # Errors
    /// [`SyncError`].
    pub(super) async fn run(&self, head: &[u8]) -> Result<SyncReport, SyncError> {
        let started = tokio::time::Instant::now();
        let (received, sent) = self.link.traffic();
        let mut report = self.bring_to(head).await?;
        let (received_now, sent_now) = self.link.traffic();
        report.received_bytes = received_now.saturating_sub(received);
        report.sent_bytes = sent_now.saturating_sub(sent);
        report.seconds = started.elapsed().as_secs_f64();
        Ok(report)
    }

    async fn bring_to(&self, head: &[u8]) -> Result<SyncReport, SyncError> {
        let (trust, head) = self.judge(head).await?;
        let live = self
            .disk
            .run(|disk| disk.docroot.current().map(|live| live.manifest().clone()))
            .await?;
        let from = live.as_ref().map_or(0, |live| live.release.0);
        if let Some(live) = live.as_ref().filter(|live| live.id() == head.manifest) {
            let mut report = self.stay(&trust, live).await?;
            let moved = self.write_timestamp(&trust, &head).await?;
            report.warnings.extend(moved_away(moved.as_slice()));
            return Ok(report);
        }
        let manifest = self.manifest(&trust, &head).await?;
        if let Some(live) = &live {
            manifest.check_replaces(live)?;
        }
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
        report.moved(self.build(&trust, &manifest, Begin::Release).await?);
        if head.phase == Phase::PREPARE {
            report.reason = "prepared".into();
            report.to = from;
            return Ok(report);
        }
        self.switch(&manifest, &mut report).await?;
        // The release is live: a disk too full for this must not hide that, and the next head writes it anyway.
        match self.write_timestamp(&trust, &head).await {
            Ok(moved) => report.warnings.extend(moved_away(moved.as_slice())),
            Err(error) => report
                .warnings
                .push(format!("`timestamp` was not written: {error}")),
        }
        Ok(report)
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
        let mended = self.disk.run(|disk| disk.docroot.mend()).await??;
        report.warnings = mended.lines();
        if !mended.damaged.is_empty() {
            report.reason = "repair".into();
            report.files_changed = mended.damaged.len() as u64;
            let begin = Begin::Repair(mended.damaged);
            report.moved(self.build(trust, live, begin).await?);
            self.disk
                .run(|disk| match disk.build.take() {
                    Some(build) => disk.docroot.finish_repair(build),
                    None => Err(no_build()),
                })
                .await??;
        }
        Ok(report)
    }

    /// Judges a head, after fetching the roots it speaks of, and keeps its number.
    async fn judge(&self, bytes: &[u8]) -> Result<(Trust, Head), SyncError> {
        let signed = SignedHead::from_bytes(bytes)?;
        let change = self.beliefs.change().await;
        let mut trust = change
            .trust()
            .ok_or_else(|| LinkError::Protocol("a head before any root".into()))?;
        // One moment for the whole update: a clock that jumps meanwhile changes nothing.
        let now = trust.now(self.clock.now());
        let mut accepted = trust.clone();
        let mut verdict = accepted.accept_head(signed.clone(), now);
        if let Err(HeadError::NewerRoot { .. } | HeadError::RootExpired { .. }) = verdict {
            trust = self.walk_roots(&change, trust).await?;
            accepted = trust.clone();
            verdict = accepted.accept_head(signed, now);
        }
        // Equivocation changes the counters too: its evidence must survive.
        if accepted.to_bytes() != trust.to_bytes() {
            change.keep(&accepted, None)?;
        }
        match verdict? {
            Verdict::Newer(head) | Verdict::Current(head) => Ok((accepted, head)),
        }
    }

    /// Fetches and judges the manifest.
    async fn manifest(&self, trust: &Trust, head: &Head) -> Result<Arc<Manifest>, SyncError> {
        let bytes = self
            .link
            .object(ObjectName::Manifest(head.manifest))
            .await?;
        let signed = SignedManifest::from_bytes(&bytes)?;
        let manifest = trust.verify_manifest(signed, head)?;
        Ok(Arc::new(manifest))
    }

    /// Builds the release's tree, or the damaged files of the live one, as far as the switch.
    pub(super) async fn build(
        &self,
        trust: &Trust,
        manifest: &Arc<Manifest>,
        begin: Begin,
    ) -> Result<BuildBytes, SyncError> {
        let chunker = Chunker::new(trust.root().chunking);
        let release = manifest.clone();
        let lists = self
            .disk
            .run(move |disk| {
                let mut build = match begin {
                    Begin::Release => disk.docroot.begin(release)?,
                    Begin::Repair(damaged) => disk.docroot.begin_repair(&damaged)?,
                };
                let linked = build.link_unchanged()?;
                for path in &linked.damaged {
                    tracing::warn!(%path, "a served file was changed by somebody; it is fetched again");
                }
                let lists = build.missing_lists()?;
                disk.build = Some(build);
                Ok::<_, DocrootError>(lists)
            })
            .await??;
        self.fetch_lists(lists).await?;
        let missing = self
            .disk
            .run(move |disk| {
                let build = building(disk)?;
                build.start(&chunker)?;
                build.check_space()?;
                Ok::<_, DocrootError>(build.missing().collect::<Vec<_>>())
            })
            .await??;
        let fetch_bytes = missing.iter().map(|entry| u64::from(entry.len)).sum();
        self.progress.send_replace(Progress {
            release: manifest.release.0,
            fetched_bytes: 0,
            fetch_bytes,
        });
        let fetched = self
            .fetch_chunks(missing.iter().map(|entry| entry.id).collect(), fetch_bytes)
            .await;
        self.progress.send_replace(Progress::default());
        fetched?;
        Ok(self
            .disk
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
            self.disk
                .run(move |disk| building(disk)?.add_list(id, list))
                .await??;
        }
    }

    /// Fetches chunks; each is opened, hashed and written on the disk thread while the next ones come in.
    async fn fetch_chunks(&self, missing: Vec<ChunkId>, fetch_bytes: u64) -> Result<(), SyncError> {
        let queue = ChunkQueue::new(missing);
        let failed = Arc::new(Failed::default());
        let fetched = self
            .link
            .at_a_useful_rate(async {
                // Errors of our own side travel in `failed`; the rate rule only knows those of the link.
                match self.pump(queue, &failed, fetch_bytes).await {
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
        self.disk.run(|_| ()).await?;
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
    ) -> Result<(), SyncError> {
        let fetched = Arc::new(AtomicU64::new(0));
        let mut requests = JoinSet::new();
        while !queue.is_done() && !failed.is_set() {
            while let Some(ids) = queue.next_request() {
                requests.spawn(self.clone().request(ids, failed.clone(), fetched.clone()));
            }
            let Some(ended) = requests.join_next().await else {
                break;
            };
            ended.map_err(|_| super::disk::DiskGone)??;
            queue.request_ended();
            self.progress.send_modify(|progress| {
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
    ) -> Result<(), SyncError> {
        let mut answers = self.link.chunks(ids.clone()).await?;
        for id in ids {
            if failed.is_set() {
                return Ok(());
            }
            let packed = answers.next(id).await?;
            let (failed, fetched) = (failed.clone(), fetched.clone());
            self.disk
                .post(move |disk| {
                    let put = packed.open().map_err(SyncError::from).and_then(|bytes| {
                        fetched.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                        Ok(building(disk)?.put(&packed.id, &bytes)?)
                    });
                    if let Err(error) = put {
                        failed.set(error);
                    }
                })
                .await?;
        }
        Ok(())
    }

    /// Counters first, then the switch.
    async fn switch(
        &self,
        manifest: &Arc<Manifest>,
        report: &mut SyncReport,
    ) -> Result<(), SyncError> {
        let prepared = self
            .disk
            .run(|disk| match disk.build.take() {
                Some(build) => build.finish(),
                None => Err(no_build()),
            })
            .await??;
        let change = self.beliefs.change().await;
        if let Some(mut installed) = change.trust() {
            installed.install(manifest);
            change.keep(&installed, None)?;
        }
        drop(change);
        let switched = self
            .disk
            .run(move |disk| disk.docroot.switch(prepared))
            .await??;
        report.switched = true;
        report.warnings = switched.warnings;
        report.warnings.extend(moved_away(&switched.moved_away));
        Ok(())
    }

    /// Says when this docroot was last vouched for. Returns where an operator's file of that name is now.
    async fn write_timestamp(
        &self,
        trust: &Trust,
        head: &Head,
    ) -> Result<Option<String>, SyncError> {
        let now: Timestamp = trust.now(self.clock.now());
        let bytes = head.to_bytes();
        Ok(self
            .disk
            .run(move |disk| disk.docroot.write_timestamp(now.seconds(), &bytes))
            .await??)
    }
}

/// Most foreign files that a report names one by one.
const MOVED_NAMED: usize = 20;

/// A sentence for each foreign file that was moved, so that nothing of an operator's vanishes without a word.
fn moved_away(files: &[String]) -> impl Iterator<Item = String> + '_ {
    let more = files.len().saturating_sub(MOVED_NAMED);
    let each = files
        .iter()
        .take(MOVED_NAMED)
        .map(|to| format!("a file that is not of the release was moved to {to}"));
    each.chain((more > 0).then(|| format!("and {more} more beside them")))
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
            damaged.map(|path| format!("{path} was changed by somebody; it is fetched again")),
        );
        lines
    }
}

impl SyncReport {
    fn moved(&mut self, bytes: BuildBytes) {
        self.linked_bytes = bytes.linked;
        self.reused_bytes = bytes.reused;
        self.fetched_bytes = bytes.written;
    }
}

/// What a build begins with.
#[derive(Debug)]
pub(super) enum Begin {
    /// A newer release.
    Release,
    /// Damaged files of the live one.
    Repair(Vec<tidecast_proto::name::ReleasePath>),
}

pub(super) fn building(disk: &mut DiskState) -> Result<&mut Build, DocrootError> {
    disk.build.as_mut().ok_or_else(no_build)
}

fn no_build() -> DocrootError {
    DocrootError::Incomplete {
        files: 0,
        path: "the build was given up".into(),
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
