//! Making a built tree the live one, and deleting the ones before it. SPEC §8.4.
//!
//! The order of the steps is what keeps two promises through any crash: no name in the docroot ever dangles, and
//! all names that two releases share change in one instant. Each step is safe to repeat.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Mode, RenameFlags};
use rustix::io::Errno;
use tidecast_proto::id::{ReleaseNumber, Timestamp};
use tidecast_proto::manifest::Manifest;

use super::adopt;
use super::build::{self, Build, FileState, Prepared};
use super::error::DocrootError;
use super::files::{self, FSYNC_EACH_MAX, FileRecord, FolderCache};
use super::index::Index;
use super::layout::{self, Folders};
use super::links::{self, Standing};
use super::tree::{self, LiveTree};
use super::{Docroot, removed, reuse};

/// New files are stamped this far ahead, so that no client that fetched an old file holds a later time.
const STAMP_LEAD_S: u64 = 2;
/// A disk that needs longer than the lead gets twice the lead, this many times: two minutes in the end.
const STAMPS_MAX: u32 = 6;

/// Where a crash may fall: after each of these the docroot is whole, and the next start goes on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    FilesSynced,
    ManifestWritten,
    TreeRenamed,
    IntentWritten,
    Adopted,
    Stamped,
    NamesAdded,
    NamesDropped,
    CurrentPrepared,
    CurrentRenamed,
    NamesSettled,
    Recorded,
}

#[cfg(test)]
impl Step {
    pub(super) const ALL: [Self; 12] = [
        Self::FilesSynced,
        Self::ManifestWritten,
        Self::TreeRenamed,
        Self::IntentWritten,
        Self::Adopted,
        Self::Stamped,
        Self::NamesAdded,
        Self::NamesDropped,
        Self::CurrentPrepared,
        Self::CurrentRenamed,
        Self::NamesSettled,
        Self::Recorded,
    ];
}

/// What a switch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SwitchReport {
    /// The release before; `None` for the first.
    pub from: Option<ReleaseNumber>,
    /// The release that is live now.
    pub to: ReleaseNumber,
    /// When.
    pub switched: Timestamp,
    /// Last-Modified of new and changed files that are no databases, seconds since 1970; equal to or after `switched`.
    pub stamp_s: u64,
    /// Top-level names that appeared.
    pub names_added: usize,
    /// Top-level names of the old release that went.
    pub names_removed: usize,
    /// Real files and folders of an older mirror that were taken over in place.
    pub adopted: usize,
    /// Foreign files that stood in the docroot and where they are now, relative to it.
    pub moved_away: Vec<String>,
    /// What an operator should look at, as sentences: files of theirs under a release's name, names that
    /// could not be moved.
    pub warnings: Vec<String>,
}

/// What was deleted because its time was over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpireReport {
    /// Trees.
    pub trees: Vec<ReleaseNumber>,
    /// Days of `.tidecast/removed`.
    pub removed_days: usize,
    /// Files of an adopted docroot that differ from the release, and where they are now.
    pub moved_away: Vec<String>,
}

impl Build {
    /// Brings everything to the disk, renames the tree to its place and records the intent to switch. The caller
    /// then makes its counters durable and calls [`Docroot::switch`].
    ///
    /// # Errors
    /// [`DocrootError::Incomplete`] when chunks are missing; else of the disk. The next build goes on from there.
    pub fn finish(mut self) -> Result<Prepared, DocrootError> {
        self.sync_all()?;
        let (folders, manifest) = (self.folders.clone(), self.manifest.clone());
        rustix::fs::fchmod(&self.folder, Mode::from_raw_mode(0o755))
            .map_err(folders.fault("change the mode of", layout::NEW))?;
        self.passed(Step::FilesSynced)?;
        let name = layout::manifest_name(manifest.release);
        files::write_whole(&folders.state, &name, &manifest.to_bytes())
            .map_err(folders.fault("write", &name))?;
        self.passed(Step::ManifestWritten)?;
        let name = layout::tree_name(manifest.release);
        let fault = || folders.fault("rename the tree to", &name);
        let state = &folders.state;
        match rustix::fs::renameat_with(state, layout::NEW, state, &*name, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST | Errno::NOTEMPTY) => {
                // Only a tree whose manifest was lost can stand there, and it may be what is served.
                files::exchange(state, layout::NEW, state, &name).map_err(fault())?;
                files::remove_all(state, layout::NEW).map_err(fault())?;
            }
            Err(error) => return Err(fault()(error.into())),
        }
        folders.sync_state()?;
        self.passed(Step::TreeRenamed)?;
        write_intent(&folders, &manifest)?;
        self.passed(Step::IntentWritten)?;
        Ok(Prepared { manifest })
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, clippy::unnecessary_wraps))]
    fn passed(&self, step: Step) -> Result<(), DocrootError> {
        #[cfg(test)]
        if self.stop_after == Some(step) {
            return Err(DocrootError::Stopped(format!("{step:?}")));
        }
        let _ = step;
        Ok(())
    }
}

impl Docroot {
    /// Makes a prepared tree the live one, in one instant for all names that both releases share.
    ///
    /// # Errors
    /// [`DocrootError::Successor`] when the release drops more than its signers allowed; else of the disk. Either
    /// the old release is served or the new one, whole; [`Self::current`] says which.
    pub fn switch(&mut self, prepared: Prepared) -> Result<SwitchReport, DocrootError> {
        self.check_still_ours()?;
        if let Some(live) = &self.live {
            prepared.manifest.check_replaces(live.manifest())?;
        }
        self.carry_out(&prepared.manifest)
    }

    /// All steps after the intent; start-up repeats them when they were cut off.
    pub(super) fn carry_out(
        &mut self,
        manifest: &Arc<Manifest>,
    ) -> Result<SwitchReport, DocrootError> {
        let folders = self.folders.clone();
        let release = manifest.release;
        let tree = tree::open_tree(&folders, release)?;
        let names = layout::top_names(manifest);
        let mut report = SwitchReport {
            from: self.live.as_ref().map(|live| live.release()),
            to: release,
            ..SwitchReport::default()
        };
        let mut standing = links::standing(&folders)?;
        if self.live.is_none() {
            report.adopted = adopt::adopt(&folders, &names, &mut standing)?;
        }
        self.passed(Step::Adopted)?;

        let mut stamp = self.stamp(manifest, &tree, STAMP_LEAD_S)?;
        self.passed(Step::Stamped)?;

        self.add_names(release, &names, &mut standing, &mut report)?;
        self.passed(Step::NamesAdded)?;
        self.drop_names(&names, &standing, &mut report)?;
        folders.sync_docroot()?;
        self.passed(Step::NamesDropped)?;

        adopt::prepare_current(&folders, &layout::tree_name(release))?;
        self.passed(Step::CurrentPrepared)?;
        for attempt in 1..STAMPS_MAX {
            if !stamp.too_late(self.now()) {
                break;
            }
            stamp = self.stamp(manifest, &tree, STAMP_LEAD_S << attempt)?;
        }
        if stamp.too_late(self.now()) {
            report.warnings.push(
                "the disk took minutes to store the new files' times; caches may hold old files for a while"
                    .to_owned(),
            );
        }
        adopt::rename_current(&folders)?;
        // From here on the new release is what is served, whatever fails below.
        report.switched = self.now();
        report.stamp_s = stamp.seconds;
        let live = LiveTree::new(manifest.clone(), report.switched, tree, stamp.records);
        let live = Arc::new(live);
        self.live = Some(live.clone());
        folders.sync_state()?;
        self.passed(Step::CurrentRenamed)?;

        self.settle_names(release, &names, &standing)?;
        self.passed(Step::NamesSettled)?;
        record_live(&folders, &live)?;
        forget_intent(&folders)?;
        self.passed(Step::Recorded)?;
        self.prune_lists()?;
        Ok(report)
    }

    /// Gives new and changed files the time they will be served with, syncs that and writes the tree's index.
    fn stamp(
        &self,
        manifest: &Arc<Manifest>,
        tree: &Arc<OwnedFd>,
        lead_s: u64,
    ) -> Result<Stamp, DocrootError> {
        let folders = &self.folders;
        let seconds = self.now().seconds().saturating_add(lead_s);
        let mut cache = FolderCache::reading(tree.clone());
        let mut stamped = Vec::new();
        let mut any_at_switch = false;
        for file in &manifest.files {
            if let Some(live) = &self.live
                && build::unchanged_in(live, file).is_some()
            {
                continue;
            }
            let path = file.path.as_str();
            let at = match &file.database {
                Some(database) => database.build_time_s,
                None => {
                    any_at_switch = true;
                    seconds
                }
            };
            let (folder, name) = cache.place(path).map_err(folders.fault("open", path))?;
            files::set_mtime(folder, name, i64::try_from(at).unwrap_or(i64::MAX), 0)
                .map_err(folders.fault("set the time of", path))?;
            stamped.push(path);
        }
        if stamped.len() <= FSYNC_EACH_MAX {
            for path in &stamped {
                let file = cache.open(path).map_err(folders.fault("open", path))?;
                file.sync_all().map_err(folders.fault("sync", path))?;
            }
        } else {
            rustix::fs::syncfs(tree).map_err(folders.fault("sync", "."))?;
        }
        let records =
            tree::record_all(folders, tree, manifest)?.ok_or_else(|| DocrootError::State {
                path: folders.state_path(&layout::tree_name(manifest.release)),
                what: "a file of it is missing".to_owned(),
            })?;
        let index = Index {
            manifest: manifest.id(),
            switched: None,
            records,
        };
        let name = layout::index_name(manifest.release);
        files::write_whole(&folders.state, &name, &index.encode())
            .map_err(folders.fault("write", &name))?;
        Ok(Stamp {
            seconds,
            any_at_switch,
            records: index.records,
        })
    }

    /// Makes the links of new names, straight into the new tree; puts links over an operator's files.
    fn add_names(
        &self,
        release: ReleaseNumber,
        names: &[&str],
        standing: &mut std::collections::HashMap<OsString, Standing>,
        report: &mut SwitchReport,
    ) -> Result<(), DocrootError> {
        let folders = &self.folders;
        // What `current` leads to now; nothing before the first switch.
        let served = match tree::current_tree(folders)? {
            Some(Some(release)) => tree::open_tree(folders, release).ok(),
            Some(None) => files::open_folder(&folders.state, layout::ADOPTED)
                .map(Arc::new)
                .ok(),
            None => None,
        };
        for name in names {
            let leads_on = match &served {
                Some(served) => files::look(served, *name)
                    .map_err(folders.fault("look at", name))?
                    .is_some(),
                None => false,
            };
            let target = if leads_on {
                layout::settled_target(name)
            } else {
                layout::direct_target(release, name)
            };
            let had = standing.get(OsStr::new(name));
            match links::settle(folders, self.now(), name, had, &target)? {
                links::Settled::AsItWas => continue,
                links::Settled::Added => report.names_added += 1,
                links::Settled::Pointed => {}
                links::Settled::Replaced(to) => {
                    report.warnings.push(format!(
                        "{name} was a file of yours under a name of the release; it is in {to} now"
                    ));
                    report.moved_away.push(to);
                }
            }
            standing.insert((*name).into(), Standing::Ours(target));
        }
        Ok(())
    }

    /// Removes links of names that the release drops and moves foreign names away.
    fn drop_names(
        &self,
        names: &[&str],
        standing: &std::collections::HashMap<OsString, Standing>,
        report: &mut SwitchReport,
    ) -> Result<(), DocrootError> {
        for (name, standing) in standing {
            let wanted = name
                .to_str()
                .is_some_and(|name| names.binary_search(&name).is_ok());
            if wanted {
                continue;
            }
            match standing {
                Standing::Ours(_) => {
                    links::remove(&self.folders, name)?;
                    report.names_removed += 1;
                }
                Standing::Foreign => match links::move_away(&self.folders, self.now(), name) {
                    Ok(to) => report.moved_away.push(to),
                    // A mount point cannot be moved, and must not stop a database update.
                    Err(error) => report.warnings.push(format!("{error}; it stays")),
                },
            }
        }
        Ok(())
    }

    /// Points every name through `current` again.
    fn settle_names(
        &self,
        release: ReleaseNumber,
        names: &[&str],
        standing: &std::collections::HashMap<OsString, Standing>,
    ) -> Result<(), DocrootError> {
        for name in names {
            let direct = matches!(
                standing.get(OsStr::new(name)),
                Some(Standing::Ours(target)) if links::points_directly(target, release, name)
            );
            if direct {
                links::point(&self.folders, name, &layout::settled_target(name))?;
            }
        }
        self.folders.sync_docroot()
    }

    /// Deletes trees whose grace time is over, days of `removed` whose weeks are over, and what an adopted docroot
    /// left. To be called now and then, and after each switch.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk; what is left is deleted the next time.
    pub fn expire(&mut self, now: Timestamp) -> Result<ExpireReport, DocrootError> {
        self.check_still_ours()?;
        let folders = self.folders.clone();
        let mut report = ExpireReport {
            removed_days: removed::expire(&folders, now, self.options.removed_keep)?,
            ..ExpireReport::default()
        };
        let Some(live) = self.live.clone() else {
            return Ok(report);
        };
        let grace_ms = u64::try_from(self.options.grace.as_millis()).unwrap_or(u64::MAX);
        if live.switched().plus(grace_ms) <= now {
            report.moved_away = adopt::retire(&folders, now, live.manifest())?;
        }
        let mut kept: Vec<ReleaseNumber> = tree::releases_on_disk(&folders)?
            .into_iter()
            .filter(|release| *release <= live.release())
            .collect();
        while kept.len() > self.options.keep_trees_min.max(1) {
            // A tree was replaced when the one after it was switched to.
            let replaced = if kept[1] == live.release() {
                live.switched()
            } else {
                tree::read_kept(&folders, kept[1])?
                    .and_then(|kept| kept.index?.switched)
                    .unwrap_or(live.switched())
            };
            if replaced.plus(grace_ms) > now {
                break;
            }
            let oldest = kept.remove(0);
            self.delete_tree(oldest)?;
            report.trees.push(oldest);
        }
        Ok(report)
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
        if let (Some(live), Some(unchanged)) = (&self.live, unchanged) {
            let mut records = live.records().to_vec();
            let mut cache = FolderCache::reading(live.folder());
            for (at, file) in live.manifest().files.iter().enumerate() {
                if unchanged[at]
                    && let Some(found) = cache.look(file.path.as_str()).map_err(fault())?
                {
                    records[at] = found.record;
                }
            }
            live.replace_records(records);
            record_live(folders, live)?;
        }
        Ok(())
    }

    fn as_recorded(&self, live: &LiveTree) -> Result<Vec<bool>, DocrootError> {
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

    /// Keeps the lists that a kept tree's manifest names.
    fn prune_lists(&self) -> Result<(), DocrootError> {
        let mut keep = std::collections::HashSet::new();
        for release in tree::releases_on_disk(&self.folders)? {
            if let Some(kept) = tree::read_kept(&self.folders, release)? {
                keep.extend(kept.manifest.files.iter().filter_map(|file| file.list));
            }
        }
        reuse::prune_lists(&self.folders, &keep)
    }

    /// Puts repaired files into the live tree, each in one instant; the release, its times and links stay.
    ///
    /// # Errors
    /// [`DocrootError::Incomplete`] when chunks are missing; else of the disk.
    pub fn finish_repair(&mut self, mut build: Build) -> Result<usize, DocrootError> {
        self.check_still_ours()?;
        build.sync_all()?;
        let folders = self.folders.clone();
        let live = build
            .live
            .clone()
            .filter(|live| self.live.as_ref().map(|now| now.release()) == Some(live.release()))
            .ok_or_else(|| DocrootError::NothingLive {
                path: folders.path.clone(),
            })?;
        let mut tree = FolderCache::making(live.folder());
        let mut records = live.records().to_vec();
        let mut repaired = 0;
        for (at, file) in live.manifest().files.iter().enumerate() {
            if build.states[at] != FileState::Done {
                continue;
            }
            let path = file.path.as_str();
            let fault = || folders.fault("repair", path);
            let (from, name) = build.cache.place(path).map_err(fault())?;
            let (to, _) = tree.place(path).map_err(fault())?;
            files::rename(&from, name, &to, name).map_err(fault())?;
            if let Some(found) = files::look(&to, name).map_err(fault())? {
                records[at] = found.record;
            }
            repaired += 1;
        }
        rustix::fs::syncfs(&folders.docroot).map_err(folders.fault("sync", "."))?;
        live.replace_records(records);
        record_live(&folders, &live)?;
        files::remove_all(&folders.state, layout::MEND)
            .map_err(folders.fault("clear", layout::MEND))?;
        Ok(repaired)
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, clippy::unnecessary_wraps))]
    fn passed(&self, step: Step) -> Result<(), DocrootError> {
        #[cfg(test)]
        if self.stop_after == Some(step) {
            return Err(DocrootError::Stopped(format!("{step:?}")));
        }
        let _ = step;
        Ok(())
    }
}

/// Times given to a tree's new files.
struct Stamp {
    seconds: u64,
    any_at_switch: bool,
    records: Vec<FileRecord>,
}

impl Stamp {
    fn too_late(&self, now: Timestamp) -> bool {
        self.any_at_switch && now.0 >= self.seconds.saturating_mul(1000)
    }
}

/// Release and manifest, one line each.
fn write_intent(folders: &Folders, manifest: &Manifest) -> Result<(), DocrootError> {
    let text = format!("{}\n{}\n", manifest.release, manifest.id());
    files::write_whole(&folders.state, layout::INTENT, text.as_bytes())
        .map_err(folders.fault("write", layout::INTENT))
}

/// Writes the index of the live tree with the moment of its switch.
pub(super) fn record_live(folders: &Folders, live: &LiveTree) -> Result<(), DocrootError> {
    let name = layout::index_name(live.release());
    files::write_whole(&folders.state, &name, &live.index().encode())
        .map_err(folders.fault("write", &name))
}

/// Removes the intent, once it has been carried out or cannot be.
pub(super) fn forget_intent(folders: &Folders) -> Result<(), DocrootError> {
    files::unlink(&folders.state, layout::INTENT)
        .map_err(folders.fault("remove", layout::INTENT))?;
    folders.sync_state()
}
