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
        self.plain.extend_from_slice(plain);
        let plain_end = self.plain_start + self.plain.len() as u64;
        let mut rest = tokens;
        loop {
            let room = self.parameters.block_tokens() - self.tokens.len();
            let Some((now, later)) = rest.split_at_checked(room) else {
                self.tokens.extend_from_slice(rest);
                break;
            };
            self.tokens.extend_from_slice(now);
            rest = later;
            if rest.is_empty() && plain_end == self.plain_bytes && self.last_is_pending_literal() {
                break;
            }
            self.end_block(false, out);
        }
        if self.plain.len() > STORED_BYTES_MAX {
            self.plain_start += self.plain.len() as u64;
            self.plain.clear();
        }
    }

    /// Appends the last block. What was pushed must have been all of the stream.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.end_block(true, out);
        self.writer.align(out);
    }

    /// zlib's lazy matcher stores its last literal after the loop that ends full blocks.
    fn last_is_pending_literal(&self) -> bool {
        self.is_lazy() && self.tokens.last().is_some_and(|token| token.is_literal())
    }

    const fn is_lazy(&self) -> bool {
        self.parameters.level() >= 4
            && !matches!(
                self.parameters.strategy(),
                Strategy::Huffman | Strategy::Rle
            )
    }

    fn end_block(&mut self, last: bool, out: &mut Vec<u8>) {
        let counts = TokenCounts::of(&self.tokens);
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
        match self.storable(last, block_end) {
            Some(length) if u64::from(length) + 4 <= best_bytes => {
                self.writer.put(last_bit | STORED << 1, 3, out);
                self.writer.align(out);
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(&(!length).to_le_bytes());
                out.extend_from_slice(&self.plain[..usize::from(length)]);
            }
            _ if fixed_bytes == best_bytes => {
                self.writer.put(last_bit | FIXED << 1, 3, out);
                self.fixed
                    .write(&self.tokens, fixed_bits, &mut self.writer, out);
            }
            _ => {
                self.writer.put(last_bit | DYNAMIC << 1, 3, out);
                header.write(&mut self.writer, out);
                packing.write(
                    &self.tokens,
                    dynamic_bits - header.bits,
                    &mut self.writer,
                    out,
                );
            }
        }
        self.tokens.clear();
        self.block_start = block_end;
        if let Ok(done) = usize::try_from(block_end.saturating_sub(self.plain_start)) {
            let done = done.min(self.plain.len());
            self.plain.drain(..done);
            self.plain_start += done as u64;
        }
    }

    /// Length of the block's plain bytes, if zlib still has them in its buffer, and so do we.
    fn storable(&self, last: bool, block_end: u64) -> Option<u16> {
        if self.block_start < self.plain_start
            || self.block_start < self.buffer_start(last, block_end)
        {
            return None;
        }
        // What does not fit LEN is none, and neither is what the caller did not give.
        let length = u16::try_from(block_end - self.block_start).ok()?;
        (usize::from(length) <= self.plain.len()).then_some(length)
    }

    /// Where zlib's buffer begins when it ends a block: it slides by one window as soon as the step position is
    /// far enough in its upper half and too little is read ahead.
    fn buffer_start(&self, last: bool, block_end: u64) -> u64 {
        let token_bytes = self
            .tokens
            .last()
            .map_or(0, |token| token.plain_bytes() as u64);
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
