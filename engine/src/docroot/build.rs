//! Building a release's tree beside the live one. SPEC §8.7.
//!
//! There is no journal: what was written is found again by its hash, so an interrupted build fetches no chunk
//! that reached the disk twice.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::Mode;
use tidecast_proto::chunker::Chunker;
use tidecast_proto::id::{ListId, ReleaseNumber};
use tidecast_proto::list::{Entry, List};
use tidecast_proto::manifest::{self, Manifest};
use tidecast_proto::name::ReleasePath;

use super::error::DocrootError;
use super::files::{FSYNC_EACH_MAX, FolderCache};
use super::layout::Folders;
use super::leftovers::Leftovers;
use super::spool::Spool;
use super::targets::Targets;
use super::tree::LiveTree;
use super::{leftovers, reuse, strangers};
use crate::rebuild::SoundBases;

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
    pub(super) targets: Targets,
    /// Files begun and held open.
    pub(super) open: HashMap<u32, File>,
    /// Files that are in the folder already; all others are new, and need no look before they are made.
    pub(super) there: Leftovers,
    pub(super) buffer: Vec<u8>,
    /// Files written by this build, to be synced.
    pub(super) written: Vec<u32>,
    pub(super) bytes: BuildBytes,
    /// Opened once it is needed.
    pub(super) spool: Option<Spool>,
    /// What need not be read again to find out why a rebuild made another file.
    pub(crate) sound: SoundBases,
    #[cfg(test)]
    pub(super) stop_after: Option<super::switch::Step>,
}

/// What a build has moved so far, in bytes of file content but for lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BuildBytes {
    /// In files linked or copied as they were.
    pub linked: u64,
    /// In chunks found on this machine: in an interrupted build, the live tree or an adopted docroot.
    pub reused: u64,
    /// In chunks handed to [`Build::put`].
    pub written: u64,
    /// In lists that were added, which are no file content.
    pub lists: u64,
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
            there: Leftovers::default(),
            buffer: Vec::new(),
            written: Vec::new(),
            bytes: BuildBytes::default(),
            spool: None,
            sound: SoundBases::default(),
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
        self.bytes.lists += list.encode().len() as u64;
        self.lists.insert(id, Arc::new(list));
        Ok(())
    }

    /// The list of a file, which a file of one chunk does without.
    pub(super) fn list_of(&mut self, file: &manifest::File) -> Result<Arc<List>, DocrootError> {
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
                let at = u32::try_from(at).unwrap_or(u32::MAX);
                let file = self.open_file(at)?;
                self.complete(at, &file)?;
            }
        }
        self.reuse_within(&here)?;
        reuse::from_live_tree(self, chunker)?;
        if self.folder_name == super::layout::MEND {
            self.reuse_older_trees()?;
        }
        strangers::reuse(self, chunker)?;
        Ok(())
    }

    /// Distinct chunks that must be fetched, in the order of the files that need them.
    pub fn missing(&self) -> impl Iterator<Item = Entry> + '_ {
        self.targets.missing()
    }

    /// Bytes that each file lacks, by its number in the manifest.
    #[must_use]
    pub fn missing_by_file(&self) -> HashMap<u32, u64> {
        self.targets.missing_by_file()
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
        self.check_free(self.needed_bytes())
    }

    /// Refuses to go on when the file system has fewer than `need_bytes` free.
    pub(super) fn check_free(&self, need_bytes: u64) -> Result<(), DocrootError> {
        let free_bytes = self.folders.free_bytes()?;
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

    /// Removes what an earlier build left and this one has no use for.
    fn clear_leftovers(&mut self) -> Result<(), DocrootError> {
        let folder = self.folder.clone();
        let manifest = self.manifest.clone();
        let live = self.live.clone();
        let live_inode = |at: usize| {
            let live = live.as_ref()?;
            let before = unchanged_in(live, &manifest.files[at])?;
            Some(live.records().get(before)?.inode)
        };
        leftovers::clear(
            &folder,
            "",
            &manifest.files,
            &self.states,
            &live_inode,
            &mut self.there,
        )
        .map_err(self.folders.fault("clear", self.folder_name))
    }

    /// A file of the tree, which must be there by now.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub(crate) fn open_complete(&mut self, path: &ReleasePath) -> Result<File, DocrootError> {
        let opened = self.cache.open(path.as_str());
        opened.map_err(self.folders.fault("open", path.as_str()))
    }

    /// What to say when such a file cannot be read.
    pub(crate) fn unreadable(&self, path: &ReleasePath, error: std::io::Error) -> DocrootError {
        self.folders.fault("read", path.as_str())(error)
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
        leftovers::sync_folders(&self.folder, few).map_err(folders.fault("sync", self.folder_name))
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
