//! Parts: what a bundle is a sequence of. SPEC §5.7.

use alloc::vec::Vec;
use core::fmt;

use super::varint::{self, Fields};
use crate::codec::CodecError;
use crate::id::ObjectId;
use crate::limits;

/// What a part is. A number rather than an enum, so that an unknown one can be named in an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartKind(pub u8);

macro_rules! part_kinds {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $limit:expr;)*) => {
        impl PartKind {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Every kind, with its name in SPEC.md and the most bytes its body may have.
            pub const ALL: &'static [(Self, &'static str, usize)] =
                &[$((Self::$name, stringify!($name), $limit)),*];
        }
    };
}

/// What zstd may add to bytes it cannot shrink (`ZSTD_compressBound` in zstd.h), with room for a part's fields.
const fn framed(bytes: usize) -> usize {
    bytes + bytes / 256 + 1024
}

part_kinds! {
    /// [`Header`].
    HEADER = 0x01, 64;
    /// A signed head.
    HEAD = 0x02, limits::SMALL_OBJECT_BYTES;
    /// A signed root.
    ROOT = 0x03, limits::ROOT_BYTES;
    /// The signed manifest: a zstd frame whose prefix is the body of the old release's manifest.
    MANIFEST = 0x04, limits::MANIFEST_DELTA_BYTES;
    /// [`FilePart`]: what follows is about this file.
    FILE = 0x05, 512;
    /// The file's recipe: a zstd frame whose prefix is the recipe of the first base where that is opened content, and
    /// nothing otherwise.
    RECIPE = 0x06, framed(limits::RECIPE_BYTES);
    /// The list of the file's content: a zstd frame whose prefix is the list of the first base, encoded whether or not
    /// it is stored, and nothing where there is no base.
    LIST = 0x07, framed(limits::LIST_BYTES);
    /// [`RunPart`].
    RUN = 0x08, framed(limits::RUN_BYTES);
    /// Nothing follows. Empty.
    END = 0x09, 0;
}

impl fmt::Display for PartKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::ALL.iter().find(|(kind, ..)| kind == self) {
            Some((_, name, _)) => f.write_str(name),
            None => write!(f, "0x{:02x}", self.0),
        }
    }
}

/// Why a bundle was refused. Its maker or whoever carried it is at fault; what was verified before stays.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A body that is not what its kind says.
    #[error("{kind} part: {source}")]
    Part { kind: PartKind, source: CodecError },
    /// Refused before the body was read.
    #[error("{kind} part of {got} bytes, the limit is {limit}")]
    TooLong {
        kind: PartKind,
        got: u64,
        limit: usize,
    },
    /// A part out of its order.
    #[error("{got} part where {expected} was due")]
    Unexpected {
        got: PartKind,
        expected: &'static str,
    },
    /// It ends in the middle.
    #[error("the bundle ends before its END part")]
    Cut,
    /// Bytes that are no bundle of ours.
    #[error("no tidecast bundle of this version")]
    NotABundle,
    /// It names something neither release has.
    #[error("{kind} part: {what} {index} of {count}")]
    Outside {
        kind: PartKind,
        what: &'static str,
        index: u64,
        count: u64,
    },
    /// What came out is not what the list names.
    #[error("chunk {at} of a run hashes to something else than the list says")]
    WrongChunk { at: u32 },
    /// A run that opens to another length than its chunks have together.
    #[error("a run of {expected} bytes opens to {got}")]
    WrongLength { got: u64, expected: u64 },
}

impl PartKind {
    pub(super) fn bad(self) -> impl FnOnce(CodecError) -> BundleError {
        move |source| BundleError::Part { kind: self, source }
    }

    fn limit(self) -> usize {
        Self::ALL
            .iter()
            .find(|(kind, ..)| *kind == self)
            .map_or(0, |(.., limit)| *limit)
    }
}

/// A part's kind and the length of its body, as they stand in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartHeader {
    /// What it is.
    pub kind: PartKind,
    /// Bytes of its body; within the kind's limit.
    pub body_bytes: usize,
}

impl PartHeader {
    /// Most bytes in front of a body.
    pub const BYTES_MAX: usize = 1 + 5;

    /// Reads a header off the front of `bytes` and says how many bytes it has; `None` when more must be in view.
    ///
    /// # Errors
    /// [`BundleError`]; unknown kinds have a limit of 0 and are refused where their order is checked.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, BundleError> {
        let Some((kind, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let kind = PartKind(*kind);
        let Some((got, used)) = varint::split("part length", rest).map_err(kind.bad())? else {
            return if rest.len() >= Self::BYTES_MAX {
                Err(BundleError::NotABundle)
            } else {
                Ok(None)
            };
        };
        let limit = kind.limit();
        let body_bytes = usize::try_from(got)
            .ok()
            .filter(|got| *got <= limit)
            .ok_or(BundleError::TooLong { kind, got, limit })?;
        Ok(Some((Self { kind, body_bytes }, 1 + used)))
    }
}

/// Appends a part.
pub fn put_part(kind: PartKind, body: &[u8], out: &mut Vec<u8>) {
    debug_assert!(body.len() <= kind.limit(), "{kind}: {} bytes", body.len());
    out.push(kind.0);
    varint::put(body.len() as u64, out);
    out.extend_from_slice(body);
}

/// What a bundle begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The manifest of the release it starts from.
    pub from: ObjectId,
}

impl Header {
    /// Eight bytes that no text and no archive begins with, the last one the format's version.
    const MAGIC: [u8; 8] = *b"\x89tidebn\x01";

    /// Magic, 8 bytes; manifest id, 32.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [&Self::MAGIC[..], &self.from.0].concat()
    }

    /// Reads the body of a HEADER part.
    ///
    /// # Errors
    /// [`BundleError::NotABundle`].
    pub fn decode(body: &[u8]) -> Result<Self, BundleError> {
        let from = body
            .strip_prefix(&Self::MAGIC)
            .and_then(|id| id.try_into().ok())
            .ok_or(BundleError::NotABundle)?;
        Ok(Self {
            from: ObjectId(from),
        })
    }
}

/// The release a content belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The release the bundle starts from.
    Old,
    /// The release it leads to; only files whose section is complete.
    New,
}

/// Which byte sequence of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// The file as it is.
    Stored,
    /// Its opened content.
    Opened,
}

/// Names a byte sequence that has a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentRef {
    /// Of which release.
    pub side: Side,
    /// Which of its files, counted from 0 in the manifest's order.
    pub file: u32,
    /// Which form of it.
    pub form: Form,
}

impl ContentRef {
    fn flags(self) -> u8 {
        u8::from(self.side == Side::New) | u8::from(self.form == Form::Opened) << 1
    }
}

fn put_content(content: ContentRef, out: &mut Vec<u8>) {
    out.push(content.flags());
    varint::put(content.file.into(), out);
}

fn content(fields: &mut Fields<'_>) -> Result<ContentRef, CodecError> {
    let flags = fields.byte()?;
    if flags > 3 {
        return Err(CodecError::BadField {
            field: "content",
            why: "unknown flags",
        });
    }
    Ok(ContentRef {
        side: if flags & 1 == 0 { Side::Old } else { Side::New },
        form: if flags & 2 == 0 {
            Form::Stored
        } else {
            Form::Opened
        },
        file: fields.index()?,
    })
}

/// Begins the section of one file of the new release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePart {
    /// Its index in the new manifest.
    pub file: u32,
    /// Which form of it the section carries.
    pub form: Form,
    /// Contents that the receiver has complete. Chunks that occur in one of their lists are not sent; runs have
    /// their bases in them. The first one is also the base of recipe and list.
    pub bases: Vec<ContentRef>,
}

impl FilePart {
    /// Flags (bit 1: opened), 1 byte; file; number of bases; each base's flags (bit 0: new release, bit 1: opened), 1 byte,
    /// and file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let own = ContentRef {
            side: Side::New,
            file: self.file,
            form: self.form,
        };
        put_content(own, &mut body);
        varint::put(self.bases.len() as u64, &mut body);
        for base in &self.bases {
            put_content(*base, &mut body);
        }
        body
    }

    /// Reads the body of a FILE part.
    ///
    /// # Errors
    /// [`BundleError::Part`]; indices are judged where the manifests are.
    pub fn decode(body: &[u8]) -> Result<Self, BundleError> {
        Self::fields(body).map_err(PartKind::FILE.bad())
    }

    fn fields(body: &[u8]) -> Result<Self, CodecError> {
        let mut fields = Fields::new("file part", body);
        let own = content(&mut fields)?;
        if own.side != Side::New {
            return Err(CodecError::BadField {
                field: "file part",
                why: "a section is about a file of the new release",
            });
        }
        let count = fields.number()?;
        if count > limits::BUNDLE_BASES as u64 {
            return Err(CodecError::BadField {
                field: "file part",
                why: "more bases than a section may have",
            });
        }
        let mut bases = Vec::new();
        for _ in 0..count {
            let base = content(&mut fields)?;
            if bases.contains(&base) || (base.side, base.file) == (Side::New, own.file) {
                return Err(CodecError::BadField {
                    field: "file part",
                    why: "a base twice, or the file itself",
                });
            }
            bases.push(base);
        }
        fields.end()?;
        Ok(Self {
            file: own.file,
            form: own.form,
            bases,
        })
    }
}

/// A range of chunks of one of the section's bases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseRange {
    /// Index among the section's bases.
    pub base: u32,
    /// First chunk.
    pub first: u32,
    /// Number of chunks, at least 1.
    pub count: u32,
}

/// The next missing chunks of the section's content, as one zstd frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPart<'a> {
    /// How many chunks it holds, at least 1; they follow each other in the list.
    pub chunks: u32,
    /// What the frame's prefix is made of, in this order; at most [`limits::RUN_BASES`].
    pub bases: Vec<BaseRange>,
    /// The frame.
    pub frame: &'a [u8],
}

impl<'a> RunPart<'a> {
    /// Chunks; number of bases; base, first and count of each; the frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.frame.len() + 32);
        varint::put(self.chunks.into(), &mut body);
        varint::put(self.bases.len() as u64, &mut body);
        for range in &self.bases {
            for number in [range.base, range.first, range.count] {
                varint::put(number.into(), &mut body);
            }
        }
        body.extend_from_slice(self.frame);
        body
    }

    /// Reads the body of a RUN part.
    ///
    /// # Errors
    /// [`BundleError::Part`]; ranges are judged where the lists are.
    pub fn decode(body: &'a [u8]) -> Result<Self, BundleError> {
        Self::fields(body).map_err(PartKind::RUN.bad())
    }

    fn fields(body: &'a [u8]) -> Result<Self, CodecError> {
        let mut fields = Fields::new("run part", body);
        let chunks = fields.index()?;
        let count = fields.number()?;
        if chunks == 0 || count > limits::RUN_BASES as u64 {
            return Err(CodecError::BadField {
                field: "run part",
                why: "no chunks, or more bases than a run may have",
            });
        }
        let mut bases = Vec::new();
        for _ in 0..count {
            let range = BaseRange {
                base: fields.index()?,
                first: fields.index()?,
                count: fields.index()?,
            };
            if range.count == 0 {
                return Err(CodecError::BadField {
                    field: "run part",
                    why: "an empty base",
                });
            }
            bases.push(range);
        }
        Ok(Self {
            chunks,
            bases,
            frame: fields.rest(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn old(file: u32) -> ContentRef {
        ContentRef {
            side: Side::Old,
            file,
            form: Form::Opened,
        }
    }

    #[test]
    fn parts_read_back() {
        let file = FilePart {
            file: 300,
            form: Form::Opened,
            bases: vec![
                old(299),
                ContentRef {
                    side: Side::New,
                    ..old(4)
                },
            ],
        };
        assert_eq!(FilePart::decode(&file.encode()), Ok(file));
        let run = RunPart {
            chunks: 2,
            bases: vec![BaseRange {
                base: 0,
                first: 1000,
                count: 3,
            }],
            frame: b"zstd",
        };
        assert_eq!(RunPart::decode(&run.encode()), Ok(run));
        let header = Header {
            from: ObjectId::of(b"manifest"),
        };
        assert_eq!(Header::decode(&header.encode()), Ok(header));
        assert_eq!(Header::decode(b"PK\x03\x04"), Err(BundleError::NotABundle));
    }

    #[test]
    fn a_length_is_bounded_by_its_kind_before_anything_is_read() {
        let mut bytes = Vec::new();
        put_part(PartKind::END, &[], &mut bytes);
        let end = PartHeader {
            kind: PartKind::END,
            body_bytes: 0,
        };
        assert_eq!(PartHeader::parse(&bytes), Ok(Some((end, 2))));
        assert_eq!(PartHeader::parse(&bytes[..1]), Ok(None));
        for kind in 0..=255 {
            let header = [kind, 0xff, 0xff, 0xff, 0xff, 0x0f];
            assert!(matches!(
                PartHeader::parse(&header),
                Err(BundleError::TooLong { .. })
            ));
        }
        assert!(PartHeader::parse(&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn bases_without_end_twice_or_of_the_file_itself_are_refused() {
        let with = |bases| {
            FilePart {
                file: 7,
                form: Form::Stored,
                bases,
            }
            .encode()
        };
        let own = ContentRef {
            side: Side::New,
            ..old(7)
        };
        assert!(FilePart::decode(&with(vec![old(1), old(1)])).is_err());
        assert!(FilePart::decode(&with(vec![own])).is_err());
        assert!(FilePart::decode(&with((0..65).map(old).collect())).is_err());
        let mut run = RunPart {
            chunks: 1,
            bases: vec![
                BaseRange {
                    base: 0,
                    first: 0,
                    count: 1
                };
                limits::RUN_BASES + 1
            ],
            frame: b"",
        };
        assert!(RunPart::decode(&run.encode()).is_err());
        run.bases.truncate(limits::RUN_BASES);
        assert!(RunPart::decode(&run.encode()).is_ok());
        run.bases[3].count = 0;
        assert!(RunPart::decode(&run.encode()).is_err());
    }
}
