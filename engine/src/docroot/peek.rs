//! A look at what a docroot serves, without its lock and without changing anything.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tidecast_proto::id::{ChunkId, FeedId};
use tidecast_proto::list::List;
use tidecast_proto::manifest::{File, Manifest};

use super::error::DocrootError;
use super::layout::Folders;
use super::{check_feed, keep, reuse, tree};

/// What a docroot serves at the moment.
#[derive(Debug)]
pub struct Peek {
    /// The live release.
    pub manifest: Arc<Manifest>,
    /// Chunks of its files, as far as their lists are kept.
    pub chunks: BTreeSet<ChunkId>,
    folders: Folders,
}

impl Peek {
    /// The list of a file's opened content, if it and the recipe are kept.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn opened_list(&self, file: &File) -> Result<Option<List>, DocrootError> {
        let Some(id) = &file.recipe else {
            return Ok(None);
        };
        match keep::stored_recipe(&self.folders, id)? {
            Some(recipe) => {
                reuse::stored_list(&self.folders, &recipe.opened(), recipe.opened_bytes())
            }
            None => Ok(None),
        }
    }
}

/// Looks at `path`; `None` when there is no docroot yet, or nothing live in it.
///
/// # Errors
/// [`DocrootError`]: another feed's; else of the disk.
pub fn peek(path: &Path, feed: &FeedId) -> Result<Option<Peek>, DocrootError> {
    let folders = match Folders::open(path) {
        Ok(Some(folders)) => folders,
        Ok(None) | Err(DocrootError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    if !check_feed(&folders, feed)? {
        return Ok(None);
    }
    let Some(release) = tree::current_tree(&folders)?.flatten() else {
        return Ok(None);
    };
    let Some(kept) = tree::read_kept(&folders, release)? else {
        return Ok(None);
    };
    let mut chunks = BTreeSet::new();
    for file in &kept.manifest.files {
        let list = match &file.list {
            Some(id) => reuse::stored_list(&folders, id, file.size)?,
            None => List::of_small_file(file.hash, file.size),
        };
        chunks.extend(list.iter().flat_map(List::entries).map(|entry| entry.id));
    }
    Ok(Some(Peek {
        manifest: kept.manifest,
        chunks,
        folders,
    }))
}
