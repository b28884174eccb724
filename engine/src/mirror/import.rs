//! A bundle that was carried here by hand: `tidecast bundle import`. SPEC §8.6.
//!
//! It is worth no more than one from an upstream: roots, head, manifest and every chunk are judged by the same code. Only
//! what time it is may be said by whoever imports it, and never to be before what was seen already.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use tidecast_proto::bundle::BundleError;
use tidecast_proto::head::{Phase, SignedHead};
use tidecast_proto::id::{FeedId, ReleaseNumber, Timestamp};
use tidecast_proto::manifest::Manifest;
use tidecast_proto::plan::Plan;
use tidecast_proto::root::SignedRoot;

use super::addition::Anchors;
use super::error::SyncError;
use super::road::{BundleFault, Journeys, Parts};
use super::status::SyncReport;
use super::work::{Begin, RootSource, Work, building};
use super::{Mirror, MirrorError};
use crate::docroot::{BuildBytes, DocrootError};

/// Why a bundle was not installed. What was served is still served, and what was verified is kept.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file.
    #[error("cannot read {}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    /// A folder, a pipe or a device.
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    /// Something else, or made by another version.
    #[error("{} is no tidecast bundle of this version", path.display())]
    NotABundle { path: PathBuf },
    /// It ends too early, or something in it is wrong.
    #[error("{}: {fault}", path.display())]
    Bundle { path: PathBuf, fault: BundleFault },
    /// A bundle leads from one release to another; this mirror has none.
    #[error("this mirror holds no release yet, and a bundle needs one to start from")]
    NothingLive,
    /// Made for a mirror at another release.
    #[error(
        "this bundle, to release {to}, starts from another release than {have}, which the mirror holds: export one with --from {have}"
    )]
    OtherStart {
        to: ReleaseNumber,
        have: ReleaseNumber,
    },
    /// Made for another feed.
    #[error("this bundle is of feed {got}, the mirror of feed {have}")]
    OtherFeed { got: FeedId, have: FeedId },
    /// Not all that the release needs came with it.
    #[error(
        "the bundle brought {} short: {files} files are missing, the first is {path}",
        release
    )]
    Incomplete {
        release: String,
        files: usize,
        path: String,
        #[source]
        fault: Option<BundleFault>,
    },
    /// The operator has said to stay.
    #[error("{}", .0.join("; "))]
    Held(Vec<String>),
    /// Something signed in it was refused, or the docroot or disk failed.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// Before it began.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
}

impl ImportError {
    /// What the operator can do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::File { .. } => "check the path, and that the user tidecast runs as may read the file".into(),
            Self::NotAFile { .. } => "copy the bundle to a file first".into(),
            Self::NotABundle { .. } => "bundles are made by `tidecast bundle export` on a master".into(),
            Self::Bundle { .. } => {
                "copy the file again, or export it again; what was verified is kept".into()
            }
            Self::Incomplete { .. } => {
                "copy the file again, or export it again; where what describes the old files is missing or one of them is damaged, `tidecast sync` helps; what was verified is kept".into()
            }
            Self::NothingLive => "install the first release by `tidecast sync`".into(),
            Self::OtherStart { have, .. } => {
                format!("on the master, type: tidecast bundle export --from {have} FILE")
            }
            Self::OtherFeed { .. } => "import it on a mirror of its own feed".into(),
            Self::Held(_) => "type `tidecast unhold`, then import it again".into(),
            Self::Sync(SyncError::Head(tidecast_proto::trust::HeadError::Expired { .. })) => {
                "export a new one; or, if this machine's clock is wrong, say what time it is with --at".into()
            }
            Self::Sync(error) => error.advice(),
            Self::Mirror(_) => String::new(),
        }
    }

    /// What kind of failure it is, for whoever asked a daemon: `no_input`, `permission`, `content`, or whose fault it is as
    /// [`SyncError::whose`] says.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File { source, .. } => match source.kind() {
                ErrorKind::NotFound => "no_input",
                ErrorKind::PermissionDenied => "permission",
                _ => "disk",
            },
            Self::NothingLive => "no_input",
            Self::Held(_) => "held",
            Self::NotAFile { .. }
            | Self::NotABundle { .. }
            | Self::Bundle { .. }
            | Self::OtherStart { .. }
            | Self::OtherFeed { .. }
            | Self::Incomplete { .. } => "content",
            Self::Sync(error) => error.whose(),
            Self::Mirror(_) => "disk",
        }
    }

    /// All of it in one line, for whoever asked a daemon.
    pub(super) fn told(&self) -> String {
        let mut told = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            told = format!("{told}: {error}");
            source = error.source();
        }
        match self.advice() {
            advice if advice.is_empty() => told,
            advice => format!("{told} ({advice})"),
        }
    }

    fn of(path: &Path) -> impl Fn(BundleFault) -> Self + '_ {
        move |fault| match fault {
            BundleFault::Bundle(BundleError::NotABundle) => Self::NotABundle {
                path: path.to_owned(),
            },
            BundleFault::Disk(error) => Self::Sync(error.into()),
            fault => Self::Bundle {
                path: path.to_owned(),
                fault,
            },
        }
    }
}

impl Mirror {
    /// Installs the bundle in the file at `path`. `at` stands in for the clock where that cannot be trusted.
    ///
    /// # Errors
    /// [`ImportError`].
    pub async fn import(
        &self,
        path: &Path,
        at: Option<Timestamp>,
    ) -> Result<SyncReport, ImportError> {
        let started = tokio::time::Instant::now();
        let work = self.work();
        // Not while a sync builds.
        let turn = work.turn.clone().lock_owned().await;
        let mut report = import(&work, path, at).await?;
        drop(turn);
        report.seconds = started.elapsed().as_secs_f64();
        self.set_report(&report);
        self.publish_site().await;
        let link = self.present().link.clone();
        if report.switched
            && let (Some(link), Some(frame)) = (link, self.receipt().await)
            && let Err(error) = link.tell(&frame).await
        {
            tracing::debug!(%error, "receipt not sent");
        }
        Ok(report)
    }
}

async fn import(
    work: &Work,
    path: &Path,
    at: Option<Timestamp>,
) -> Result<SyncReport, ImportError> {
    let refused = ImportError::of(path);
    let opening = path.to_owned();
    let opened = work.disk.run(move |_| open(&opening)).await;
    let file = opened
        .map_err(SyncError::from)?
        .map_err(|source| ImportError::File {
            path: path.to_owned(),
            source,
        })?
        .ok_or_else(|| ImportError::NotAFile {
            path: path.to_owned(),
        })?;
    let live = work.live().await?.ok_or(ImportError::NothingLive)?;
    let taken = work
        .open_bundle(Parts::new(BufReader::new(file)))
        .await?
        .map_err(&refused)?;
    let (preamble, parts) = (taken.preamble, taken.parts);
    let signed = SignedHead::from_bytes(&preamble.head).map_err(SyncError::from)?;
    if let Some(claims) = signed.claims() {
        if claims.feed != live.feed {
            return Err(ImportError::OtherFeed {
                got: claims.feed,
                have: live.feed,
            });
        }
        if preamble.header.from != live.id() && claims.manifest != live.id() {
            return Err(ImportError::OtherStart {
                to: claims.release,
                have: live.release,
            });
        }
    }
    let mut roots = Vec::with_capacity(preamble.roots.len());
    for root in &preamble.roots {
        roots.push(SignedRoot::from_bytes(root).map_err(SyncError::from)?);
    }
    let clock = at.unwrap_or_else(|| work.clock.now());
    let roots = RootSource::Carried(roots.into_iter());
    let (trust, head) = work.judge(&preamble.head, clock, roots).await?;
    let mut report = SyncReport {
        from: live.release.0,
        to: live.release.0,
        reason: "current".into(),
        ..SyncReport::default()
    };
    if head.manifest == live.id() {
        work.write_timestamp(&trust, &head, clock).await?;
        return Ok(report);
    }
    if let Some(held) = work.hold.forbids(&head.manifest) {
        return Err(ImportError::Held(
            held.withholds(head.release.0, trust.root()),
        ));
    }
    if preamble.header.from != live.id() {
        return Err(refused(BundleFault::OtherStart));
    }
    let signed = work
        .bundled_manifest(preamble.manifest, &live, &head)
        .await?
        .map_err(&refused)?;
    let judged = work
        .judge_manifest(&trust, signed, &head, Some(&live), Anchors::Here)
        .await?;
    let manifest = judged.manifest.clone();
    manifest.check_replaces(&live).map_err(SyncError::from)?;
    let begun = work.begin(&manifest, Begin::Release).await?;
    let mut by_bundle = work.apply_sections(&trust, parts).await?;
    by_bundle.damaged = begun.damaged;
    report.to = manifest.release.0;
    report.reason = "import".into();
    let plan = Plan::new(&manifest, Some(&live));
    report.files_changed = plan.to_build().count() as u64;
    report.files_removed = plan.removed.len() as u64;
    drop(plan);
    let fault = by_bundle.applied.fault.take();
    let mut journeys = Journeys::new(&manifest, Some(&live), by_bundle);
    work.look_around(&trust, &mut journeys).await?;
    let moved = complete(work, &trust, &manifest, fault, &refused).await?;
    report.moved(moved);
    journeys.tell(&mut report);
    work.prove(&judged, Some(&live)).await?;
    if head.phase == Phase::PREPARE {
        report.reason = "prepared".into();
        report.to = live.release.0;
        return Ok(report);
    }
    work.go_live(&trust, &head, clock, &manifest, &mut report)
        .await?;
    Ok(report)
}

/// Opens a bundle without waiting for whoever may be at the other end of a pipe; `None` when it is no regular file.
fn open(path: &Path) -> std::io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Completes the tree with what is on this machine; nobody can be asked for more.
async fn complete(
    work: &Work,
    trust: &tidecast_proto::trust::Trust,
    manifest: &Arc<Manifest>,
    fault: Option<BundleFault>,
    refused: &impl Fn(BundleFault) -> ImportError,
) -> Result<BuildBytes, ImportError> {
    let chunker = Work::chunker(trust);
    let lacking = work
        .disk
        .run(move |disk| {
            let build = building(disk)?;
            if build.missing_lists()?.is_empty() {
                build.start(&chunker)?;
            }
            Ok::<_, DocrootError>(build.first_lacking())
        })
        .await
        .map_err(SyncError::from)?
        .map_err(SyncError::from)?;
    match (lacking, fault) {
        (None, _) => {}
        (Some(_), Some(fault @ BundleFault::Bundle(BundleError::Cut))) => {
            return Err(refused(fault));
        }
        (Some((files, path)), fault) => {
            return Err(ImportError::Incomplete {
                release: format!("release {}", manifest.release),
                files,
                path: path.to_string(),
                fault,
            });
        }
    }
    Ok(work
        .disk
        .run(|disk| disk.build.as_ref().map(crate::docroot::Build::bytes))
        .await
        .map_err(SyncError::from)?
        .unwrap_or_default())
}
