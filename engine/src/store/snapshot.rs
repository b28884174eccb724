//! What a store held at one moment: its packs, its releases, and where each thing lies.

use std::collections::BTreeMap;
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
    pub(super) fn read(folder: &Path, old: &Self) -> Result<Self, StoreError> {
        // Releases first: whatever a release needs was sealed before it, so its packs are listed afterwards.
        let mut releases = BTreeMap::new();
        for (name, path) in list(&folder.join(RELEASES))? {
            let Some(release) = release_file::number_of(&name) else {
                continue;
            };
            let file = match old.releases.get(&release) {
                Some(known) => Arc::clone(known),
                None => Arc::new(ReleaseFile::open(&path, release)?),
            };
            releases.insert(release, file);
        }
        let mut packs = Vec::new();
        for (name, path) in list(&folder.join(PACKS))? {
            if pack_hash(&name).is_none() {
                continue;
            }
            packs.push(match old.packs.iter().find(|pack| pack.path() == path) {
                Some(known) => Arc::clone(known),
                None => Arc::new(Pack::open(&path)?),
            });
        }
        let slots = slots(&packs);
        Ok(Self {
            packs,
            slots,
            releases,
        })
    }

    pub(super) fn find(&self, kind: Kind, id: &[u8; 32]) -> Option<StoredBytes> {
        let prefix = prefix(id);
        let first = self.slots.partition_point(|slot| slot.prefix < prefix);
        self.slots[first..]
            .iter()
            .take_while(|slot| slot.prefix == prefix)
            .find_map(|slot| {
                let pack = self.packs.get(slot.pack as usize)?;
                let (record, stored) = pack.record(slot.entry as usize)?;
                (record.kind == kind && record.id == *id).then_some(stored)
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

/// The hash a pack's file name states.
pub(super) fn pack_hash(name: &str) -> Option<blake3::Hash> {
    let hash = blake3::Hash::from_hex(name.strip_suffix(".pack")?).ok()?;
    (pack_name(&hash) == name).then_some(hash)
}

/// The file name of a pack with that hash.
pub(super) fn pack_name(hash: &blake3::Hash) -> String {
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
