//! What is remembered of a tree: which manifest it is, since when it is live, and each file's identity and
//! times. SPEC §8.4.

use tidecast_proto::codec::{self, CodecError};
use tidecast_proto::id::{ObjectId, Timestamp};
use tidecast_proto::limits;

use super::files::FileRecord;

/// Bytes of one record on disk.
const RECORD_BYTES: usize = 8 + 8 + 8 + 4 + 8 + 4;
/// Longest index: version, manifest, moment, count, records.
pub(super) const INDEX_BYTES_MAX: usize = 1 + 32 + 9 + 8 + limits::FILES_PER_RELEASE * RECORD_BYTES;
/// First byte of the format.
const VERSION: u8 = 1;

/// On disk, in the canonical encoding of SPEC §1.
type Encoded = (
    u8,
    ObjectId,
    Option<Timestamp>,
    Vec<(u64, u64, i64, u32, i64, u32)>,
);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    /// The manifest beside it; stands in for its signatures, which were checked before the tree was built.
    pub(super) manifest: ObjectId,
    /// When it went live; `None` until the switch is recorded.
    pub(super) switched: Option<Timestamp>,
    /// One per file of the manifest, in its order.
    pub(super) records: Vec<FileRecord>,
}

impl Index {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let records = self
            .records
            .iter()
            .map(|r| {
                (
                    r.inode, r.size, r.mtime_s, r.mtime_ns, r.ctime_s, r.ctime_ns,
                )
            })
            .collect();
        let encoded: Encoded = (VERSION, self.manifest, self.switched, records);
        codec::encode(&encoded)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (version, manifest, switched, records): Encoded =
            codec::decode_exact("index", bytes, INDEX_BYTES_MAX)?;
        if version != VERSION {
            return Err(CodecError::BadField {
                field: "index.version",
                why: "written by another version of tidecast",
            });
        }
        let records = records
            .into_iter()
            .map(
                |(inode, size, mtime_s, mtime_ns, ctime_s, ctime_ns)| FileRecord {
                    inode,
                    size,
                    mtime_s,
                    mtime_ns,
                    ctime_s,
                    ctime_ns,
                },
            )
            .collect();
        Ok(Self {
            manifest,
            switched,
            records,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_reads_back_and_a_flipped_version_does_not() {
        let index = Index {
            manifest: ObjectId::of(b"m"),
            switched: Some(Timestamp(7)),
            records: vec![FileRecord {
                inode: 1,
                size: 2,
                mtime_s: -3,
                mtime_ns: 4,
                ctime_s: 5,
                ctime_ns: 6,
            }],
        };
        let mut bytes = index.encode();
        assert_eq!(bytes.len(), 1 + 32 + 9 + 8 + RECORD_BYTES);
        assert_eq!(Index::decode(&bytes).unwrap(), index);
        bytes[0] = 2;
        assert!(Index::decode(&bytes).is_err());
    }
}
