//! Taking over what an older mirror script left, in place. SPEC §8.10.
//!
//! Real files under the release's names go into a tree of their own, [`ADOPTED`], one exchange each; `current`
//! points to it, so the links that take their place lead to the very same files. The first switch then replaces
//! all of them in one instant, like every later one.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use tidecast_proto::id::Timestamp;
use tidecast_proto::limits;
use tidecast_proto::manifest::Manifest;

use super::error::DocrootError;
use super::files::{self, Kind};
use super::layout::{self, ADOPTED, Folders};
use super::links::{self, Standing};
use super::removed;
use super::tree;

/// Operator's files inside adopted folders that are named one by one; more say nothing new.
const LOCAL_LISTED_MAX: usize = 20;
/// Names looked at below the adopted tree, as many as a release may have files.
const NAMES_MAX: usize = limits::FILES_PER_RELEASE;

/// Moves what stands under `names` into the adopted tree; returns how many names that were.
///
/// # Errors
/// [`DocrootError`]; every name still leads to the file it led to before.
pub(super) fn adopt(
    folders: &Folders,
    names: &[&str],
    standing: &HashMap<OsString, Standing>,
) -> Result<usize, DocrootError> {
    let foreign: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| standing.get(OsStr::new(name)) == Some(&Standing::Foreign))
        .collect();
    if foreign.is_empty() {
        return Ok(0);
    }
    match tree::current_tree(folders)? {
        // A release was live and its manifest is lost: there is no adopting beside it.
        Some(Some(_)) => return Ok(0),
        Some(None) => {}
        None => {
            folders.subfolder(ADOPTED, 0o755)?;
            set_current(folders, ADOPTED)?;
        }
    }
    let adopted = folders.subfolder(ADOPTED, 0o755)?;
    let mut count = 0;
    for name in foreign {
        let target = layout::settled_target(name);
        let fault = || folders.fault("look at", ADOPTED);
        let taken = files::look(&adopted, name).map_err(fault())?.is_some()
            && files::link_target(&adopted, name)
                .map_err(fault())?
                .is_none_or(|target| !layout::is_our_target(&target));
        if taken {
            // Adopted before, and since then replaced by a real file again: the switch moves that away.
            continue;
        }
        count += usize::from(links::exchange(folders, ADOPTED, name, &target)?);
    }
    folders.sync_docroot()?;
    Ok(count)
}

/// Names of `local_*` inside the adopted tree: like all of it they are kept, but no longer served once a release is live.
pub(super) fn operators_inside(folders: &Folders) -> Result<Vec<String>, DocrootError> {
    let mut found = Vec::new();
    if let Ok(adopted) = files::open_folder(&folders.state, ADOPTED) {
        let mut left = NAMES_MAX;
        local_below(&adopted, "", 0, &mut left, &mut found)
            .map_err(folders.fault("read", ADOPTED))?;
    }
    Ok(found)
}

fn local_below(
    folder: &OwnedFd,
    prefix: &str,
    depth: usize,
    left: &mut usize,
    found: &mut Vec<String>,
) -> io::Result<()> {
    for name in files::names(folder)? {
        if *left == 0 || found.len() == LOCAL_LISTED_MAX {
            return Ok(());
        }
        *left -= 1;
        let path = format!("{prefix}{}", name.to_string_lossy());
        if depth > 0 && name.as_bytes().starts_with(b"local_") {
            found.push(path);
        } else if depth < limits::PATH_DEPTH
            && files::look(folder, name.as_os_str())?.is_some_and(|f| f.kind == Kind::Folder)
            // A folder that may not be read is kept all the same.
            && let Ok(inner) = files::open_folder(folder, name.as_os_str())
        {
            local_below(&inner, &format!("{path}/"), depth + 1, left, found)?;
        }
    }
    Ok(())
}

/// Points `current` to the tree `name`, in one instant, and brings that to the disk.
pub(super) fn set_current(folders: &Folders, name: &str) -> Result<(), DocrootError> {
    prepare_current(folders, name)?;
    rename_current(folders)?;
    folders.sync_state()
}

/// Makes the link that [`rename_current`] puts in place.
pub(super) fn prepare_current(folders: &Folders, name: &str) -> Result<(), DocrootError> {
    let fault = || folders.fault("link", layout::CURRENT_TMP);
    files::unlink(&folders.state, layout::CURRENT_TMP).map_err(fault())?;
    files::symlink(name, &folders.state, layout::CURRENT_TMP).map_err(fault())
}

/// The switch itself.
pub(super) fn rename_current(folders: &Folders) -> Result<(), DocrootError> {
    files::rename(
        &folders.state,
        layout::CURRENT_TMP,
        &folders.state,
        layout::CURRENT,
    )
    .map_err(folders.fault("rename to", layout::CURRENT))
}

/// Empties the adopted tree once a release is live: files equal to the release's go, everything else is kept in
/// `removed`. Returns where to.
pub(super) fn retire(
    folders: &Folders,
    now: Timestamp,
    live: &Manifest,
) -> Result<Vec<String>, DocrootError> {
    let fault = || folders.fault("clear", ADOPTED);
    let adopted = match files::open_folder(&folders.state, ADOPTED) {
        Ok(adopted) => adopted,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault()(error)),
    };
    let mut moved = Vec::new();
    let mut buffer = Vec::new();
    for name in files::names(&adopted).map_err(fault())? {
        let ours = files::link_target(&adopted, name.as_os_str())
            .map_err(fault())?
            .is_some_and(|target| layout::is_our_target(&target));
        let equal = match name.to_str().and_then(|name| live.file(name)) {
            Some(file) => {
                let found = files::look(&adopted, name.as_os_str()).map_err(fault())?;
                let same_size =
                    found.is_some_and(|f| f.kind == Kind::File && f.record.size == file.size);
                same_size && {
                    let opened =
                        files::open_below(&adopted, file.path.as_str(), rustix::fs::OFlags::RDONLY)
                            .map_err(fault())?;
                    files::hash_file(&opened.into(), &mut buffer).map_err(fault())? == file.hash
                }
            }
            None => false,
        };
        if ours || equal {
            files::unlink(&adopted, name.as_os_str()).map_err(fault())?;
        } else {
            moved.push(removed::move_away(folders, now, &adopted, &name)?);
        }
    }
    files::remove_all(&folders.state, ADOPTED).map_err(fault())?;
    Ok(moved)
}
