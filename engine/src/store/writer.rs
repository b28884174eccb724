//! The one writer of a store.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tidecast_proto::{
    id::{ChunkId, ListId, RecipeId, ReleaseNumber},
    list::List,
    manifest::SignedManifest,
    recipe::Recipe,
};

use super::open_pack::OpenPack;
use super::record::{Kind, Record};
use super::release_file::ReleaseFile;
use super::snapshot::{self, PACKS, RELEASES};
use super::{Store, StoreError};
use crate::durable::FileError;
use crate::packing::Packer;

/// Write access to a store: one at a time, held by a lock that ends with the process.
///
/// Things put become visible to readers when their pack is sealed, releases when [`Self::add_release`] returns.
#[derive(Debug)]
pub struct StoreWriter {
    store: Store,
    /// Locked as long as it is open.
    _lock: File,
    packs: PathBuf,
    releases: PathBuf,
    /// `None`: none begun, or an error made it doubtful; the next one begins with what is on disk.
    open: Option<OpenPack>,
    packer: Packer,
    stored_bytes: u64,
}

impl StoreWriter {
    /// Opens the store in `folder` for writing and makes it when it is not there. What a crash left half-made
    /// is taken up or removed.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Locked`] while another writer has it.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let (packs, releases) = (folder.join(PACKS), folder.join(RELEASES));
        for folder in [&packs, &releases] {
            std::fs::create_dir_all(folder).map_err(FileError::at("create", folder))?;
        }
        let lock = lock(folder)?;
        remove_temporaries(&releases)?;
        let open = match OpenPack::left_in(&packs) {
            true => Some(OpenPack::resume(&packs)?),
            false => None,
        };
        let packer = Packer::new().map_err(FileError::at("pack for", folder))?;
        Ok(Self {
            store: Store::open(folder)?,
            _lock: lock,
            packs,
            releases,
            open,
            packer,
            stored_bytes: 0,
        })
    }

    /// The readers' side; what this writer seals shows up in it.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Bytes this writer has added to the disk: chunks, lists and manifests as they are packed.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Whether the chunk is in the store, sealed or not yet.
    #[must_use]
    pub fn contains_chunk(&self, id: &ChunkId) -> bool {
        self.contains(Kind::Chunk, &id.0)
    }

    /// Whether the list is in the store, sealed or not yet.
    #[must_use]
    pub fn contains_list(&self, id: &ListId) -> bool {
        self.contains(Kind::List, &id.0)
    }

    /// Puts a chunk in, unless it is there. `id` is the hash of `bytes`. Returns whether it is new.
    ///
    /// # Errors
    /// [`StoreError`]; nothing became visible, and writing may be tried again.
    pub fn put_chunk(&mut self, id: &ChunkId, bytes: &[u8]) -> Result<bool, StoreError> {
        debug_assert_eq!(*id, ChunkId::of(bytes));
        self.put(Kind::Chunk, id.0, bytes)
    }

    /// Puts a list in, unless it is there. Returns its name and whether it is new.
    ///
    /// # Errors
    /// As [`Self::put_chunk`].
    pub fn put_list(&mut self, list: &List) -> Result<(ListId, bool), StoreError> {
        let bytes = list.encode();
        let id = ListId::of(&bytes);
        Ok((id, self.put(Kind::List, id.0, &bytes)?))
    }

    /// Puts a recipe in, unless it is there. Returns its name and whether it is new.
    ///
    /// # Errors
    /// As [`Self::put_chunk`].
    pub fn put_recipe(&mut self, recipe: &Recipe) -> Result<(RecipeId, bool), StoreError> {
        let bytes = recipe.encode();
        let id = RecipeId::of(&bytes);
        Ok((id, self.put(Kind::Recipe, id.0, &bytes)?))
    }

    /// Seals what was put so far: it is on disk and visible to readers when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; what was sealed before stays, the rest may be put again.
    pub fn seal(&mut self) -> Result<(), StoreError> {
        match self.open.take() {
            Some(pack) if !pack.is_empty() => {
                pack.seal()?;
                self.store.refresh()?;
            }
            unused => self.open = unused,
        }
        Ok(())
    }

    /// Seals, then makes the release visible. `manifest` is of `release` and its keys have been checked.
    ///
    /// # Errors
    /// [`StoreError`]; the release is not visible.
    pub fn add_release(
        &mut self,
        release: ReleaseNumber,
        manifest: &SignedManifest,
    ) -> Result<(), StoreError> {
        self.seal()?;
        self.stored_bytes +=
            ReleaseFile::create(&self.releases, release, manifest, &mut self.packer)?;
        self.store.refresh()?;
        Ok(())
    }

    /// Where packs lie.
    pub(super) fn packs(&self) -> &Path {
        &self.packs
    }

    /// Whether so many records of so many bytes, heads included, go into the pack that is open.
    pub(super) fn has_room_for_all(&self, count: usize, bytes: usize) -> bool {
        let open = self.open.as_ref();
        open.is_none_or(|pack| pack.has_room_for_all(count, bytes))
    }

    /// Puts in a record of a sealed pack as it is, whether or not the store has it; it has been checked, and there
    /// is room for it.
    pub(super) fn copy(&mut self, record: Record, stored: &[u8]) -> Result<(), StoreError> {
        let mut pack = match self.open.take() {
            Some(pack) => pack,
            None => OpenPack::resume(&self.packs)?,
        };
        if !pack.contains(record.kind, &record.id) {
            pack.append(record, stored)?;
        }
        self.open = Some(pack);
        Ok(())
    }

    /// Throws away what was put since [`Self::seal`].
    pub(super) fn discard_open(&mut self) -> Result<(), StoreError> {
        self.open = None;
        Ok(OpenPack::discard(&self.packs)?)
    }

    fn contains(&self, kind: Kind, id: &[u8; 32]) -> bool {
        self.open
            .as_ref()
            .is_some_and(|pack| pack.contains(kind, id))
            || self.store.shared.current.load().find(kind, id).is_some()
    }

    fn put(&mut self, kind: Kind, id: [u8; 32], bytes: &[u8]) -> Result<bool, StoreError> {
        if self.contains(kind, &id) {
            return Ok(false);
        }
        let limit = kind.bytes_max();
        let opened_len = u32::try_from(bytes.len())
            .ok()
            .filter(|_| (1..=limit).contains(&bytes.len()))
            .ok_or(StoreError::Length {
                kind: kind.name(),
                got: bytes.len(),
                limit,
            })?;
        // Taken out, so that an error on the way leaves none and the next one begins with what is on disk.
        let mut pack = match self.open.take() {
            Some(pack) => pack,
            None => OpenPack::resume(&self.packs)?,
        };
        if pack.contains(kind, &id) {
            self.open = Some(pack);
            return Ok(false);
        }
        let (encoding, stored) = self
            .packer
            .pack(bytes)
            .map_err(FileError::at("pack for", &self.packs))?;
        if !pack.has_room_for(stored.len()) {
            pack.seal()?;
            self.store.refresh()?;
            pack = OpenPack::resume(&self.packs)?;
        }
        let record = Record {
            kind,
            encoding,
            // Packing never makes anything longer.
            stored_len: u32::try_from(stored.len()).unwrap_or(opened_len),
            opened_len,
            id,
        };
        pack.append(record, stored)?;
        self.stored_bytes += stored.len() as u64 + Record::LEN as u64;
        self.open = Some(pack);
        Ok(true)
    }
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(FileError::at("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // A process id and a line feed; only for the message.
            let read = file.take(32).read_to_string(&mut holder);
            let holder = read.is_ok().then(|| holder.trim().to_owned());
            return Err(StoreError::Locked {
                store: folder.to_owned(),
                holder: holder.filter(|pid| !pid.is_empty()),
            });
        }
        Err(error) => return Err(FileError::at("lock", &path)(error).into()),
    }
    // Only for the message above, so a full disk does not matter: it must not keep out a writer that makes room.
    let pid = format!("{}\n", std::process::id());
    if file.write_all(pid.as_bytes()).is_ok() {
        let _ = file.set_len(pid.len() as u64);
    }
    Ok(file)
}

/// Removes what a crash left between writing a release file and naming it.
fn remove_temporaries(releases: &Path) -> Result<(), FileError> {
    for (name, path) in snapshot::list(releases)? {
        if name.ends_with(".tmp") {
            std::fs::remove_file(&path).map_err(FileError::at("remove", &path))?;
        }
    }
    Ok(())
}
