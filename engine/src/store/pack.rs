//! A sealed pack: records, then a sorted index, then a trailer; mapped for reading. SPEC §7.6.
//!
//! Everything an index says is checked when the pack is opened, so that looking up never leaves the file.

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::record::{Kind, Record};
use super::{PackError, StoreError, StoredBytes};
use crate::durable::FileError;

/// Most bytes of a pack, index and trailer included: small enough to verify, copy or drop one at a time.
pub const PACK_BYTES: usize = 64 * 1024 * 1024;

/// Most records of a pack: bounds what a writer remembers of the pack it has open (some 6 MiB).
pub const PACK_RECORDS: usize = 65_536;

/// The first bytes of a pack of this version.
pub(super) const HEAD: &[u8; 16] = b"tidecast pack 1\n";

/// The last bytes of a sealed one.
const TAIL: &[u8; 8] = b"packend\n";

/// Index hash, 32 bytes; index offset, 4 LE; count, 4 LE; [`TAIL`].
const TRAILER_LEN: usize = 32 + 4 + 4 + TAIL.len();

/// A record's head, then the offset of its stored bytes, 4 LE.
const ENTRY_LEN: usize = Record::LEN + 4;

/// Bytes of a pack beside its records, when it holds `records` of them.
pub(super) fn overhead(records: usize) -> usize {
    HEAD.len() + records * ENTRY_LEN + TRAILER_LEN
}

/// Index and trailer of a pack whose records end at `index_offset`. `entries` come sorted by kind and id.
pub(super) fn encode_index(
    index_offset: u32,
    entries: impl Iterator<Item = (Record, u32)>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut count = 0_u32;
    for (record, offset) in entries {
        bytes.extend_from_slice(&record.to_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
        count += 1;
    }
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes.extend_from_slice(&index_offset.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(TAIL);
    bytes
}

/// A sealed pack, open for reading.
#[derive(Debug)]
pub(crate) struct Pack {
    path: PathBuf,
    bytes: Bytes,
    index_at: usize,
    count: usize,
}

impl Pack {
    /// Maps the pack at `path` and checks its index.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::of(path, map(path)?).map_err(|source| StoreError::Pack {
            path: path.to_owned(),
            source,
        })
    }

    /// The pack that `bytes` are.
    pub(crate) fn of(path: &Path, bytes: Bytes) -> Result<Self, PackError> {
        let (index_at, count) = check(&bytes)?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            index_at,
            count,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Number of records.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Kind, id and stored bytes of the index's `entry`; `None` past the end.
    pub(crate) fn record(&self, entry: usize) -> Option<(Record, StoredBytes)> {
        let (record, at) = entry_at(&self.bytes, self.index_at, entry)
            .filter(|_| entry < self.count)
            .and_then(|(head, at)| Some((Record::parse(head).ok()?, at)))?;
        let range = at..at.checked_add(record.stored_len as usize)?;
        self.bytes.get(range.clone())?;
        let stored = StoredBytes {
            encoding: record.encoding,
            opened_len: record.opened_len,
            bytes: self.bytes.slice(range),
        };
        Some((record, stored))
    }

    /// Bytes of an entry's record, without its head.
    pub(super) fn stored_len(&self, entry: usize) -> Option<usize> {
        let (head, _) = entry_at(&self.bytes, self.index_at, entry)?;
        Some(Record::parse(head).ok()?.stored_len as usize)
    }

    /// Only the name: what a directory over all packs is made of.
    pub(super) fn key(&self, entry: usize) -> Option<(Kind, [u8; 32])> {
        let (head, _) = entry_at(&self.bytes, self.index_at, entry)?;
        let record = Record::parse(head).ok()?;
        Some((record.kind, record.id))
    }
}

/// Where the index begins and how many entries it has, when all of it is possible.
fn check(bytes: &[u8]) -> Result<(usize, usize), PackError> {
    if bytes.len() < overhead(0) || bytes.len() > PACK_BYTES {
        return Err(PackError::Size(bytes.len() as u64));
    }
    if !bytes.starts_with(HEAD) {
        return Err(PackError::Head);
    }
    let (body, trailer) = bytes.split_at(bytes.len() - TRAILER_LEN);
    let trailer = trailer.strip_suffix(TAIL).ok_or(PackError::Trailer)?;
    let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| trailer[at + i]));
    let (offset, count) = (word(32), word(36));
    let (index_at, entries) = (offset as usize, count as usize);
    let ends_at = entries
        .checked_mul(ENTRY_LEN)
        .and_then(|len| len.checked_add(index_at));
    if index_at < HEAD.len() || ends_at != Some(body.len()) {
        return Err(PackError::IndexPlace { count, offset });
    }
    if blake3::hash(&body[index_at..]).as_bytes() != &trailer[..32] {
        return Err(PackError::IndexHash);
    }
    let mut last = None;
    for entry in 0..entries {
        let (head, at) = entry_at(body, index_at, entry).ok_or(PackError::Outside { entry })?;
        let record = Record::parse(head).map_err(|source| PackError::Entry { entry, source })?;
        let end = at.checked_add(record.stored_len as usize);
        if at < HEAD.len() + Record::LEN || end.is_none_or(|end| end > index_at) {
            return Err(PackError::Outside { entry });
        }
        let key = (record.kind, record.id);
        if last.is_some_and(|last| last >= key) {
            return Err(PackError::Order { entry });
        }
        last = Some(key);
    }
    Ok((index_at, entries))
}

/// The head and the offset an index entry holds.
fn entry_at(bytes: &[u8], index_at: usize, entry: usize) -> Option<(&[u8; Record::LEN], usize)> {
    let at = entry.checked_mul(ENTRY_LEN)?.checked_add(index_at)?;
    let (head, rest) = bytes.get(at..)?.split_first_chunk()?;
    let offset = u32::from_le_bytes(*rest.first_chunk()?);
    Some((head, offset as usize))
}

/// Maps a file of our own store.
#[expect(
    unsafe_code,
    reason = "a mapped file that shrinks is undefined; ours never do"
)]
pub(crate) fn map(path: &Path) -> Result<Bytes, FileError> {
    let file = File::open(path).map_err(FileError::at("open", path))?;
    let len = file
        .metadata()
        .map_err(FileError::at("look at", path))?
        .len();
    if len == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the file lies in our own store, where sealed files are only ever created whole under a new name
    // and removed, never written to or cut; a removed file stays mapped.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(FileError::at("map", path))?;
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidecast_proto::wire::Encoding;

    fn record(id: u8, len: u32) -> Record {
        Record {
            kind: Kind::Chunk,
            encoding: Encoding::PLAIN,
            stored_len: len,
            opened_len: len,
            id: [id; 32],
        }
    }

    /// Two records, `abc` and `de`, by hand.
    fn sample() -> Vec<u8> {
        let mut bytes = HEAD.to_vec();
        bytes.extend(record(1, 3).to_bytes());
        bytes.extend(b"abc");
        bytes.extend(record(2, 2).to_bytes());
        bytes.extend(b"de");
        let end = u32::try_from(bytes.len()).unwrap();
        bytes.extend(encode_index(
            end,
            [(record(1, 3), 60), (record(2, 2), 107)].into_iter(),
        ));
        bytes
    }

    #[test]
    fn a_pack_made_by_hand_opens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        std::fs::write(&path, sample()).unwrap();
        let pack = Pack::open(&path).unwrap();
        assert_eq!(pack.len(), 2);
        assert_eq!(pack.record(0).unwrap().1.bytes, "abc");
        assert_eq!(pack.record(1).unwrap().1.bytes, "de");
        assert!(pack.record(2).is_none());
        assert!(pack.record(usize::MAX).is_none());
    }

    #[test]
    fn a_pack_cut_short_anywhere_is_refused() {
        let bytes = sample();
        for len in 0..bytes.len() {
            assert!(check(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn any_flipped_bit_outside_the_records_is_refused() {
        let bytes = sample();
        let index_at = check(&bytes).unwrap().0;
        for at in (0..HEAD.len()).chain(index_at..bytes.len()) {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert!(check(&bad).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn entries_that_leave_the_pack_or_repeat_are_refused() {
        let pack = |entries: Vec<(Record, u32)>| {
            let mut bytes = HEAD.to_vec();
            bytes.resize(200, 0);
            bytes.extend(encode_index(200, entries.into_iter()));
            check(&bytes).map(|_| ())
        };
        assert_eq!(pack(vec![(record(1, 140), 60)]), Ok(()));
        let outside = Err(PackError::Outside { entry: 0 });
        assert_eq!(pack(vec![(record(1, 141), 60)]), outside);
        assert_eq!(pack(vec![(record(1, 1), 59)]), outside);
        assert_eq!(pack(vec![(record(1, 1), u32::MAX)]), outside);
        let order = Err(PackError::Order { entry: 1 });
        assert_eq!(pack(vec![(record(1, 1), 60); 2]), order);
        assert_eq!(pack(vec![(record(2, 1), 60), (record(1, 1), 60)]), order);
        let bad = Record {
            encoding: Encoding(7),
            ..record(1, 1)
        };
        assert!(matches!(
            pack(vec![(bad, 60)]),
            Err(PackError::Entry { entry: 0, .. })
        ));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            middle in proptest::collection::vec(any::<u8>(), 0..400),
            offset in any::<u32>(),
            count in any::<u32>(),
            small in any::<bool>(),
        ) {
            let _ = check(&middle);
            // Well-formed ends around nonsense reach the code behind them.
            let mut bytes = [HEAD.as_slice(), &middle].concat();
            let (offset, count) = if small {
                let count = count % 5;
                let entries = count as usize * ENTRY_LEN;
                (u32::try_from(bytes.len().saturating_sub(entries)).unwrap(), count)
            } else {
                (offset, count)
            };
            let index = bytes.get(offset as usize..).unwrap_or_default();
            let hash = *blake3::hash(index).as_bytes();
            bytes.extend(hash);
            bytes.extend(offset.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(TAIL);
            let _ = check(&bytes);
        }
    }
}
