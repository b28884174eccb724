//! The names in the docroot: which are ours, which are an operator's, and changing one without a moment of absence.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;

use tidecast_proto::id::{ReleaseNumber, Timestamp};

use super::error::DocrootError;
use super::files;
use super::layout::{self, Folders};
use super::removed;

/// What stands under a top-level name that we may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// A link of ours, with its target.
    Ours(String),
    /// Anything else.
    Foreign,
}

/// What is in the docroot, without `local_*`, hidden names and `timestamp`.
pub(super) fn standing(folders: &Folders) -> Result<HashMap<OsString, Standing>, DocrootError> {
    let fault = || DocrootError::at("read", &folders.path);
    let mut all = HashMap::new();
    for name in files::names(&folders.docroot).map_err(fault())? {
        if !layout::may_touch(&name) || name == layout::TIMESTAMP {
            continue;
        }
        let target = files::link_target(&folders.docroot, name.as_os_str())
            .map_err(folders.name_fault("read", &name))?;
        let standing = match target {
            Some(target) if layout::is_our_target(&target) => Standing::Ours(target),
            _ => Standing::Foreign,
        };
        all.insert(name, standing);
    }
    Ok(all)
}

/// The one gate before any change of a docroot name.
fn gate(name: &OsStr) -> Result<(), DocrootError> {
    if layout::may_touch(name) {
        Ok(())
    } else {
        Err(DocrootError::Operators {
            name: name.to_string_lossy().into_owned(),
        })
    }
}

/// Points `name` to `target`, where nothing or a link of ours stands.
pub(super) fn point(folders: &Folders, name: &str, target: &str) -> Result<(), DocrootError> {
    gate(OsStr::new(name))?;
    let fault = || folders.name_fault("link", OsStr::new(name));
    files::unlink(&folders.state, layout::LINK_TMP).map_err(fault())?;
    files::symlink(target, &folders.state, layout::LINK_TMP).map_err(fault())?;
    files::rename(&folders.state, layout::LINK_TMP, &folders.docroot, name).map_err(fault())
}

/// Makes the link of a name that is not there, without replacing one that has just appeared.
pub(super) fn add(folders: &Folders, name: &str, target: &str) -> Result<(), DocrootError> {
    gate(OsStr::new(name))?;
    rustix::fs::symlinkat(target, &folders.docroot, name)
        .map_err(folders.name_fault("link", OsStr::new(name)))
}

/// Removes a link of ours.
pub(super) fn remove(folders: &Folders, name: &OsStr) -> Result<(), DocrootError> {
    gate(name)?;
    files::unlink(&folders.docroot, name).map_err(folders.name_fault("remove", name))
}

/// Moves a foreign name out of the docroot; says where it went.
pub(super) fn move_away(
    folders: &Folders,
    now: Timestamp,
    name: &OsStr,
) -> Result<String, DocrootError> {
    gate(name)?;
    removed::move_away(folders, now, &folders.docroot, name)
}

/// Puts a link over whatever an operator has under `name`, in one instant, and moves that away; says where it went.
pub(super) fn replace(
    folders: &Folders,
    now: Timestamp,
    name: &str,
    target: &str,
) -> Result<String, DocrootError> {
    exchange(folders, layout::SWAP, name, target)?;
    let swap = folders.subfolder(layout::SWAP, 0o700)?;
    removed::move_away(folders, now, swap, OsStr::new(name))
}

/// Puts a link over `name` and what stood there into our folder `into`, in one instant.
pub(super) fn exchange(
    folders: &Folders,
    into: &str,
    name: &str,
    target: &str,
) -> Result<(), DocrootError> {
    gate(OsStr::new(name))?;
    let fault = || folders.name_fault("replace", OsStr::new(name));
    let into = folders.subfolder(into, if into == layout::SWAP { 0o700 } else { 0o755 })?;
    // A link is all that an interrupted attempt can have left there: what an operator had is moved on at start.
    let left = files::link_target(&into, name).map_err(fault())?;
    if left.is_some_and(|target| layout::is_our_target(&target)) {
        files::unlink(&into, name).map_err(fault())?;
    }
    files::symlink(target, &into, name).map_err(fault())?;
    files::exchange(&into, name, &folders.docroot, name).map_err(|error| {
        // Leave nothing behind that looks like an operator's.
        let _ = files::unlink(&into, name);
        fault()(error)
    })
}

/// Moves on what an interrupted [`replace`] left between docroot and `removed`; says where it went.
pub(super) fn clear_swap(folders: &Folders, now: Timestamp) -> Result<Vec<String>, DocrootError> {
    let fault = || folders.fault("clear", layout::SWAP);
    let swap = match files::open_folder(&folders.state, layout::SWAP) {
        Ok(swap) => swap,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault()(error)),
    };
    let mut moved = Vec::new();
    for name in files::names(&swap).map_err(fault())? {
        let target = files::link_target(&swap, name.as_os_str()).map_err(fault())?;
        if target.is_some_and(|target| layout::is_our_target(&target)) {
            files::unlink(&swap, name.as_os_str()).map_err(fault())?;
        } else {
            moved.push(removed::move_away(folders, now, &swap, &name)?);
        }
    }
    Ok(moved)
}

/// Makes `name` point where it belongs whatever stands there; says where a foreign file went.
pub(super) fn settle(
    folders: &Folders,
    now: Timestamp,
    name: &str,
    standing: Option<&Standing>,
    target: &str,
) -> Result<Settled, DocrootError> {
    match standing {
        Some(Standing::Ours(has)) if has == target => Ok(Settled::AsItWas),
        Some(Standing::Ours(_)) => point(folders, name, target).map(|()| Settled::Pointed),
        None => add(folders, name, target).map(|()| Settled::Added),
        Some(Standing::Foreign) => replace(folders, now, name, target).map(Settled::Replaced),
    }
}

/// What [`settle`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settled {
    AsItWas,
    Added,
    Pointed,
    /// An operator's file stood there and is here now.
    Replaced(String),
}

/// Whether a name's link points straight into a release's tree, as it does during a switch.
pub(super) fn points_directly(target: &str, release: ReleaseNumber, name: &str) -> bool {
    target == layout::direct_target(release, name)
}
