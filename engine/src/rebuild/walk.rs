//! The walk: one content from front to back, in pieces, with the tokens of its streams.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use tidecast_proto::deflate::{Batch, Parser, Status};
use tidecast_proto::recipe::{Deflate, Segment};

use super::Source;
use super::error::{Damage, RebuildError};

/// How much is read from the file at once.
const READ_BYTES: usize = 1024 * 1024;
/// Bytes of one piece outside of streams; those inside are as long as the parser's stretches.
const PIECE_BYTES: usize = 64 * 1024;

/// A stretch of content that does not cross the end of a segment.
#[derive(Debug)]
pub(super) struct Piece {
    /// Where it begins in the content.
    pub(super) at: u64,
    /// The stream it comes from.
    pub(super) stream: Option<Stream>,
    /// Its bytes, and its tokens unless they are lost.
    pub(super) batch: Batch,
}

impl Piece {
    /// Where it ends in the content.
    pub(super) fn end(&self) -> u64 {
        self.at + self.batch.plain.len() as u64
    }

    /// Its bytes between two places of the content inside it.
    pub(super) fn part(&self, from: u64, to: u64) -> &[u8] {
        let inside = |at: u64| usize::try_from(at.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let part = self.batch.plain.get(inside(from)..inside(to));
        part.unwrap_or_default()
    }
}

/// A deflate stream of the old file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    /// Index of its segment in the recipe.
    pub(super) segment: usize,
    /// Where it begins in the content.
    pub(super) start: u64,
    pub(super) plain_bytes: u64,
}

/// Where the walk is in the current segment.
enum State {
    /// Before the segment.
    Before,
    Plain {
        left_bytes: u64,
    },
    Stream {
        parser: Box<Parser>,
        deflate: Deflate,
        stream: Stream,
        /// Where it begins in the file.
        packed_at: u64,
        packed_left: u64,
    },
}

/// Walks one content.
pub(super) struct Walk<'a> {
    base: usize,
    source: &'a Source,
    segment: usize,
    state: State,
    content_at: u64,
    reader: Reader<'a>,
}

impl<'a> Walk<'a> {
    /// At the beginning of base number `base`.
    pub(super) fn new(base: usize, source: &'a Source) -> Self {
        Self {
            base,
            source,
            segment: 0,
            state: State::Before,
            content_at: 0,
            reader: Reader {
                base,
                file: &source.file,
                file_bytes: source.file_bytes(),
                at: 0,
                buffer: Vec::new(),
                used: 0,
            },
        }
    }

    /// Bytes of content passed.
    pub(super) fn at(&self) -> u64 {
        self.content_at
    }

    /// The next piece, made in `batch`'s memory; `None` at the end.
    ///
    /// # Errors
    /// [`RebuildError::Damaged`] or [`RebuildError::Read`].
    pub(super) fn next(&mut self, mut batch: Batch) -> Result<Option<Piece>, RebuildError> {
        batch.clear();
        loop {
            let stream = match &self.state {
                State::Stream { stream, .. } => Some(*stream),
                _ => None,
            };
            if !self.step(&mut batch)? {
                return Ok(None);
            }
            if !batch.plain.is_empty() {
                let at = self.content_at;
                self.content_at += batch.plain.len() as u64;
                return Ok(Some(Piece { at, stream, batch }));
            }
        }
    }

    /// Goes on by at most one piece; says whether there was anything left.
    fn step(&mut self, batch: &mut Batch) -> Result<bool, RebuildError> {
        match &mut self.state {
            State::Before => return self.enter(),
            State::Plain { left_bytes } => {
                if *left_bytes == 0 {
                    self.segment += 1;
                    self.state = State::Before;
                    return Ok(true);
                }
                let some = self.reader.some()?;
                let count = at_most(some, PIECE_BYTES as u64, *left_bytes);
                batch.plain.extend_from_slice(&some[..count]);
                self.reader.skip(count as u64);
                *left_bytes -= count as u64;
            }
            State::Stream {
                parser,
                deflate,
                stream,
                packed_at,
                packed_left,
            } => {
                let damaged = |damage| RebuildError::Damaged {
                    base: self.base,
                    damage,
                };
                let other_length = || {
                    damaged(Damage::Length {
                        stream_at: *packed_at,
                    })
                };
                let broken = |error| {
                    damaged(Damage::Stream {
                        stream_at: *packed_at,
                        error,
                    })
                };
                // The last bits may be held by the parser already.
                let some = match *packed_left {
                    0 => &[],
                    _ => self.reader.some()?,
                };
                let count = at_most(some, u64::MAX, *packed_left);
                let step = parser.advance(&some[..count], batch).map_err(broken)?;
                self.reader.skip(step.consumed as u64);
                *packed_left -= step.consumed as u64;
                let cut = step.status == Status::NeedInput && *packed_left == 0;
                if cut || step.status == Status::End {
                    let parsed = parser.finish().map_err(broken)?;
                    if parsed.plain_bytes != stream.plain_bytes
                        || parsed.packed_bytes != deflate.packed_bytes
                    {
                        return Err(other_length());
                    }
                    self.segment += 1;
                    self.state = State::Before;
                }
            }
        }
        Ok(true)
    }

    /// Enters the next segment.
    fn enter(&mut self) -> Result<bool, RebuildError> {
        let Some(recipe) = &self.source.recipe else {
            if self.segment > 0 {
                return Ok(false);
            }
            self.state = State::Plain {
                left_bytes: self.source.list.total_bytes(),
            };
            return Ok(true);
        };
        match recipe.segments().get(self.segment) {
            None => return Ok(false),
            Some(Segment::Literal(bytes)) => {
                self.reader.skip(bytes.len() as u64);
                self.segment += 1;
            }
            Some(Segment::Plain { bytes }) => self.state = State::Plain { left_bytes: *bytes },
            Some(Segment::Deflate(deflate)) => {
                self.state = State::Stream {
                    parser: Box::new(Parser::with_limit(deflate.plain_bytes)),
                    deflate: *deflate,
                    stream: Stream {
                        segment: self.segment,
                        start: self.content_at,
                        plain_bytes: deflate.plain_bytes,
                    },
                    packed_at: self.reader.at,
                    packed_left: deflate.packed_bytes,
                };
            }
        }
        Ok(true)
    }
}

/// How much of `some` to use, all three in bytes.
fn at_most(some: &[u8], most: u64, left: u64) -> usize {
    let bytes = most.min(left).min(some.len() as u64);
    usize::try_from(bytes).unwrap_or(some.len())
}

/// Reads a file in large steps.
struct Reader<'a> {
    base: usize,
    file: &'a File,
    file_bytes: u64,
    /// Where the next byte lies in the file.
    at: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl Reader<'_> {
    /// The next bytes, at least one.
    fn some(&mut self) -> Result<&[u8], RebuildError> {
        if self.used == self.buffer.len() {
            self.buffer.resize(READ_BYTES, 0);
            self.used = 0;
            let read = read_some(self.file, &mut self.buffer, self.at);
            // Whatever happens, nothing that was not read may be taken for content.
            self.buffer.truncate(*read.as_ref().unwrap_or(&0));
            let read = read.map_err(|source| RebuildError::Read {
                base: self.base,
                source,
            })?;
            if read == 0 {
                return Err(RebuildError::Damaged {
                    base: self.base,
                    damage: Damage::Short {
                        at: self.at,
                        expected: self.file_bytes,
                    },
                });
            }
        }
        Ok(&self.buffer[self.used..])
    }

    fn skip(&mut self, bytes: u64) {
        self.at += bytes;
        let held = self.buffer.len() - self.used;
        self.used += usize::try_from(bytes).map_or(held, |bytes| bytes.min(held));
    }
}

/// Reads at `at` what comes at once, or nothing at the end of the file.
fn read_some(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Appends the bytes from `at` on, `count` of them.
///
/// # Errors
/// [`RebuildError::Damaged`] when the file ends before; or of the disk.
pub(super) fn read_exact(
    base: usize,
    source: &Source,
    mut at: u64,
    count: usize,
    out: &mut Vec<u8>,
) -> Result<(), RebuildError> {
    let mut filled = out.len();
    out.resize(filled + count, 0);
    while filled < out.len() {
        let read = read_some(&source.file, &mut out[filled..], at)
            .map_err(|source| RebuildError::Read { base, source })?;
        if read == 0 {
            return Err(RebuildError::Damaged {
                base,
                damage: Damage::Short {
                    at,
                    expected: source.file_bytes(),
                },
            });
        }
        filled += read;
        at += read as u64;
    }
    Ok(())
}
