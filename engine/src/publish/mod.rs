//! Publishing: from a tree to a signed release. SPEC §7.8.
//!
//! A tree is walked, each file that may have changed is read once (hashed, cut, checked if it is a database,
//! stored) and opened if it holds streams that rebuild exactly, a manifest is made and signed, and the release becomes visible in the last step. Whatever goes
//! wrong before that, readers of the store see nothing, and what was stored is found again by the next try.

pub(crate) mod content;
mod cutter;
mod databases;
mod error;
mod ingest;
pub(crate) mod manifest;
mod number;
pub(crate) mod opening;
mod report;
mod seal;
mod stamp;
pub(crate) mod stat_cache;
pub(crate) mod tree;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Instant;

use tidecast_proto::{
    database::VerifyPolicy,
    id::{FeedId, ReleaseNumber, Timestamp},
    key::SecretKey,
    manifest::Flags,
    name::ReleasePath,
    root::Root,
};

pub use crate::genuine::{CDIFF_BYTES, DatabaseFault};
use crate::store::StoreWriter;
pub use error::{OFFENCES_LISTED, Offence, Offences, PublishError, Rule};
pub use number::{believable, next_release};
pub use report::{Change, ChangeKind, DatabaseChange, PublishReport, changes};

use content::Terms;
use manifest::Previous;
pub(crate) use seal::seal;
use tree::Tree;

/// What to publish, and as whom.
#[derive(Debug)]
pub struct PublishRequest<'a> {
    /// The folder whose content becomes the release.
    pub tree: &'a Path,
    /// The feed's newest root: chunking, keys, threshold, floor.
    pub root: &'a Root,
    /// The feed.
    pub feed: FeedId,
    /// Release keys to sign with.
    pub keys: &'a [SecretKey],
    /// How much of a database is checked.
    pub verify: VerifyPolicy,
    /// The change log.
    pub notes: String,
    /// What this release may do that others may not.
    pub flags: Flags,
    /// Where the stat cache lies: what need not be read again. Advisory; made when it is not there.
    pub cache: &'a Path,
    /// Now.
    pub now: Timestamp,
    /// Make a release although the newest one holds the same files.
    pub even_if_unchanged: bool,
    /// The new number is above this one, whatever the store holds: a store that was restored from an old backup does
    /// not know what was announced since. 0 for none.
    pub above: ReleaseNumber,
}

/// How far publishing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// The tree was walked and may be published as far as names go.
    Walked {
        /// Files in it.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// Some of a file was read.
    Reading {
        /// Which.
        path: &'a ReleasePath,
        /// Bytes of it so far.
        read_bytes: u64,
    },
    /// A file was read and is being opened.
    Opening {
        /// Which.
        path: &'a ReleasePath,
        /// Its bytes.
        size: u64,
    },
    /// A file is done, read or known from the last time.
    Done {
        /// Which.
        path: &'a ReleasePath,
        /// Its bytes.
        size: u64,
    },
    /// Everything is read; packs are synced and the release becomes visible.
    Sealing,
}

/// Makes a release out of a tree.
///
/// The new release's number is one above the newest in the store, and not below the root's floor. Earlier
/// releases stay as they are and can be fetched.
///
/// # Errors
/// [`PublishError`]; no release was made. What was stored on the way is found again by the next try.
pub fn publish(
    writer: &mut StoreWriter,
    request: &PublishRequest<'_>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PublishReport, PublishError> {
    let started = Instant::now();
    let stored_before = writer.stored_bytes();
    let mut warnings = Vec::new();
    let keys = manifest::usable_keys(request, &mut warnings)?;
    let terms = request.terms();
    let previous = Previous::of(writer.store(), terms.root, &terms.feed)?;

    let tree = Tree::open(request.tree)?;
    let cache = Some(request.cache);
    let mut content = content::take(writer, &terms, &tree, cache, previous.body(), progress)?;
    let files = std::mem::take(&mut content.files);
    warnings.append(&mut content.warnings);
    let body = manifest::checked_body(&terms, &previous, files, &mut warnings)?;
    let mut report = PublishReport::new(&body, previous.body());
    match previous.id() {
        Some(id) if previous.holds_the_same(&body) && !request.even_if_unchanged => {
            report.release = previous.number();
            report.manifest = id;
            if !request.notes.is_empty() {
                warnings
                    .push("the tree did not change, so the notes were not published".to_owned());
            }
        }
        _ => {
            let signed = manifest::sign(&terms, &previous, &body, &keys)?;
            progress(Progress::Sealing);
            report.openings = std::mem::take(&mut content.openings);
            report.bundle = seal(
                writer,
                previous.manifest(),
                &signed,
                report.openings.clone(),
                &mut warnings,
            )?;
            report.manifest = signed.id();
            report.created = true;
        }
    }
    content.remember(request.cache);
    warnings.append(&mut content.warnings);
    report.new_bytes = writer.stored_bytes() - stored_before;
    report.read_bytes = content.read_bytes;
    report.warnings = warnings;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

impl PublishRequest<'_> {
    fn terms(&self) -> Terms<'_> {
        Terms {
            root: self.root,
            feed: self.feed,
            verify: self.verify,
            notes: &self.notes,
            flags: self.flags,
            now: self.now,
            above: self.above,
        }
    }
}
