//! The recipe: how a file is rebuilt from its opened content. SPEC §5.5.
//!
//! The opened content of a file is what its deflate streams hold, in order, and the stretches between them that
//! are too long to be written into the recipe. Nothing of it is skipped or used twice, so ranges that overlap or lie
//! outside cannot be written down.

use alloc::vec::Vec;

use crate::codec::{self, CodecError, Decode, Encode};
use crate::deflate::{Parameters, Strategy};
use crate::id::{ListId, RecipeId};
use crate::limits;

/// One stretch of the file, in order.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Segment {
    /// These bytes: headers, trailers, signatures.
    Literal(Vec<u8>),
    /// The next bytes of the opened content, as they are.
    Plain {
        /// How many.
        bytes: u64,
    },
    /// The next bytes of the opened content, deflated.
    Deflate(Deflate),
}

/// A deflate stream over opened content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Deflate {
    level: u8,
    strategy: u8,
    memory_level: u8,
    /// Opened bytes it takes.
    pub plain_bytes: u64,
    /// Bytes it makes; the last byte's unused bits are zero.
    pub packed_bytes: u64,
}

impl Deflate {
    /// A stream that zlib, told `parameters`, makes.
    #[must_use]
    pub fn new(parameters: Parameters, plain_bytes: u64, packed_bytes: u64) -> Self {
        Self {
            level: parameters.level(),
            strategy: parameters.strategy().number(),
            memory_level: parameters.memory_level(),
            plain_bytes,
            packed_bytes,
        }
    }

    /// What zlib was told.
    ///
    /// # Errors
    /// [`CodecError::BadField`]; a recipe that was checked has none.
    pub fn parameters(&self) -> Result<Parameters, CodecError> {
        Strategy::from_number(self.strategy)
            .and_then(|strategy| Parameters::new(self.level, strategy, self.memory_level).ok())
            .ok_or(CodecError::BadField {
                field: "recipe.parameters",
                why: "level and memLevel are 1 to 9, strategies 0 to 4",
            })
    }
}

/// How a file is made of its opened content.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecipeBody {
    /// The list of the opened content; always present in the store, however short the content is.
    pub opened: ListId,
    /// The stretches of the file, in order.
    pub segments: Vec<Segment>,
}

/// A recipe whose numbers are possible and add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    body: RecipeBody,
    opened_bytes: u64,
    file_bytes: u64,
}

/// Why a recipe was refused. The sender is at fault; the file can still be had whole.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// Malformed, or numbers that cannot be.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Other bytes than asked for.
    #[error("recipe hashes to {got}, asked for {expected}")]
    WrongId { got: RecipeId, expected: RecipeId },
    /// It makes another file.
    #[error("recipe {recipe} makes {got} bytes, the file has {expected}")]
    WrongSize {
        recipe: RecipeId,
        got: u64,
        expected: u64,
    },
}

/// Deflate makes at most 1032 bytes out of one (RFC 1951: 258 bytes from two bits), but a stream of a few bytes may
/// say more than its share because of rounding.
const EXPANSION_MAX: u64 = 1032;

impl Recipe {
    /// Checks a recipe.
    ///
    /// # Errors
    /// [`CodecError`] when a number cannot be; the maker is at fault.
    pub fn new(body: RecipeBody) -> Result<Self, CodecError> {
        let bad = |field, why| Err(CodecError::BadField { field, why });
        codec::at_most(
            "recipe.segments",
            body.segments.len(),
            limits::RECIPE_SEGMENTS,
        )?;
        let (mut opened_bytes, mut file_bytes) = (0_u64, 0_u64);
        let mut before = None;
        for segment in &body.segments {
            let (opened, made) = match segment {
                Segment::Literal(bytes) => (0, bytes.len() as u64),
                Segment::Plain { bytes } => (*bytes, *bytes),
                Segment::Deflate(deflate) => {
                    deflate.parameters()?;
                    // Even an empty stream has bytes, so a stream that makes none takes nothing either.
                    if deflate.plain_bytes > deflate.packed_bytes.saturating_mul(EXPANSION_MAX) {
                        return bad("recipe.plain_bytes", "more than deflate can hold");
                    }
                    (deflate.plain_bytes, deflate.packed_bytes)
                }
            };
            if made == 0 {
                return bad("recipe.segments", "a segment that makes no bytes");
            }
            let kind = core::mem::discriminant(segment);
            if before == Some(kind) && !matches!(segment, Segment::Deflate(_)) {
                return bad("recipe.segments", "two in a row that could be one");
            }
            before = Some(kind);
            opened_bytes = opened_bytes.saturating_add(opened);
            file_bytes = file_bytes.saturating_add(made);
        }
        if opened_bytes > limits::OPENED_BYTES as u64 {
            return bad("recipe.opened", "more opened content than a file may have");
        }
        codec::at_most("recipe", codec::encode(&body).len(), limits::RECIPE_BYTES)?;
        Ok(Self {
            body,
            opened_bytes,
            file_bytes,
        })
    }

    /// Reads the recipe named `id` of a file of `size` bytes.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn decode(bytes: &[u8], id: RecipeId, size: u64) -> Result<Self, RecipeError> {
        let recipe = Self::decode_any(bytes, id)?;
        if recipe.file_bytes != size {
            return Err(RecipeError::WrongSize {
                recipe: id,
                got: recipe.file_bytes,
                expected: size,
            });
        }
        Ok(recipe)
    }

    /// Reads the recipe named `id`, of whatever file.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn decode_any(bytes: &[u8], id: RecipeId) -> Result<Self, RecipeError> {
        let got = RecipeId::of(bytes);
        if got != id {
            return Err(RecipeError::WrongId { got, expected: id });
        }
        Ok(Self::new(codec::decode_exact(
            "recipe",
            bytes,
            limits::RECIPE_BYTES,
        )?)?)
    }

    /// The bytes that are hashed, stored and sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&self.body)
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> RecipeId {
        RecipeId::of(&self.encode())
    }

    /// The list of the opened content.
    #[must_use]
    pub fn opened(&self) -> ListId {
        self.body.opened
    }

    /// The stretches of the file, in order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.body.segments
    }

    /// Bytes of opened content it takes.
    #[must_use]
    pub fn opened_bytes(&self) -> u64 {
        self.opened_bytes
    }

    /// Bytes of the file it makes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn gzip() -> RecipeBody {
        RecipeBody {
            opened: ListId::of(b"list"),
            segments: vec![
                Segment::Literal(vec![0x1f, 0x8b]),
                Segment::Deflate(Deflate::new(Parameters::SIGTOOL, 1000, 50)),
                Segment::Literal(vec![0; 8]),
                Segment::Plain { bytes: 70 },
            ],
        }
    }

    fn refused(change: impl FnOnce(&mut RecipeBody)) -> bool {
        let mut body = gzip();
        change(&mut body);
        Recipe::new(body).is_err()
    }

    #[test]
    fn a_recipe_reads_back_and_knows_its_sizes() {
        let recipe = Recipe::new(gzip()).unwrap();
        assert_eq!((recipe.opened_bytes(), recipe.file_bytes()), (1070, 130));
        let bytes = recipe.encode();
        assert_eq!(Recipe::decode(&bytes, recipe.id(), 130), Ok(recipe.clone()));
        assert!(matches!(
            Recipe::decode(&bytes, recipe.id(), 131),
            Err(RecipeError::WrongSize { got: 130, .. })
        ));
        assert!(matches!(
            Recipe::decode(&bytes, RecipeId::of(b""), 130),
            Err(RecipeError::WrongId { .. })
        ));
    }

    #[test]
    fn bombs_empties_and_second_spellings_are_refused() {
        let deflate =
            |plain, packed| Segment::Deflate(Deflate::new(Parameters::SIGTOOL, plain, packed));
        assert!(refused(|r| r.segments[1] = deflate(1 << 40, 1024)));
        assert!(refused(|r| r.segments[1] = deflate(1, 0)));
        assert!(refused(|r| r.segments[1] = deflate(u64::MAX, u64::MAX)));
        assert!(refused(|r| r.segments[0] = Segment::Literal(vec![])));
        assert!(refused(|r| r.segments[1] = Segment::Literal(vec![1])));
        assert!(refused(|r| r.segments[3] = Segment::Plain { bytes: 0 }));
        assert!(refused(|r| r.segments.push(Segment::Plain { bytes: 1 })));
        assert!(refused(
            |r| r.segments[0] = Segment::Literal(vec![0; limits::RECIPE_BYTES])
        ));
        assert!(refused(
            |r| r.segments = vec![deflate(1, 1); limits::RECIPE_SEGMENTS + 1]
        ));
        for (level, strategy, memory_level) in
            [(0, 0, 8), (10, 0, 8), (9, 0, 0), (9, 0, 10), (9, 5, 8)]
        {
            assert!(refused(|r| {
                r.segments[1] = Segment::Deflate(Deflate {
                    level,
                    strategy,
                    memory_level,
                    plain_bytes: 1,
                    packed_bytes: 1,
                });
            }));
        }
    }
}
