//! The window: the part of the first base around the place where the rebuild is.

use std::collections::VecDeque;
use std::ops::Range;

use tidecast_proto::deflate::{Batch, Token};
use tidecast_proto::limits;

use super::error::RebuildError;
use super::walk::{Piece, Walk};
use super::{BEHIND_BYTES, Source};

/// So much may be read ahead of the place where in-order content goes on.
const AHEAD_BYTES: u64 = limits::RUN_BYTES as u64;
/// Memory of tokens of what was read ahead; what comes beyond loses its tokens and is searched instead. Content of
/// one whole run has about 20 MiB of tokens, but the worst would have 32.
const TOKENS_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Emptied buffers kept for the next pieces.
const SPARE_MAX: usize = 4;

/// Pieces of the first base, one after the other without a gap, with a memory of its own bound.
pub(super) struct Window<'a> {
    walk: Walk<'a>,
    content_bytes: u64,
    pieces: VecDeque<Piece>,
    /// In-order content before this was taken over.
    taken: u64,
    /// Content from there until here will be taken over, too, whatever is read ahead meanwhile.
    promised: u64,
    /// In-order content goes on here or behind.
    goes_on: u64,
    held_bytes: u64,
    token_bytes: usize,
    spare_tokens: Vec<Vec<Token>>,
    spare_plain: Vec<Vec<u8>>,
}

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self {
            walk: Walk::new(0, source),
            content_bytes: source.list.total_bytes(),
            pieces: VecDeque::new(),
            taken: 0,
            promised: 0,
            goes_on: 0,
            held_bytes: 0,
            token_bytes: 0,
            spare_tokens: Vec::new(),
            spare_plain: Vec::new(),
        }
    }

    /// Says that content before `taken` was taken over.
    pub(super) fn passed(&mut self, taken: u64) {
        self.promised = self.promised.max(taken);
        self.goes_on = self.goes_on.max(taken);
        if taken <= self.taken {
            return;
        }
        let passed = |piece: &&mut Piece| piece.end() <= taken;
        for piece in self.pieces.iter_mut().take_while(passed) {
            // Pieces that were passed before have none any more.
            let tokens = std::mem::take(&mut piece.batch.tokens);
            self.token_bytes -= memory_of(&tokens);
            keep(&mut self.spare_tokens, tokens);
        }
        self.taken = taken;
    }

    /// Says that content before `promised` will be taken over soon, and that in-order content goes on at `goes_on` or
    /// behind.
    pub(super) fn expect(&mut self, promised: u64, goes_on: u64) {
        self.promised = self.promised.max(promised);
        self.goes_on = self.goes_on.max(goes_on);
    }

    /// The piece that holds byte `at`, or `None` if it has left the window.
    pub(super) fn piece_at(&mut self, at: u64) -> Result<Option<&Piece>, RebuildError> {
        while self.walk.at() <= at {
            if !self.read_on()? {
                return Err(RebuildError::Impossible("content behind the end of a base"));
            }
        }
        Ok(self.held_at(at))
    }

    fn held_at(&self, at: u64) -> Option<&Piece> {
        let behind = self.pieces.partition_point(|piece| piece.at <= at);
        let piece = self.pieces.get(behind.checked_sub(1)?);
        piece.filter(|piece| at < piece.end())
    }

    /// Appends the bytes `range` to `out`, if they can be had here; says whether they could.
    pub(super) fn read(
        &mut self,
        range: &Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<bool, RebuildError> {
        if range.end > self.goes_on.saturating_add(AHEAD_BYTES) {
            return Ok(false);
        }
        // Before reading on, which could drop the beginning.
        let start = self.pieces.front().map_or(self.walk.at(), |piece| piece.at);
        if range.start < start {
            return Ok(false);
        }
        let mut at = range.start;
        while at < range.end {
            let Some(piece) = self.piece_at(at)? else {
                return Ok(false);
            };
            let end = piece.end().min(range.end);
            out.extend_from_slice(piece.part(at, end));
            at = end;
        }
        Ok(true)
    }

    /// How many bytes from `at` on, before `end`, are equal to the beginning of `new`.
    pub(super) fn common_prefix(
        &mut self,
        at: u64,
        end: u64,
        new: &[u8],
    ) -> Result<usize, RebuildError> {
        let mut equal = 0;
        while at + (equal as u64) < end && equal < new.len() {
            let here = at + equal as u64;
            let Some(piece) = self.piece_at(here)? else {
                break;
            };
            let old = piece.part(here, piece.end().min(end));
            let same = common_prefix(old, &new[equal..]);
            equal += same;
            if same < old.len() {
                break;
            }
        }
        Ok(equal)
    }

    /// How many bytes before `end`, from `start` on, are equal to the end of `new`.
    pub(super) fn common_suffix(
        &mut self,
        start: u64,
        end: u64,
        new: &[u8],
    ) -> Result<usize, RebuildError> {
        if start >= end || new.is_empty() {
            return Ok(0);
        }
        self.piece_at(end - 1)?;
        let mut equal = 0;
        while start + (equal as u64) < end && equal < new.len() {
            let here = end - equal as u64;
            let Some(piece) = self.held_at(here - 1) else {
                break;
            };
            let old = piece.part(start.max(piece.at), here);
            let same = common_suffix(old, &new[..new.len() - equal]);
            equal += same;
            if same < old.len() {
                break;
            }
        }
        Ok(equal)
    }

    /// Reads one more piece, and drops what is too far behind.
    fn read_on(&mut self) -> Result<bool, RebuildError> {
        self.evict();
        let batch = Batch {
            tokens: self.spare_tokens.pop().unwrap_or_default(),
            plain: self.spare_plain.pop().unwrap_or_default(),
        };
        let Some(mut piece) = self.walk.next(batch)? else {
            return Ok(false);
        };
        if piece.end() > self.content_bytes {
            return Err(RebuildError::Impossible("a list shorter than its content"));
        }
        let tokens = memory_of(&piece.batch.tokens);
        if piece.end() <= self.taken || self.token_bytes + tokens > TOKENS_BYTES_MAX {
            keep(
                &mut self.spare_tokens,
                std::mem::take(&mut piece.batch.tokens),
            );
        } else {
            self.token_bytes += tokens;
        }
        self.held_bytes += piece.batch.plain.len() as u64;
        self.pieces.push_back(piece);
        Ok(true)
    }

    fn evict(&mut self) {
        let mut index = 0;
        while let Some(piece) = self.pieces.get(index) {
            let far_behind = piece.end() + BEHIND_BYTES <= self.taken;
            // Between the content taken over and the place where it goes on, only so much is kept as a run may ask for.
            let crowded = self.held_bytes > BEHIND_BYTES + AHEAD_BYTES;
            let done_with = far_behind || crowded && piece.end() <= self.goes_on;
            if !done_with {
                return;
            }
            if piece.end() > self.taken && piece.at < self.promised {
                index += 1;
                continue;
            }
            let Some(Piece { batch, .. }) = self.pieces.remove(index) else {
                return;
            };
            self.held_bytes -= batch.plain.len() as u64;
            self.token_bytes -= memory_of(&batch.tokens);
            keep(&mut self.spare_tokens, batch.tokens);
            keep(&mut self.spare_plain, batch.plain);
        }
    }
}

/// A buffer counts with what it takes, not with what is in it.
fn memory_of(tokens: &Vec<Token>) -> usize {
    tokens.capacity() * size_of::<Token>()
}

fn keep<T>(spare: &mut Vec<Vec<T>>, mut buffer: Vec<T>) {
    if buffer.capacity() > 0 && spare.len() < SPARE_MAX {
        buffer.clear();
        spare.push(buffer);
    }
}

/// Compared at once, as one instruction or a few.
const BLOCK_BYTES: usize = 64;

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let blocks = a
        .chunks_exact(BLOCK_BYTES)
        .zip(b.chunks_exact(BLOCK_BYTES))
        .take_while(|(a, b)| a == b)
        .count();
    let at = blocks * BLOCK_BYTES;
    let bytes = a[at..].iter().zip(&b[at..]).take_while(|(a, b)| a == b);
    at + bytes.count()
}

fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let blocks = a
        .rchunks_exact(BLOCK_BYTES)
        .zip(b.rchunks_exact(BLOCK_BYTES))
        .take_while(|(a, b)| a == b)
        .count();
    let at = blocks * BLOCK_BYTES;
    let (a, b) = (&a[..a.len() - at], &b[..b.len() - at]);
    let bytes = a.iter().rev().zip(b.iter().rev());
    at + bytes.take_while(|(a, b)| a == b).count()
}
