//! From a tree to the files of a manifest: what is new is read, checked, cut and stored.

use std::path::Path;

use tidecast_proto::chunker::Chunker;
use tidecast_proto::database::VerifyPolicy;
use tidecast_proto::id::{FeedId, ReleaseNumber, Timestamp};
use tidecast_proto::manifest::{File, Flags, ManifestBody};
use tidecast_proto::root::Root;

use super::ingest::Ingest;
use super::stat_cache::{self, StatCache};
use super::tree::Tree;
use super::{Progress, PublishError};
use crate::store::StoreWriter;
use crate::store::explain::{FileOpening, Opening};

/// What a release is made under, whoever signs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// The feed's newest root.
    pub(crate) root: &'a Root,
    /// The feed.
    pub(crate) feed: FeedId,
    /// How much of a database is checked.
    pub(crate) verify: VerifyPolicy,
    /// The change log.
    pub(crate) notes: &'a str,
    /// What the release may do that others may not.
    pub(crate) flags: Flags,
    /// Now.
    pub(crate) now: Timestamp,
    /// The release's number is above this one, whatever the store holds.
    pub(crate) above: ReleaseNumber,
}

/// The files of a tree, with all they are made of in the store.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// In path order.
    pub(crate) files: Vec<File>,
    /// What became of their streams.
    pub(crate) openings: Vec<FileOpening>,
    /// Bytes that were read.
    pub(crate) read_bytes: u64,
    /// What somebody should look at.
    pub(crate) warnings: Vec<String>,
    /// What the next publish need not read, if that changed.
    learned: Option<(StatCache, stat_cache::Identity)>,
}

/// Takes in every file of `tree`. `cache` remembers what need not be read again.
///
/// # Errors
/// [`PublishError`]; what was stored on the way is found again by the next try.
pub(crate) fn take(
    writer: &mut StoreWriter,
    terms: &Terms<'_>,
    tree: &Tree,
    cache: Option<&Path>,
    previous: Option<&ManifestBody>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Content, PublishError> {
    let found = tree.walk()?;
    let bytes = found
        .iter()
        .fold(0_u64, |sum, file| sum.saturating_add(file.stamp.size));
    let files = found.len();
    progress(Progress::Walked { files, bytes });

    let chunking = terms.root.chunking;
    let identity = stat_cache::Identity {
        feed: terms.feed,
        chunking,
        verify: terms.verify,
    };
    let mut content = Content::default();
    let mut known = StatCache::default();
    if let Some(cache) = cache {
        let (loaded, damage) = StatCache::load(cache, &identity);
        known = loaded;
        content.warnings.extend(damage);
    }
    let mut fresh = StatCache::default();
    let mut ingest = Ingest::new(writer, Chunker::new(chunking), terms.verify);
    let mut read_files = 0_usize;
    for found in found {
        let entry = match known.take(&found).filter(|entry| ingest.has(entry)) {
            Some(entry) => entry,
            None => {
                read_files += 1;
                let before =
                    previous.and_then(|body| body.file(found.path.as_str())?.recipe.as_ref());
                ingest.read(tree, &found, terms.now, before, progress)?
            }
        };
        progress(Progress::Done {
            path: &found.path,
            size: found.stamp.size,
        });
        content.files.push(File {
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
            content.openings.push(FileOpening {
                path: found.path.to_string(),
                bytes: found.stamp.size,
                opening: entry.opening.clone(),
            });
        }
        fresh.insert(found.path, entry);
    }
    content.read_bytes = ingest.read_bytes();
    if cache.is_some() && (read_files > 0 || !known.is_empty()) {
        content.learned = Some((fresh, identity));
    }
    Ok(content)
}

impl Content {
    /// Remembers in `cache` what need not be read again. The release stands whether or not the next publish is fast.
    pub(crate) fn remember(&mut self, cache: &Path) {
        if let Some((learned, identity)) = self.learned.take()
            && let Err(error) = learned.save(cache, &identity)
        {
            let warning = format!("the next publish will read every file again: {error}");
            self.warnings.push(warning);
        }
    }
}
