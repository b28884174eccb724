//! Making a built tree the live one, and deleting the ones before it. SPEC §8.8.
//!
//! The order of the steps is what keeps two promises through any crash: no name in the docroot ever dangles, and
//! all names that two releases share change in one instant. Each step is safe to repeat.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Mode, RenameFlags};
use rustix::io::Errno;
use tidecast_proto::id::{ReleaseNumber, Timestamp};
use tidecast_proto::manifest::Manifest;

use super::Docroot;
use super::adopt;
use super::build::{self, Build, Prepared};
use super::error::DocrootError;
use super::files::{self, FSYNC_EACH_MAX, FileRecord, FolderCache};
use super::index::Index;
use super::layout::{self, Folders};
use super::links::{self, Settled, Standing};
use super::spool;
use super::tree::{self, LiveTree};

/// New files are stamped this far ahead, so that no client that fetched an old file holds a later time.
const STAMP_LEAD_S: u64 = 2;
/// A disk that needs longer than the lead gets twice the lead, this many times: two minutes in the end.
const STAMPS_MAX: u32 = 6;
/// A time this far ahead in the live tree was given by a clock that was wrong, and is not followed: heads, which bound that
/// clock, live for hours.
const STAMP_AHEAD_MAX_S: u64 = 7 * 24 * 3600;

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

impl Build {
    /// Brings everything to the disk and renames the tree to its place. The caller then makes its counters durable
    /// and calls [`Docroot::switch`]; a tree that is never switched to is built on by the next build.
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
        // The folder is synced with the tree's rename.
        let bytes = manifest.to_bytes();
        files::write_unsynced(&folders.state, &name, &bytes, true)
            .map_err(folders.write_fault(&name, bytes.len()))?;
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
    /// [`DocrootError::Successor`] when the release drops more than its signers allowed; else of the disk. The old
    /// release is served, whole. What fails once the new one is served is a warning in the report.
    pub fn switch(&mut self, prepared: Prepared) -> Result<SwitchReport, DocrootError> {
        self.check_still_ours()?;
        self.check_successor(&prepared.manifest)?;
        // From here on a crash ends with the new release: the caller has stored its counters.
        write_intent(&self.folders, &prepared.manifest)?;
        self.passed(Step::IntentWritten)?;
        self.carry_out(&prepared.manifest)
    }

    /// All steps after the intent; start-up repeats them when they were cut off.
    pub(super) fn carry_out(
        &mut self,
        manifest: &Arc<Manifest>,
    ) -> Result<SwitchReport, DocrootError> {
        let mut report = SwitchReport {
            from: self.live.as_ref().map(|live| live.release()),
            to: manifest.release,
            moved_away: std::mem::take(&mut self.moved_earlier),
            ..SwitchReport::default()
        };
        match self.carry_out_into(manifest, &mut report) {
            Ok(()) => Ok(report),
            Err(error) => {
                // What was moved stays moved; the switch that succeeds says so.
                self.moved_earlier = report.moved_away;
                Err(error)
            }
        }
    }

    fn carry_out_into(
        &mut self,
        manifest: &Arc<Manifest>,
        report: &mut SwitchReport,
    ) -> Result<(), DocrootError> {
        let folders = self.folders.clone();
        let release = manifest.release;
        let tree = tree::open_tree(&folders, release)?;
        let names = layout::top_names(manifest);
        if self.live.is_none() {
            report.adopted = adopt::adopt(&folders, &names, &links::standing(&folders)?)?;
            for path in adopt::operators_inside(&folders)? {
                report.warnings.push(format!(
                    "{path} is in a folder that the release has as well, so it is not served any more; it is kept with the folder and goes to .tidecast/removed"
                ));
            }
        }
        self.passed(Step::Adopted)?;

        let mut stamp = self.stamp(manifest, &tree, STAMP_LEAD_S)?;
        self.passed(Step::Stamped)?;

        // Looked at only now: stamping takes seconds on a slow disk, and an operator may be at work.
        let standing = links::standing(&folders)?;
        let direct = self.add_names(release, &names, &standing, report)?;
        self.passed(Step::NamesAdded)?;
        self.drop_names(&names, &standing, report)?;
        folders.sync_docroot()?;
        self.passed(Step::NamesDropped)?;

        adopt::prepare_current(&folders, &layout::tree_name(release))?;
        self.passed(Step::CurrentPrepared)?;
        let mut now = self.now();
        for attempt in 1..STAMPS_MAX {
            if !stamp.too_late(now) {
                break;
            }
            stamp = self.stamp(manifest, &tree, STAMP_LEAD_S << attempt)?;
            now = self.now();
        }
        if stamp.too_late(now) {
            report.warnings.push(
                "the disk took minutes to store the new files' times; caches may hold old files for a while"
                    .to_owned(),
            );
        }
        adopt::rename_current(&folders)?;
        // From here on the new release is what is served, whatever fails below.
        report.switched = now;
        report.stamp_s = stamp.seconds;
        let live = LiveTree::new(manifest.clone(), report.switched, tree, stamp.records);
        let live = Arc::new(live);
        self.live = Some(live.clone());
        match self.settle(&live, &direct, report) {
            #[cfg(test)]
            Err(error @ DocrootError::Stopped(_)) => return Err(error),
            Err(error) => report.warnings.push(format!(
                "{error}; release {release} is served all the same, and the next sync or start finishes its switch"
            )),
            Ok(()) => {}
        }
        Ok(())
    }

    /// What remains once the new release is served. A failure leaves the intent, by which it is finished later.
    fn settle(
        &self,
        live: &LiveTree,
        direct: &[&str],
        report: &mut SwitchReport,
    ) -> Result<(), DocrootError> {
        self.folders.sync_state()?;
        self.passed(Step::CurrentRenamed)?;
        self.settle_names(direct, report)?;
        self.passed(Step::NamesSettled)?;
        record_live(&self.folders, live)?;
        forget_intent(&self.folders)?;
        self.passed(Step::Recorded)?;
        spool::remove(&self.folders)?;
        self.prune_lists()
    }

    /// Gives new and changed files the time they will be served with, syncs that and writes the tree's index.
    fn stamp(
        &self,
        manifest: &Arc<Manifest>,
        tree: &Arc<OwnedFd>,
        lead_s: u64,
    ) -> Result<Stamp, DocrootError> {
        let folders = &self.folders;
        let mut seconds = self.now().seconds().saturating_add(lead_s);
        // A clock that was set back, or two switches in one second: whoever holds a file of the live tree would be told that
        // the new one is not newer.
        let latest = self.live.as_ref().map_or(0, |live| live.latest_stamp_s());
        if latest >= seconds && latest - seconds < STAMP_AHEAD_MAX_S {
            seconds = latest + 1;
        }
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
                // Not discarded where that fails, as in a build: names may lead straight into this tree by now. What the
                // file holds is on the disk since `Build::finish`, and the next attempt sets its times anew.
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
        // Were it lost, the next build would hash the files instead of comparing their times.
        let bytes = index.encode();
        files::write_unsynced(&folders.state, &name, &bytes, false)
            .map_err(folders.write_fault(&name, bytes.len()))?;
        Ok(Stamp {
            seconds,
            any_at_switch,
            records: index.records,
        })
    }

    /// Makes the links of new names, straight into the new tree, and returns those; puts links over an operator's files.
    fn add_names<'n>(
        &self,
        release: ReleaseNumber,
        names: &[&'n str],
        standing: &HashMap<OsString, Standing>,
        report: &mut SwitchReport,
    ) -> Result<Vec<&'n str>, DocrootError> {
        let folders = &self.folders;
        // What `current` leads to now; nothing before the first switch.
        let served = tree::served(folders)?;
        let mut direct = Vec::new();
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
                direct.push(*name);
                layout::direct_target(release, name)
            };
            match standing.get(OsStr::new(name)) {
                Some(Standing::Ours(has)) if *has == target => {}
                _ => self.put_name(name, &target, report)?,
            }
        }
        Ok(direct)
    }

    fn put_name(
        &self,
        name: &str,
        target: &str,
        report: &mut SwitchReport,
    ) -> Result<(), DocrootError> {
        match links::put(&self.folders, self.now(), name, target)? {
            Settled::AsItWas | Settled::Pointed => {}
            Settled::Added => report.names_added += 1,
            Settled::Replaced(to) => {
                report.warnings.push(links::was_yours(name, &to));
                report.moved_away.push(to);
            }
        }
        Ok(())
    }

    /// Removes links of names that the release drops and moves foreign names away.
    fn drop_names(
        &self,
        names: &[&str],
        standing: &HashMap<OsString, Standing>,
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
                Standing::Ours(_) => match links::remove(&self.folders, self.now(), name)? {
                    Some(to) => report.moved_away.push(to),
                    None => report.names_removed += 1,
                },
                Standing::Foreign => match links::move_away(&self.folders, self.now(), name) {
                    Ok(to) => report.moved_away.extend(to),
                    // A mount point cannot be moved, and must not stop a database update.
                    Err(error) => report.warnings.push(format!("{error}; it stays")),
                },
            }
        }
        Ok(())
    }

    /// Points names that lead straight into the tree through `current`.
    fn settle_names(&self, direct: &[&str], report: &mut SwitchReport) -> Result<(), DocrootError> {
        for name in direct {
            self.put_name(name, &layout::settled_target(name), report)?;
        }
        self.folders.sync_docroot()
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
        .map_err(folders.write_fault(layout::INTENT, text.len()))
}

/// Writes the index of the live tree with the moment of its switch.
pub(super) fn record_live(folders: &Folders, live: &LiveTree) -> Result<(), DocrootError> {
    let name = layout::index_name(live.release());
    let index = live.index().encode();
    files::write_whole(&folders.state, &name, &index)
        .map_err(folders.write_fault(&name, index.len()))
}

/// Removes the intent, once it has been carried out or cannot be.
pub(super) fn forget_intent(folders: &Folders) -> Result<(), DocrootError> {
    files::unlink(&folders.state, layout::INTENT)
        .map_err(folders.fault("remove", layout::INTENT))?;
    folders.sync_state()
}
