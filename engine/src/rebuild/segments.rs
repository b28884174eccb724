//! Splits the new content into the segments of its recipe, and makes the tokens of its streams.

use std::mem;
use std::ops::Range;

use tidecast_proto::deflate::{Batch, OldStretch, Tokenizer};

use super::error::RebuildError;
use super::partners::{Part, Partner};
use super::press::{Feed, Gone, Job};
use super::walk::Piece;

/// A batch goes to the press when it has so many plain bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// New bytes are searched in stretches of this length, so that batches stay short.
const STRETCH_BYTES: usize = 64 * 1024;

/// Why the work stopped.
pub(super) enum Halt {
    /// The press is gone, and says why.
    Press,
    /// Something on this side.
    Because(RebuildError),
}

impl From<RebuildError> for Halt {
    fn from(error: RebuildError) -> Self {
        Self::Because(error)
    }
}

impl From<Gone> for Halt {
    fn from(_: Gone) -> Self {
        Self::Press
    }
}

/// Takes in the new content from front to back.
pub(super) struct Segments<'a> {
    parts: std::vec::IntoIter<Part<'a>>,
    current: Current,
    /// Bytes that the current segment takes still, and those it has taken.
    left_bytes: u64,
    done_bytes: u64,
    batch: Batch,
    feed: Feed,
}

enum Current {
    Plain,
    Stream {
        tokenizer: Box<Tokenizer>,
        partner: Option<Partner>,
    },
}

impl<'a> Segments<'a> {
    pub(super) fn new(parts: Vec<Part<'a>>, feed: Feed) -> Result<Self, Halt> {
        let mut segments = Self {
            parts: parts.into_iter(),
            current: Current::Plain,
            left_bytes: 0,
            done_bytes: 0,
            batch: Batch::default(),
            feed,
        };
        segments.go_on()?;
        Ok(segments)
    }

    /// Takes in bytes of which nothing is known.
    pub(super) fn push_new(&mut self, mut bytes: &[u8]) -> Result<(), Halt> {
        while !bytes.is_empty() {
            let count = bytes.len().min(STRETCH_BYTES).min(near(self.left_bytes));
            let (now, later) = bytes.split_at(count);
            match &mut self.current {
                Current::Plain => self.batch.plain.extend_from_slice(now),
                Current::Stream { tokenizer, .. } => tokenizer.push_new(now, &mut self.batch),
            }
            self.pass(count as u64)?;
            bytes = later;
        }
        Ok(())
    }

    /// Takes in the bytes `taken` of the first base's content, which lie in `piece`; `equal` is the whole range of it that
    /// comes next.
    pub(super) fn push_same(
        &mut self,
        piece: &Piece,
        taken: Range<u64>,
        equal: &Range<u64>,
    ) -> Result<(), Halt> {
        let mut at = taken.start;
        while at < taken.end {
            let bytes = self.left_bytes.min(taken.end - at);
            if bytes == 0 {
                return Err(too_much());
            }
            let plain = piece.part(at, at + bytes);
            match &mut self.current {
                Current::Plain => self.batch.plain.extend_from_slice(plain),
                Current::Stream { tokenizer, partner } => {
                    let shared = partner.filter(|partner| {
                        piece.stream.map(|stream| stream.segment) == Some(partner.segment)
                    });
                    // Both streams begin somewhere in their contents, and end.
                    let old = shared.and_then(|stream| {
                        let from = equal.start.max(stream.start);
                        let from = from.max(at.saturating_sub(self.done_bytes));
                        let end = equal.end.min(stream.start + stream.plain_bytes);
                        let end = end.min(at + self.left_bytes);
                        let equal =
                            from.checked_sub(stream.start)?..end.checked_sub(stream.start)?;
                        let piece_at = piece.at.checked_sub(stream.start)?;
                        OldStretch::cut(&piece.batch, piece_at, &equal)
                    });
                    match old.filter(|old| old.plain().len() == plain.len()) {
                        Some(old) => tokenizer.push_same(old, &mut self.batch),
                        None => tokenizer.push_new(plain, &mut self.batch),
                    }
                }
            }
            self.pass(bytes)?;
            at += bytes;
        }
        Ok(())
    }

    /// Ends the file.
    pub(super) fn finish(self) -> Result<(), Halt> {
        if self.left_bytes > 0 || self.parts.len() > 0 {
            return Err(RebuildError::Impossible("a list shorter than its recipe").into());
        }
        self.feed.send(Job::Done)?;
        Ok(())
    }

    fn pass(&mut self, bytes: u64) -> Result<(), Halt> {
        if bytes == 0 {
            return Err(too_much());
        }
        self.left_bytes -= bytes;
        self.done_bytes += bytes;
        if self.batch.plain.len() >= BATCH_BYTES {
            self.hand_in()?;
        }
        if self.left_bytes == 0 {
            self.leave()?;
            self.go_on()?;
        }
        Ok(())
    }

    /// Ends the current segment.
    fn leave(&mut self) -> Result<(), Halt> {
        match mem::replace(&mut self.current, Current::Plain) {
            Current::Plain => self.hand_in(),
            Current::Stream { mut tokenizer, .. } => {
                tokenizer.finish(&mut self.batch);
                // The segment is a stream until its last tokens are handed in.
                let last = mem::replace(&mut self.batch, self.feed.batch());
                self.feed.send(Job::Tokens(last))?;
                self.feed.send(Job::End)?;
                Ok(())
            }
        }
    }

    /// Goes on to the next segment that takes content.
    fn go_on(&mut self) -> Result<(), Halt> {
        while let Some(part) = self.parts.next() {
            self.done_bytes = 0;
            match part {
                Part::Literal(bytes) => {
                    self.batch.plain.extend_from_slice(bytes);
                    let batch = mem::replace(&mut self.batch, self.feed.batch());
                    self.feed.send(Job::Bytes(batch))?;
                }
                Part::Plain { bytes } => {
                    self.left_bytes = bytes;
                    if bytes > 0 {
                        return Ok(());
                    }
                }
                Part::Stream {
                    parameters,
                    plain_bytes,
                    partner,
                } => {
                    self.feed.send(Job::Begin(parameters, plain_bytes))?;
                    let old_bytes = partner.map_or(0, |partner| partner.plain_bytes);
                    let tokenizer = Tokenizer::new(parameters, plain_bytes, old_bytes);
                    self.current = Current::Stream {
                        tokenizer: Box::new(tokenizer),
                        partner,
                    };
                    self.left_bytes = plain_bytes;
                    if plain_bytes > 0 {
                        return Ok(());
                    }
                    self.leave()?;
                }
            }
        }
        Ok(())
    }

    fn hand_in(&mut self) -> Result<(), Halt> {
        let job = match self.current {
            Current::Plain => Job::Bytes,
            Current::Stream { .. } => Job::Tokens,
        };
        let batch = mem::replace(&mut self.batch, self.feed.batch());
        Ok(self.feed.send(job(batch))?)
    }
}

fn too_much() -> Halt {
    RebuildError::Impossible("a list longer than its recipe").into()
}

/// A count of bytes in memory; what is larger only needs to stay larger than any of them.
fn near(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
