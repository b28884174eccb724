//! Coming back after a crash, from any state. SPEC §8.9.
//!
//! `current` says which release is live, a complete tree is the truth, an intent is carried out if its tree is
//! complete, and everything else is removed or built on. Nothing is guessed from times.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::RenameFlags;
use rustix::io::Errno;
use tidecast_proto::id::ReleaseNumber;
use tidecast_proto::manifest::Manifest;

use super::error::DocrootError;
use super::files::{self, FileRecord, FolderCache, Kind};
use super::layout::{self, Folders};
use super::links::{self, Settled, Standing};
use super::tree::{self, LiveTree};
use super::{Docroot, adopt, switch};

/// What was found when the docroot was opened, and what was done about it. Prints as one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The release that is live; `None` on a fresh docroot.
    pub live: Option<ReleaseNumber>,
    /// A switch that was cut off and is complete now. The caller's counters may be behind it: raise them.
    pub completed: Option<ReleaseNumber>,
    /// Why a switch that was cut off could not be completed: the disk is full.
    pub postponed: Option<String>,
    /// An unfinished tree is there; the next build goes on from it.
    pub unfinished: bool,
    /// `current` led nowhere; the newest complete tree took its place, or its links were removed.
    pub fell_back: bool,
    /// Links and leftovers of ours that were corrected or removed.
    pub corrected: usize,
    /// An operator's files that a cut-off switch had taken out of the docroot, and where they are now.
    pub moved_away: Vec<String>,
    /// What an operator should look at, as sentences.
    pub warnings: Vec<String>,
}

impl Recovery {
    /// Whether the docroot was as it should be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let live = self.live;
        *self
            == Self {
                live,
                ..Self::default()
            }
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.live {
            Some(release) => write!(f, "release {release} is live")?,
            None => f.write_str("no release yet")?,
        }
        if let Some(release) = self.completed {
            write!(f, "; completed the interrupted switch to {release}")?;
        }
        if let Some(why) = &self.postponed {
            write!(f, "; an interrupted switch could not be completed: {why}")?;
        }
        if self.fell_back {
            f.write_str("; the tree that was live is gone, fell back")?;
        }
        if self.unfinished {
            f.write_str("; an unfinished release will be continued")?;
        }
        if self.corrected > 0 {
            write!(f, "; {} leftovers corrected", self.corrected)?;
        }
        if !self.moved_away.is_empty() {
            write!(f, "; {} files moved away", self.moved_away.len())?;
        }
        Ok(())
    }
}

impl Docroot {
    pub(super) fn recover(&mut self) -> Result<Recovery, DocrootError> {
        let folders = self.folders.clone();
        let mut recovery = Recovery {
            corrected: remove_temporaries(&folders)?,
            moved_away: links::clear_swap(&folders, self.now())?,
            ..Recovery::default()
        };
        self.live = self.find_live(&mut recovery)?;
        if let Some(manifest) = self.intended()? {
            let live = self.live.as_ref().map(|live| live.release());
            if live < Some(manifest.release) {
                match self.carry_out(&manifest) {
                    Ok(report) => {
                        recovery.completed = Some(report.to);
                        recovery.moved_away.extend(report.moved_away);
                        recovery.warnings = report.warnings;
                    }
                    // What is served stays whole and in service; the next sync builds on the tree.
                    Err(error @ DocrootError::NoSpace { .. }) => {
                        recovery.postponed = Some(error.to_string());
                    }
                    Err(error) => return Err(error),
                }
            } else if live == Some(manifest.release) {
                recovery.completed = live;
            }
        }
        recovery.corrected += self.correct_links()?;
        recovery.moved_away.append(&mut self.moved_earlier);
        if let Some(live) = &self.live
            && recovery.completed.is_some()
        {
            // The last step of a switch that was cut off right after the rename.
            switch::record_live(&folders, live)?;
        }
        switch::forget_intent(&folders)?;
        self.demote_prepared()?;
        recovery.corrected += self.remove_stray_trees()?;
        recovery.live = self.live.as_ref().map(|live| live.release());
        recovery.unfinished = files::look(&folders.state, layout::NEW)
            .map_err(folders.fault("look at", layout::NEW))?
            .is_some();
        Ok(recovery)
    }

    /// The tree `current` leads to, or else the newest complete one.
    fn find_live(&self, recovery: &mut Recovery) -> Result<Option<Arc<LiveTree>>, DocrootError> {
        let folders = &self.folders;
        let current = tree::current_tree(folders)?;
        match current {
            Some(Some(release)) if self.tree_exists(release)? => {
                return self.open_live(release);
            }
            Some(None)
                if files::look(&folders.state, layout::ADOPTED)
                    .map_err(folders.fault("look at", layout::ADOPTED))?
                    .is_some() =>
            {
                return Ok(None);
            }
            None => {
                let found = files::look(&folders.state, layout::CURRENT)
                    .map_err(folders.fault("look at", layout::CURRENT))?;
                if found.is_none() && tree::releases_on_disk(folders)?.is_empty() {
                    return Ok(None);
                }
            }
            Some(_) => {}
        }
        // Somebody removed the tree or the link: every name would answer "forbidden" until the next release.
        recovery.fell_back = current.is_some();
        let intended = self.intended()?.map(|manifest| manifest.release);
        for release in tree::releases_on_disk(folders)?.into_iter().rev() {
            // A tree that was about to become live is not a release that was served; the intent takes care of it.
            let was_live = tree::read_kept(folders, release)?
                .and_then(|kept| kept.index?.switched)
                .is_some();
            if was_live
                && Some(release) != intended
                && let Some(live) = self.open_live(release)?
                && tree::record_all(folders, &live.folder(), live.manifest())?.is_some()
            {
                adopt::set_current(folders, &layout::tree_name(release))?;
                recovery.fell_back = true;
                return Ok(Some(live));
            }
        }
        files::remove_all(&folders.state, layout::CURRENT)
            .map_err(folders.fault("remove", layout::CURRENT))?;
        Ok(None)
    }

    fn tree_exists(&self, release: ReleaseNumber) -> Result<bool, DocrootError> {
        let name = layout::tree_name(release);
        Ok(files::look(&self.folders.state, &*name)
            .map_err(self.folders.fault("look at", &name))?
            .is_some_and(|found| found.kind == Kind::Folder))
    }

    fn open_live(&self, release: ReleaseNumber) -> Result<Option<Arc<LiveTree>>, DocrootError> {
        let Some(kept) = tree::read_kept(&self.folders, release)? else {
            return Ok(None);
        };
        let index = kept.index;
        let switched = index.as_ref().and_then(|index| index.switched);
        let folder = tree::open_tree(&self.folders, release)?;
        let records = match index {
            Some(index) => index.records,
            None => self.records_that_match_nothing(&kept.manifest, &folder)?,
        };
        Ok(Some(Arc::new(LiveTree::new(
            kept.manifest,
            switched.unwrap_or(self.now()),
            folder,
            records,
        ))))
    }

    /// Records in place of a lost index: the times files are served with stay, but no file passes for unchanged,
    /// so each is hashed before it is linked.
    fn records_that_match_nothing(
        &self,
        manifest: &Manifest,
        folder: &Arc<OwnedFd>,
    ) -> Result<Vec<FileRecord>, DocrootError> {
        let now_s = i64::try_from(self.now().seconds()).unwrap_or(i64::MAX);
        let mut cache = FolderCache::reading(folder.clone());
        let files = manifest.files.iter();
        files
            .map(|file| {
                let path = file.path.as_str();
                let found = cache
                    .look(path)
                    .map_err(self.folders.fault("look at", path))?;
                let (mtime_s, mtime_ns) = found.map_or((now_s, 0), |found| {
                    (found.record.mtime_s, found.record.mtime_ns)
                });
                Ok(FileRecord {
                    mtime_s,
                    mtime_ns,
                    ..FileRecord::default()
                })
            })
            .collect()
    }

    /// The manifest of the intent, if its tree is there and complete.
    fn intended(&self) -> Result<Option<Arc<Manifest>>, DocrootError> {
        /// Two lines, of at most 20 and 64 digits.
        const INTENT_BYTES_MAX: usize = 128;
        let folders = &self.folders;
        let text = files::read_whole(&folders.state, layout::INTENT, INTENT_BYTES_MAX)
            .map_err(folders.fault("read", layout::INTENT))?
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((release, id)) = text
            .as_deref()
            .and_then(|text| text.trim_end().split_once('\n'))
        else {
            return Ok(None);
        };
        let Some(release) = release.parse().ok().map(ReleaseNumber) else {
            return Ok(None);
        };
        if !self.tree_exists(release)? {
            return Ok(None);
        }
        let Some(kept) = tree::read_kept(folders, release)? else {
            return Ok(None);
        };
        if kept.manifest.id().to_string() != id || kept.manifest.feed != self.feed {
            return Ok(None);
        }
        let folder = tree::open_tree(folders, release)?;
        let complete = tree::record_all(folders, &folder, &kept.manifest)?.is_some();
        Ok(complete.then_some(kept.manifest))
    }

    /// Brings the docroot in order after a switch that failed at any step without a crash.
    pub(super) fn clear_up(&mut self) -> Result<(), DocrootError> {
        let folders = self.folders.clone();
        let found = links::clear_swap(&folders, self.now())?;
        self.moved_earlier.extend(found);
        // First of all: names may lead straight into the tree that is about to lose its name.
        self.correct_links()?;
        let intent = files::look(&folders.state, layout::INTENT)
            .map_err(folders.fault("look at", layout::INTENT))?;
        if intent.is_some() {
            if let Some(live) = &self.live {
                // It may be the one that was switched to and not recorded.
                switch::record_live(&folders, live)?;
            }
            switch::forget_intent(&folders)?;
        }
        self.demote_prepared()
    }

    /// Our links, and only ours: through `current` for names of what is served, made where they are missing and
    /// gone under other names.
    fn correct_links(&mut self) -> Result<usize, DocrootError> {
        let folders = self.folders.clone();
        let live = self.live.clone();
        // Where no release is live: what an older mirror left, or a tree whose manifest was lost.
        let served = match &live {
            Some(live) => Some(live.folder()),
            None => tree::served(&folders)?,
        };
        let holds = |name: &str| match &served {
            Some(served) => files::look(served, name)
                .map(|found| found.is_some())
                .map_err(folders.fault("look at", name)),
            None => Ok(false),
        };
        let names = live.as_ref().map(|live| layout::top_names(live.manifest()));
        let mut standing = links::standing(&folders)?;
        let mut corrected = 0;
        for name in names.iter().flatten() {
            match standing.remove(OsStr::new(name)) {
                Some(Standing::Ours(target)) if target != layout::settled_target(name) => {}
                None if holds(name)? => {}
                // An operator's file waits for the switch or the mending, which say what they did.
                _ => continue,
            }
            self.put_link(name)?;
            corrected += 1;
        }
        for (name, standing) in standing {
            let Standing::Ours(target) = standing else {
                continue;
            };
            match name.to_str() {
                Some(name) if names.is_none() && holds(name)? => {
                    if target == layout::settled_target(name) {
                        continue;
                    }
                    self.put_link(name)?;
                }
                _ => {
                    let found = links::remove(&folders, self.now(), &name)?;
                    self.moved_earlier.extend(found);
                }
            }
            corrected += 1;
        }
        if corrected > 0 {
            folders.sync_docroot()?;
        }
        Ok(corrected)
    }

    fn put_link(&mut self, name: &str) -> Result<(), DocrootError> {
        let target = layout::settled_target(name);
        if let Settled::Replaced(to) = links::put(&self.folders, self.now(), name, &target)? {
            self.moved_earlier.push(to);
        }
        Ok(())
    }

    /// Turns a tree that never went live back into the one being built: its chunks are on this disk.
    pub(super) fn demote_prepared(&self) -> Result<(), DocrootError> {
        let folders = &self.folders;
        let served = tree::current_tree(folders)?.flatten();
        let live = self.live.as_ref().map(|live| live.release());
        for release in tree::releases_on_disk(folders)?.into_iter().rev() {
            if Some(release) <= live || Some(release) == served {
                continue;
            }
            switch::forget_intent(folders)?;
            let name = layout::tree_name(release);
            match rustix::fs::renameat_with(
                &folders.state,
                &*name,
                &folders.state,
                layout::NEW,
                RenameFlags::NOREPLACE,
            ) {
                Ok(()) => {
                    // Somebody's link under that name is no tree, and in this place it would end every later build.
                    let fault = || folders.fault("clear", layout::NEW);
                    let moved = files::look(&folders.state, layout::NEW).map_err(fault())?;
                    if moved.is_some_and(|moved| moved.kind != Kind::Folder) {
                        files::unlink(&folders.state, layout::NEW).map_err(fault())?;
                    }
                    for name in [layout::manifest_name(release), layout::index_name(release)] {
                        files::unlink(&folders.state, &*name)
                            .map_err(folders.fault("remove", &name))?;
                    }
                }
                // There is one being built already.
                Err(Errno::EXIST | Errno::NOTEMPTY) => self.delete_tree(release)?,
                Err(error) => return Err(folders.fault("rename", &name)(error)),
            }
        }
        Ok(())
    }

    /// Older trees without a manifest, manifests without a tree.
    fn remove_stray_trees(&self) -> Result<usize, DocrootError> {
        let folders = &self.folders;
        let served = tree::current_tree(folders)?.flatten();
        let mut removed = 0;
        for release in tree::releases_on_disk(folders)? {
            if Some(release) != served && tree::read_kept(folders, release)?.is_none() {
                self.delete_tree(release)?;
                removed += 1;
            }
        }
        for name in files::names(&folders.state).map_err(folders.fault("read", "."))? {
            let release = name.to_str().and_then(|name| {
                let stem = name
                    .strip_suffix(".manifest")
                    .or_else(|| name.strip_suffix(".index"))?;
                layout::release_of_tree(stem)
            });
            if let Some(release) = release
                && !self.tree_exists(release)?
            {
                files::unlink(&folders.state, name.as_os_str())
                    .map_err(folders.fault("remove", "."))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Temporaries of ours that a crash left.
fn remove_temporaries(folders: &Folders) -> Result<usize, DocrootError> {
    let mut removed = 0;
    for name in files::names(&folders.state).map_err(folders.fault("read", "."))? {
        let ours = name == layout::TRASH
            || name == layout::MEND
            || name.to_str().is_some_and(|name| name.ends_with(".tmp"));
        if ours {
            files::remove_all(&folders.state, name.as_os_str())
                .map_err(folders.fault("remove", "."))?;
            removed += 1;
        }
    }
    Ok(removed)
}
