//! One LZ77 token, packed so that the encoder needs no tables.

use alloc::vec::Vec;

/// A literal byte or a match: from bit 0 the literal/length symbol (9 bits), the length's extra bits (5),
/// the distance symbol (5) and the distance's extra bits (13), as they stand in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(pub(crate) u32);

/// Shortest and longest match, and the farthest one.
pub(crate) const MATCH_BYTES_MIN: usize = 3;
pub(crate) const MATCH_BYTES_MAX: usize = 258;
pub(crate) const WINDOW_BYTES: usize = 32 * 1024;

/// RFC 1951 section 3.2.5: shortest length and extra bits of length symbols 257 to 285.
pub(crate) const LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// RFC 1951 section 3.2.5: shortest distance and extra bits of distance symbols 0 to 29.
pub(crate) const DISTANCES: [(u16, u8); 30] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
    (6145, 11),
    (8193, 12),
    (12289, 12),
    (16385, 13),
    (24577, 13),
];

impl Token {
    /// One byte as it is.
    #[inline]
    #[must_use]
    pub const fn literal(byte: u8) -> Self {
        Self(byte as u32)
    }

    /// The literal/length symbol, 0 to 285.
    #[inline]
    #[must_use]
    pub const fn symbol(self) -> usize {
        (self.0 & 0x1ff) as usize
    }

    /// Value of the length's extra bits.
    #[inline]
    #[must_use]
    pub const fn length_extra(self) -> u32 {
        self.0 >> 9 & 0x1f
    }

    /// The distance symbol of a match, 0 to 29.
    #[inline]
    #[must_use]
    pub const fn distance_symbol(self) -> usize {
        (self.0 >> 14 & 0x1f) as usize
    }

    /// Value of the distance's extra bits.
    #[inline]
    #[must_use]
    pub const fn distance_extra(self) -> u32 {
        self.0 >> 19
    }

    /// Whether this is one byte as it is.
    #[inline]
    #[must_use]
    pub const fn is_literal(self) -> bool {
        self.symbol() < 256
    }

    /// Plain bytes it stands for: 1 or 3 to 258.
    #[inline]
    #[must_use]
    pub const fn plain_bytes(self) -> usize {
        let symbol = self.symbol();
        if symbol < 257 {
            1
        } else {
            LENGTHS[symbol - 257].0 as usize + self.length_extra() as usize
        }
    }
}

/// A stretch of tokens and the plain bytes they stand for; reused from call to call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// In order. Empty when the stretch comes from a stored block, whose tokens are lost.
    pub tokens: Vec<Token>,
    /// What the tokens expand to.
    pub plain: Vec<u8>,
}

impl Batch {
    /// Makes it empty and keeps its memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.plain.clear();
    }
}
