//! Files that no release of ours put there, as a source for the first build: the docroot of an older mirror script,
//! or a tree whose manifest was lost. SPEC §8.7.
//!
//! A docroot may hold anything, an archive of films too; what is read of it is bounded by what there is to gain.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use tidecast_proto::chunker::Chunker;
use tidecast_proto::limits;

use super::build::{Build, FileState};
use super::error::DocrootError;
use super::files::{self, FolderCache, Found, Kind};
use super::links::{self, Standing};
use super::{reuse, tree};

/// Bytes read for each byte that is missing: enough for a file under its own name, a changed one, and some that only
/// have the right size; reading more than this costs more than fetching.
const READ_FACTOR: u64 = 4;
/// Names looked at, as many as a release may have files: somebody's home folder has more.
const NAMES_MAX: usize = limits::FILES_PER_RELEASE;

/// Takes whole files and chunks out of strangers' files, first those under the release's own names, then those with
/// the size of a file that is missing. Only when no release is live. Returns how many bytes were read.
pub(super) fn reuse(build: &mut Build, chunker: &Chunker) -> Result<u64, DocrootError> {
    if build.live.is_some() || !build.wants_anything() {
        return Ok(0);
    }
    let allowed = build.needed_bytes().saturating_mul(READ_FACTOR);
    let mut search = Search {
        chunker,
        left: allowed,
        names_left: NAMES_MAX,
        seen: HashSet::new(),
        sizes: build
            .manifest
            .files
            .iter()
            .zip(&build.states)
            .filter(|(_, state)| matches!(state, FileState::ToBuild { missing: 1.. }))
            .map(|(file, _)| file.size)
            .collect(),
    };
    let folders = build.folders.clone();
    let served = tree::served(&folders)?;
    let foreign: HashSet<OsString> = links::standing(&folders)?
        .into_iter()
        .filter(|(_, standing)| *standing == Standing::Foreign)
        .map(|(name, _)| name)
        .collect();

    if let Some(served) = &served {
        search.same_named(build, served.clone(), |_| true)?;
    }
    search.same_named(build, folders.docroot.clone(), |top| {
        foreign.contains(OsStr::new(top))
    })?;
    if let Some(served) = &served {
        search.walk(build, served, 0)?;
    }
    for name in &foreign {
        search.visit(build, &folders.docroot, name, 0)?;
    }
    Ok(allowed - search.left)
}

struct Search<'c> {
    chunker: &'c Chunker,
    /// Bytes that may still be read.
    left: u64,
    names_left: usize,
    /// Files read already, by device and inode.
    seen: HashSet<((u32, u32), u64)>,
    /// Sizes of the files to build.
    sizes: HashSet<u64>,
}

impl Search<'_> {
    fn is_over(&self, build: &Build) -> bool {
        self.left == 0 || self.names_left == 0 || !build.wants_anything()
    }

    /// Reads what stands under the paths of files to build, below `folder`.
    fn same_named(
        &mut self,
        build: &mut Build,
        folder: Arc<OwnedFd>,
        has_top: impl Fn(&str) -> bool,
    ) -> Result<(), DocrootError> {
        let manifest = build.manifest.clone();
        let mut source = FolderCache::reading(folder);
        for (at, file) in manifest.files.iter().enumerate() {
            if self.is_over(build) {
                return Ok(());
            }
            let missing = matches!(build.states[at], FileState::ToBuild { missing: 1.. });
            if !missing || !has_top(file.path.top()) {
                continue;
            }
            // What may not be looked at or opened is no source.
            let path = file.path.as_str();
            if let Ok(Some(found)) = source.look(path)
                && found.kind == Kind::File
                && let Ok(opened) = source.open(path)
            {
                self.read(build, found, &opened)?;
            }
        }
        Ok(())
    }

    fn walk(
        &mut self,
        build: &mut Build,
        folder: &OwnedFd,
        depth: usize,
    ) -> Result<(), DocrootError> {
        let Ok(names) = files::names(folder) else {
            return Ok(());
        };
        for name in names {
            self.visit(build, folder, &name, depth)?;
        }
        Ok(())
    }

    fn visit(
        &mut self,
        build: &mut Build,
        folder: &OwnedFd,
        name: &OsStr,
        depth: usize,
    ) -> Result<(), DocrootError> {
        if self.is_over(build) {
            return Ok(());
        }
        self.names_left -= 1;
        let Ok(Some(found)) = files::look(folder, name) else {
            return Ok(());
        };
        match found.kind {
            Kind::Folder if depth < limits::PATH_DEPTH => {
                if let Ok(inner) = files::open_folder(folder, name) {
                    self.walk(build, &inner, depth + 1)?;
                }
            }
            Kind::File if self.sizes.contains(&found.record.size) => {
                if let Some(text) = name.to_str()
                    && let Ok(opened) = files::open_below(folder, text, OFlags::RDONLY)
                {
                    self.read(build, found, &opened.into())?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn read(&mut self, build: &mut Build, found: Found, file: &File) -> Result<(), DocrootError> {
        if self.seen.insert((found.device, found.record.inode)) {
            reuse::cut(build, self.chunker, file, &mut self.left)?;
        }
        Ok(())
    }
}
