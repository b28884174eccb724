//! Taking a bundle: from an upstream, asked for or not, or from a file. SPEC §8.6.

use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidecast_proto::head::Head;
use tidecast_proto::id::ObjectId;
use tidecast_proto::manifest::{Manifest, SignedManifest};
use tidecast_proto::name::ReleasePath;
use tidecast_proto::plan::Plan;
use tidecast_proto::trust::Trust;
use tidecast_proto::wire::FetchBundle;

use super::super::addition::{Anchors, Judged};
use super::super::error::SyncError;
use super::super::sync::Sync;
use super::super::work::{Begin, Work, building};
use super::bundle::{Applied, apply, open_manifest};
use super::fault::BundleFault;
use super::is_of_the_link;
use super::parts::{Parts, Preamble};
use crate::docroot::DocrootError;
use crate::quic::LinkError;

/// Longest bundle that is held in memory, where nothing may block to read it piece by piece.
const HELD_BYTES: u64 = 16 * 1024 * 1024;

/// The bundle in which the connection was lost, by the releases it leads from and to. It would begin at its first byte
/// again; runs and chunks go on from what was kept. Forgotten when the process ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut(Arc<Mutex<Option<(ObjectId, ObjectId)>>>);

impl Cut {
    fn lock(&self) -> MutexGuard<'_, Option<(ObjectId, ObjectId)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, release: (ObjectId, ObjectId)) {
        *self.lock() = Some(release);
    }

    fn is(&self, release: &(ObjectId, ObjectId)) -> bool {
        self.lock().as_ref() == Some(release)
    }
}

/// What came of a bundle, for the roads that are left.
#[derive(Debug, Default)]
pub(crate) struct ByBundle {
    /// The release, if the bundle held its manifest: its tree has been begun.
    pub(in super::super) release: Option<Judged>,
    /// Files of it that are the live release's, but damaged here.
    pub(crate) damaged: Vec<ReleasePath>,
    /// Whether there was one at all.
    pub(crate) found: bool,
    /// Whether it was left alone because it is longer than the files.
    pub(crate) too_dear: bool,
    /// Whether it was left alone because the connection was lost in it before.
    pub(crate) given_up: bool,
    /// What it brought.
    pub(crate) applied: Applied,
    /// Bytes of it that were read.
    pub(crate) bytes: u64,
}

impl ByBundle {
    fn failed(fault: BundleFault, bytes: u64) -> Self {
        Self {
            found: true,
            applied: Applied {
                fault: Some(fault),
                ..Applied::default()
            },
            bytes,
            ..Self::default()
        }
    }
}

/// A bundle whose beginning has been read.
#[derive(Debug)]
pub(crate) struct Taken {
    /// What it begins with.
    pub(crate) preamble: Preamble,
    /// The rest.
    pub(crate) parts: Parts,
}

impl Sync {
    /// Has a bundle carry this mirror to the release of `head`: the one that came with it, or one that is asked for.
    ///
    /// # Errors
    /// [`SyncError`]: the link, the disk, or a release that may not follow the live one. Whatever else is wrong with a bundle is told
    /// in what comes back.
    pub(in super::super) async fn by_bundle(
        &self,
        trust: &Trust,
        head: &Head,
        live: &Arc<Manifest>,
    ) -> Result<ByBundle, SyncError> {
        let fetch = FetchBundle {
            from: live.id(),
            to: head.manifest,
        };
        let anchors = Anchors::Ask(&self.link);
        if let Some(pushed) = &self.pushed {
            if (pushed.header.from, pushed.header.to) == (fetch.from, fetch.to) {
                let parts = Parts::new(Cursor::new(Bytes::from(pushed.bytes.clone())));
                return self
                    .work
                    .by_bundle(parts, (0, || 0), trust, head, live, anchors)
                    .await;
            }
            tracing::debug!("a bundle that came unasked starts elsewhere or leads elsewhere");
        }
        let release = (fetch.from, fetch.to);
        if self.work.cut.is(&release) {
            tracing::info!("the connection was lost in this bundle before; it is done without it");
            return Ok(ByBundle {
                found: true,
                given_up: true,
                ..ByBundle::default()
            });
        }
        let (link, before) = (self.link.clone(), self.link.traffic().0);
        let mut answer = match self.link.bundle(fetch).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(ByBundle::default()),
            Err(LinkError::Busy) => {
                tracing::info!("{}; it is done without a bundle", LinkError::Busy);
                return Ok(ByBundle::default());
            }
            Err(error) => return Err(error.into()),
        };
        let bytes = answer.header().bytes;
        if self.work.disk.is_inline() {
            // What reads may not wait there.
            if bytes > HELD_BYTES {
                return Ok(ByBundle {
                    found: true,
                    too_dear: true,
                    ..ByBundle::default()
                });
            }
            let held = self.link.at_a_useful_rate(async {
                let mut held = Vec::new();
                while let Some(piece) = answer.next().await? {
                    held.extend_from_slice(&piece);
                }
                Ok::<_, LinkError>(held)
            });
            let held = match held.await {
                Ok(held) => held,
                Err(error) if is_of_the_link(&error) => {
                    self.work.cut.set(release);
                    return Err(error.into());
                }
                Err(_) => Vec::new(),
            };
            let parts = Parts::new(Cursor::new(held));
            return self
                .work
                .by_bundle(parts, (0, || 0), trust, head, live, anchors)
                .await;
        }
        let to_come = move || bytes.saturating_sub(link.traffic().0.saturating_sub(before));
        let (fed, taken) = self
            .feed(answer, |parts| {
                self.work
                    .by_bundle(parts, (bytes, to_come), trust, head, live, anchors)
            })
            .await;
        let taken = taken?;
        match fed {
            Err(error) if taken.applied.fault.is_some() && is_of_the_link(&error) => {
                self.work.cut.set(release);
                Err(error.into())
            }
            _ => Ok(taken),
        }
    }
}

impl Work {
    /// Reads a bundle's beginning.
    ///
    /// # Errors
    /// [`SyncError`] only for a bug; what is wrong with the bundle is inside.
    pub(in super::super) async fn open_bundle(
        &self,
        mut parts: Parts,
    ) -> Result<Result<Taken, BundleFault>, SyncError> {
        Ok(self
            .disk
            .run(move |_| {
                let preamble = parts.preamble()?;
                Ok(Taken { preamble, parts })
            })
            .await?)
    }

    /// The manifest of `head` that came with a bundle, as a delta of the live one.
    ///
    /// # Errors
    /// As [`Self::open_bundle`].
    pub(in super::super) async fn bundled_manifest(
        &self,
        packed: Vec<u8>,
        live: &Arc<Manifest>,
        head: &Head,
    ) -> Result<Result<SignedManifest, BundleFault>, SyncError> {
        let (live, id) = (live.clone(), head.manifest);
        Ok(self
            .disk
            .run(move |_| open_manifest(packed, &live, &id))
            .await?)
    }

    /// Applies a bundle that is to lead to the release of `head`, which has been judged. It has `bytes`, and `to_come` says how
    /// many of them are not here yet.
    async fn by_bundle(
        &self,
        parts: Parts,
        (bytes, to_come): (u64, impl Fn() -> u64),
        trust: &Trust,
        head: &Head,
        live: &Arc<Manifest>,
        anchors: Anchors<'_>,
    ) -> Result<ByBundle, SyncError> {
        let failed = |fault: BundleFault| {
            tracing::warn!(%fault, "the bundle is of no use");
            Ok(ByBundle::failed(fault, 0))
        };
        let Taken { preamble, parts } = match self.open_bundle(parts).await? {
            Ok(taken) => taken,
            Err(fault) => return failed(fault),
        };
        if preamble.header.from != live.id() {
            return failed(BundleFault::OtherStart);
        }
        let signed = match self.bundled_manifest(preamble.manifest, live, head).await? {
            Ok(signed) => signed,
            Err(fault) => return failed(fault),
        };
        // The head that was followed is at least as new as the one in the bundle, and it names the manifest. Signatures that do
        // not hold may be this copy's fault: the manifest can still be asked for by its name.
        if signed.id() != head.manifest {
            return failed(BundleFault::OtherRelease);
        }
        let judging = self.judge_manifest(trust, signed, head, Some(live), anchors);
        let judged = match judging.await {
            Ok(judged) => judged,
            Err(SyncError::Link(error)) if is_of_the_link(&error) => return Err(error.into()),
            Err(error @ (SyncError::Memory(_) | SyncError::Disk(_))) => return Err(error),
            Err(_) => return failed(BundleFault::OtherRelease),
        };
        let manifest = judged.manifest.clone();
        manifest.check_replaces(live)?;
        let begun = self.begin(&manifest, Begin::Release).await?;
        // What came while the build was begun is paid for: leaving it for what an interrupted build still lacks would cost
        // both. One that is longer than all it could bring is never worth it: chunks can be fetched on from any byte, and it
        // cannot.
        let build_bytes = Plan::new(&manifest, Some(live)).build_bytes();
        if bytes > build_bytes || to_come() > begun.lacking_bytes {
            return Ok(ByBundle {
                release: Some(judged),
                damaged: begun.damaged,
                found: true,
                too_dear: true,
                bytes: parts.read_bytes(),
                ..ByBundle::default()
            });
        }
        let taken = self.apply_sections(trust, parts).await?;
        Ok(ByBundle {
            release: Some(judged),
            damaged: begun.damaged,
            ..taken
        })
    }

    /// Applies the sections of a bundle to the build that has begun.
    ///
    /// # Errors
    /// [`SyncError`] of the disk.
    pub(in super::super) async fn apply_sections(
        &self,
        trust: &Trust,
        mut parts: Parts,
    ) -> Result<ByBundle, SyncError> {
        let chunker = Self::chunker(trust);
        let (applied, bytes) = self
            .disk
            .run(move |disk| {
                let applied = apply(building(disk)?, &mut parts, &chunker)?;
                Ok::<_, DocrootError>((applied, parts.read_bytes()))
            })
            .await??;
        if let Some(fault) = &applied.fault {
            tracing::warn!(%fault, "the bundle failed; what was verified is kept");
        }
        Ok(ByBundle {
            found: true,
            applied,
            bytes,
            ..ByBundle::default()
        })
    }
}
