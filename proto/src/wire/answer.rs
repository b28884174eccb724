//! What an upstream answers. SPEC §6.5.

use alloc::vec::Vec;

use super::encoding::Encoding;
use super::frame::{FrameType, WireError, frame, header};
use crate::codec::{self, CodecError, Decode, Encode, decode_exact};
use crate::id::ObjectId;
use crate::limits;

/// In front of an object's packed bytes, which follow in PART frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ObjectHeader {
    /// How the bytes are packed.
    pub encoding: Encoding,
    /// Length once opened, in bytes.
    pub opened_bytes: u64,
    /// Length of what follows, in bytes.
    pub packed_bytes: u64,
}

impl ObjectHeader {
    /// The frame.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        frame(FrameType::OBJECT, &codec::encode(self))
    }

    /// Refuses lengths over `bytes_max` before anything is allocated.
    ///
    /// # Errors
    /// [`WireError`]; the upstream is at fault.
    pub fn check(&self, bytes_max: usize) -> Result<(), WireError> {
        // zstd never makes data longer by more than its frame's few bytes, and packers keep what is shorter.
        for (what, got) in [
            ("object", self.opened_bytes),
            ("packed object", self.packed_bytes),
        ] {
            if got > bytes_max as u64 {
                return Err(WireError::Body {
                    kind: FrameType::OBJECT,
                    source: CodecError::TooLong {
                        what,
                        got: usize::try_from(got).unwrap_or(usize::MAX),
                        limit: bytes_max,
                    },
                });
            }
        }
        Ok(())
    }
}

/// In front of a bundle, which follows in PART frames. 72 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct BundleHeader {
    /// The manifest it starts from; zeros in front of runs.
    pub from: ObjectId,
    /// The manifest it leads to; zeros in front of runs.
    pub to: ObjectId,
    /// Bytes that follow. The mirror weighs them against what the other roads cost.
    pub bytes: u64,
}

impl BundleHeader {
    /// Its length in bytes.
    pub const BYTES: usize = 72;

    /// In front of runs of one content.
    #[must_use]
    pub fn of_runs(bytes: u64) -> Self {
        let none = ObjectId([0; 32]);
        Self {
            from: none,
            to: none,
            bytes,
        }
    }

    /// The frame.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        frame(FrameType::BUNDLE, &codec::encode(self))
    }

    /// Reads a frame's body.
    ///
    /// # Errors
    /// [`WireError`]; the upstream is at fault.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        decode_exact("bundle header", body, Self::BYTES).map_err(WireError::body(FrameType::BUNDLE))
    }
}

/// In front of a chunk's packed bytes, in the same frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ChunkHeader {
    /// How the bytes are packed.
    pub encoding: Encoding,
    /// Length once opened, in bytes.
    pub opened_bytes: u32,
}

impl ChunkHeader {
    /// Its length in bytes.
    pub const BYTES: usize = 5;

    /// Frame header and chunk header of a chunk whose packed form has `packed_bytes`; those follow, straight
    /// from the store.
    #[must_use]
    pub fn to_frame_start(&self, packed_bytes: usize) -> Vec<u8> {
        let mut start = header(FrameType::CHUNK, Self::BYTES + packed_bytes).to_vec();
        start.extend_from_slice(&codec::encode(self));
        start
    }

    fn split(body: &[u8]) -> Result<(Self, usize), WireError> {
        let (header, packed) = body.split_at_checked(Self::BYTES).ok_or_else(|| {
            WireError::body(FrameType::CHUNK)(CodecError::Malformed {
                what: "chunk",
                got: body.len(),
            })
        })?;
        let header: Self = decode_exact("chunk header", header, Self::BYTES)
            .map_err(WireError::body(FrameType::CHUNK))?;
        if header.opened_bytes as usize > limits::CHUNK_BYTES {
            return Err(WireError::body(FrameType::CHUNK)(CodecError::TooLong {
                what: "opened chunk",
                got: header.opened_bytes as usize,
                limit: limits::CHUNK_BYTES,
            }));
        }
        Ok((header, packed.len()))
    }
}

/// Asks for patience; the answer follows on the same stream. The useful-rate rule rests meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Wait {
    /// How long at most, in milliseconds; more than [`limits::WAIT_MS`] counts as that.
    pub ms: u32,
}

impl Wait {
    /// The frame.
    #[must_use]
    pub fn to_frame(self) -> Vec<u8> {
        frame(FrameType::WAIT, &codec::encode(&self))
    }
}

/// One frame of an answer, as the mirror reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing new.
    Unchanged,
    /// A signed head.
    Announce(Vec<u8>),
    /// A signed root.
    Root(Vec<u8>),
    /// An object begins.
    Object(ObjectHeader),
    /// More of it.
    Part(Vec<u8>),
    /// A chunk: `body[ChunkHeader::BYTES..]` is packed as the header says.
    Chunk {
        /// How to open it.
        header: ChunkHeader,
        /// The frame's whole body.
        body: Vec<u8>,
    },
    /// A bundle or runs begin.
    Bundle(BundleHeader),
    /// Not here. Never said for want of time.
    Absent,
    /// Have patience.
    Wait(Wait),
}

impl Answer {
    /// Reads one frame of an answer.
    ///
    /// # Errors
    /// [`WireError`]; the upstream is at fault.
    pub fn decode(kind: FrameType, body: Vec<u8>) -> Result<Self, WireError> {
        let bad = WireError::body(kind);
        Ok(match kind {
            FrameType::UNCHANGED => Self::Unchanged,
            FrameType::ANNOUNCE => Self::Announce(body),
            FrameType::ROOT => Self::Root(body),
            FrameType::OBJECT => Self::Object(decode_exact("object", &body, 64).map_err(bad)?),
            FrameType::PART => Self::Part(body),
            FrameType::BUNDLE => Self::Bundle(BundleHeader::decode(&body)?),
            FrameType::CHUNK => {
                let (header, _) = ChunkHeader::split(&body)?;
                Self::Chunk { header, body }
            }
            FrameType::ABSENT => Self::Absent,
            FrameType::WAIT => Self::Wait(decode_exact("wait", &body, 4).map_err(bad)?),
            got => {
                return Err(WireError::Unexpected {
                    got,
                    expected: "an answer",
                });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_reads_back() {
        let chunk = ChunkHeader {
            encoding: Encoding::PLAIN,
            opened_bytes: 3,
        };
        let mut frame = chunk.to_frame_start(3);
        frame.extend_from_slice(b"abc");
        let answer = Answer::decode(FrameType::CHUNK, frame[5..].to_vec()).unwrap();
        let Answer::Chunk { header, body } = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(header, chunk);
        assert_eq!(&body[ChunkHeader::BYTES..], b"abc");
    }

    #[test]
    fn lying_lengths_are_refused() {
        let chunk = ChunkHeader {
            encoding: Encoding::ZSTD,
            opened_bytes: u32::MAX,
        };
        assert!(Answer::decode(FrameType::CHUNK, codec::encode(&chunk)).is_err());
        assert!(Answer::decode(FrameType::CHUNK, alloc::vec![0; 4]).is_err());
        let object = ObjectHeader {
            encoding: Encoding::ZSTD,
            opened_bytes: u64::MAX,
            packed_bytes: 1,
        };
        assert!(object.check(limits::LIST_BYTES).is_err());
    }
}
