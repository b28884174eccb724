//! Frames: type, bounded length, body. SPEC §6.2.

use alloc::vec::Vec;
use core::fmt;

use crate::codec::CodecError;
use crate::extension::UnknownCritical;
use crate::limits;

/// Bytes in front of every body: type, then length as 4 bytes LE.
pub const FRAME_HEADER_BYTES: usize = 5;

/// What a frame is. A number rather than an enum, so that an unknown one can be named in an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrameType(pub u8);

macro_rules! frame_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl FrameType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Every type this version knows, with its name in SPEC.md.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, stringify!($name))),*];
        }
    };
}

frame_types! {
    /// [`super::Hello`], mirror to upstream.
    HELLO = 0x01;
    /// [`super::Welcome`].
    WELCOME = 0x02;
    /// [`super::Refused`].
    REFUSED = 0x03;
    /// Sent unasked when a node that waited has been admitted: say Hello again. Empty.
    ADMITTED = 0x04;
    /// [`super::Poll`].
    POLL = 0x05;
    /// Answer to a poll: nothing new. Empty.
    UNCHANGED = 0x06;
    /// A signed head: unasked, or the answer to a poll.
    ANNOUNCE = 0x07;
    /// A root's number, 8 bytes LE.
    FETCH_ROOT = 0x10;
    /// A signed root.
    ROOT = 0x11;
    /// [`super::ObjectName`].
    FETCH_OBJECT = 0x12;
    /// [`super::ObjectHeader`]; the packed bytes follow in PART frames.
    OBJECT = 0x13;
    /// Bytes of an object.
    PART = 0x14;
    /// Chunk ids, 32 bytes each, no count: the frame's length says how many.
    FETCH_CHUNKS = 0x15;
    /// [`super::ChunkHeader`], then the packed bytes.
    CHUNK = 0x16;
    /// The thing asked for is not here. Empty.
    ABSENT = 0x17;
    /// [`super::Wait`].
    WAIT = 0x18;
    /// [`super::FetchBundle`].
    FETCH_BUNDLE = 0x19;
    /// [`super::FetchRuns`].
    FETCH_RUNS = 0x1a;
    /// [`super::BundleHeader`]; the bundle follows in PART frames. The answer to `FETCH_BUNDLE` and `FETCH_RUNS`; unasked
    /// after an announcement, on the same stream.
    BUNDLE = 0x1b;
    /// A signed receipt, mirror to upstream, on a stream of its own in one direction.
    RECEIPT = 0x20;
}

impl fmt::Display for FrameType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::ALL.iter().find(|(kind, _)| kind == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "0x{:02x}", self.0),
        }
    }
}

/// Why a frame was refused. The peer is at fault: the connection is closed, nothing was kept.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A body that is not what its type says.
    #[error("{kind} frame: {source}")]
    Body { kind: FrameType, source: CodecError },
    /// From a later version that says it must be understood.
    #[error("{kind} frame: {source}")]
    Critical {
        kind: FrameType,
        source: UnknownCritical,
    },
    /// Refused before the body was read.
    #[error("{kind} frame of {got} bytes, the limit is {limit}")]
    TooLong {
        kind: FrameType,
        got: usize,
        limit: usize,
    },
    /// A frame that has no place here.
    #[error("{got} frame where {expected} was due")]
    Unexpected {
        got: FrameType,
        expected: &'static str,
    },
}

impl WireError {
    pub(crate) fn body(kind: FrameType) -> impl FnOnce(CodecError) -> Self {
        move |source| Self::Body { kind, source }
    }
}

/// The largest body a type may have: small ones cannot be used to make us allocate.
fn body_limit(kind: FrameType) -> usize {
    match kind {
        FrameType::HELLO | FrameType::ANNOUNCE | FrameType::RECEIPT | FrameType::REFUSED => {
            limits::SMALL_OBJECT_BYTES
        }
        FrameType::WELCOME => 2 * limits::SMALL_OBJECT_BYTES,
        FrameType::ROOT => limits::ROOT_BYTES,
        FrameType::FETCH_RUNS => 32 + 8 + limits::RUN_BASES * 32,
        FrameType::BUNDLE => super::BundleHeader::BYTES,
        FrameType::FETCH_CHUNKS => limits::CHUNKS_PER_REQUEST * 32,
        FrameType::CHUNK => super::ChunkHeader::BYTES + limits::CHUNK_BYTES,
        FrameType::PART => limits::FRAME_BYTES,
        FrameType::UNCHANGED | FrameType::ADMITTED | FrameType::ABSENT => 0,
        _ => 64,
    }
}

/// Reads a frame's header: its type and the length of its body, which is within the type's limit.
///
/// # Errors
/// [`WireError::TooLong`].
pub fn parse_header(header: [u8; FRAME_HEADER_BYTES]) -> Result<(FrameType, usize), WireError> {
    let [kind, length @ ..] = header;
    let kind = FrameType(kind);
    let got = u32::from_le_bytes(length) as usize;
    let limit = body_limit(kind);
    if got > limit {
        return Err(WireError::TooLong { kind, got, limit });
    }
    Ok((kind, got))
}

/// The header of a frame whose body has `body_bytes`, which the caller keeps within the limits.
pub(crate) fn header(kind: FrameType, body_bytes: usize) -> [u8; FRAME_HEADER_BYTES] {
    debug_assert!(body_bytes <= body_limit(kind), "{kind}: {body_bytes} bytes");
    // Never truncates: every limit is far below 4 GiB.
    #[expect(clippy::cast_possible_truncation, reason = "bodies are at most 1 MiB")]
    let [a, b, c, d] = (body_bytes as u32).to_le_bytes();
    [kind.0, a, b, c, d]
}

/// A whole frame.
#[must_use]
pub fn frame(kind: FrameType, body: &[u8]) -> Vec<u8> {
    [&header(kind, body.len()), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_bounded_by_its_type_before_anything_is_read() {
        assert_eq!(
            parse_header([FrameType::HELLO.0, 0, 4, 0, 0]),
            Ok((FrameType::HELLO, 1024))
        );
        for kind in 0..=255 {
            let header = [kind, 0xff, 0xff, 0xff, 0xff];
            assert!(matches!(
                parse_header(header),
                Err(WireError::TooLong { .. })
            ));
        }
    }

    #[test]
    fn types_are_distinct_and_have_names() {
        let mut numbers: Vec<FrameType> = FrameType::ALL.iter().map(|(kind, _)| *kind).collect();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), FrameType::ALL.len());
        assert_eq!(alloc::format!("{}", FrameType::POLL), "POLL");
        assert_eq!(alloc::format!("{}", FrameType(0xee)), "0xee");
    }
}
