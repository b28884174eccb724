//! Tokens -> packed bytes, cut into blocks and written as zlib does (`_tr_flush_block` of trees.c). SPEC §5.4.

use alloc::vec::Vec;

use super::{
    bit_writer::BitWriter,
    block_tokens::{Packing, TokenCounts},
    code_lengths::CodeLengths,
    parameters::{Parameters, Strategy},
    token::{MATCH_BYTES_MAX, Token, WINDOW_BYTES},
};

/// zlib reads ahead in a buffer of two windows and wants this much in it before it searches.
const LOOKAHEAD_BYTES_MIN: u64 = 262;
const WINDOW: u64 = WINDOW_BYTES as u64;
/// A block reaches back at most this far into zlib's buffer; one that is longer is never stored.
const STORED_BYTES_MAX: usize = 2 * WINDOW_BYTES;

const STORED: u64 = 0;
const FIXED: u64 = 1;
const DYNAMIC: u64 = 2;

/// Makes of tokens the stream that zlib makes of them.
pub struct Encoder {
    parameters: Parameters,
    /// Of the whole stream.
    plain_bytes: u64,
    /// The block being filled.
    tokens: Vec<Token>,
    /// Where that block begins.
    block_start: u64,
    /// The newest plain bytes, of that block only.
    plain: Vec<u8>,
    /// Where they begin: behind `block_start` once the block cannot be stored any more.
    plain_start: u64,
    writer: BitWriter,
    fixed: Packing,
}

impl Encoder {
    /// For a stream that stands for `plain_bytes` in all: the last bytes' rules differ, so it must be known.
    #[must_use]
    pub fn new(parameters: Parameters, plain_bytes: u64) -> Self {
        Self {
            parameters,
            plain_bytes,
            tokens: Vec::with_capacity(parameters.block_tokens()),
            block_start: 0,
            plain: Vec::new(),
            plain_start: 0,
            writer: BitWriter::default(),
            fixed: Packing::fixed(),
        }
    }

    /// Takes in tokens and exactly what they expand to, and appends to `out` the whole bytes of every block that is
    /// full.
    pub fn push(&mut self, tokens: &[Token], plain: &[u8], out: &mut Vec<u8>) {
        let mut fresh = plain;
        let mut rest = tokens;
        let ends_stream =
            self.plain_start + (self.plain.len() + plain.len()) as u64 == self.plain_bytes;
        let full = self.parameters.block_tokens();
        while let Some((now, later)) = rest.split_at_checked(full - self.tokens.len()) {
            let last = now.last().or(self.tokens.last());
            if later.is_empty() && ends_stream && self.pends(last) {
                break;
            }
            rest = later;
            if self.tokens.is_empty() {
                self.end_block(now, &mut fresh, false, out);
            } else {
                let mut block = core::mem::take(&mut self.tokens);
                block.extend_from_slice(now);
                self.end_block(&block, &mut fresh, false, out);
                block.clear();
                self.tokens = block;
            }
        }
        self.tokens.extend_from_slice(rest);
        self.plain.extend_from_slice(fresh);
        if self.plain.len() > STORED_BYTES_MAX {
            self.plain_start += self.plain.len() as u64;
            self.plain.clear();
        }
    }

    /// Appends the last block. What was pushed must have been all of the stream.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        let block = core::mem::take(&mut self.tokens);
        self.end_block(&block, &mut &[][..], true, out);
        self.writer.align(out);
    }

    /// zlib's lazy matcher stores its last literal after the loop that ends full blocks.
    fn pends(&self, last: Option<&Token>) -> bool {
        self.is_lazy() && last.is_some_and(|token| token.is_literal())
    }

    const fn is_lazy(&self) -> bool {
        self.parameters.level() >= 4
            && !matches!(
                self.parameters.strategy(),
                Strategy::Huffman | Strategy::Rle
            )
    }

    /// Writes a block of `tokens`, whose plain bytes are `self.plain` and then the first of `fresh`.
    fn end_block(&mut self, tokens: &[Token], fresh: &mut &[u8], last: bool, out: &mut Vec<u8>) {
        let counts = TokenCounts::of(tokens);
        let block_end = self.block_start + counts.plain_bytes();
        let packing = Packing::of(&counts);
        let header = CodeLengths::new(&packing.literals, &packing.distances);
        let dynamic_bits = header.bits + packing.bits(&counts);
        let fixed_bits = self.fixed.bits(&counts);
        // Three bits of type, rounded up to bytes.
        let fixed_bytes = (fixed_bits + 10) >> 3;
        let mut best_bytes = (dynamic_bits + 10) >> 3;
        if fixed_bytes <= best_bytes || self.parameters.strategy() == Strategy::Fixed {
            best_bytes = fixed_bytes;
        }
        let last_bit = u64::from(last);
        match self.storable(tokens, fresh, last, block_end) {
            Some(length) if u64::from(length) + 4 <= best_bytes => {
                self.writer.put(last_bit | STORED << 1, 3, out);
                self.writer.align(out);
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(&(!length).to_le_bytes());
                out.extend_from_slice(&self.plain);
                out.extend_from_slice(&fresh[..usize::from(length) - self.plain.len()]);
            }
            _ if fixed_bytes == best_bytes => {
                self.writer.put(last_bit | FIXED << 1, 3, out);
                self.fixed.write(tokens, fixed_bits, &mut self.writer, out);
            }
            _ => {
                self.writer.put(last_bit | DYNAMIC << 1, 3, out);
                header.write(&mut self.writer, out);
                packing.write(tokens, dynamic_bits - header.bits, &mut self.writer, out);
            }
        }
        let taken =
            usize::try_from(block_end.saturating_sub(self.plain_start)).unwrap_or(usize::MAX);
        let taken_fresh = taken.saturating_sub(self.plain.len()).min(fresh.len());
        *fresh = &fresh[taken_fresh..];
        self.plain.clear();
        self.plain_start = block_end;
        self.block_start = block_end;
    }

    /// Length of the block's plain bytes, if zlib still has them in its buffer, and so do we.
    fn storable(&self, tokens: &[Token], fresh: &[u8], last: bool, block_end: u64) -> Option<u16> {
        if self.block_start < self.plain_start
            || self.block_start < self.buffer_start(tokens, last, block_end)
        {
            return None;
        }
        // What does not fit LEN is none, and neither is what the caller did not give.
        let length = u16::try_from(block_end - self.block_start).ok()?;
        (self.plain.len()..=self.plain.len() + fresh.len())
            .contains(&usize::from(length))
            .then_some(length)
    }

    /// Where zlib's buffer begins when it ends a block: it slides by one window as soon as the step position is
    /// far enough in its upper half and too little is read ahead.
    fn buffer_start(&self, tokens: &[Token], last: bool, block_end: u64) -> u64 {
        let token_bytes = tokens.last().map_or(0, |token| token.plain_bytes() as u64);
        let position = if last {
            self.plain_bytes
        } else {
            // The lazy matcher decides a token one step later.
            (block_end - token_bytes) + u64::from(self.is_lazy())
        };
        let remaining = self.plain_bytes.saturating_sub(position);
        let slides_at_end = 2 * WINDOW - LOOKAHEAD_BYTES_MIN;
        let slides = match self.parameters.strategy() {
            Strategy::Huffman if remaining == 0 => slides_at_end,
            Strategy::Huffman => 2 * WINDOW,
            Strategy::Rle if remaining <= MATCH_BYTES_MAX as u64 => slides_at_end,
            Strategy::Rle => 2 * WINDOW - MATCH_BYTES_MAX as u64,
            _ if remaining < LOOKAHEAD_BYTES_MIN => slides_at_end,
            _ => slides_at_end + 1,
        };
        position
            .checked_sub(slides)
            .map_or(0, |beyond| (beyond / WINDOW + 1) * WINDOW)
    }
}
