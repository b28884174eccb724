//! Putting files that were built again into the live tree. SPEC §8.11.

use super::build::{Build, FileState};
use super::error::DocrootError;
use super::files::{self, FolderCache};
use super::rot::OlderTrees;
use super::switch::record_live;
use super::{Docroot, layout};

impl Docroot {
    /// Puts repaired files into the live tree, each in one instant, and into older trees that shared the damaged ones;
    /// the release, its times and links stay.
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
        let mut older = OlderTrees::read(&folders, live.release())?;
        let mut repaired = 0;
        for (at, file) in live.manifest().files.iter().enumerate() {
            if build.states[at] != FileState::Done {
                continue;
            }
            let path = file.path.as_str();
            let fault = || folders.fault("repair", path);
            let (from, name) = build.cache.place(path).map_err(fault())?;
            let (to, _) = tree.place(path).map_err(fault())?;
            let damaged = files::look(&to, name).map_err(fault())?;
            files::rename(&from, name, &to, name).map_err(fault())?;
            if let Some(damaged) = damaged {
                older.heal(file, damaged.record.inode, name, &to, &from);
            }
            if let Some(found) = files::look(&to, name).map_err(fault())? {
                records[at] = found.record;
                older.healed(file, &found.record);
            }
            repaired += 1;
        }
        rustix::fs::syncfs(&folders.docroot).map_err(folders.fault("sync", "."))?;
        live.replace_records(records);
        record_live(&folders, &live)?;
        older.record(&folders)?;
        files::remove_all(&folders.state, layout::MEND)
            .map_err(folders.fault("clear", layout::MEND))?;
        Ok(repaired)
    }
}

#[cfg(test)]
impl Docroot {
    /// Takes the files of the live tree for what was written there, as a disk does that forgets a bit.
    pub(crate) fn believe_times(&mut self) {
        let live = self.live.clone().unwrap();
        let mut tree = FolderCache::reading(live.folder());
        let files = live.manifest().files.iter();
        let records = files.map(|file| tree.look(file.path.as_str()).unwrap().unwrap().record);
        let records = records.collect();
        live.replace_records(records);
        record_live(&self.folders, &live).unwrap();
    }
}
