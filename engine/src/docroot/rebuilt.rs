//! Files of a build that are made as a whole, from a file of the live tree and what is new in them. SPEC §8.7.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use tidecast_proto::chunker::Chunker;
use tidecast_proto::list::List;
use tidecast_proto::manifest;
use tidecast_proto::name::ReleasePath;
use tidecast_proto::recipe::Recipe;

use super::build::{Build, FileState, unchanged_in};
use super::error::DocrootError;
use super::files::{self, FolderCache};
use super::tree::LiveTree;
use super::{layout, opened, reuse, rot};
use crate::rebuild::Source;

/// What `st_blocks` counts in, whatever the file system (stat(2)).
const BLOCK_BYTES: u64 = 512;

impl Build {
    /// The tree it builds on.
    #[must_use]
    pub fn live(&self) -> Option<&Arc<LiveTree>> {
        self.live.as_ref()
    }

    /// Whether file number `at` of the manifest is still to be built.
    #[must_use]
    pub fn lacks(&self, at: usize) -> bool {
        matches!(self.states.get(at), Some(FileState::ToBuild { .. }))
    }

    /// Whether file number `at` is there, verified.
    #[must_use]
    pub fn has(&self, at: usize) -> bool {
        self.states.get(at) == Some(&FileState::Done)
    }

    /// The number in this release of the live release's file number `before`, if it is the same file.
    #[must_use]
    pub fn unchanged_since(&self, before: u32) -> Option<u32> {
        let live = self.live.as_ref()?;
        let old = live.manifest().files.get(before as usize)?;
        let files = &self.manifest.files;
        let at = files
            .binary_search_by(|file| file.path.cmp(&old.path))
            .ok()?;
        let same = files[at].same_as(old);
        same.then(|| u32::try_from(at).ok()).flatten()
    }

    /// Takes over files that an earlier build completed: those of the right length are hashed.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn take_complete(&mut self) -> Result<(), DocrootError> {
        let manifest = self.manifest.clone();
        let mut written: Vec<u32> = self.there.written.iter().copied().collect();
        written.sort_unstable();
        for at in written {
            let file = &manifest.files[at as usize];
            if !self.lacks(at as usize) {
                continue;
            }
            let path = file.path.as_str();
            let folders = self.folders.clone();
            let opened = self.open_file(at)?;
            let found = files::look_at(&opened).map_err(folders.fault("look at", path))?;
            if found.record.size != file.size {
                continue;
            }
            let hash =
                files::hash_file(&opened, &mut self.buffer).map_err(folders.fault("read", path))?;
            if hash == file.hash {
                self.settle(at, &opened)?;
                self.bytes.reused += file.size;
            }
        }
        Ok(())
    }

    /// Opens file number `at` to be written from its beginning.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn begin_file(&mut self, at: u32) -> Result<File, DocrootError> {
        let file = self.open_file(at)?;
        let path = self.manifest.files[at as usize].path.as_str();
        file.set_len(0)
            .map_err(self.folders.fault("set the length of", path))?;
        self.there.written.insert(at);
        Ok(file)
    }

    /// Takes in file number `at`, which was written whole and whose hash and length were checked on the way. Of its
    /// bytes, `fetched` count as fetched.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn finish_file(&mut self, at: u32, file: &File, fetched: u64) -> Result<(), DocrootError> {
        let size = self.manifest.files[at as usize].size;
        self.settle(at, file)?;
        let fetched = fetched.min(size);
        self.bytes.written += fetched;
        self.bytes.reused += size - fetched;
        Ok(())
    }

    /// File number `at` of this build, to build on; `None` when it is not complete.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn built_source(
        &mut self,
        at: usize,
        list: Arc<List>,
        recipe: Option<Arc<Recipe>>,
    ) -> Result<Option<Source>, DocrootError> {
        if !self.has(at) {
            return Ok(None);
        }
        let path = self.manifest.files[at].path.as_str();
        let file = self
            .cache
            .open(path)
            .map_err(self.folders.fault("open", path))?;
        Ok(Some(Source { file, list, recipe }))
    }

    /// The content of a file of the live tree, as it is or `opened`, to build on; `None` when recipe or list are neither
    /// known nor can be made, or the file is gone. What is in the file is not looked at, unless the list has to be made of it.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn live_source(
        &mut self,
        file: &manifest::File,
        opened: bool,
        chunker: &Chunker,
    ) -> Result<Option<Source>, DocrootError> {
        let Some(live) = self.live.clone() else {
            return Ok(None);
        };
        let recipe = match (opened, &file.recipe) {
            (false, _) => None,
            (true, None) => return Ok(None),
            (true, Some(id)) => match self.known_recipe(id, file.size)? {
                Some(recipe) => Some(recipe),
                None => return Ok(None),
            },
        };
        // A file that somebody removed or replaced is simply no base.
        let Ok(found) = FolderCache::reading(live.folder()).open(file.path.as_str()) else {
            return Ok(None);
        };
        let list = match (&recipe, &file.list) {
            (Some(recipe), _) => match self.known_list(&recipe.opened(), recipe.opened_bytes())? {
                Some(list) => Some(list),
                None => self.make_list(&recipe.opened(), chunker, &found, Some(recipe))?,
            },
            (None, Some(id)) => match self.known_list(id, file.size)? {
                Some(list) => Some(list),
                None => self.make_list(id, chunker, &found, None)?,
            },
            (None, None) => List::of_small_file(file.hash, file.size).map(Arc::new),
        };
        Ok(list.map(|list| Source {
            file: found,
            list,
            recipe,
        }))
    }

    /// Makes a list of what lies here, where no upstream can be asked for it.
    fn make_list(
        &mut self,
        id: &tidecast_proto::id::ListId,
        chunker: &Chunker,
        file: &File,
        recipe: Option<&Recipe>,
    ) -> Result<Option<Arc<List>>, DocrootError> {
        let Some(list) = opened::list_of(file, recipe, chunker).filter(|list| list.id() == *id)
        else {
            return Ok(None);
        };
        reuse::store_list(&self.folders, id, &list)?;
        self.known_list(id, list.total_bytes())
    }

    /// Where a rebuild puts content aside.
    #[must_use]
    pub fn scratch(&self) -> Arc<std::os::fd::OwnedFd> {
        self.folder.clone()
    }

    /// How many files are still to be built, and the first of them.
    #[must_use]
    pub fn first_lacking(&self) -> Option<(usize, ReleasePath)> {
        let unfinished = |state: &&FileState| matches!(state, FileState::ToBuild { .. });
        let files = self.states.iter().filter(unfinished).count();
        let first = self.states.iter().position(|state| unfinished(&state))?;
        Some((files, self.manifest.files[first].path.clone()))
    }

    /// Bytes of files that are to be built.
    #[must_use]
    pub fn lacking_bytes(&self) -> u64 {
        let files = self.manifest.files.iter().zip(&self.states);
        files
            .filter(|(_, state)| matches!(state, FileState::ToBuild { .. }))
            .fold(0, |sum, (file, _)| sum.saturating_add(file.size))
    }

    /// Refuses a build that cannot fit, before anything is fetched or rebuilt for it: every file that is to be built needs
    /// its length, less what an earlier build of it occupies.
    ///
    /// # Errors
    /// [`DocrootError::NoSpace`], or of the disk; what is there stays for the next attempt.
    pub fn check_room(&mut self) -> Result<(), DocrootError> {
        let written: Vec<u32> = self.there.written.iter().copied().collect();
        let mut here_bytes = 0_u64;
        for at in written {
            if !self.lacks(at as usize) {
                continue;
            }
            let manifest = self.manifest.clone();
            let path = manifest.files[at as usize].path.as_str();
            let found = self.open_file(at)?.metadata();
            let found = found.map_err(self.folders.fault("look at", path))?;
            here_bytes = here_bytes.saturating_add(found.blocks().saturating_mul(BLOCK_BYTES));
        }
        self.check_free(self.lacking_bytes().saturating_sub(here_bytes))
    }

    /// Takes file number `at` out of the build again: what lies there is damaged, though nothing but its content shows it.
    /// Where the live tree has the same file, its record is spoiled, so that no later build and no look-over takes that
    /// for sound without reading it.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn condemn(&mut self, at: u32) -> Result<(), DocrootError> {
        let manifest = self.manifest.clone();
        let Some(file) = manifest.files.get(at as usize) else {
            return Ok(());
        };
        let folders = self.folders.clone();
        let live = self.live.clone();
        let linked = live
            .as_deref()
            .and_then(|live| Some((live, unchanged_in(live, file)?)));
        if let Some((live, before)) = linked {
            let mut records = live.records().to_vec();
            rot::doubt(&mut records[before]);
            live.replace_records(records);
            let name = layout::index_name(live.release());
            files::write_whole(&folders.state, &name, &live.index().encode())
                .map_err(folders.fault("write", &name))?;
        }
        if !self.has(at as usize) {
            return Ok(());
        }
        let path = file.path.as_str();
        let (folder, name) = self
            .cache
            .place(path)
            .map_err(folders.fault("open", path))?;
        files::unlink(&folder, name).map_err(folders.fault("remove", path))?;
        self.open.remove(&at);
        self.written.retain(|written| *written != at);
        self.there.written.remove(&at);
        self.there.linked.remove(&at);
        if linked.is_some() {
            self.bytes.linked = self.bytes.linked.saturating_sub(file.size);
        }
        self.states[at as usize] = FileState::ToBuild { missing: 0 };
        Ok(())
    }

    /// What to say about the disk when a rebuild could not write file number `at`.
    #[must_use]
    pub fn write_fault(&self, at: u32, source: std::io::Error) -> DocrootError {
        let file = &self.manifest.files[at as usize];
        let path = self
            .folders
            .state_path(self.folder_name)
            .join(file.path.as_str());
        DocrootError::writing(&path, file.size)(source)
    }
}
