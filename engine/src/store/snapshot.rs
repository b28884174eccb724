//! What a store held at one moment: its packs, its releases, and where each thing lies.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidecast_proto::id::ReleaseNumber;

use super::pack::Pack;
use super::record::Kind;
use super::release_file::{self, ReleaseFile};
use super::{StoreError, StoredBytes, StoredRelease};
use crate::durable::FileError;

/// Sealed packs and the pack being written.
pub(super) const PACKS: &str = "packs";
/// Release files.
pub(super) const RELEASES: &str = "releases";

/// Looks at the folder of packs before giving up. Each further one means that a pack was sealed during the one
/// before, and sealing waits for the disk while looking does not.
const LOOKS: usize = 16;

/// Where a thing lies. 16 bytes each, so a million chunks cost 16 MB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    /// The first bytes of its id; the index in the pack tells equal ones apart.
    prefix: u64,
    pack: u32,
    entry: u32,
}

#[derive(Debug, Default)]
pub(super) struct Snapshot {
    packs: Vec<Arc<Pack>>,
    /// Sorted by prefix.
    slots: Vec<Slot>,
    releases: BTreeMap<ReleaseNumber, Arc<ReleaseFile>>,
}

impl Snapshot {
    /// Reads what is in `folder` now; what `old` has mapped already is taken over.
    ///
    /// A collector may be at work. It removes a release before what only that release needs, and copies a record
    /// before it removes the pack that held it, so two looks tell whether the first one saw everything.
    pub(super) fn read(folder: &Path, old: &Self) -> Result<Self, StoreError> {
        // Releases first: whatever a release needs was sealed before it, so its packs are listed afterwards.
        let mut releases = BTreeMap::new();
        for (name, path) in list(&folder.join(RELEASES))? {
            let Some(release) = release_file::number_of(&name) else {
                continue;
            };
            let file = match old.releases.get(&release) {
                Some(known) => Some(Arc::clone(known)),
                None => present(ReleaseFile::open(&path, release))?.map(Arc::new),
            };
            releases.extend(file.map(|file| (release, file)));
        }
        let packs = read_packs(&folder.join(PACKS), old)?;
        // Then releases again: one that was removed meanwhile may lack packs already.
        let still: BTreeSet<String> = list(&folder.join(RELEASES))?
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        releases.retain(|release, _| still.contains(&release_file::file_name(*release)));
        let slots = slots(&packs);
        Ok(Self {
            packs,
            slots,
            releases,
        })
    }

    pub(super) fn find(&self, kind: Kind, id: &[u8; 32]) -> Option<StoredBytes> {
        let (pack, entry) = self.places(kind, id).next()?;
        Some(self.packs.get(pack)?.record(entry)?.1)
    }

    /// Every place a thing lies in, as numbers of a pack and of an entry in it: a crash may have left it in two.
    pub(super) fn places(&self, kind: Kind, id: &[u8; 32]) -> impl Iterator<Item = (usize, usize)> {
        let prefix = prefix(id);
        let first = self.slots.partition_point(|slot| slot.prefix < prefix);
        self.slots[first..]
            .iter()
            .take_while(move |slot| slot.prefix == prefix)
            .map(|slot| (slot.pack as usize, slot.entry as usize))
            .filter(move |(pack, entry)| {
                let key = self.packs.get(*pack).and_then(|pack| pack.key(*entry));
                key == Some((kind, *id))
            })
    }

    pub(super) fn packs(&self) -> &[Arc<Pack>] {
        &self.packs
    }

    pub(super) fn releases(&self) -> impl DoubleEndedIterator<Item = &Arc<ReleaseFile>> {
        self.releases.values()
    }

    pub(super) fn release(&self, release: ReleaseNumber) -> Option<&Arc<ReleaseFile>> {
        self.releases.get(&release)
    }

    pub(super) fn newest(&self) -> Option<StoredRelease> {
        let (release, file) = self.releases.last_key_value()?;
        Some(StoredRelease {
            release: *release,
            manifest: file.manifest_id(),
        })
    }
}

/// Maps every pack in `folder`.
fn read_packs(folder: &Path, old: &Snapshot) -> Result<Vec<Arc<Pack>>, StoreError> {
    let sealed = || -> Result<Vec<(String, PathBuf)>, FileError> {
        let mut names = list(folder)?;
        names.retain(|(name, _)| pack_hash(name).is_some());
        Ok(names)
    };
    let mut names = sealed()?;
    for _ in 0..LOOKS {
        let mut packs = Vec::with_capacity(names.len());
        for (_, path) in &names {
            let known = old.packs.iter().find(|pack| pack.path() == path);
            packs.extend(match known {
                Some(known) => Some(Arc::clone(known)),
                None => present(Pack::open(path))?.map(Arc::new),
            });
        }
        let now = sealed()?;
        // A pack that went away was of no use any more, or its content is in one that had come before; only if
        // that one had come too late for our list is there something we have not seen.
        if now.iter().all(|pack| names.binary_search(pack).is_ok()) {
            return Ok(packs);
        }
        names = now;
    }
    Err(StoreError::Unsettled {
        folder: folder.to_owned(),
    })
}

/// `None` for a file that a collector removed between our seeing its name and opening it.
fn present<T>(opened: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(StoreError::File(error)) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The hash a pack's file name states.
pub(crate) fn pack_hash(name: &str) -> Option<blake3::Hash> {
    let hash = blake3::Hash::from_hex(name.strip_suffix(".pack")?).ok()?;
    (pack_name(&hash) == name).then_some(hash)
}

/// The file name of a pack with that hash.
pub(crate) fn pack_name(hash: &blake3::Hash) -> String {
    format!("{}.pack", hash.to_hex())
}

fn slots(packs: &[Arc<Pack>]) -> Vec<Slot> {
    let mut slots = Vec::with_capacity(packs.iter().map(|pack| pack.len()).sum());
    for (at, pack) in (0_u32..).zip(packs) {
        for entry in (0_u32..).take(pack.len()) {
            if let Some((_, id)) = pack.key(entry as usize) {
                slots.push(Slot {
                    prefix: prefix(&id),
                    pack: at,
                    entry,
                });
            }
        }
    }
    slots.sort_unstable();
    slots
}

fn prefix(id: &[u8; 32]) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|i| id[i]))
}

/// Names and paths in a folder of the store, sorted; none when it is not there yet.
pub(crate) fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>, FileError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::at("list", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FileError::at("list", folder))?;
        // Foreign names that are not even text are not ours.
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, entry.path()));
        }
    }
    names.sort_unstable();
    Ok(names)
}
