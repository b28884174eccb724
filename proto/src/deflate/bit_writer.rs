//! Writes bits of a deflate stream, lowest first.

use alloc::vec::Vec;

/// Bits that do not fill a byte yet: at most seven between calls.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BitWriter {
    pub(super) hold: u64,
    pub(super) count: u32,
}

impl BitWriter {
    /// Appends the lowest `bits` of `value`, which has none above (at most 48).
    pub(super) fn put(&mut self, value: u64, bits: u32, out: &mut Vec<u8>) {
        self.hold |= value << self.count;
        self.count += bits;
        while self.count >= 8 {
            out.push(self.hold.to_le_bytes()[0]);
            self.hold >>= 8;
            self.count -= 8;
        }
    }

    /// Fills the last byte with zeros.
    pub(super) fn align(&mut self, out: &mut Vec<u8>) {
        self.put(0, (8 - self.count) & 7, out);
    }
}
