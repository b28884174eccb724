//! Deleting what has served its time: replaced trees, days of `removed`, an adopted docroot's files. SPEC §8.12.

use std::collections::HashSet;

use rustix::io::Errno;
use tidecast_proto::id::{ReleaseNumber, Timestamp};

use super::error::DocrootError;
use super::files::{self, FileRecord, FolderCache};
use super::layout;
use super::switch::record_live;
use super::tree::{self, LiveTree};
use super::{Docroot, adopt, keep, leftovers, removed, reuse, spool};

/// What was deleted because its time was over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpireReport {
    /// Trees.
    pub trees: Vec<ReleaseNumber>,
    /// Days of `.tidecast/removed`.
    pub removed_days: usize,
    /// Whether a release that was begun was given up, for nothing had been added to it for a week.
    pub given_up: bool,
    /// Files of an adopted docroot that differ from the release, and where they are now.
    pub moved_away: Vec<String>,
}

impl Docroot {
    /// Deletes trees whose grace time is over, days of `removed` whose weeks are over, and what an adopted docroot
    /// left. To be called now and then, and after each switch.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk; what is left is deleted the next time.
    pub fn expire(&mut self, now: Timestamp) -> Result<ExpireReport, DocrootError> {
        self.check_still_ours()?;
        let folders = self.folders.clone();
        let mut report = ExpireReport::default();
        // Each part is tried whatever becomes of the others: one folder that cannot be deleted must not let old
        // trees pile up.
        let removed = removed::expire(&folders, now, self.options.removed_keep)
            .map(|days| report.removed_days = days);
        let partial = self.expire_partial(now).map(|gone| report.given_up = gone);
        let removed = removed.and(partial);
        let Some(live) = self.live.clone() else {
            return removed.map(|()| report);
        };
        let grace_ms = u64::try_from(self.options.grace.as_millis()).unwrap_or(u64::MAX);
        let retired = if live.switched().plus(grace_ms) <= now {
            adopt::retire(&folders, now, live.manifest()).map(|moved| report.moved_away = moved)
        } else {
            Ok(())
        };
        self.expire_trees(now, grace_ms, &live, &mut report)?;
        removed.and(retired).map(|()| report)
    }

    fn expire_trees(
        &mut self,
        now: Timestamp,
        grace_ms: u64,
        live: &LiveTree,
        report: &mut ExpireReport,
    ) -> Result<(), DocrootError> {
        let folders = self.folders.clone();
        let mut kept: Vec<ReleaseNumber> = tree::releases_on_disk(&folders)?
            .into_iter()
            .filter(|release| *release <= live.release())
            .collect();
        while kept.len() > self.options.keep_trees_min.max(1) {
            // A tree was replaced when the one after it was switched to. Where that lies ahead the clock was wrong then,
            // and one that was switched to later says more.
            let mut replaced = live.switched();
            for later in kept[1..].iter().filter(|later| **later != live.release()) {
                let switched = tree::read_kept(&folders, *later)?
                    .and_then(|kept| kept.index?.switched)
                    .unwrap_or(live.switched());
                if switched <= now {
                    replaced = switched;
                    break;
                }
            }
            if replaced.plus(grace_ms) > now {
                break;
            }
            let oldest = kept.remove(0);
            self.delete_tree(oldest)?;
            report.trees.push(oldest);
        }
        // The lists of a tree that is being built are known to nobody but its build; the switch to it prunes then.
        if !report.trees.is_empty() && !self.is_building()? {
            self.prune_lists()?;
        }
        Ok(())
    }

    /// Removes what was fetched for a release that is not complete, once nothing has been added to it for as long as the
    /// options say: a feed that publishes daily has left it behind. Says whether there was such a release.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk; what is left goes the next time.
    pub(super) fn expire_partial(&self, now: Timestamp) -> Result<bool, DocrootError> {
        let folders = &self.folders;
        let keep_ms = u64::try_from(self.options.partial_keep.as_millis()).unwrap_or(u64::MAX);
        let Some(limit) = now.0.checked_sub(keep_ms).map(Timestamp) else {
            return Ok(false);
        };
        let fault = |name| folders.fault("look at", name);
        let spool = files::look(&folders.state, layout::SPOOL).map_err(fault(layout::SPOOL))?;
        if spool.is_some_and(|found| !leftovers::is_before(&found, limit)) {
            return Ok(false);
        }
        let mut begun = spool.is_some();
        if self.is_building()? {
            begun = true;
            let new =
                files::open_folder(&folders.state, layout::NEW).map_err(fault(layout::NEW))?;
            if !leftovers::untouched_since(&new, limit).map_err(fault(layout::NEW))? {
                return Ok(false);
            }
        }
        if !begun {
            return Ok(false);
        }
        spool::remove(folders)?;
        files::remove_all(&folders.state, layout::NEW)
            .map_err(folders.fault("remove", layout::NEW))?;
        self.prune_lists()?;
        Ok(true)
    }

    /// Deletes a tree that is not live. Its files' link counts fall, and with them the live files' ctimes change,
    /// so those that were as recorded are recorded again.
    pub(super) fn delete_tree(&self, release: ReleaseNumber) -> Result<(), DocrootError> {
        let folders = &self.folders;
        let unchanged: Option<Vec<bool>> = match &self.live {
            Some(live) => Some(self.as_recorded(live)?),
            None => None,
        };
        let fault = || folders.fault("delete the tree", layout::TRASH);
        let trash = folders.subfolder(layout::TRASH, 0o700)?;
        let name = layout::tree_name(release);
        // Renamed first: a half-deleted tree must never look like a whole one.
        match rustix::fs::renameat(&folders.state, &*name, &trash, &*name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(fault()(error.into())),
        }
        for name in [layout::manifest_name(release), layout::index_name(release)] {
            files::unlink(&folders.state, &*name).map_err(fault())?;
        }
        files::remove_all(&folders.state, layout::TRASH).map_err(fault())?;
        match (&self.live, unchanged) {
            (Some(live), Some(unchanged)) => self.record_again(live, &unchanged),
            _ => Ok(()),
        }
    }

    /// Records anew those files whose links we have changed and that were as recorded before.
    pub(super) fn record_again(
        &self,
        live: &LiveTree,
        unchanged: &[bool],
    ) -> Result<(), DocrootError> {
        let mut records = live.records().to_vec();
        let mut cache = FolderCache::reading(live.folder());
        let files = live.manifest().files.iter();
        for ((file, record), unchanged) in files.zip(&mut records).zip(unchanged) {
            let path = file.path.as_str();
            let fault = self.folders.fault("look at", path);
            if *unchanged && let Some(found) = cache.look(path).map_err(fault)? {
                *record = found.record;
            }
        }
        live.replace_records(records);
        record_live(&self.folders, live)
    }

    /// Which files are as recorded.
    pub(super) fn as_recorded(&self, live: &LiveTree) -> Result<Vec<bool>, DocrootError> {
        let records = live.records();
        let mut cache = FolderCache::reading(live.folder());
        let files = live.manifest().files.iter().zip(records.iter());
        files
            .map(|(file, record): (_, &FileRecord)| {
                let found = cache
                    .look(file.path.as_str())
                    .map_err(self.folders.fault("look at", file.path.as_str()))?;
                Ok(found.is_some_and(|found| found.record == *record))
            })
            .collect()
    }

    /// Keeps the recipes and lists that a kept tree's manifest names, and the lists that those recipes name.
    pub(super) fn prune_lists(&self) -> Result<(), DocrootError> {
        if !reuse::has_lists(&self.folders)? {
            // Reading the manifests of 50,000 small files would be for nothing.
            return Ok(());
        }
        let (mut lists, mut recipes) = (HashSet::new(), HashSet::new());
        for release in tree::releases_on_disk(&self.folders)? {
            if let Some(kept) = tree::read_kept(&self.folders, release)? {
                lists.extend(kept.manifest.files.iter().filter_map(|file| file.list));
                recipes.extend(kept.manifest.files.iter().filter_map(|file| file.recipe));
            }
        }
        for id in &recipes {
            if let Some(recipe) = keep::stored_recipe(&self.folders, id)? {
                lists.insert(recipe.opened());
            }
        }
        keep::prune_recipes(&self.folders, &recipes)?;
        reuse::prune_lists(&self.folders, &lists)
    }
}
