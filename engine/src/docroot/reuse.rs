//! Bytes that need not be fetched, because they are on this machine already. SPEC §8.7.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tidecast_proto::chunker::Chunker;
use tidecast_proto::id::ListId;
use tidecast_proto::limits;
use tidecast_proto::list::List;
use tidecast_proto::manifest::Manifest;

use super::build::Build;
use super::error::DocrootError;
use super::files::{self, FolderCache};
use super::layout::{Folders, LISTS};

/// Windows of the chunker held in memory while a file is cut.
const WINDOWS_HELD: usize = 8;

/// The list `id` of a file of `size` bytes, if it is stored whole.
pub(super) fn stored_list(
    folders: &Folders,
    id: &ListId,
    size: u64,
) -> Result<Option<List>, DocrootError> {
    let lists = match files::open_folder(&folders.state, LISTS) {
        Ok(lists) => lists,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(folders.fault("open", LISTS)(error)),
    };
    let bytes = match files::read_whole(lists, &id.to_string(), limits::LIST_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => None,
        other => other.map_err(folders.fault("read", LISTS))?,
    };
    Ok(bytes.and_then(|bytes| List::decode(&bytes, *id, size).ok()))
}

/// Stores a list. It is hashed whenever it is read, so it is not synced.
pub(super) fn store_list(folders: &Folders, id: &ListId, list: &List) -> Result<(), DocrootError> {
    let lists = folders.subfolder(LISTS, 0o755)?;
    files::write_unsynced(lists, &id.to_string(), &list.encode(), false)
        .map_err(folders.fault("write", LISTS))
}

/// Whether any list is stored.
pub(super) fn has_lists(folders: &Folders) -> Result<bool, DocrootError> {
    match files::open_folder(&folders.state, LISTS).and_then(files::names) {
        Ok(names) => Ok(!names.is_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(folders.fault("read", LISTS)(error)),
    }
}

/// Removes lists that are not in `keep`.
pub(super) fn prune_lists(folders: &Folders, keep: &HashSet<ListId>) -> Result<(), DocrootError> {
    let fault = || folders.fault("clear", LISTS);
    let lists = match files::open_folder(&folders.state, LISTS) {
        Ok(lists) => lists,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fault()(error)),
    };
    for name in files::names(&lists).map_err(fault())? {
        let kept = name
            .to_str()
            .and_then(|name| name.parse().ok())
            .is_some_and(|id: ListId| keep.contains(&id));
        if !kept {
            files::unlink(&lists, name.as_os_str()).map_err(fault())?;
        }
    }
    Ok(())
}

/// Takes chunks out of the live tree's files, found by their lists.
pub(super) fn from_live_tree(build: &mut Build, chunker: &Chunker) -> Result<(), DocrootError> {
    let Some(live) = build.live.clone() else {
        return Ok(());
    };
    from_tree(build, live.manifest(), &live.folder(), Some(chunker))
}

/// Takes chunks out of a tree's files, found by their lists; a file whose list is not here is cut with the `chunker`, if
/// there is one.
pub(super) fn from_tree(
    build: &mut Build,
    manifest: &Manifest,
    folder: &Arc<OwnedFd>,
    chunker: Option<&Chunker>,
) -> Result<(), DocrootError> {
    let mut source = FolderCache::reading(folder.clone());
    let mut chunk = vec![0; limits::CHUNK_BYTES];
    // A release of ours is worth reading whole.
    let mut left = u64::MAX;
    for file in &manifest.files {
        if !build.wants_anything() {
            return Ok(());
        }
        let path = file.path.as_str();
        let list = match file.list {
            Some(id) => build.known_list(&id, file.size)?,
            None => List::of_small_file(file.hash, file.size).map(Arc::new),
        };
        if let Some(list) = &list
            && !list.entries().iter().any(|entry| build.wants(&entry.id))
        {
            continue;
        }
        // A file that somebody removed or replaced is simply no source.
        let Ok(opened) = source.open(path) else {
            continue;
        };
        match (list, chunker) {
            (Some(list), _) => {
                for (offset, entry) in list.with_offsets() {
                    let chunk = &mut chunk[..entry.len as usize];
                    if build.wants(&entry.id)
                        && files::read_exact_at(&opened, chunk, offset).unwrap_or(false)
                    {
                        build.offer(chunk)?;
                    }
                }
            }
            (None, Some(chunker)) => cut(build, chunker, &opened, &mut left)?,
            (None, None) => {}
        }
    }
    Ok(())
}

/// Offers a whole small file, and every chunk of a longer one, and takes what it reads off `left`. It stops where
/// nothing is left, but for the bytes it holds.
pub(super) fn cut(
    build: &mut Build,
    chunker: &Chunker,
    file: &File,
    left: &mut u64,
) -> Result<(), DocrootError> {
    let capacity = chunker.window() * WINDOWS_HELD;
    let mut held = vec![0; capacity];
    let (mut from, mut until, mut offset, mut ended) = (0, 0, 0_u64, false);
    let mut first = true;
    loop {
        if !ended && until - from < chunker.window() {
            if *left == 0 {
                return Ok(());
            }
            held.copy_within(from..until, 0);
            until -= from;
            from = 0;
            while until < capacity {
                match file.read_at(&mut held[until..], offset) {
                    Ok(0) => {
                        ended = true;
                        break;
                    }
                    Ok(count) => {
                        until += count;
                        offset += count as u64;
                        *left = left.saturating_sub(count as u64);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // What cannot be read is no source; it will be fetched.
                    Err(_) => return Ok(()),
                }
            }
            if first && ended && until <= limits::CHUNK_BYTES && build.offer(&held[..until])? {
                return Ok(());
            }
            first = false;
        }
        if from == until {
            return Ok(());
        }
        let len = chunker.cut(&held[from..until]);
        build.offer(&held[from..from + len])?;
        from += len;
    }
}
