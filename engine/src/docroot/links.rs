//! The names in the docroot: which are ours, which are an operator's, and changing one without a moment of absence.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::RenameFlags;
use rustix::io::Errno;
use tidecast_proto::id::Timestamp;

use super::error::DocrootError;
use super::files;
use super::layout::{self, Folders};
use super::removed;

/// Looks at a name that keeps coming and going before giving up.
const ATTEMPTS_MAX: u32 = 8;

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

/// What [`put`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settled {
    AsItWas,
    Added,
    Pointed,
    /// An operator's file stood there and is here now.
    Replaced(String),
}

/// What an operator is told of [`Settled::Replaced`].
pub(super) fn was_yours(name: &str, to: &str) -> String {
    format!("{name} was a file of yours under a name of the release; it is in {to} now")
}

/// Makes `name` lead to `target` whatever stands there, in one instant. An operator's file is moved away, also one
/// that came there after the caller looked: what was in the place is judged once it is out of it.
pub(super) fn put(
    folders: &Folders,
    now: Timestamp,
    name: &str,
    target: &str,
) -> Result<Settled, DocrootError> {
    gate(OsStr::new(name))?;
    let fault = || folders.name_fault("link", OsStr::new(name));
    for _ in 0..ATTEMPTS_MAX {
        let has = files::link_target(&folders.docroot, name).map_err(fault())?;
        if has.as_deref() == Some(target) {
            return Ok(Settled::AsItWas);
        }
        match rustix::fs::symlinkat(target, &folders.docroot, name) {
            Ok(()) => return Ok(Settled::Added),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(fault()(error.into())),
        }
        if exchange(folders, layout::SWAP, name, target)? {
            let swap = folders.subfolder(layout::SWAP, 0o700)?;
            let kept = clear_one(folders, now, &swap, OsStr::new(name))?;
            return Ok(kept.map_or(Settled::Pointed, Settled::Replaced));
        }
    }
    Err(fault()(Errno::BUSY.into()))
}

/// Removes a link of ours. If it is none any more, says where the operator's file is now.
pub(super) fn remove(
    folders: &Folders,
    now: Timestamp,
    name: &OsStr,
) -> Result<Option<String>, DocrootError> {
    gate(name)?;
    let fault = || folders.name_fault("remove", name);
    let swap = folders.subfolder(layout::SWAP, 0o700)?;
    clear_own(&swap, name).map_err(fault())?;
    // Out of the docroot first, and only then judged: between a look and an unlink it could become another's.
    match rustix::fs::renameat_with(&folders.docroot, name, &swap, name, RenameFlags::NOREPLACE) {
        Ok(()) => clear_one(folders, now, &swap, name),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(fault()(error.into())),
    }
}

/// Moves a foreign name out of the docroot; says where it went, or that it has gone by itself.
pub(super) fn move_away(
    folders: &Folders,
    now: Timestamp,
    name: &OsStr,
) -> Result<Option<String>, DocrootError> {
    gate(name)?;
    let found = files::look(&folders.docroot, name).map_err(folders.name_fault("look at", name))?;
    match found {
        Some(_) => removed::move_away(folders, now, &folders.docroot, name).map(Some),
        None => Ok(None),
    }
}

/// Puts a link over `name` and what stood there into our folder `into`, in one instant; false when nothing stood there.
pub(super) fn exchange(
    folders: &Folders,
    into: &str,
    name: &str,
    target: &str,
) -> Result<bool, DocrootError> {
    gate(OsStr::new(name))?;
    let fault = || folders.name_fault("replace", OsStr::new(name));
    let into = folders.subfolder(into, if into == layout::SWAP { 0o700 } else { 0o755 })?;
    clear_own(&into, OsStr::new(name)).map_err(fault())?;
    files::symlink(target, &into, name).map_err(fault())?;
    files::exchange(&into, name, &folders.docroot, name).map_or_else(
        |error| {
            // Leave nothing behind that looks like an operator's.
            let _ = files::unlink(&into, name);
            match error.kind() {
                io::ErrorKind::NotFound => Ok(false),
                _ => Err(fault()(error)),
            }
        },
        |()| Ok(true),
    )
}

/// Removes a link of ours, all that an interrupted attempt can have left of ours, from one of our folders.
fn clear_own(folder: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    let ours = files::link_target(folder, name)?.is_some_and(|to| layout::is_our_target(&to));
    if ours {
        files::unlink(folder, name)?;
    }
    Ok(ours)
}

/// Lets go of a name that came out of the docroot: a link of ours is removed, an operator's file moved on.
fn clear_one(
    folders: &Folders,
    now: Timestamp,
    swap: &OwnedFd,
    name: &OsStr,
) -> Result<Option<String>, DocrootError> {
    if clear_own(swap, name).map_err(folders.fault("clear", layout::SWAP))? {
        return Ok(None);
    }
    removed::move_away(folders, now, swap, name).map(Some)
}

/// Moves on what an interrupted [`put`] or [`remove`] left between docroot and `removed`; says where it went.
pub(super) fn clear_swap(folders: &Folders, now: Timestamp) -> Result<Vec<String>, DocrootError> {
    let fault = || folders.fault("clear", layout::SWAP);
    let swap = match files::open_folder(&folders.state, layout::SWAP) {
        Ok(swap) => swap,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault()(error)),
    };
    let mut moved = Vec::new();
    for name in files::names(&swap).map_err(fault())? {
        moved.extend(clear_one(folders, now, &swap, &name)?);
    }
    Ok(moved)
}
