//! Walking the tree that is being built.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tidecast_proto::id::Timestamp;
use tidecast_proto::manifest;

use super::build::FileState;
use super::files::{self, Found, Kind};

/// What an earlier build left that this one can use, by place in the manifest.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Files it wrote.
    pub(super) written: HashSet<u32>,
    /// Hard links to the very file the live tree serves. Making them anew would change that file's ctime, and with
    /// it the whole tree would have to be hashed.
    pub(super) linked: HashSet<u32>,
}

/// Removes everything below `folder` that the build has no use for: names not in the release, files where folders
/// belong, and hard links to anything but what `live_inode` gives for their place. Notes in `there` what stays.
pub(super) fn clear(
    folder: &OwnedFd,
    prefix: &str,
    wanted: &[manifest::File],
    states: &[FileState],
    live_inode: &dyn Fn(usize) -> Option<u64>,
    there: &mut Leftovers,
) -> io::Result<()> {
    for name in files::names(folder.as_fd())? {
        let Some(found) = files::look(folder, name.as_os_str())? else {
            continue;
        };
        let path = name.to_str().map(|name| format!("{prefix}{name}"));
        let keep = match (&path, found.kind) {
            (Some(path), Kind::File) => {
                let at = wanted.binary_search_by(|file| file.path.as_str().cmp(path));
                match at {
                    Ok(at) if states[at] != FileState::Elsewhere => {
                        let place = u32::try_from(at).unwrap_or(u32::MAX);
                        if found.links == 1 {
                            there.written.insert(place)
                        } else {
                            live_inode(at) == Some(found.record.inode) && there.linked.insert(place)
                        }
                    }
                    _ => false,
                }
            }
            (Some(path), Kind::Folder) => {
                let inside = format!("{path}/");
                let first = wanted.partition_point(|file| file.path.as_str() < inside.as_str());
                // The depth of this recursion is that of a release's path: at most 16.
                let keep = wanted
                    .get(first)
                    .is_some_and(|file| file.path.as_str().starts_with(&inside));
                if keep {
                    let inner = files::open_folder(folder, name.as_os_str())?;
                    clear(&inner, &inside, wanted, states, live_inode, there)?;
                }
                keep
            }
            _ => false,
        };
        if !keep {
            files::remove_all(folder, name.as_os_str())?;
        }
    }
    Ok(())
}

/// Brings a tree's folders to the disk, the inner ones first; with `few` files written these have been synced one
/// by one, otherwise the whole file system is.
pub(super) fn sync_folders(folder: &OwnedFd, few: bool) -> Result<(), SyncFault> {
    if !few {
        return rustix::fs::syncfs(folder).map_err(|error| SyncFault::Sync(error.into()));
    }
    sync_bottom_up(folder)
}

/// Why a tree's folders were not brought to the disk.
#[derive(Debug)]
pub(super) enum SyncFault {
    /// One could not be looked into: nothing was tried.
    Look(io::Error),
    /// What is on the disk is not known.
    Sync(io::Error),
}

fn sync_bottom_up(folder: &OwnedFd) -> Result<(), SyncFault> {
    let look = SyncFault::Look;
    for name in files::names(folder.as_fd()).map_err(look)? {
        let found = files::look(folder, name.as_os_str()).map_err(look)?;
        if found.is_some_and(|found| found.kind == Kind::Folder) {
            sync_bottom_up(&files::open_folder(folder, name.as_os_str()).map_err(look)?)?;
        }
    }
    rustix::fs::fsync(folder).map_err(|error| SyncFault::Sync(error.into()))
}

/// Whether nothing below `folder`, nor itself, was changed since `limit`, as the file system remembers.
pub(super) fn untouched_since(folder: &OwnedFd, limit: Timestamp) -> io::Result<bool> {
    if !is_before(&files::look_at(folder)?, limit) {
        return Ok(false);
    }
    for name in files::names(folder.as_fd())? {
        let Some(found) = files::look(folder, name.as_os_str())? else {
            continue;
        };
        let untouched = match found.kind {
            Kind::Folder => untouched_since(&files::open_folder(folder, name.as_os_str())?, limit)?,
            _ => is_before(&found, limit),
        };
        if !untouched {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the last change of any kind was before `limit`. Not the mtime, which files get that others show.
pub(super) fn is_before(found: &Found, limit: Timestamp) -> bool {
    u64::try_from(found.record.ctime_s).is_ok_and(|seconds| seconds < limit.seconds())
}
