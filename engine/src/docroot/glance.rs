//! A quick look whether somebody has changed a docroot, and coming back to one that was torn out from under us. SPEC §8.11.

use super::build::mode_of;
use super::error::DocrootError;
use super::files::{self, FolderCache};
use super::layout::{self, TIMESTAMP};
use super::{Docroot, Options, Recovery};

/// Files of the live tree up to which each is looked at every time: a look costs some 2 µs each, and is had every half
/// minute.
const FILES_LOOKED_AT: usize = 10_000;

/// What a quick look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glance {
    /// As it should be, as far as it was looked at.
    Sound,
    /// A name, a link or a file is not what we left: [`Docroot::mend`] tells which.
    Touched,
}

impl Docroot {
    /// Compares names, links and, in a tree of at most 10,000 files, identity and times of each with what they should be.
    /// Reads no content and changes nothing. Foreign names are left to the next mending or switch: whoever puts them there
    /// may be at it still.
    ///
    /// # Errors
    /// [`DocrootError::Replaced`] when the docroot, our folder in it or the live tree is gone or another one; else of the disk.
    pub fn glance(&self) -> Result<Glance, DocrootError> {
        self.check_still_ours()?;
        let Some(live) = &self.live else {
            return Ok(Glance::Sound);
        };
        let folders = &self.folders;
        let tree = layout::tree_name(live.release());
        let identity = |found: files::Found| (found.device, found.record.inode);
        let held = files::look_at(live.folder()).map_err(folders.fault("look at", &tree))?;
        let named = files::look(&folders.state, &*tree).map_err(folders.fault("look at", &tree))?;
        if named.map(identity) != Some(identity(held)) {
            return Err(DocrootError::Replaced {
                path: folders.path.clone(),
                what: "the tree of the live release",
            });
        }
        let leads = |at, name: &str, target: &str| -> Result<bool, DocrootError> {
            let has = files::link_target(at, name).map_err(folders.fault("read", name))?;
            Ok(has.as_deref() == Some(target))
        };
        if !leads(&folders.state, layout::CURRENT, &tree)? {
            return Ok(Glance::Touched);
        }
        for name in layout::top_names(live.manifest()) {
            if !leads(&folders.docroot, name, &layout::settled_target(name))? {
                return Ok(Glance::Touched);
            }
        }
        let written = files::look(&folders.state, TIMESTAMP)
            .map_err(folders.fault("look at", TIMESTAMP))?
            .is_some();
        let target = format!("{}/{TIMESTAMP}", layout::STATE);
        if written && !leads(&folders.docroot, TIMESTAMP, &target)? {
            return Ok(Glance::Touched);
        }
        if live.manifest().files.len() > FILES_LOOKED_AT {
            return Ok(Glance::Sound);
        }
        let mut cache = FolderCache::reading(live.folder());
        for (file, record) in live.manifest().files.iter().zip(&*live.records()) {
            let path = file.path.as_str();
            let found = cache.look(path).map_err(folders.fault("look at", path))?;
            let same = found.is_some_and(|found| {
                found.record == *record && found.mode & 0o777 == mode_of(file)
            });
            if !same {
                return Ok(Glance::Touched);
            }
        }
        Ok(Glance::Sound)
    }

    /// Begins anew in a docroot of which somebody removed or replaced what we keep in it, as a start would. Nothing of ours
    /// may be under way.
    ///
    /// # Errors
    /// [`DocrootError::Replaced`] when the docroot itself is another folder, or our folder in it on another file system:
    /// something was moved or mounted, and may come back. [`DocrootError::InUse`]; else of the disk.
    pub fn reopen(&mut self) -> Result<Recovery, DocrootError> {
        let folders = &self.folders;
        let replaced = |what| DocrootError::Replaced {
            path: folders.path.clone(),
            what,
        };
        let held =
            files::look_at(&folders.docroot).map_err(DocrootError::at("look at", &folders.path))?;
        let named = files::look_through(&folders.path).map_err(|_| replaced("the folder"))?;
        if (named.device, named.record.inode) != (held.device, held.record.inode) {
            return Err(replaced("the folder"));
        }
        let ours =
            files::look(&folders.docroot, layout::STATE).map_err(folders.fault("look at", "."))?;
        if ours.is_some_and(|ours| ours.device != held.device) {
            return Err(replaced(".tidecast"));
        }
        if self.check_still_ours().is_ok() {
            // Only a tree is gone, and the lock is ours.
            return self.recover();
        }
        let options = Options {
            create: false,
            ..self.options
        };
        let path = folders.path.clone();
        let (fresh, recovery) = Self::open(&path, self.feed, options, self.clock.clone())?;
        let front = self.front.take();
        *self = Self { front, ..fresh };
        Ok(recovery)
    }
}
