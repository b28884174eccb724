//! Packed bytes -> tokens and plain bytes. SPEC §5.4; the format is RFC 1951, and what is refused follows zlib's
//! inflate.c.

use alloc::boxed::Box;

use super::{
    bits::Bits,
    block_header::{DynamicHeader, HeaderStep},
    decode_table::{DistanceTable, LiteralTable},
    symbols::{self, Copied, Run, Staged},
    token::{Batch, WINDOW_BYTES},
};

/// Most plain bytes of one stretch: large enough that calls cost nothing, small enough to stay in a core's cache.
pub const STRETCH_PLAIN_BYTES_MAX: usize = 64 * 1024;

/// A window before the stretch, the stretch, and as much again so that the window moves seldom.
pub(super) const BUFFER_BYTES: usize = 4 * WINDOW_BYTES;
/// A round of literals and a match may start just below the end of a stretch and is copied 16 bytes at a time.
const OVERSHOOT_BYTES: usize = 512;

/// How a block was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// As plain bytes.
    Stored,
    /// With the codes of RFC 1951 section 3.2.6.
    Fixed,
    /// With its own codes.
    Dynamic,
}

/// A block that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// How it was packed.
    pub kind: BlockKind,
    /// Its tokens without the end-of-block; 0 for a stored block, whose tokens are lost.
    pub tokens: u64,
    /// Its plain bytes.
    pub plain_bytes: u64,
    /// Whether it says it is the stream's last.
    pub last: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The stretch is full or its block ended: call again.
    More,
    /// All of `packed` is consumed: call again with what follows. At the end of input the stream is cut.
    NeedInput,
    /// The stream ended. What follows the consumed bytes is not part of it.
    End,
}

/// What one call did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Bytes of `packed` that need not be shown again. Their sum over all calls is the length of the stream.
    pub consumed: usize,
    /// What to do next.
    pub status: Status,
    /// The stretch is from a stored block: plain bytes without tokens.
    pub stored: bool,
    /// The block that ended behind the stretch.
    pub block_ended: Option<Block>,
}

/// A stream that was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// Length of the stream; its last byte may hold padding.
    pub packed_bytes: u64,
    /// Length of what it stands for.
    pub plain_bytes: u64,
    /// Blocks of any kind.
    pub blocks: u64,
    /// All padding bits are zero, as zlib writes them. Otherwise the stream cannot be rebuilt.
    pub padding_clear: bool,
}

/// What is wrong with a stream. Whoever packed it, or changed it on the way, is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseFault {
    /// Block type 3.
    #[error("unknown block type")]
    BlockType,
    /// A stored block's length and its complement.
    #[error(
        "stored block's length {length:#06x} does not agree with its complement {complement:#06x}"
    )]
    StoredLength {
        /// LEN.
        length: u16,
        /// NLEN.
        complement: u16,
    },
    /// HLIT or HDIST above what the format has.
    #[error("block announces {literals} literal/length and {distances} distance codes")]
    TooManyCodes {
        /// HLIT + 257, at most 286.
        literals: u16,
        /// HDIST + 1, at most 30.
        distances: u16,
    },
    /// More codes than bits can tell apart.
    #[error("{0} are over-subscribed")]
    Oversubscribed(Codes),
    /// Bit strings that mean nothing.
    #[error("{0} are incomplete")]
    Incomplete(Codes),
    /// A repeat before the first length, or past the last.
    #[error("repeat of a code length out of place")]
    Repeat,
    /// The block could never end.
    #[error("block has no end-of-block code")]
    NoEndOfBlock,
    /// Bits without meaning, or symbols 286 and 287.
    #[error("invalid literal/length code")]
    LiteralCode,
    /// Bits without meaning, or symbols 30 and 31.
    #[error("invalid distance code")]
    DistanceCode,
    /// A match that begins before the stream does.
    #[error("distance {distance} reaches before the start")]
    Distance {
        /// Of the match.
        distance: u16,
    },
    /// More plain bytes than the caller allows: perhaps a bomb.
    #[error("opens to more than {limit} bytes")]
    TooLarge {
        /// As given to [`Parser::with_limit`].
        limit: u64,
    },
    /// The input ended before the stream did.
    #[error("stream is cut")]
    Cut,
}

/// Which codes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codes {
    /// Those that code lengths are written in.
    CodeLengths,
    /// Literals and lengths.
    Literals,
    /// Distances.
    Distances,
}

impl core::fmt::Display for Codes {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::CodeLengths => "code length codes",
            Self::Literals => "literal/length codes",
            Self::Distances => "distance codes",
        })
    }
}

/// Why a stream was refused, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("deflate stream, at bit {packed_bits}, after {plain_bytes} plain bytes: {fault}")]
pub struct ParseError {
    /// What is wrong.
    pub fault: ParseFault,
    /// Bits of the stream before the place.
    pub packed_bits: u64,
    /// Plain bytes before the place.
    pub plain_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    BlockStart,
    StoredLength,
    Stored { left_bytes: usize },
    DynamicHeader,
    Coded,
    Ended,
    Refused(ParseError),
}

/// Opens one deflate stream, stretch by stretch, in memory of a few hundred KiB.
pub struct Parser {
    state: State,
    hold: u64,
    held_bits: u32,
    /// Of earlier calls.
    packed_bytes: u64,
    /// Before `buffer[0]`.
    plain_before: u64,
    plain_limit: u64,
    /// Plain bytes, the last 32 KiB at least.
    buffer: Box<[u8; BUFFER_BYTES]>,
    buffered: usize,
    block: Block,
    blocks: u64,
    padding_clear: bool,
    header: DynamicHeader,
    codes: Box<CodeTables>,
    /// Made when first needed and kept: blocks of a few bits must not cost a table each.
    fixed: Option<Box<CodeTables>>,
}

pub(super) struct CodeTables {
    pub(super) literals: LiteralTable,
    pub(super) distances: DistanceTable,
}

impl CodeTables {
    const fn new() -> Self {
        Self {
            literals: LiteralTable::new(),
            distances: DistanceTable::new(),
        }
    }
}

struct Progress {
    status: Status,
    stored: bool,
    block_ended: Option<Block>,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// At the start of a stream that may open to any length.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(u64::MAX)
    }

    /// At the start of a stream that must not open to more than `plain_bytes_max`.
    #[must_use]
    pub fn with_limit(plain_bytes_max: u64) -> Self {
        Self {
            state: State::BlockStart,
            hold: 0,
            held_bits: 0,
            packed_bytes: 0,
            plain_before: 0,
            plain_limit: plain_bytes_max,
            buffer: Box::new([0; BUFFER_BYTES]),
            buffered: 0,
            block: Block {
                kind: BlockKind::Stored,
                tokens: 0,
                plain_bytes: 0,
                last: false,
            },
            blocks: 0,
            padding_clear: true,
            header: DynamicHeader::new(),
            codes: Box::new(CodeTables::new()),
            fixed: None,
        }
    }

    /// Reads from `packed` and appends one stretch to `batch`, which the caller has cleared: tokens and the plain
    /// bytes they stand for, or plain bytes alone of a stored block, at most [`STRETCH_PLAIN_BYTES_MAX`]. A stretch never reaches into the next block. It may be empty.
    ///
    /// # Errors
    /// [`ParseError`] when the stream is none or opens to more than the limit: the stream is at fault. Nothing was
    /// appended, and every further call says the same.
    pub fn advance(&mut self, packed: &[u8], batch: &mut Batch) -> Result<Step, ParseError> {
        if let State::Refused(error) = self.state {
            return Err(error);
        }
        let tokens_before = batch.tokens.len();
        let plain_before = batch.plain.len();
        let mut bits = Bits::new(packed, self.hold, self.held_bits);
        let outcome = self.stretch(&mut bits, batch).and_then(|progress| {
            if self.plain_bytes() > self.plain_limit {
                return Err(ParseFault::TooLarge {
                    limit: self.plain_limit,
                });
            }
            Ok(progress)
        });
        match outcome {
            Ok(progress) => {
                if progress.status != Status::NeedInput {
                    bits.give_back();
                }
                self.hold = bits.hold;
                self.held_bits = bits.count;
                self.packed_bytes += bits.at as u64;
                Ok(Step {
                    consumed: bits.at,
                    status: progress.status,
                    stored: progress.stored,
                    block_ended: progress.block_ended,
                })
            }
            Err(fault) => {
                batch.tokens.truncate(tokens_before);
                batch.plain.truncate(plain_before);
                let error = ParseError {
                    fault,
                    packed_bits: (self.packed_bytes + bits.at as u64) * 8 - u64::from(bits.count),
                    plain_bytes: self.plain_bytes(),
                };
                self.state = State::Refused(error);
                Err(error)
            }
        }
    }

    /// Plain bytes so far.
    #[must_use]
    pub const fn plain_bytes(&self) -> u64 {
        self.plain_before + self.buffered as u64
    }

    /// Blocks that ended so far.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// What was read, once the input has ended.
    ///
    /// # Errors
    /// [`ParseError`] when the stream has not ended ([`ParseFault::Cut`]) or was refused before.
    pub const fn finish(&self) -> Result<Parsed, ParseError> {
        match self.state {
            State::Ended => Ok(Parsed {
                packed_bytes: self.packed_bytes,
                plain_bytes: self.plain_bytes(),
                blocks: self.blocks,
                padding_clear: self.padding_clear,
            }),
            State::Refused(error) => Err(error),
            _ => Err(ParseError {
                fault: ParseFault::Cut,
                packed_bits: self.packed_bytes * 8 - self.held_bits as u64,
                plain_bytes: self.plain_bytes(),
            }),
        }
    }

    fn stretch(&mut self, bits: &mut Bits<'_>, batch: &mut Batch) -> Result<Progress, ParseFault> {
        let waiting = |stored| Progress {
            status: Status::NeedInput,
            stored,
            block_ended: None,
        };
        loop {
            match self.state {
                State::BlockStart => {
                    let Some(header) = bits.take(3) else {
                        return Ok(waiting(false));
                    };
                    let (kind, state) = match header >> 1 {
                        0 => {
                            self.padding_clear &= bits.align();
                            (BlockKind::Stored, State::StoredLength)
                        }
                        1 => (BlockKind::Fixed, State::Coded),
                        2 => (BlockKind::Dynamic, State::DynamicHeader),
                        _ => return Err(ParseFault::BlockType),
                    };
                    self.block = Block {
                        kind,
                        tokens: 0,
                        plain_bytes: 0,
                        last: header & 1 == 1,
                    };
                    self.header = DynamicHeader::new();
                    self.state = state;
                }
                State::StoredLength => {
                    let Some(both) = bits.take(32) else {
                        return Ok(waiting(true));
                    };
                    let [a, b, c, d] = both.to_le_bytes();
                    let (length, complement) =
                        (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
                    if length != !complement {
                        return Err(ParseFault::StoredLength { length, complement });
                    }
                    self.state = State::Stored {
                        left_bytes: usize::from(length),
                    };
                }
                State::Stored { left_bytes } => {
                    bits.give_back();
                    let rest = &bits.input[bits.at..];
                    let taken = &rest[..left_bytes.min(rest.len())];
                    self.make_room();
                    self.buffer[self.buffered..self.buffered + taken.len()].copy_from_slice(taken);
                    self.buffered += taken.len();
                    self.block.plain_bytes += taken.len() as u64;
                    batch.plain.extend_from_slice(taken);
                    bits.at += taken.len();
                    let left_bytes = left_bytes - taken.len();
                    self.state = State::Stored { left_bytes };
                    return Ok(if left_bytes == 0 {
                        self.end_block(bits)
                    } else {
                        waiting(true)
                    });
                }
                State::DynamicHeader => match self.header.advance(bits, &mut self.codes)? {
                    HeaderStep::NeedInput => return Ok(waiting(false)),
                    HeaderStep::Done => self.state = State::Coded,
                },
                State::Coded => return self.coded(bits, batch),
                State::Ended => {
                    return Ok(Progress {
                        status: Status::End,
                        stored: false,
                        block_ended: None,
                    });
                }
                State::Refused(error) => return Err(error.fault),
            }
        }
    }

    fn coded(&mut self, bits: &mut Bits<'_>, batch: &mut Batch) -> Result<Progress, ParseFault> {
        self.make_room();
        let tables = match self.block.kind {
            BlockKind::Fixed => self.fixed.get_or_insert_with(|| {
                let mut tables = Box::new(CodeTables::new());
                symbols::build_fixed(&mut tables);
                tables
            }),
            _ => &mut self.codes,
        };
        let start = self.buffered;
        let tokens_before = batch.tokens.len();
        let mut staged = Staged::new(&mut batch.tokens);
        let run = symbols::copy(
            tables,
            bits,
            &mut staged,
            &mut Copied {
                buffer: &mut self.buffer,
                at: &mut self.buffered,
                limit: start + STRETCH_PLAIN_BYTES_MAX - OVERSHOOT_BYTES,
            },
        )?;
        staged.flush();
        batch
            .plain
            .extend_from_slice(&self.buffer[start..self.buffered]);
        self.block.tokens += (batch.tokens.len() - tokens_before) as u64;
        self.block.plain_bytes += (self.buffered - start) as u64;
        Ok(match run {
            Run::EndOfBlock => self.end_block(bits),
            Run::Full | Run::NeedInput => Progress {
                status: if run == Run::Full {
                    Status::More
                } else {
                    Status::NeedInput
                },
                stored: false,
                block_ended: None,
            },
        })
    }

    fn end_block(&mut self, bits: &mut Bits<'_>) -> Progress {
        self.blocks += 1;
        let status = if self.block.last {
            self.padding_clear &= bits.align();
            self.state = State::Ended;
            Status::End
        } else {
            self.state = State::BlockStart;
            Status::More
        };
        Progress {
            status,
            stored: self.block.kind == BlockKind::Stored,
            block_ended: Some(self.block),
        }
    }

    /// Makes room for one stretch behind the last 32 KiB.
    fn make_room(&mut self) {
        if self.buffered + STRETCH_PLAIN_BYTES_MAX > BUFFER_BYTES {
            let dropped = self.buffered - WINDOW_BYTES;
            self.buffer.copy_within(dropped..self.buffered, 0);
            self.buffered = WINDOW_BYTES;
            self.plain_before += dropped as u64;
        }
    }
}

const _: () = assert!(WINDOW_BYTES + STRETCH_PLAIN_BYTES_MAX <= BUFFER_BYTES);
