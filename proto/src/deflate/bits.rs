//! Reads bits of a deflate stream that arrives in pieces (RFC 1951 section 3.1.1: lowest bit first).

/// The bits of one piece, behind those left over from the piece before.
pub(super) struct Bits<'a> {
    pub(super) input: &'a [u8],
    /// Bytes of `input` already in `hold`.
    pub(super) at: usize,
    /// The next bits, lowest first; zero above `count`.
    pub(super) hold: u64,
    pub(super) count: u32,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(input: &'a [u8], hold: u64, count: u32) -> Self {
        Self {
            input,
            at: 0,
            hold,
            count,
        }
    }

    /// Takes in whole bytes while they fit: at least 57 bits are held then, or all there are.
    #[inline]
    pub(super) fn fill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.input.get(self.at) else {
                return;
            };
            self.hold |= u64::from(byte) << self.count;
            self.count += 8;
            self.at += 1;
        }
    }

    /// Whether `wanted` bits (at most 57) are there.
    #[inline]
    pub(super) fn has(&mut self, wanted: u32) -> bool {
        if self.count < wanted {
            self.fill();
        }
        self.count >= wanted
    }

    /// The next `wanted` bits (at most 32), zeros where the input has ended.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked to 32 bits")]
    pub(super) const fn peek(&self, wanted: u32) -> u32 {
        (self.hold & ((1 << wanted) - 1)) as u32
    }

    /// Drops bits that are there.
    #[inline]
    pub(super) const fn skip(&mut self, bits: u32) {
        self.hold >>= bits;
        self.count -= bits;
    }

    /// Reads `wanted` bits (at most 32), or leaves everything as it was when they are not all there.
    #[inline]
    pub(super) fn take(&mut self, wanted: u32) -> Option<u32> {
        if !self.has(wanted) {
            return None;
        }
        let value = self.peek(wanted);
        self.skip(wanted);
        Some(value)
    }

    /// Drops what is left of the byte being read and says whether those bits are all zero.
    pub(super) const fn align(&mut self) -> bool {
        let padding = self.count & 7;
        let clear = self.peek(padding) == 0;
        self.skip(padding);
        clear
    }

    /// Gives whole unread bytes back to the input. What is held from an earlier piece is always part of something
    /// that this piece has completed, so all of them are this piece's.
    pub(super) fn give_back(&mut self) {
        let whole = (self.count as usize / 8).min(self.at);
        self.at -= whole;
        self.count &= 7;
        self.hold &= (1 << self.count) - 1;
    }
}
