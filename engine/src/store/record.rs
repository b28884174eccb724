//! One stored thing: what it is, how it is packed, how long, and its name. SPEC §7.6.

use tidecast_proto::{
    codec,
    id::{ObjectId, RecipeId},
    limits,
    list::List,
    manifest::SignedManifest,
    recipe::Recipe,
    wire::Encoding,
};

use super::StoreError;
use crate::packing;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A chunk, named by the hash of its bytes.
    Chunk,
    /// A chunk list, named by the hash of its encoding.
    List,
    /// A signed manifest, named by the hash of its **body**. Only in release files.
    Manifest,
    /// A recipe, named by the hash of its encoding.
    Recipe,
}

impl Kind {
    /// The byte on disk.
    pub(super) fn to_byte(self) -> u8 {
        match self {
            Self::Chunk => 0,
            Self::List => 1,
            Self::Manifest => 2,
            Self::Recipe => 3,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Chunk, Self::List, Self::Manifest, Self::Recipe]
            .into_iter()
            .find(|kind| kind.to_byte() == byte)
    }

    /// Most bytes of one, opened.
    pub(super) fn bytes_max(self) -> usize {
        match self {
            Self::Chunk => limits::CHUNK_BYTES,
            Self::List => limits::LIST_BYTES,
            Self::Manifest => limits::MANIFEST_BYTES,
            Self::Recipe => limits::RECIPE_BYTES,
        }
    }

    /// For messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Chunk => "chunk",
            Self::List => "list",
            Self::Manifest => "manifest",
            Self::Recipe => "recipe",
        }
    }
}

/// What stands in front of the stored bytes, and again in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(super) encoding: Encoding,
    /// Bytes on disk; never more than opened.
    pub(super) stored_len: u32,
    /// Bytes of the thing itself.
    pub(super) opened_len: u32,
    pub(super) id: [u8; 32],
}

/// Why 44 bytes are no record.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Damage, or a store written by a later version.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// Damage, or a store written by a later version.
    #[error("unknown encoding {0}")]
    Encoding(u8),
    /// Bytes that must be 0 are not.
    #[error("reserved bytes are set")]
    Reserved,
    /// Longer than such a thing can be, empty, or longer packed than opened.
    #[error("{} packed and {} opened bytes are impossible for a {}", stored_len, opened_len, kind.name())]
    Lengths {
        kind: Kind,
        stored_len: u32,
        opened_len: u32,
    },
}

impl Record {
    /// Bytes of a record's head.
    pub(crate) const LEN: usize = 44;

    /// Kind, 1 byte; encoding, 1; zeros, 2; stored length, 4 LE; opened length, 4 LE; id, 32.
    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = self.kind.to_byte();
        bytes[1] = self.encoding.0;
        bytes[4..8].copy_from_slice(&self.stored_len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.opened_len.to_le_bytes());
        bytes[12..].copy_from_slice(&self.id);
        bytes
    }

    /// Reads a head whose numbers are possible.
    pub(crate) fn parse(bytes: &[u8; Self::LEN]) -> Result<Self, RecordError> {
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let kind = Kind::from_byte(bytes[0]).ok_or(RecordError::Kind(bytes[0]))?;
        let record = Self {
            kind,
            encoding: Encoding(bytes[1]),
            stored_len: word(4),
            opened_len: word(8),
            id: std::array::from_fn(|i| bytes[12 + i]),
        };
        if bytes[2..4] != [0, 0] {
            return Err(RecordError::Reserved);
        }
        let (stored_len, opened_len) = (record.stored_len, record.opened_len);
        let lengths_agree = match record.encoding {
            Encoding::PLAIN => stored_len == opened_len,
            Encoding::ZSTD => stored_len < opened_len,
            Encoding(other) => return Err(RecordError::Encoding(other)),
        };
        if !lengths_agree || stored_len == 0 || opened_len as usize > kind.bytes_max() {
            return Err(RecordError::Lengths {
                kind,
                stored_len,
                opened_len,
            });
        }
        Ok(record)
    }

    /// Opens `stored` and compares its hash with the name.
    pub(crate) fn check(&self, stored: &[u8]) -> Result<(), StoreError> {
        let opened = packing::open(self.encoding, self.opened_len as usize, stored);
        let id = opened.as_ref().ok().and_then(|bytes| match self.kind {
            Kind::Chunk => Some(*blake3::hash(bytes).as_bytes()),
            // Lists and chunks are both named by the hash of their bytes, so a list must read like one too.
            Kind::List => codec::decode_exact("list", bytes, limits::LIST_BYTES)
                .and_then(List::new)
                .ok()
                .map(|list| list.id().0),
            Kind::Manifest => SignedManifest::from_bytes(bytes)
                .ok()
                .map(|signed| signed.id().0),
            Kind::Recipe => Recipe::decode_any(bytes, RecipeId(self.id))
                .ok()
                .map(|recipe| recipe.id().0),
        });
        if id == Some(self.id) {
            return Ok(());
        }
        Err(StoreError::WrongContent {
            kind: self.kind.name(),
            id: ObjectId(self.id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: Record = Record {
        kind: Kind::List,
        encoding: Encoding::ZSTD,
        stored_len: 7,
        opened_len: 80,
        id: [9; 32],
    };

    #[test]
    fn a_record_reads_back() {
        let bytes = GOOD.to_bytes();
        assert_eq!(bytes[..12], [1, 1, 0, 0, 7, 0, 0, 0, 80, 0, 0, 0]);
        assert_eq!(Record::parse(&bytes), Ok(GOOD));
    }

    #[test]
    fn impossible_lengths_kinds_and_encodings_are_refused() {
        let refused = |change: fn(&mut Record)| {
            let mut record = GOOD;
            change(&mut record);
            Record::parse(&record.to_bytes()).is_err()
        };
        assert!(refused(|r| r.encoding = Encoding(2)));
        assert!(refused(|r| r.encoding = Encoding::PLAIN));
        assert!(refused(|r| r.stored_len = 80));
        assert!(refused(|r| r.stored_len = 0));
        assert!(refused(|r| r.opened_len = 4 * 1024 * 1024 + 1));
        let mut bytes = GOOD.to_bytes();
        bytes[0] = 4;
        assert_eq!(Record::parse(&bytes), Err(RecordError::Kind(4)));
        let mut bytes = GOOD.to_bytes();
        bytes[3] = 1;
        assert_eq!(Record::parse(&bytes), Err(RecordError::Reserved));
    }

    proptest! {
        #[test]
        fn what_parses_encodes_back(head in any::<[u8; 12]>(), id in any::<[u8; 32]>()) {
            let mut bytes = [0; Record::LEN];
            bytes[..12].copy_from_slice(&head);
            // Small enough numbers that some parse.
            for at in [0, 1] { bytes[at] %= 4; }
            for at in [2, 3, 6, 7, 10, 11] { bytes[at] = 0; }
            bytes[12..].copy_from_slice(&id);
            if let Ok(record) = Record::parse(&bytes) {
                prop_assert_eq!(record.to_bytes(), bytes);
            }
        }
    }
}
