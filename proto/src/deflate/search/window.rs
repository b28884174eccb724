//! The bytes a search looks at: zlib's sliding buffer of 64 KiB with room for what was fed ahead.

use alloc::{boxed::Box, vec};

use super::super::token::WINDOW_BYTES;

/// Step position in the buffer at which zlib slides, with bytes to spare behind it.
pub(super) const SLIDE_AT: usize = 2 * WINDOW_BYTES - super::LOOKAHEAD_BYTES + 1;
/// Bytes held: zlib's two windows, and one of input fed ahead.
const HELD_BYTES: usize = 3 * WINDOW_BYTES;
/// Eight bytes are loaded at a time, so reads may pass the end of the input.
const SLACK_BYTES: usize = 264;

/// Position 0 of the buffer is always zlib's: what it cannot match depends on it.
#[derive(Debug)]
pub(super) struct Window {
    bytes: Box<[u8]>,
    base: u64,
    filled: usize,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; HELD_BYTES + SLACK_BYTES].into_boxed_slice(),
            base: 0,
            filled: 0,
        }
    }

    /// Stream position of the buffer's first byte.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }

    /// Bytes filled; those before the search's window may be anything after a [`Self::load`].
    pub(super) const fn filled(&self) -> usize {
        self.filled
    }

    /// Stream position behind the last byte.
    pub(super) const fn end(&self) -> u64 {
        self.base + self.filled as u64
    }

    pub(super) fn room(&self) -> usize {
        HELD_BYTES - self.filled
    }

    /// The buffer with its slack.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes from stream position `from` on; all there are when it lies before them.
    pub(super) fn from(&self, from: u64) -> &[u8] {
        let start = super::clamp(from.saturating_sub(self.base)).min(self.filled);
        &self.bytes[start..self.filled]
    }

    /// Appends bytes, at most [`Self::room`].
    pub(super) fn fill(&mut self, plain: &[u8]) {
        self.bytes[self.filled..self.filled + plain.len()].copy_from_slice(plain);
        self.filled += plain.len();
    }

    /// Replaces everything: `plain` stands at `offset`, what does not fit is left out.
    pub(super) fn load(&mut self, base: u64, offset: usize, plain: &[u8]) {
        let offset = offset.min(HELD_BYTES);
        let count = plain.len().min(HELD_BYTES - offset);
        self.bytes[offset..offset + count].copy_from_slice(&plain[..count]);
        self.base = base;
        self.filled = offset + count;
    }

    /// Forgets the older window.
    pub(super) fn slide(&mut self) {
        self.bytes.copy_within(WINDOW_BYTES..self.filled, 0);
        self.base += WINDOW_BYTES as u64;
        self.filled -= WINDOW_BYTES;
    }
}
