//! What an update would do, without doing any of it.

use std::collections::HashSet;
use std::path::Path;

use tidecast_proto::id::{ChunkId, FeedId, ListId};
use tidecast_proto::list::List;
use tidecast_proto::manifest::{File, Manifest};

use super::error::DocrootError;
use super::layout::Folders;
use super::{check_feed, reuse, tree};

/// What an update would do. Bytes are of file content, before compression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Preview {
    /// Files that would be linked.
    pub linked_files: usize,
    /// Their bytes.
    pub linked_bytes: u64,
    /// Files that would be built.
    pub built_files: usize,
    /// Their bytes.
    pub built_bytes: u64,
    /// Distinct chunks that would be fetched.
    pub fetched_chunks: usize,
    /// Their bytes.
    pub fetched_bytes: u64,
}

/// Compares `manifest` with the live release of the docroot at `path`, reading only manifests and lists: no lock is
/// needed and nothing is written. `list` gives the lists of files to build, which the caller has fetched. What an
/// interrupted build or an older mirror's files hold is not counted, so an update fetches at most this.
///
/// # Errors
/// [`DocrootError::ListMissing`] when `list` lacks one, [`DocrootError::OtherFeed`]; else of the disk.
pub fn preview(
    path: &Path,
    feed: &FeedId,
    manifest: &Manifest,
    list: &dyn Fn(&ListId) -> Option<List>,
) -> Result<Preview, DocrootError> {
    let mut preview = Preview::default();
    let folders = match Folders::open(path) {
        Err(DocrootError::Missing { .. }) => None,
        other => other?,
    };
    let live = match &folders {
        Some(folders) => {
            check_feed(folders, feed)?;
            match tree::current_tree(folders)?.flatten() {
                Some(release) => tree::read_kept(folders, release)?,
                None => None,
            }
        }
        None => None,
    };
    let mut here = HashSet::new();
    if let (Some(folders), Some(live)) = (&folders, &live) {
        for file in &live.manifest.files {
            let list = match file.list {
                Some(id) => reuse::stored_list(folders, &id, file.size)?,
                None => List::of_small_file(file.hash, file.size),
            };
            here.extend(list.iter().flat_map(List::entries).map(|entry| entry.id));
        }
    }
    for file in &manifest.files {
        let unchanged = live.as_ref().is_some_and(|live| {
            let before = live.manifest.file(file.path.as_str());
            before.is_some_and(|before| is_same(before, file))
        });
        if unchanged {
            preview.linked_files += 1;
            preview.linked_bytes += file.size;
            continue;
        }
        preview.built_files += 1;
        preview.built_bytes += file.size;
        let chunks = match file.list {
            Some(id) => list(&id).ok_or_else(|| DocrootError::ListMissing {
                list: id,
                path: file.path.to_string(),
            })?,
            // A checked manifest gives every longer file a list.
            None => match List::of_small_file(file.hash, file.size) {
                Some(list) => list,
                None => continue,
            },
        };
        count_missing(&chunks, &mut here, &mut preview);
    }
    Ok(preview)
}

fn count_missing(list: &List, here: &mut HashSet<ChunkId>, preview: &mut Preview) {
    for entry in list.entries() {
        if here.insert(entry.id) {
            preview.fetched_chunks += 1;
            preview.fetched_bytes += u64::from(entry.len);
        }
    }
}

/// The same content, mode and, for a database, time: the new tree links it.
pub(super) fn is_same(before: &File, file: &File) -> bool {
    let build_time = |file: &File| file.database.as_ref().map(|d| d.build_time_s);
    before.hash == file.hash
        && before.size == file.size
        && before.executable == file.executable
        && build_time(before) == build_time(file)
}
