//! Releases that only add genuine databases: their anchor is looked at before anything is fetched for them, and what they
//! add is proved before anybody is served it. SPEC §3.3, §8.6.

use std::sync::Arc;

use tidecast_proto::addition::Vouched;
use tidecast_proto::head::Head;
use tidecast_proto::id::ObjectId;
use tidecast_proto::manifest::{Anchor, File, Manifest, SignedManifest};
use tidecast_proto::name::ReleasePath;
use tidecast_proto::root::Root;
use tidecast_proto::trust::Trust;
use tidecast_proto::wire::ObjectName;

use super::error::SyncError;
use super::memory::Memory;
use super::work::{Work, building};
use crate::genuine::{ProveError, prove};
use crate::quic::Link;

/// A release that may be built, and switched to once what it adds is proved.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    /// What it says.
    pub(super) manifest: Arc<Manifest>,
    /// What must be found genuine, in path order; nothing in a release that the whole threshold signed.
    to_prove: Vec<ReleasePath>,
}

/// Whom to ask for an anchor that is not on this machine.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchors<'a> {
    /// Whoever sent the release.
    Ask(&'a Link),
    /// Nobody.
    Here,
}

impl Judged {
    /// Those files of `to_prove` that were not proved when `live` was installed.
    fn unproved<'a>(&'a self, live: Option<&'a Manifest>) -> impl Iterator<Item = &'a File> {
        // What a release that was signed whole holds was never proved, and what goes back to another anchor need not be
        // allowed by this one.
        let live = live.filter(|live| live.anchor.is_some() && live.anchor == self.manifest.anchor);
        let before = move |file: &File| live?.file(file.path.as_str());
        let proved = move |file: &File| {
            before(file).is_some_and(|old| file.same_as(old) && file.database == old.database)
        };
        self.to_prove
            .iter()
            .filter_map(|path| self.manifest.file(path.as_str()))
            .filter(move |file| !proved(file))
    }
}

/// Judges the manifest that `head` points at, and its anchor if it names one.
///
/// # Errors
/// [`SyncError`]; nothing was kept.
pub(super) async fn judge(
    memory: &Memory,
    trust: &Trust,
    signed: SignedManifest,
    head: &Head,
    live: Option<&Manifest>,
    anchors: Anchors<'_>,
) -> Result<(Judged, Option<SignedManifest>), SyncError> {
    let addition = match trust.verify_manifest(signed, head)? {
        Vouched::Whole(manifest) => {
            let judged = Judged {
                manifest: Arc::new(manifest),
                to_prove: Vec::new(),
            };
            return Ok((judged, None));
        }
        Vouched::Addition(addition) => addition,
    };
    let anchor = find(memory, trust.root(), addition.anchor(), live, anchors).await?;
    let added = trust.verify_addition(addition, anchor.clone())?;
    let judged = Judged {
        manifest: Arc::new(added.manifest),
        to_prove: added.to_prove,
    };
    Ok((judged, Some(anchor)))
}

/// The anchor, as many of its signatures as are to be had: a root may have dropped a key that signed the copy that is on this
/// machine, while others have it with more.
async fn find(
    memory: &Memory,
    root: &Root,
    named: Anchor,
    live: Option<&Manifest>,
    anchors: Anchors<'_>,
) -> Result<SignedManifest, SyncError> {
    let is_it = |id: ObjectId| id == named.manifest;
    let kept = memory.anchor()?.filter(|kept| is_it(kept.id()));
    let live = live.filter(|live| is_it(live.id())).map(Manifest::signed);
    let here = match (kept, live) {
        (Some(kept), Some(live)) if !enough(&kept, root) => {
            Some(kept.with_good_signatures(&root.release_keys, &[live]))
        }
        (Some(kept), _) => Some(kept),
        (None, live) => live.cloned(),
    };
    match (here, anchors) {
        (Some(here), Anchors::Ask(_)) if enough(&here, root) => Ok(here),
        (Some(here), Anchors::Here) => Ok(here),
        (here, Anchors::Ask(link)) => {
            let bytes = link.object(ObjectName::Manifest(named.manifest)).await?;
            let sent = SignedManifest::from_bytes(&bytes)?;
            Ok(match here {
                Some(here) => sent.with_good_signatures(&root.release_keys, &[&here]),
                None => sent,
            })
        }
        (None, Anchors::Here) => Err(SyncError::NoAnchor(named.release)),
    }
}

/// Whether as many keys signed it as that takes now.
fn enough(anchor: &SignedManifest, root: &Root) -> bool {
    anchor.signed_by(root).len() >= usize::from(root.release_threshold)
}

impl Work {
    /// As [`judge`]; an anchor that was of use is kept, so that later additions to it need nobody.
    ///
    /// # Errors
    /// [`SyncError`].
    pub(super) async fn judge_manifest(
        &self,
        trust: &Trust,
        signed: SignedManifest,
        head: &Head,
        live: Option<&Manifest>,
        anchors: Anchors<'_>,
    ) -> Result<Judged, SyncError> {
        let memory = self.beliefs.memory();
        let (judged, anchor) = judge(memory, trust, signed, head, live, anchors).await?;
        if let Some(anchor) = anchor {
            let memory = memory.clone();
            self.disk
                .run(move |_| memory.keep_anchor(&anchor))
                .await??;
        }
        Ok(judged)
    }

    /// Reads what the release that was built adds and finds it genuine.
    ///
    /// # Errors
    /// [`SyncError::NotGenuine`], the release's signers are at fault and it must not be switched to; else of the disk.
    pub(super) async fn prove(
        &self,
        judged: &Judged,
        live: Option<&Arc<Manifest>>,
    ) -> Result<(), SyncError> {
        let wanted: Vec<File> = judged.unproved(live.map(|live| &**live)).cloned().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        self.disk
            .run(move |disk| {
                let build = building(disk)?;
                for file in wanted {
                    let mut content = build.open_complete(&file.path)?;
                    prove(&file, &mut content).map_err(|error| match error {
                        ProveError::Unproved(unproved) => SyncError::NotGenuine(unproved),
                        ProveError::Read(error) => build.unreadable(&file.path, error).into(),
                    })?;
                    tracing::info!(path = %file.path, "genuine");
                }
                Ok(())
            })
            .await?
    }
}
