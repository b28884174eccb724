//! Publishing: from a tree to a signed release. SPEC §7.8.
//!
//! A tree is walked, each file that may have changed is read once (hashed, cut, checked if it is a database,
//! stored) and opened if it holds streams that rebuild exactly, a manifest is made and signed, and the release becomes visible in the last step. Whatever goes
//! wrong before that, readers of the store see nothing, and what was stored is found again by the next try.

mod cutter;
mod databases;
mod error;
mod ingest;
mod manifest;
pub(crate) mod opening;
mod report;
mod stamp;
pub(crate) mod stat_cache;
mod tree;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Instant;

use tidecast_proto::{
    chunker::Chunker,
    database::VerifyPolicy,
    id::{FeedId, ReleaseNumber, Timestamp},
    key::SecretKey,
    manifest::{File, Flags, SignedManifest},
    name::ReleasePath,
    root::Root,
};

use crate::bundle::{BundleBuildError, BundleCache, BundleReport};
pub use crate::genuine::{CDIFF_BYTES, DatabaseFault};
use crate::store::StoreWriter;
use crate::store::explain::{self, Explanation, FileOpening, Opening};
pub use error::{OFFENCES_LISTED, Offence, Offences, PublishError, Rule};
pub use report::{Change, ChangeKind, DatabaseChange, PublishReport};

use ingest::Ingest;
use manifest::Previous;
use stat_cache::StatCache;
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
    let previous = Previous::of(writer.store(), request)?;

    let tree = Tree::open(request.tree)?;
    let found = tree.walk()?;
    let bytes = found
        .iter()
        .fold(0_u64, |sum, file| sum.saturating_add(file.stamp.size));
    let files = found.len();
    progress(Progress::Walked { files, bytes });

    let chunking = request.root.chunking;
    let identity = stat_cache::Identity {
        feed: request.feed,
        chunking,
        verify: request.verify,
    };
    let (mut known, damage) = StatCache::load(request.cache, &identity);
    warnings.extend(damage);
    let mut fresh = StatCache::default();
    let mut ingest = Ingest::new(writer, Chunker::new(chunking), request.verify);
    let mut files = Vec::with_capacity(found.len());
    let mut openings = Vec::new();
    let mut read_files = 0_usize;
    for found in found {
        let entry = match known.take(&found).filter(|entry| ingest.has(entry)) {
            Some(entry) => entry,
            None => {
                read_files += 1;
                let before = previous
                    .body()
                    .and_then(|body| body.file(found.path.as_str())?.recipe.as_ref());
                ingest.read(&tree, &found, request.now, before, progress)?
            }
        };
        progress(Progress::Done {
            path: &found.path,
            size: found.stamp.size,
        });
        files.push(File {
            path: found.path.clone(),
            size: found.stamp.size,
            executable: found.executable,
            mtime_s: found.stamp.mtime_s(),
            hash: entry.hash,
            list: entry.list,
            recipe: entry.recipe,
            database: entry.database.clone(),
        });
        if entry.opening != Opening::default() {
            openings.push(FileOpening {
                path: found.path.to_string(),
                bytes: found.stamp.size,
                opening: entry.opening.clone(),
            });
        }
        fresh.insert(found.path, entry);
    }
    let read_bytes = ingest.read_bytes();
    databases::check_names_unique(&files)?;
    warnings.extend(databases::unpaired_signatures(&files, previous.body()));

    let body = manifest::body(request, &previous, files);
    warnings.extend(databases::rollbacks(&body, previous.body()));
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
            let signed = manifest::sign(request, &previous, &body, &keys)?;
            progress(Progress::Sealing);
            let explanation = Explanation {
                openings,
                roads: None,
            };
            let folder = writer.store().folder().to_owned();
            // Before the release, so that whoever sees the one finds the other.
            if let Err(error) = explain::save(&folder, body.release, &explanation) {
                warnings.push(format!("the release cannot be explained later: {error}"));
            }
            report.openings = explanation.openings;
            let bundle = bundle(writer, &previous, &signed, &mut warnings)?;
            writer.add_release(body.release, &signed)?;
            report.bundle = bundle;
            report.manifest = signed.id();
            report.created = true;
        }
    }
    // The release stands whether or not the next publish is fast.
    let outdated = read_files > 0 || !known.is_empty();
    if outdated && let Err(error) = fresh.save(request.cache, &identity) {
        warnings.push(format!(
            "the next publish will read every file again: {error}"
        ));
    }
    report.new_bytes = writer.stored_bytes() - stored_before;
    report.read_bytes = read_bytes;
    report.warnings = warnings;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// Builds the bundle from the release before, so that it can go out with the announcement. A release stands without one.
fn bundle(
    writer: &mut StoreWriter,
    previous: &Previous,
    signed: &SignedManifest,
    warnings: &mut Vec<String>,
) -> Result<Option<BundleReport>, PublishError> {
    let Some(from) = previous.manifest() else {
        return Ok(None);
    };
    writer.seal()?;
    let store = writer.store();
    let to = signed
        .clone()
        .reopen(&signed.id())
        .map_err(PublishError::Successor)?;
    // What is obsolete by then, the next reader of the cache removes; what it may hold at most is the master's to say.
    let cache = BundleCache::new(store.folder(), u64::MAX);
    match cache.build(store, from, &to) {
        Ok(report) => {
            let roads = report.roads();
            if let Err(error) = explain::save_roads(store.folder(), to.release, &roads) {
                warnings.push(format!("the roads cannot be explained later: {error}"));
            }
            Ok(Some(report))
        }
        // Nobody is helped by it, and nothing is wrong.
        Err(BundleBuildError::TooLarge { .. }) => Ok(None),
        Err(error) => {
            warnings.push(format!("mirrors fetch chunks instead of a bundle: {error}"));
            Ok(None)
        }
    }
}

/// The number of the release after `newest`, not below `floor`.
fn next_release(newest: ReleaseNumber, floor: ReleaseNumber) -> ReleaseNumber {
    newest.next().max(floor)
}
