//! A proposal that enough keys signed becomes the newest release.

use tidecast_proto::id::{FeedId, ObjectId, ReleaseNumber, Timestamp};
use tidecast_proto::manifest::{File, ManifestError};
use tidecast_proto::root::Root;

use super::{Folder, Open, ProposalError};
use crate::bundle::BundleReport;
use crate::publish::manifest::{self, Previous};
use crate::publish::seal;
use crate::store::{Store, StoreWriter};
use crate::vouched;

/// What became of it.
#[derive(Debug)]
pub struct Accepted {
    /// The release.
    pub release: ReleaseNumber,
    /// Its manifest.
    pub manifest: ObjectId,
    /// The bundle from the release before, when one was built.
    pub bundle: Option<BundleReport>,
    /// What somebody should look at although it stopped nothing.
    pub warnings: Vec<String>,
}

/// Makes `open` the newest release of the store, as mirrors will judge it: enough signatures, an anchor it adds to if it
/// names one, and nothing that may not follow the newest release.
///
/// # Errors
/// [`ProposalError`]; the newest release is what it was, and the proposal stays open.
pub fn accept(
    writer: &mut StoreWriter,
    root: &Root,
    feed: &FeedId,
    open: &Open,
    now: Timestamp,
) -> Result<Accepted, ProposalError> {
    let proposal = &open.proposal;
    let id = proposal.id();
    check_open(writer.store(), proposal)?;
    proposal.check(root, feed, now)?;
    let previous = Previous::of(writer.store(), root, feed)?;
    let signed = proposal
        .signed
        .with_good_signatures(&root.release_keys, &[]);
    let verified = vouched::verify(writer.store(), signed.clone(), root, feed)?;
    manifest::check_follows(&verified, previous.body())?;
    if let (Some(anchor), Some(before)) = (verified.anchor, previous.body()) {
        let refuse = |why| ManifestError::NotAnAddition { anchor, why };
        verified.additions_to(before).map_err(refuse)?;
    }
    let same = |file: &File, old: &File| {
        (file.hash, file.size, file.list, file.recipe) == (old.hash, old.size, old.list, old.recipe)
    };
    for file in &verified.files {
        let before = previous
            .body()
            .and_then(|body| body.file(file.path.as_str()));
        if !before.is_some_and(|old| same(file, old)) && !writer.store().holds(file) {
            return Err(ProposalError::ContentGone {
                path: file.path.clone(),
                release: verified.release,
            });
        }
    }
    let mut warnings = Vec::new();
    let bundle = seal(
        writer,
        previous.manifest(),
        &signed,
        open.openings(),
        &mut warnings,
    )?;
    // It is the release now; left behind, it is only stale.
    if let Err(error) = Folder::of(writer.store()).remove(open) {
        warnings.push(error.to_string());
    }
    Ok(Accepted {
        release: verified.release,
        manifest: id,
        bundle,
        warnings,
    })
}

/// Whether a proposal would follow the newest release of `store`.
///
/// # Errors
/// [`ProposalError::Stale`] or [`ProposalError::Released`].
pub(crate) fn check_open(store: &Store, proposal: &super::Proposal) -> Result<(), ProposalError> {
    let releases = store.releases();
    if let Some(stored) = releases
        .iter()
        .find(|stored| stored.manifest == proposal.id())
    {
        return Err(ProposalError::Released(stored.release));
    }
    let newest = releases.last();
    let previous = proposal.body().previous;
    if newest.map(|newest| newest.manifest) == previous {
        return Ok(());
    }
    let number = |id: ObjectId| {
        let stored = releases.iter().find(|stored| stored.manifest == id);
        stored.map_or_else(
            || format!("{id}"),
            |stored| format!("release {}", stored.release),
        )
    };
    Err(ProposalError::Stale {
        id: proposal.id(),
        previous: previous.map(number),
        newest: newest.map_or(ReleaseNumber(0), |newest| newest.release),
    })
}

impl super::Proposal {
    /// Whether it would follow the newest release of `store`.
    ///
    /// # Errors
    /// [`ProposalError::Stale`] or [`ProposalError::Released`].
    pub fn check_open(&self, store: &Store) -> Result<(), ProposalError> {
        check_open(store, self)
    }
}
