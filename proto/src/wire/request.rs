//! What a mirror may ask. SPEC §6.4.

use alloc::vec::Vec;

use super::frame::{FrameType, WireError, frame};
use crate::codec::{self, CodecError, Decode, Encode, decode_exact};
use crate::id::{ChunkId, ListId, ObjectId, RecipeId, RootVersion};
use crate::limits;

/// Asks whether there is anything newer than what the mirror holds. 41 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Poll {
    /// The newest root held.
    pub root_version: RootVersion,
    /// The newest head held.
    pub head: Option<ObjectId>,
}

/// Kinds of objects that are fetched by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ObjectKind(pub u8);

impl ObjectKind {
    /// A signed manifest, named by the hash of its body.
    pub const MANIFEST: Self = Self(1);
    /// A chunk list, named by the hash of its encoding.
    pub const LIST: Self = Self(2);
    /// A recipe, named by the hash of its encoding.
    pub const RECIPE: Self = Self(3);
}

/// Names one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectName {
    /// A signed manifest.
    Manifest(ObjectId),
    /// A chunk list.
    List(ListId),
    /// A recipe.
    Recipe(RecipeId),
}

impl ObjectName {
    /// Most bytes the opened object may have.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        match self {
            Self::Manifest(_) => limits::MANIFEST_BYTES,
            Self::List(_) => limits::LIST_BYTES,
            Self::Recipe(_) => limits::RECIPE_BYTES,
        }
    }
}

/// Asks for the bundle from one release to another. 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct FetchBundle {
    /// The manifest of the release the mirror has.
    pub from: ObjectId,
    /// The manifest a head named: the newest one, so the answer to a late question is [`FrameType::ABSENT`].
    pub to: ObjectId,
}

/// Asks for the chunks of one list that are in none of the others, as runs: RUN parts and an END part, as in a bundle
/// whose section has `bases`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FetchRuns {
    /// The list whose chunks are wanted.
    pub list: ListId,
    /// Lists whose chunks the mirror has, 1 to [`limits::RUN_BASES`].
    pub bases: Vec<ListId>,
}

/// A question, as the upstream reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// May I come in? Kept as bytes: the answer depends on its version.
    Hello(Vec<u8>),
    /// Anything new?
    Poll(Poll),
    /// A root by number.
    Root(RootVersion),
    /// A manifest or a list.
    Object(ObjectName),
    /// Chunks, answered in this order.
    Chunks(Vec<ChunkId>),
    /// A bundle.
    Bundle(FetchBundle),
    /// Runs of one content.
    Runs(FetchRuns),
}

impl Request {
    /// The frame, or nothing for a Hello, which makes its own.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        match self {
            Self::Hello(body) => frame(FrameType::HELLO, body),
            Self::Poll(poll) => frame(FrameType::POLL, &codec::encode(poll)),
            Self::Root(version) => frame(FrameType::FETCH_ROOT, &codec::encode(version)),
            Self::Object(name) => {
                let (kind, id) = match name {
                    ObjectName::Manifest(id) => (ObjectKind::MANIFEST, id.0),
                    ObjectName::List(id) => (ObjectKind::LIST, id.0),
                    ObjectName::Recipe(id) => (ObjectKind::RECIPE, id.0),
                };
                frame(FrameType::FETCH_OBJECT, &codec::encode(&(kind, id)))
            }
            Self::Chunks(ids) => frame(
                FrameType::FETCH_CHUNKS,
                &ids.iter().flat_map(|id| id.0).collect::<Vec<u8>>(),
            ),
            Self::Bundle(fetch) => frame(FrameType::FETCH_BUNDLE, &codec::encode(fetch)),
            Self::Runs(fetch) => frame(FrameType::FETCH_RUNS, &codec::encode(fetch)),
        }
    }

    /// Refuses what is no question before its body is read.
    ///
    /// # Errors
    /// [`WireError::Unexpected`]; the mirror is at fault.
    pub fn check_type(kind: FrameType) -> Result<(), WireError> {
        match kind {
            FrameType::HELLO
            | FrameType::POLL
            | FrameType::FETCH_ROOT
            | FrameType::FETCH_OBJECT
            | FrameType::FETCH_CHUNKS
            | FrameType::FETCH_BUNDLE
            | FrameType::FETCH_RUNS => Ok(()),
            got => Err(WireError::Unexpected {
                got,
                expected: "a request",
            }),
        }
    }

    /// Reads a question.
    ///
    /// # Errors
    /// [`WireError`]; the mirror is at fault.
    pub fn decode(kind: FrameType, body: &[u8]) -> Result<Self, WireError> {
        let bad = |source: CodecError| WireError::Body { kind, source };
        match kind {
            FrameType::HELLO => Ok(Self::Hello(body.into())),
            FrameType::POLL => decode_exact("Poll", body, 64).map(Self::Poll).map_err(bad),
            FrameType::FETCH_ROOT => decode_exact("FetchRoot", body, 8)
                .map(Self::Root)
                .map_err(bad),
            FrameType::FETCH_OBJECT => {
                let (kind, id): (ObjectKind, [u8; 32]) =
                    decode_exact("FetchObject", body, 33).map_err(bad)?;
                match kind {
                    ObjectKind::MANIFEST => Ok(Self::Object(ObjectName::Manifest(ObjectId(id)))),
                    ObjectKind::LIST => Ok(Self::Object(ObjectName::List(ListId(id)))),
                    ObjectKind::RECIPE => Ok(Self::Object(ObjectName::Recipe(RecipeId(id)))),
                    _ => Err(bad(CodecError::BadField {
                        field: "FetchObject.kind",
                        why: "unknown",
                    })),
                }
            }
            FrameType::FETCH_CHUNKS => chunk_ids(body).map(Self::Chunks).map_err(bad),
            FrameType::FETCH_BUNDLE => decode_exact("FetchBundle", body, 64)
                .map(Self::Bundle)
                .map_err(bad),
            FrameType::FETCH_RUNS => fetch_runs(body).map(Self::Runs).map_err(bad),
            got => Err(WireError::Unexpected {
                got,
                expected: "a request",
            }),
        }
    }
}

fn fetch_runs(body: &[u8]) -> Result<FetchRuns, CodecError> {
    let fetch: FetchRuns = decode_exact("FetchRuns", body, 32 + 8 + limits::RUN_BASES * 32)?;
    if fetch.bases.is_empty() || fetch.bases.contains(&fetch.list) {
        return Err(CodecError::BadField {
            field: "FetchRuns.bases",
            why: "none, or the wanted list itself",
        });
    }
    codec::at_most("FetchRuns.bases", fetch.bases.len(), limits::RUN_BASES)?;
    Ok(fetch)
}

fn chunk_ids(body: &[u8]) -> Result<Vec<ChunkId>, CodecError> {
    let (ids, rest) = body.as_chunks::<32>();
    if ids.is_empty() || !rest.is_empty() {
        return Err(CodecError::Malformed {
            what: "FetchChunks",
            got: body.len(),
        });
    }
    codec::at_most("FetchChunks", ids.len(), limits::CHUNKS_PER_REQUEST)?;
    Ok(ids.iter().copied().map(ChunkId).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse_header;

    #[test]
    fn every_request_reads_back() {
        for request in [
            Request::Hello(b"any".to_vec()),
            Request::Poll(Poll {
                root_version: RootVersion(3),
                head: Some(ObjectId::of(b"head")),
            }),
            Request::Root(RootVersion(2)),
            Request::Object(ObjectName::Manifest(ObjectId::of(b"m"))),
            Request::Object(ObjectName::List(ListId::of(b"l"))),
            Request::Object(ObjectName::Recipe(RecipeId::of(b"r"))),
            Request::Bundle(FetchBundle {
                from: ObjectId::of(b"old"),
                to: ObjectId::of(b"new"),
            }),
            Request::Runs(FetchRuns {
                list: ListId::of(b"new"),
                bases: (0..4_u8).map(|n| ListId::of(&[n])).collect(),
            }),
            Request::Chunks((0..64_u8).map(|n| ChunkId::of(&[n])).collect()),
        ] {
            let frame = request.to_frame();
            let (kind, len) = parse_header(frame[..5].try_into().unwrap()).unwrap();
            assert_eq!(len, frame.len() - 5);
            assert_eq!(Request::decode(kind, &frame[5..]), Ok(request));
        }
    }

    #[test]
    fn malformed_requests_are_refused() {
        for (kind, body) in [
            (FrameType::FETCH_CHUNKS, &[0; 31][..]),
            (FrameType::FETCH_CHUNKS, &[]),
            (FrameType::FETCH_ROOT, &[0; 7]),
            (FrameType::FETCH_OBJECT, &[9; 33]),
            (FrameType::POLL, &[0; 8]),
            (FrameType::FETCH_BUNDLE, &[0; 63]),
            (FrameType::FETCH_RUNS, &[0; 40]),
            (FrameType::FETCH_RUNS, &[1; 72]),
            (FrameType::CHUNK, &[]),
            (FrameType(0xee), &[]),
        ] {
            assert!(Request::decode(kind, body).is_err(), "{kind}");
        }
    }
}
