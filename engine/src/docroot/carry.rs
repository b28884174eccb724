//! Carrying the files that two releases share over to the new tree. SPEC §8.7.

use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use tidecast_proto::manifest;
use tidecast_proto::name::ReleasePath;

use super::build::{Build, FileState, mode_of, unchanged_in};
use super::error::DocrootError;
use super::files::{self, FileRecord, FolderCache, Kind};
use super::placement::create;
use super::{layout, rot};

/// What became of the files that two releases share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkReport {
    /// Hard-linked.
    pub linked: usize,
    /// Copied, because the file system refused the link.
    pub copied: usize,
    /// Files somebody edited in the live tree: they are built again.
    pub damaged: Vec<ReleasePath>,
}

impl Build {
    /// Takes over the files that the live release has as well: hard links, after checking that inode, size and
    /// times are as recorded, or else that the content still hashes right; copies where the file system refuses links.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn link_unchanged(&mut self) -> Result<LinkReport, DocrootError> {
        let mut report = LinkReport::default();
        let Some(live) = self.live.clone() else {
            return Ok(report);
        };
        let mut records = live.records().to_vec();
        let mut source = FolderCache::reading(live.folder());
        let manifest = self.manifest.clone();
        for (at, file) in manifest.files.iter().enumerate() {
            // A repair leaves the files alone that are not damaged: links would change their ctimes.
            if !matches!(self.states[at], FileState::ToBuild { .. }) {
                continue;
            }
            let Some(before) = unchanged_in(&live, file) else {
                continue;
            };
            let place = u32::try_from(at).unwrap_or(u32::MAX);
            let linked = self.there.linked.contains(&place);
            match self.take_over(&mut source, file, &mut records[before], linked)? {
                Taken::Linked => report.linked += 1,
                Taken::Copied => {
                    report.copied += 1;
                    self.written.push(place);
                }
                Taken::Damaged => {
                    report.damaged.push(file.path.clone());
                    continue;
                }
            }
            self.states[at] = FileState::Done;
            self.bytes.linked += file.size;
        }
        // A link changes the ctime of both names; without this the next build would hash everything again.
        live.replace_records(records);
        let name = layout::index_name(live.release());
        files::write_whole(&self.folders.state, &name, &live.index().encode())
            .map_err(self.folders.fault("write", &name))?;
        Ok(report)
    }

    fn take_over(
        &mut self,
        source: &mut FolderCache,
        file: &manifest::File,
        record: &mut FileRecord,
        linked: bool,
    ) -> Result<Taken, DocrootError> {
        let path = file.path.as_str();
        let recorded_inode = record.inode;
        let folders = self.folders.clone();
        let fault = |action| folders.fault(action, path);
        let Some(found) = source.look(path).map_err(fault("look at"))? else {
            return Ok(Taken::Damaged);
        };
        if found.kind != Kind::File || found.record.size != file.size {
            return Ok(Taken::Damaged);
        }
        if found.record != *record || found.mode & 0o777 != mode_of(file) {
            // Somebody touched it, or an earlier build was cut off between a link and its record.
            let opened = source.open(path).map_err(fault("open"))?;
            let hash = rot::hash_of(&opened, &mut self.buffer).map_err(fault("read"))?;
            if hash != Some(file.hash) || found.mode & 0o777 != mode_of(file) {
                return Ok(Taken::Damaged);
            }
            // The content is right: only the time that HTTP says has to be the one it said before.
            if (found.record.mtime_s, found.record.mtime_ns) != (record.mtime_s, record.mtime_ns) {
                let (folder, name) = source.place(path).map_err(fault("open"))?;
                files::set_mtime(folder, name, record.mtime_s, record.mtime_ns)
                    .map_err(fault("set the time of"))?;
            }
        }
        if linked && found.record.inode == recorded_inode {
            // An earlier attempt made the link.
            if let Some(now) = source.look(path).map_err(fault("look at"))? {
                *record = now.record;
            }
            return Ok(Taken::Linked);
        }
        let (from, name) = source.place(path).map_err(fault("open"))?;
        let (to, _) = self
            .cache
            .place(path)
            .map_err(fault("make the folder of"))?;
        let link = || rustix::fs::linkat(&from, name, &to, name, AtFlags::empty());
        let linked = match link() {
            Err(Errno::EXIST) => {
                files::unlink(&to, name).map_err(fault("remove"))?;
                link()
            }
            other => other,
        };
        let taken = match linked {
            Ok(()) => Taken::Linked,
            Err(Errno::MLINK | Errno::PERM | Errno::XDEV | Errno::OPNOTSUPP) => {
                if !self.copy(source, file, record)? {
                    return Ok(Taken::Damaged);
                }
                Taken::Copied
            }
            Err(error) => return Err(fault("link")(error.into())),
        };
        if let Some(now) = files::look(&from, name).map_err(fault("look at"))? {
            *record = now.record;
        }
        Ok(taken)
    }

    /// Copies a file of the live tree, with its times; false when its content is not what it should be.
    fn copy(
        &mut self,
        source: &mut FolderCache,
        file: &manifest::File,
        record: &FileRecord,
    ) -> Result<bool, DocrootError> {
        let path = file.path.as_str();
        let folders = self.folders.clone();
        let from = source.open(path).map_err(folders.fault("open", path))?;
        let (folder, name) = self
            .cache
            .place(path)
            .map_err(folders.fault("make the folder of", path))?;
        let to = create(&folder, name).map_err(folders.fault("create", path))?;
        self.buffer.resize(files::READ_BYTES, 0);
        let mut hasher = blake3::Hasher::new();
        let mut at = 0_u64;
        loop {
            let count = from
                .read_at(&mut self.buffer, at)
                .map_err(folders.fault("read", path))?;
            if count == 0 {
                break;
            }
            hasher.update(&self.buffer[..count]);
            to.write_all_at(&self.buffer[..count], at)
                .map_err(DocrootError::writing(&folders.state_path(path), file.size))?;
            at += count as u64;
        }
        if hasher.finalize().as_bytes() != &file.hash.0 {
            files::unlink(&folder, name).map_err(folders.fault("remove", path))?;
            return Ok(false);
        }
        rustix::fs::fchmod(&to, Mode::from_raw_mode(mode_of(file)))
            .map_err(folders.fault("change the mode of", path))?;
        files::set_mtime(&folder, name, record.mtime_s, record.mtime_ns)
            .map_err(folders.fault("set the time of", path))?;
        Ok(true)
    }
}

enum Taken {
    Linked,
    Copied,
    Damaged,
}
