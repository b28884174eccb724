//! Putting chunks into the files they belong to. SPEC §8.7.
//!
//! A release may have 50,000 files of one chunk each: such a file costs four system calls here, which make it, write
//! it, give it its mode and close it.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tidecast_proto::id::{ChunkId, FileHash};
use tidecast_proto::limits;
use tidecast_proto::list::Entry;
use tidecast_proto::manifest;

use super::build::{Build, FileState, mode_of, unchanged_in};
use super::error::DocrootError;
use super::files;

/// Files being written that are held open; a release's chunks arrive in file order, so few are needed.
const FILES_OPEN_MAX: usize = 64;

/// Files from this size on are synced while they are hashed, in bytes; smaller ones are not worth a thread.
const SYNC_EARLY_BYTES: u64 = 8 * 1024 * 1024;

/// What a chunk was good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutOutcome {
    /// Places it was written to; 0 when it was not, or no longer, missing.
    pub places: usize,
    /// Files it completed; their whole content has been hashed.
    pub completed: usize,
}

impl Build {
    /// Notes which chunks of a file are there and which are not.
    pub(super) fn scan(
        &mut self,
        at: u32,
        file: &manifest::File,
        here: &mut Vec<(Entry, u32, u64)>,
        targets: &mut Vec<(Entry, u32, u64)>,
    ) -> Result<(), DocrootError> {
        let path = file.path.as_str();
        let list = self.list_of(file)?;
        let existing = if self.there.written.contains(&at) {
            let file = self.open_file(at)?;
            files::forget_cached(&file);
            Some(file)
        } else {
            None
        };
        // Most files of a fresh build are not there at all.
        let mut chunk = vec![0; existing.as_ref().map_or(0, |_| limits::CHUNK_BYTES)];
        for (offset, entry) in list.with_offsets() {
            if let Some(existing) = &existing {
                let chunk = &mut chunk[..entry.len as usize];
                if files::read_exact_at(existing, chunk, offset)
                    .map_err(self.folders.fault("read", path))?
                    && ChunkId::of(chunk) == entry.id
                {
                    self.bytes.reused += u64::from(entry.len);
                    here.push((entry, at, offset));
                    continue;
                }
            }
            targets.push((entry, at, offset));
        }
        Ok(())
    }

    /// Counts the places that each file lacks.
    pub(super) fn count_missing(&mut self) {
        let mut counts: HashMap<u32, u32> = HashMap::new();
        for file in self.targets.files() {
            *counts.entry(file).or_default() += 1;
        }
        for (at, state) in self.states.iter_mut().enumerate() {
            if let FileState::ToBuild { missing } = state {
                let at = u32::try_from(at).unwrap_or(u32::MAX);
                *missing = counts.get(&at).copied().unwrap_or(0);
            }
        }
    }

    /// A chunk that one file has already may be missing in another.
    pub(super) fn reuse_within(&mut self, here: &[(Entry, u32, u64)]) -> Result<(), DocrootError> {
        let manifest = self.manifest.clone();
        for (entry, at, offset) in here {
            if !self.targets.wants(&entry.id) {
                continue;
            }
            let path = manifest.files[*at as usize].path.as_str();
            let file = self
                .cache
                .open(path)
                .map_err(self.folders.fault("open", path))?;
            let mut chunk = vec![0; entry.len as usize];
            if files::read_exact_at(&file, &mut chunk, *offset)
                .map_err(self.folders.fault("read", path))?
            {
                self.offer(&chunk)?;
            }
        }
        Ok(())
    }

    /// Whether a chunk is still missing.
    #[must_use]
    pub fn wants(&self, id: &ChunkId) -> bool {
        self.targets.wants(id)
    }

    /// Whether anything is still missing.
    pub(super) fn wants_anything(&self) -> bool {
        !self.targets.is_complete()
    }

    /// Uses bytes found on this machine if they are a chunk that is missing.
    pub(super) fn offer(&mut self, bytes: &[u8]) -> Result<bool, DocrootError> {
        let id = ChunkId::of(bytes);
        if !self.targets.wants(&id) {
            return Ok(false);
        }
        let outcome = self.place(&id, bytes)?;
        self.bytes.reused += bytes.len() as u64 * outcome.places as u64;
        Ok(outcome.places > 0)
    }

    /// Writes a chunk, whose bytes the caller has checked against `id`, to every place that lacks it. A file that
    /// becomes complete is read again and hashed whole.
    ///
    /// # Errors
    /// [`DocrootError::WrongContent`] when a file's chunks are all there but are not the file; else of the disk.
    pub fn put(&mut self, id: &ChunkId, bytes: &[u8]) -> Result<PutOutcome, DocrootError> {
        let outcome = self.place(id, bytes)?;
        self.bytes.written += bytes.len() as u64 * outcome.places as u64;
        Ok(outcome)
    }

    fn place(&mut self, id: &ChunkId, bytes: &[u8]) -> Result<PutOutcome, DocrootError> {
        let mut outcome = PutOutcome {
            places: 0,
            completed: 0,
        };
        for target in self.targets.range(id) {
            let Some((at, offset)) = self.targets.place(target, bytes.len()) else {
                continue;
            };
            let file = match self.open.remove(&at) {
                Some(file) => file,
                None => self.open_file(at)?,
            };
            file.write_all_at(bytes, offset).map_err(|error| {
                let path = self.manifest.files[at as usize].path.as_str();
                let full_path = self.folders.state_path(self.folder_name).join(path);
                DocrootError::writing(&full_path, bytes.len() as u64)(error)
            })?;
            outcome.places += 1;
            let FileState::ToBuild { missing } = &mut self.states[at as usize] else {
                continue;
            };
            *missing = missing.saturating_sub(1);
            if *missing == 0 {
                self.complete(at, &file)?;
                outcome.completed += 1;
            } else {
                self.hold(at, file);
            }
        }
        self.targets.done(id);
        Ok(outcome)
    }

    /// Keeps a file open for its next chunk.
    fn hold(&mut self, at: u32, file: File) {
        if self.open.len() >= FILES_OPEN_MAX {
            self.open.clear();
        }
        self.there.written.insert(at);
        self.open.insert(at, file);
    }

    /// Opens a file of the build, never one that another tree has a link to.
    pub(super) fn open_file(&mut self, at: u32) -> Result<File, DocrootError> {
        let path = self.manifest.files[at as usize].path.as_str();
        let (folder, name) = self
            .cache
            .place(path)
            .map_err(self.folders.fault("make the folder of", path))?;
        let file = if self.there.written.contains(&at) {
            files::open_own(&folder, name, HIDDEN)
        } else {
            create(&folder, name)
        };
        file.map_err(self.folders.fault("create", path))
    }

    /// Hashes a file that has just been written. The disk writes a large one meanwhile: the sync that comes before
    /// the switch then finds little to do.
    fn hash_and_sync(
        &mut self,
        opened: &File,
        size: u64,
    ) -> (std::io::Result<()>, std::io::Result<FileHash>) {
        if size < SYNC_EARLY_BYTES {
            return (Ok(()), files::hash_file(opened, &mut self.buffer));
        }
        std::thread::scope(|scope| {
            let buffer = &mut self.buffer;
            let hashing = scope.spawn(|| files::hash_file(opened, buffer));
            // An error is told once, to whoever syncs first: it must not get lost here.
            let synced = opened.sync_data();
            let hash = hashing
                .join()
                .unwrap_or_else(|_| Err(std::io::Error::other("the hash ended without a word")));
            (synced, hash)
        })
    }

    /// Checks a file whose chunks are all there and gives it its length and mode.
    pub(super) fn complete(&mut self, at: u32, opened: &File) -> Result<(), DocrootError> {
        let manifest = self.manifest.clone();
        let file = &manifest.files[at as usize];
        let path = file.path.as_str();
        let folders = self.folders.clone();
        if self.there.written.contains(&at) {
            // What an earlier build left may be longer.
            let found = files::look_at(opened).map_err(folders.fault("look at", path))?;
            if found.record.size != file.size {
                opened
                    .set_len(file.size)
                    .map_err(folders.fault("set the length of", path))?;
            }
        }
        // The only chunk of a file without a list has been hashed already, and its hash is the file's.
        if file.list.is_some() {
            let (synced, hash) = self.hash_and_sync(opened, file.size);
            if let Err(error) = synced {
                // What is in memory now may not be on the disk: it is not to be found right later.
                let _ = opened.set_len(0);
                return Err(folders.fault("sync", path)(error));
            }
            if hash.map_err(folders.fault("read", path))? != file.hash {
                // Nothing of it is to be trusted again.
                opened
                    .set_len(0)
                    .map_err(folders.fault("set the length of", path))?;
                return Err(DocrootError::WrongContent {
                    path: path.to_owned(),
                });
            }
        }
        self.settle(at, opened)
    }

    /// Gives a file whose content is right its mode.
    pub(super) fn settle(&mut self, at: u32, opened: &File) -> Result<(), DocrootError> {
        let manifest = self.manifest.clone();
        let file = &manifest.files[at as usize];
        let path = file.path.as_str();
        let folders = self.folders.clone();
        rustix::fs::fchmod(opened, Mode::from_raw_mode(mode_of(file)))
            .map_err(folders.fault("change the mode of", path))?;
        // A file that was only damaged keeps the time it was served with.
        if let Some(live) = &self.live
            && let Some(before) = unchanged_in(live, file)
        {
            let record = live.records()[before];
            let (folder, name) = self
                .cache
                .place(path)
                .map_err(folders.fault("open", path))?;
            files::set_mtime(folder, name, record.mtime_s, record.mtime_ns)
                .map_err(folders.fault("set the time of", path))?;
        }
        self.states[at as usize] = FileState::Done;
        self.written.push(at);
        Ok(())
    }
}

/// Makes `name`, which is new nearly always. A file with another name belongs to a live tree as well and is replaced,
/// never written to.
pub(super) fn create(folder: &OwnedFd, name: &str) -> std::io::Result<File> {
    match rustix::fs::openat(folder, name, CREATE, HIDDEN) {
        Err(Errno::EXIST) => files::open_own(folder, name, HIDDEN),
        other => Ok(other?.into()),
    }
}

const CREATE: OFlags = OFlags::RDWR
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);
/// Until a file is complete; the umask has no say in the mode it gets then.
const HIDDEN: Mode = Mode::from_raw_mode(0o600);
