//! A release's tree on disk, and reading it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tidecast_proto::id::{FileHash, ReleaseNumber, Timestamp};
use tidecast_proto::limits;
use tidecast_proto::manifest::{self, Manifest, SignedManifest};

use super::error::DocrootError;
use super::files::{self, FileRecord, FolderCache, Kind};
use super::index::{INDEX_BYTES_MAX, Index};
use super::layout::{self, Folders};

/// The release that is served. Holding it pins the tree: its files open below [`Self::folder`] as long as
/// the tree exists, which is at least the grace time after the next switch.
#[derive(Debug)]
pub struct LiveTree {
    manifest: Arc<Manifest>,
    switched: Timestamp,
    folder: Arc<OwnedFd>,
    /// Replaced as a whole when link counts, and with them ctimes, change.
    records: ArcSwap<Vec<FileRecord>>,
}

/// One file as it is served.
#[derive(Debug, Clone, Copy)]
pub struct SiteFile<'a> {
    /// Path relative to the docroot.
    pub path: &'a str,
    /// Length in bytes.
    pub size: u64,
    /// BLAKE3 of the content.
    pub hash: FileHash,
    /// Seconds since 1970: a database's build time, else the moment this mirror switched the file in.
    pub last_modified_s: u64,
}

impl LiveTree {
    pub(super) fn new(
        manifest: Arc<Manifest>,
        switched: Timestamp,
        folder: Arc<OwnedFd>,
        records: Vec<FileRecord>,
    ) -> Self {
        Self {
            manifest,
            switched,
            folder,
            records: ArcSwap::from_pointee(records),
        }
    }

    /// What is served.
    #[must_use]
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Its number.
    #[must_use]
    pub fn release(&self) -> ReleaseNumber {
        self.manifest.release
    }

    /// When this mirror switched to it.
    #[must_use]
    pub fn switched(&self) -> Timestamp {
        self.switched
    }

    /// The tree's folder, `r<N>`.
    #[must_use]
    pub fn folder(&self) -> Arc<OwnedFd> {
        self.folder.clone()
    }

    /// Identity and times of each file, in the manifest's order.
    #[must_use]
    pub fn records(&self) -> Arc<Vec<FileRecord>> {
        self.records.load_full()
    }

    /// The latest Last-Modified of what is no database, seconds since 1970; 0 where all are.
    pub(super) fn latest_stamp_s(&self) -> u64 {
        let records = self.records();
        let files = self.manifest.files.iter().zip(records.iter());
        let stamped = files.filter(|(file, _)| file.database.is_none());
        let latest = stamped.map(|(_, record)| record.mtime_s).max();
        latest.and_then(|s| u64::try_from(s).ok()).unwrap_or(0)
    }

    pub(super) fn replace_records(&self, records: Vec<FileRecord>) {
        self.records.store(Arc::new(records));
    }

    /// Every file, in path order.
    pub fn site_files(&self) -> impl Iterator<Item = SiteFile<'_>> {
        let records = self.records();
        self.manifest
            .files
            .iter()
            .enumerate()
            .map(move |(at, file)| site_file(file, &records, at))
    }

    pub(super) fn index(&self) -> Index {
        Index {
            manifest: self.manifest.id(),
            switched: Some(self.switched),
            records: self.records.load().to_vec(),
        }
    }
}

fn site_file<'a>(file: &'a manifest::File, records: &[FileRecord], at: usize) -> SiteFile<'a> {
    let mtime_s = records.get(at).map_or(0, |record| record.mtime_s);
    SiteFile {
        path: file.path.as_str(),
        size: file.size,
        hash: file.hash,
        last_modified_s: u64::try_from(mtime_s).unwrap_or(0),
    }
}

/// A tree's manifest and index, as far as they can be read.
pub(super) struct Kept {
    pub(super) manifest: Arc<Manifest>,
    /// `None` when the file is missing or damaged, or of another manifest.
    pub(super) index: Option<Index>,
}

/// Reads manifest and index of a release; `None` when the manifest is missing or damaged. Its signatures were
/// checked before it was written here; its id, in the index, stands in for them.
pub(super) fn read_kept(
    folders: &Folders,
    release: ReleaseNumber,
) -> Result<Option<Kept>, DocrootError> {
    let name = layout::manifest_name(release);
    let Some(bytes) = files::read_whole(&folders.state, &name, limits::MANIFEST_BYTES)
        .map_err(folders.fault("read", &name))?
    else {
        return Ok(None);
    };
    let name = layout::index_name(release);
    let index = files::read_whole(&folders.state, &name, INDEX_BYTES_MAX)
        .map_err(folders.fault("read", &name))?
        .and_then(|bytes| Index::decode(&bytes).ok());
    let Ok(signed) = SignedManifest::from_bytes(&bytes) else {
        return Ok(None);
    };
    let id = index.as_ref().map_or(signed.id(), |index| index.manifest);
    Ok(signed
        .reopen(&id)
        .ok()
        .filter(|manifest| manifest.release == release)
        .map(|manifest| Kept {
            index: index.filter(|index| index.records.len() == manifest.files.len()),
            manifest: Arc::new(manifest),
        }))
}

/// Opens the folder of a release's tree.
pub(super) fn open_tree(
    folders: &Folders,
    release: ReleaseNumber,
) -> Result<Arc<OwnedFd>, DocrootError> {
    let name = layout::tree_name(release);
    files::open_folder(&folders.state, &*name)
        .map(Arc::new)
        .map_err(folders.fault("open", &name))
}

/// The records of all files of a tree, as they are now; `None` when a file is missing, no file, or of another size.
pub(super) fn record_all(
    folders: &Folders,
    tree: &Arc<OwnedFd>,
    manifest: &Manifest,
) -> Result<Option<Vec<FileRecord>>, DocrootError> {
    let name = layout::tree_name(manifest.release);
    let mut cache = FolderCache::reading(tree.clone());
    let mut records = Vec::with_capacity(manifest.files.len());
    for file in &manifest.files {
        let found = cache
            .look(file.path.as_str())
            .map_err(folders.fault("look at", &format!("{name}/{}", file.path)))?;
        match found {
            Some(found) if found.kind == Kind::File && found.record.size == file.size => {
                records.push(found.record);
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(records))
}

/// Releases whose trees exist, ascending.
pub(super) fn releases_on_disk(folders: &Folders) -> Result<Vec<ReleaseNumber>, DocrootError> {
    let names = files::names(&folders.state).map_err(folders.fault("read", "."))?;
    let mut releases: Vec<ReleaseNumber> = names
        .iter()
        .filter_map(|name| layout::release_of_tree(name.to_str()?))
        .collect();
    releases.sort_unstable();
    Ok(releases)
}

/// What `current` points to: a release's tree, the adopted one (`None` inside), or nothing.
pub(super) fn current_tree(
    folders: &Folders,
) -> Result<Option<Option<ReleaseNumber>>, DocrootError> {
    let target = files::link_target(&folders.state, layout::CURRENT)
        .map_err(folders.fault("read", layout::CURRENT))?;
    Ok(match target.as_deref() {
        Some(layout::ADOPTED) => Some(None),
        Some(name) => layout::release_of_tree(name).map(Some),
        None => None,
    })
}

/// The folder `current` leads to, if it exists: a release's tree or the adopted one.
pub(super) fn served(folders: &Folders) -> Result<Option<Arc<OwnedFd>>, DocrootError> {
    let name = match current_tree(folders)? {
        Some(Some(release)) => layout::tree_name(release),
        Some(None) => layout::ADOPTED.to_owned(),
        None => return Ok(None),
    };
    match files::open_folder(&folders.state, &*name) {
        Ok(folder) => Ok(Some(Arc::new(folder))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(folders.fault("open", &name)(error)),
    }
}
