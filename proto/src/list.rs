//! The list: chunk ids and lengths of one byte sequence, in order. SPEC §5.2.

use alloc::vec::Vec;

use crate::codec::{self, CodecError, Decode, Encode};
use crate::id::{ChunkId, FileHash, ListId};
use crate::limits;

/// One chunk of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// Its name.
    pub id: ChunkId,
    /// Its length in bytes, 1 to [`limits::CHUNK_BYTES`].
    pub len: u32,
}

/// A list whose entries are possible: each length within bounds, no overflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    entries: Vec<Entry>,
    total: u64,
}

/// Why a list was refused. The sender is at fault; nothing was kept.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// Malformed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Other bytes than asked for.
    #[error("list hashes to {got}, asked for {expected}")]
    WrongId { got: ListId, expected: ListId },
    /// Its chunks do not add up to the file.
    #[error("list {list} describes {got} bytes, the file has {expected}")]
    WrongTotal {
        list: ListId,
        got: u64,
        expected: u64,
    },
}

impl List {
    /// Makes a list.
    ///
    /// # Errors
    /// [`CodecError`] when a length is impossible or the list too long; the caller is at fault.
    pub fn new(entries: Vec<Entry>) -> Result<Self, CodecError> {
        let mut total = 0_u64;
        for entry in &entries {
            if entry.len == 0 || entry.len as usize > limits::CHUNK_BYTES {
                return Err(CodecError::BadField {
                    field: "list.len",
                    why: "a chunk has 1 to 262144 bytes",
                });
            }
            total += u64::from(entry.len);
        }
        codec::at_most("list", 8 + entries.len() * 36, limits::LIST_BYTES)?;
        Ok(Self { entries, total })
    }

    /// The list of a file that has one chunk, or none when it is empty: such files need no stored list.
    #[must_use]
    pub fn of_small_file(hash: FileHash, size: u64) -> Option<Self> {
        let len = u32::try_from(size)
            .ok()
            .filter(|len| *len as usize <= limits::CHUNK_BYTES)?;
        let entries = (len > 0)
            .then(|| Entry {
                id: hash.into(),
                len,
            })
            .into_iter()
            .collect();
        Some(Self {
            entries,
            total: size,
        })
    }

    /// Reads the list named `id` of a file of `size` bytes.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn decode(bytes: &[u8], id: ListId, size: u64) -> Result<Self, ListError> {
        let list = Self::decode_any(bytes, id)?;
        if list.total != size {
            return Err(ListError::WrongTotal {
                list: id,
                got: list.total,
                expected: size,
            });
        }
        Ok(list)
    }

    /// Reads the list named `id`, of whatever content.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn decode_any(bytes: &[u8], id: ListId) -> Result<Self, ListError> {
        let got = ListId::of(bytes);
        if got != id {
            return Err(ListError::WrongId { got, expected: id });
        }
        Ok(Self::new(codec::decode_exact(
            "list",
            bytes,
            limits::LIST_BYTES,
        )?)?)
    }

    /// The bytes that are hashed, stored and sent: count, 8 bytes LE; then id, 32 bytes, and length, 4 bytes
    /// LE, of each chunk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&self.entries)
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> ListId {
        ListId::of(&self.encode())
    }

    /// The chunks in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Sum of the lengths in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    /// Each chunk with the offset it begins at.
    pub fn with_offsets(&self) -> impl Iterator<Item = (u64, Entry)> + '_ {
        self.entries.iter().scan(0, |offset, entry| {
            let at = *offset;
            *offset += u64::from(entry.len);
            Some((at, *entry))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn two_chunks() -> List {
        let entry = |bytes: &[u8]| Entry {
            id: ChunkId::of(bytes),
            len: u32::try_from(bytes.len()).unwrap(),
        };
        List::new(vec![entry(b"one"), entry(b"three")]).unwrap()
    }

    #[test]
    fn a_list_reads_back_and_knows_its_offsets() {
        let list = two_chunks();
        assert_eq!(List::decode(&list.encode(), list.id(), 8), Ok(list.clone()));
        let offsets: Vec<u64> = list.with_offsets().map(|(at, _)| at).collect();
        assert_eq!(offsets, [0, 3]);
        assert_eq!(list.encode().len(), 8 + 2 * 36);
    }

    #[test]
    fn other_bytes_or_another_size_are_refused() {
        let list = two_chunks();
        assert!(matches!(
            List::decode(&list.encode(), ListId::of(b""), 8),
            Err(ListError::WrongId { .. })
        ));
        assert!(matches!(
            List::decode(&list.encode(), list.id(), 9),
            Err(ListError::WrongTotal {
                got: 8,
                expected: 9,
                ..
            })
        ));
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for len in [0, 256 * 1024 + 1] {
            let id = ChunkId::of(b"");
            assert!(List::new(vec![Entry { id, len }]).is_err());
        }
    }

    #[test]
    fn small_files_need_no_list() {
        let hash = FileHash::of(b"abc");
        let list = List::of_small_file(hash, 3).unwrap();
        assert_eq!(list.entries()[0].id, ChunkId::of(b"abc"));
        assert!(
            List::of_small_file(FileHash::of(b""), 0)
                .unwrap()
                .entries()
                .is_empty()
        );
        assert!(List::of_small_file(hash, 1 << 20).is_none());
    }
}
