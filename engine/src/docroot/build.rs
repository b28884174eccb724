//! Building a release's tree beside the live one. SPEC §8.7.
//!
//! There is no journal: what was written is found again by its hash, so an interrupted build fetches no chunk
//! that reached the disk twice.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use tidecast_proto::chunker::Chunker;
use tidecast_proto::id::{ChunkId, ListId, ReleaseNumber};
use tidecast_proto::limits;
use tidecast_proto::list::{Entry, List};
use tidecast_proto::manifest::{self, Manifest};

use super::error::DocrootError;
use super::files::{self, FSYNC_EACH_MAX, FolderCache, Kind};
use super::layout::Folders;
use super::reuse;
use super::targets::Targets;
use super::tree::LiveTree;

/// Files being written that are held open; a release's chunks arrive in file order, so few are needed.
const FILES_OPEN_MAX: usize = 64;

/// A tree that is being built. Dropping it loses nothing: the next build of any release goes on from what is there.
#[derive(Debug)]
pub struct Build {
    pub(super) folders: Arc<Folders>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) live: Option<Arc<LiveTree>>,
    /// `new`, or `mend` for a repair.
    pub(super) folder_name: &'static str,
    pub(super) folder: Arc<OwnedFd>,
    pub(super) cache: FolderCache,
    pub(super) states: Vec<FileState>,
    lists: HashMap<ListId, Arc<List>>,
    targets: Targets,
    open: HashMap<u32, File>,
    pub(super) buffer: Vec<u8>,
    /// Files written by this build, to be synced.
    pub(super) written: Vec<u32>,
    pub(super) bytes: BuildBytes,
    #[cfg(test)]
    pub(super) stop_after: Option<super::switch::Step>,
}

/// What a build has moved so far, in bytes of file content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BuildBytes {
    /// In files linked or copied as they were.
    pub linked: u64,
    /// In chunks found on this machine: in an interrupted build, the live tree or an adopted docroot.
    pub reused: u64,
    /// In chunks handed to [`Build::put`].
    pub written: u64,
}

/// What a chunk was good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutOutcome {
    /// Places it was written to; 0 when it was not, or no longer, missing.
    pub places: usize,
    /// Files it completed; their whole content has been hashed.
    pub completed: usize,
}

/// A complete tree that is not live yet; hand it to [`super::Docroot::switch`].
#[derive(Debug)]
#[must_use = "a prepared tree is not served before it is switched to"]
pub struct Prepared {
    pub(super) manifest: Arc<Manifest>,
}

impl Prepared {
    /// Its release.
    #[must_use]
    pub fn release(&self) -> ReleaseNumber {
        self.manifest.release
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileState {
    /// Not of this build: a repair leaves most files alone.
    Elsewhere,
    /// To be written; this many places are still missing, once [`Build::start`] has counted them.
    ToBuild { missing: u32 },
    /// There, verified.
    Done,
}

impl Build {
    pub(super) fn new(
        folders: Arc<Folders>,
        manifest: Arc<Manifest>,
        live: Option<Arc<LiveTree>>,
        folder_name: &'static str,
        states: Vec<FileState>,
    ) -> Result<Self, DocrootError> {
        let folder = Arc::new(folders.subfolder(folder_name, 0o700)?);
        rustix::fs::fchmod(&folder, Mode::from_raw_mode(0o700))
            .map_err(folders.fault("change the mode of", folder_name))?;
        let mut build = Self {
            cache: FolderCache::making(folder.clone()),
            folders,
            manifest,
            live,
            folder_name,
            folder,
            states,
            lists: HashMap::new(),
            targets: Targets::default(),
            open: HashMap::new(),
            buffer: Vec::new(),
            written: Vec::new(),
            bytes: BuildBytes::default(),
            #[cfg(test)]
            stop_after: None,
        };
        build.clear_leftovers()?;
        Ok(build)
    }

    /// The release that is built.
    #[must_use]
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Bytes moved so far.
    #[must_use]
    pub fn bytes(&self) -> BuildBytes {
        self.bytes
    }

    /// Lists of files to build that are neither on this disk nor added yet, each with its file's size.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn missing_lists(&mut self) -> Result<Vec<(ListId, u64)>, DocrootError> {
        let mut missing = Vec::new();
        let mut seen = HashSet::new();
        let manifest = self.manifest.clone();
        for (at, file) in manifest.files.iter().enumerate() {
            if !matches!(self.states[at], FileState::ToBuild { .. }) {
                continue;
            }
            let Some(id) = file.list.filter(|id| seen.insert(*id)) else {
                continue;
            };
            if self.known_list(&id, file.size)?.is_none() {
                missing.push((id, file.size));
            }
        }
        Ok(missing)
    }

    /// The list `id` of a file of `size` bytes, if it is on this disk or was added.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk; a damaged list is simply not known.
    pub fn known_list(
        &mut self,
        id: &ListId,
        size: u64,
    ) -> Result<Option<Arc<List>>, DocrootError> {
        if let Some(list) = self.lists.get(id) {
            return Ok((list.total_bytes() == size).then(|| list.clone()));
        }
        let found = reuse::stored_list(&self.folders, id, size)?.map(Arc::new);
        if let Some(list) = &found {
            self.lists.insert(*id, list.clone());
        }
        Ok(found)
    }

    /// Keeps a list, which [`List::decode`] has checked against `id` and its file's size.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn add_list(&mut self, id: ListId, list: List) -> Result<(), DocrootError> {
        reuse::store_list(&self.folders, &id, &list)?;
        self.lists.insert(id, Arc::new(list));
        Ok(())
    }

    /// Finds on this machine what it can of the files to build: chunks that an interrupted build wrote, chunks in
    /// the live tree and, where no release is live, in the real files of an adopted docroot, cut with the
    /// feed's `chunker`. Every reused chunk is hashed as it is read. Afterwards [`Self::missing`] is what must be fetched.
    ///
    /// # Errors
    /// [`DocrootError::ListMissing`] when a list of [`Self::missing_lists`] was not added; else of the disk.
    pub fn start(&mut self, chunker: &Chunker) -> Result<(), DocrootError> {
        let manifest = self.manifest.clone();
        let mut here = Vec::new();
        let mut targets = Vec::new();
        for (at, file) in manifest.files.iter().enumerate() {
            if !matches!(self.states[at], FileState::ToBuild { .. }) {
                continue;
            }
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            self.scan(at, file, &mut here, &mut targets)?;
        }
        self.targets = Targets::new(targets);
        self.count_missing();
        // Files whose every chunk an interrupted build wrote, and empty ones.
        for at in 0..manifest.files.len() {
            if self.states[at] == (FileState::ToBuild { missing: 0 }) {
                self.complete(u32::try_from(at).unwrap_or(u32::MAX))?;
            }
        }
        self.reuse_within(&here)?;
        reuse::from_live_tree(self, chunker)?;
        reuse::from_strangers(self, chunker)?;
        Ok(())
    }

    /// Notes which chunks of a file are there and which are not.
    fn scan(
        &mut self,
        at: u32,
        file: &manifest::File,
        here: &mut Vec<(Entry, u32, u64)>,
        targets: &mut Vec<(Entry, u32, u64)>,
    ) -> Result<(), DocrootError> {
        let path = file.path.as_str();
        let list = self.list_of(file)?;
        let existing = match self
            .cache
            .look(path)
            .map_err(self.folders.fault("look at", path))?
        {
            Some(found) if found.record.size > 0 => {
                let opened = self.open_for_writing(at)?;
                Some(
                    opened
                        .try_clone()
                        .map_err(self.folders.fault("open", path))?,
                )
            }
            _ => None,
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

    fn list_of(&mut self, file: &manifest::File) -> Result<Arc<List>, DocrootError> {
        match file.list {
            Some(id) => self
                .known_list(&id, file.size)?
                .ok_or_else(|| DocrootError::ListMissing {
                    list: id,
                    path: file.path.to_string(),
                }),
            None => List::of_small_file(file.hash, file.size)
                .map(Arc::new)
                // A checked manifest gives every longer file a list.
                .ok_or_else(|| DocrootError::WrongContent {
                    path: file.path.to_string(),
                }),
        }
    }

    fn count_missing(&mut self) {
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
    fn reuse_within(&mut self, here: &[(Entry, u32, u64)]) -> Result<(), DocrootError> {
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

    /// Distinct chunks that must be fetched, in the order of the files that need them.
    pub fn missing(&self) -> impl Iterator<Item = Entry> + '_ {
        self.targets.missing()
    }

    /// Bytes that are still to be written into files.
    #[must_use]
    pub fn needed_bytes(&self) -> u64 {
        self.targets.missing_bytes()
    }

    /// Refuses a build that cannot fit, before anything is fetched for it.
    ///
    /// # Errors
    /// [`DocrootError::NoSpace`]; what was written stays for the next attempt.
    pub fn check_space(&self) -> Result<(), DocrootError> {
        let (need_bytes, free_bytes) = (self.needed_bytes(), self.folders.free_bytes()?);
        if need_bytes > free_bytes {
            return Err(DocrootError::NoSpace {
                action: "build the release in",
                path: self.folders.path.clone(),
                need_bytes,
                free_bytes,
            });
        }
        Ok(())
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
        // Collected first: completing a file borrows everything. Nearly always one place.
        let places: Vec<(u32, u64)> = self.targets.places(id, bytes.len()).collect();
        for (at, offset) in places {
            let path = self.manifest.files[at as usize].path.clone();
            let full_path = self
                .folders
                .state_path(self.folder_name)
                .join(path.as_str());
            self.open_for_writing(at)?
                .write_all_at(bytes, offset)
                .map_err(DocrootError::writing(&full_path, bytes.len() as u64))?;
            outcome.places += 1;
            if let FileState::ToBuild { missing } = &mut self.states[at as usize] {
                *missing = missing.saturating_sub(1);
                if *missing == 0 {
                    self.complete(at)?;
                    outcome.completed += 1;
                }
            }
        }
        self.targets.done(id);
        Ok(outcome)
    }

    /// Opens a file of the build, never one that another tree has a link to.
    fn open_for_writing(&mut self, at: u32) -> Result<&File, DocrootError> {
        if self.open.len() >= FILES_OPEN_MAX && !self.open.contains_key(&at) {
            self.open.clear();
        }
        match self.open.entry(at) {
            std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let path = self.manifest.files[at as usize].path.as_str();
                let (folder, name) = self
                    .cache
                    .place(path)
                    .map_err(self.folders.fault("make the folder of", path))?;
                let file = create(&folder, name).map_err(self.folders.fault("create", path))?;
                Ok(entry.insert(file))
            }
        }
    }

    /// Checks a file whose chunks are all there and gives it its length and mode.
    fn complete(&mut self, at: u32) -> Result<(), DocrootError> {
        let manifest = self.manifest.clone();
        let file = &manifest.files[at as usize];
        let path = file.path.as_str();
        self.open_for_writing(at)?;
        let Some(opened) = self.open.remove(&at) else {
            return Ok(());
        };
        let folders = self.folders.clone();
        let found = files::look_at(&opened).map_err(folders.fault("look at", path))?;
        if found.record.size != file.size {
            opened
                .set_len(file.size)
                .map_err(folders.fault("set the length of", path))?;
        }
        // The only chunk of a file without a list has been hashed already, and its hash is the file's.
        if file.list.is_some() {
            let hash =
                files::hash_file(&opened, &mut self.buffer).map_err(folders.fault("read", path))?;
            if hash != file.hash {
                // Nothing of it is to be trusted again.
                opened
                    .set_len(0)
                    .map_err(folders.fault("set the length of", path))?;
                return Err(DocrootError::WrongContent {
                    path: path.to_owned(),
                });
            }
        }
        rustix::fs::fchmod(&opened, Mode::from_raw_mode(mode_of(file)))
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

    /// Removes what an earlier build left and this one has no use for.
    fn clear_leftovers(&mut self) -> Result<(), DocrootError> {
        let folder = self.folder.clone();
        let manifest = self.manifest.clone();
        super::leftovers::clear(&folder, "", &manifest.files, &self.states)
            .map_err(self.folders.fault("clear", self.folder_name))
    }

    /// Fails unless every file is there and verified; then brings all of it to the disk.
    pub(super) fn sync_all(&mut self) -> Result<(), DocrootError> {
        let unfinished = |state: &FileState| matches!(state, FileState::ToBuild { .. });
        let files = self.states.iter().filter(|state| unfinished(state)).count();
        if let Some(first) = self.states.iter().position(unfinished) {
            return Err(DocrootError::Incomplete {
                files,
                path: self.manifest.files[first].path.to_string(),
            });
        }
        self.open.clear();
        let folders = self.folders.clone();
        let few = self.written.len() <= FSYNC_EACH_MAX;
        if few {
            for at in std::mem::take(&mut self.written) {
                let path = self.manifest.files[at as usize].path.as_str();
                let file = self.cache.open(path).map_err(folders.fault("open", path))?;
                file.sync_all().map_err(folders.fault("sync", path))?;
            }
        }
        super::leftovers::sync_folders(&self.folder, few)
            .map_err(folders.fault("sync", self.folder_name))
    }
}

/// Where the live release has the same file.
pub(super) fn unchanged_in(live: &LiveTree, file: &manifest::File) -> Option<usize> {
    let before = live
        .manifest()
        .files
        .binary_search_by(|old| old.path.cmp(&file.path))
        .ok()?;
    file.same_as(&live.manifest().files[before])
        .then_some(before)
}

pub(super) fn mode_of(file: &manifest::File) -> u32 {
    if file.executable { 0o755 } else { 0o644 }
}

/// Opens `name` for reading and writing. A file with another name belongs to a live tree as well and is replaced,
/// never written to.
pub(super) fn create(folder: &OwnedFd, name: &str) -> std::io::Result<File> {
    if let Some(found) = files::look(folder, name)?
        && (found.kind != Kind::File || found.links > 1)
    {
        files::remove_all(folder, name)?;
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))?.into())
}
