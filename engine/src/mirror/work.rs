//! What every change of a docroot goes through, wherever its bytes come from: judging, beginning a build, switching.
//! SPEC §8.6.

use std::sync::Arc;

use tidecast_proto::chunker::Chunker;
use tidecast_proto::head::{Head, HeadBody, SignedHead};
use tidecast_proto::id::{ReleaseNumber, RootVersion, Timestamp};
use tidecast_proto::limits;
use tidecast_proto::manifest::Manifest;
use tidecast_proto::name::ReleasePath;
use tidecast_proto::root::SignedRoot;
use tidecast_proto::trust::{Trust, Verdict};
use tokio::sync::watch;

use super::addition::Anchors;
use super::disk::{Disk, DiskState};
use super::error::SyncError;
use super::hold::{Held, Hold};
use super::memory::Beliefs;
use super::road::Cut;
use super::status::{Progress, SyncReport};
use crate::clock::Clock;
use crate::docroot::{Build, DocrootError, LinkReport};
use crate::quic::{Link, LinkError};

/// What a change of the docroot works with.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) beliefs: Arc<Beliefs>,
    pub(super) disk: Disk,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) hold: Arc<Hold>,
    pub(super) progress: watch::Sender<Progress>,
    /// Held by whoever builds: there is one tree being built.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// The bundle not to ask for again.
    pub(super) cut: Cut,
}

/// Where newer roots come from.
#[derive(Debug)]
pub(super) enum RootSource<'a> {
    /// They are asked for.
    Link(&'a Link),
    /// They came with a bundle, in order.
    Carried(std::vec::IntoIter<SignedRoot>),
}

impl RootSource<'_> {
    /// The root after `trust`'s, if there is one.
    async fn after(&mut self, trust: &Trust) -> Result<Option<SignedRoot>, SyncError> {
        match self {
            Self::Link(link) => {
                let next = RootVersion(trust.root().version.0.saturating_add(1));
                let bytes = link.root(next).await?;
                Ok(bytes.map(|b| SignedRoot::from_bytes(&b)).transpose()?)
            }
            // Those we have are passed over, and each is looked at once.
            Self::Carried(roots) => {
                Ok(roots.find(|root| trust.clone().accept_root(root.clone()).is_ok()))
            }
        }
    }
}

/// What a build begins with.
#[derive(Debug)]
pub(super) enum Begin {
    /// A newer release.
    Release,
    /// Damaged files of the live one.
    Repair(Vec<ReleasePath>),
}

impl Work {
    /// Takes the roots we lack, one by one, each kept before the next is looked for. Roots are walked past expiry;
    /// only the last one's counts.
    ///
    /// Nobody waits for the upstream but the caller: the right to change is taken when an answer is there, and a root that
    /// somebody else has brought by then is not judged again.
    ///
    /// # Errors
    /// [`SyncError`]; what was accepted so far stays.
    pub(super) async fn walk_roots(&self, mut source: RootSource<'_>) -> Result<(), SyncError> {
        for _ in 0..limits::ROOT_WALK {
            let Some(known) = self.beliefs.trust() else {
                break;
            };
            let Some(root) = source.after(&known).await? else {
                break;
            };
            let change = self.beliefs.change().await;
            let Some(mut trust) = change.trust() else {
                break;
            };
            if trust.root().version > known.root().version {
                continue;
            }
            trust.accept_root(root.clone())?;
            change.keep(&trust, Some(&root))?;
            tracing::info!(root = %trust.root().version, "root accepted");
        }
        Ok(())
    }

    /// Judges a head, after taking the roots it speaks of, and keeps its number. `clock` is what time it is.
    ///
    /// # Errors
    /// [`SyncError`].
    pub(super) async fn judge(
        &self,
        bytes: &[u8],
        clock: Timestamp,
        roots: RootSource<'_>,
    ) -> Result<(Trust, Head), SyncError> {
        let signed = SignedHead::from_bytes(bytes)?;
        let no_root = || LinkError::Protocol("a head before any root".into());
        let known = self.beliefs.trust().ok_or_else(no_root)?;
        // One moment for the whole update: a clock that jumps meanwhile changes nothing.
        let mut now = known.now(clock);
        // Before anything else, who signed it included: a newer root may name the head's key. What a liar wins by
        // this is one more question.
        let newer = |head: HeadBody| head.root_version > known.root().version;
        if known.root().expired(now) || signed.claims().is_some_and(newer) {
            self.walk_roots(roots).await?;
        }
        let change = self.beliefs.change().await;
        let trust = change.trust().ok_or_else(no_root)?;
        if trust.root().epoch != known.root().epoch {
            // A new epoch forgets what the old one's heads made of the time.
            now = trust.now(clock);
        }
        let mut accepted = trust.clone();
        let verdict = accepted.accept_head(signed, now);
        // Equivocation changes the counters too: its evidence must survive.
        if accepted.to_bytes() != trust.to_bytes() {
            change.keep(&accepted, None)?;
        }
        match verdict? {
            Verdict::Newer(head) | Verdict::Current(head) => Ok((accepted, head)),
        }
    }

    /// What is live.
    pub(super) async fn live(&self) -> Result<Option<Arc<Manifest>>, SyncError> {
        Ok(self
            .disk
            .run(|disk| disk.docroot.current().map(|live| live.manifest().clone()))
            .await?)
    }

    /// Begins a release's tree, or the damaged files of the live one: what is unchanged is linked, and what an earlier
    /// attempt completed is taken over.
    ///
    /// # Errors
    /// [`SyncError`] of the docroot.
    pub(super) async fn begin(
        &self,
        manifest: &Arc<Manifest>,
        begin: Begin,
    ) -> Result<Begun, SyncError> {
        let release = manifest.clone();
        Ok(self
            .disk
            .run(move |disk| {
                let (mut build, linked) = match begin {
                    Begin::Release => {
                        let mut build = disk.docroot.begin(release)?;
                        let linked = build.link_unchanged()?;
                        (build, linked)
                    }
                    Begin::Repair(damaged) => {
                        (disk.docroot.begin_repair(&damaged)?, LinkReport::default())
                    }
                };
                for path in &linked.damaged {
                    tracing::warn!(%path, "a served file was changed by somebody; it is fetched again");
                }
                build.take_complete()?;
                build.check_room()?;
                let begun = Begun {
                    lacking_bytes: build.lacking_bytes(),
                    damaged: linked.damaged,
                };
                disk.build = Some(build);
                Ok::<_, DocrootError>(begun)
            })
            .await??)
    }

    /// Judges head and manifest again if there is a newer root than the one of `judged`: fetching takes minutes, and
    /// whoever was asked for something else meanwhile may have sent one that forbids the release.
    ///
    /// # Errors
    /// [`SyncError`]; the release must not be switched to under `newest`.
    async fn still_allowed(
        &self,
        judged: &Trust,
        newest: &Trust,
        head: &Head,
        clock: Timestamp,
        manifest: &Manifest,
    ) -> Result<(), SyncError> {
        if newest.root().version == judged.root().version {
            return Ok(());
        }
        newest.still_allows(head, newest.now(clock))?;
        // An anchor was kept when it was first compared. Where that copy no longer suffices, the next sync asks for
        // another: nobody waits for the network here.
        let signed = manifest.signed().clone();
        self.judge_manifest(newest, signed, head, None, Anchors::Here)
            .await
            .map(drop)
    }

    /// Counters first, then the switch. The newest root allows both, and no newer one is taken before both are done.
    ///
    /// # Errors
    /// [`SyncError`]; before the switch what was live still is.
    async fn switch(
        &self,
        judged: &Trust,
        head: &Head,
        clock: Timestamp,
        manifest: &Arc<Manifest>,
        report: &mut SyncReport,
    ) -> Result<(), SyncError> {
        // Before the tree gets its name, which takes long on a slow disk; what counts is asked once more below.
        if let Some(newest) = self.beliefs.trust() {
            self.still_allowed(judged, &newest, head, clock, manifest)
                .await?;
        }
        let prepared = self
            .disk
            .run(|disk| match disk.build.take() {
                Some(build) => build.finish(),
                None => Err(no_build()),
            })
            .await??;
        let change = self.beliefs.change().await;
        if let Some(mut installed) = change.trust() {
            self.still_allowed(judged, &installed, head, clock, manifest)
                .await?;
            installed.install(manifest);
            change.keep(&installed, None)?;
        }
        let switched = self
            .disk
            .run(move |disk| disk.docroot.switch(prepared))
            .await??;
        drop(change);
        report.switched = true;
        report.warnings.extend(switched.warnings);
        report.warnings.extend(moved_away(&switched.moved_away));
        Ok(())
    }

    /// Says when this docroot was last vouched for. Returns where an operator's file of that name is now.
    ///
    /// # Errors
    /// [`SyncError`] of the docroot.
    pub(super) async fn write_timestamp(
        &self,
        trust: &Trust,
        head: &Head,
        clock: Timestamp,
    ) -> Result<Option<String>, SyncError> {
        let now: Timestamp = trust.now(clock);
        let bytes = head.to_bytes();
        Ok(self
            .disk
            .run(move |disk| disk.docroot.write_timestamp(now.seconds(), &bytes))
            .await??)
    }

    /// Switches, and writes `timestamp` after it; unless the operator has said to stay meanwhile, which the report tells.
    ///
    /// # Errors
    /// As [`Self::switch`].
    pub(super) async fn go_live(
        &self,
        trust: &Trust,
        head: &Head,
        clock: Timestamp,
        manifest: &Arc<Manifest>,
        report: &mut SyncReport,
    ) -> Result<(), SyncError> {
        let gate = self.hold.gate().await;
        if let Some(held) = self.hold.forbids(&head.manifest) {
            report.held_back(&held, head.release, trust);
            return Ok(());
        }
        self.switch(trust, head, clock, manifest, report).await?;
        drop(gate);
        // The release is live: a disk too full for this must not hide that, and the next head writes it anyway.
        match self.write_timestamp(trust, head, clock).await {
            Ok(moved) => report.warnings.extend(moved_away(moved.as_slice())),
            Err(error) => report
                .warnings
                .push(format!("`timestamp` was not written: {error}")),
        }
        report.warnings.extend(self.show().await?);
        Ok(())
    }

    /// Shows web clients what is live, where they see another folder than the one it is kept in. What moved comes back in
    /// sentences.
    ///
    /// # Errors
    /// [`SyncError`] of the docroot; they see what they saw before.
    pub(super) async fn show(&self) -> Result<Vec<String>, SyncError> {
        let shown = self.disk.run(|disk| disk.docroot.show()).await??;
        Ok(moved_away(&shown.moved_away).collect())
    }

    /// Cuts as the feed says.
    pub(super) fn chunker(trust: &Trust) -> Chunker {
        Chunker::new(trust.root().chunking)
    }
}

/// A build that has begun.
#[derive(Debug, Clone, Default)]
pub(super) struct Begun {
    /// Bytes of files that are still to be built.
    pub(super) lacking_bytes: u64,
    /// Files that could not be linked, because somebody changed them.
    pub(super) damaged: Vec<ReleasePath>,
}

pub(super) fn building(disk: &mut DiskState) -> Result<&mut Build, DocrootError> {
    disk.build.as_mut().ok_or_else(no_build)
}

pub(super) fn no_build() -> DocrootError {
    DocrootError::Incomplete {
        files: 0,
        path: "the build was given up".into(),
    }
}

impl SyncReport {
    /// Release `offered` is out, and the operator has said to stay.
    pub(super) fn held_back(&mut self, held: &Held, offered: ReleaseNumber, trust: &Trust) {
        self.to = self.from;
        self.reason = "held".into();
        self.warnings
            .extend(held.withholds(offered.0, trust.root()));
    }
}

/// Most foreign files that a report names one by one.
const MOVED_NAMED: usize = 20;

/// A sentence for each foreign file that was moved, so that nothing of an operator's vanishes without a word.
pub(super) fn moved_away(files: &[String]) -> impl Iterator<Item = String> + '_ {
    let more = files.len().saturating_sub(MOVED_NAMED);
    let each = files
        .iter()
        .take(MOVED_NAMED)
        .map(|to| format!("a file that is not of the release was moved to {to}"));
    each.chain((more > 0).then(|| format!("and {more} more beside them")))
}
