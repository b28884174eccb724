//! The tokens of one block: counted, and written in a code.

use alloc::vec::Vec;

use super::{
    bit_writer::BitWriter,
    token::{DISTANCES, LENGTHS, Token},
    trees::Tree,
};

const LITERALS: usize = 286;
const DISTANCE_SYMBOLS: usize = 30;
const END_OF_BLOCK: usize = 256;
const FIRST_LENGTH: usize = 257;
const LIMIT_BITS: u8 = 15;
/// Tables that any token's bits can index.
const LITERAL_SLOTS: usize = 512;
/// A distance symbol, and above it one bit for "no distance".
const DISTANCE_SLOTS: usize = 64;
/// Neighbours are often equal; counters of their own keep one addition from waiting for the other.
const LANES: usize = 4;

/// How often each symbol occurs in a block, the end-of-block included.
pub(super) struct TokenCounts {
    literals: [u32; LITERALS],
    distances: [u32; DISTANCE_SYMBOLS],
    length_extras: u64,
}

/// Where a token's distance is counted and looked up: literals share slots that no match has.
#[inline(always)]
const fn distance_slot(token: Token) -> usize {
    token.distance_symbol() | ((token.symbol() < FIRST_LENGTH) as usize) << 5
}

impl TokenCounts {
    pub(super) fn of(tokens: &[Token]) -> Self {
        let mut literals = [[0u32; LITERAL_SLOTS]; LANES];
        let mut distances = [[0u32; DISTANCE_SLOTS]; LANES];
        let (groups, rest) = tokens.as_chunks::<LANES>();
        for group in groups {
            for lane in 0..LANES {
                literals[lane][group[lane].symbol()] += 1;
                distances[lane][distance_slot(group[lane])] += 1;
            }
        }
        for &token in rest {
            literals[0][token.symbol()] += 1;
            distances[0][distance_slot(token)] += 1;
        }
        literals[0][END_OF_BLOCK] = 1;
        Self {
            literals: core::array::from_fn(|symbol| literals.iter().map(|lane| lane[symbol]).sum()),
            distances: core::array::from_fn(|symbol| {
                distances.iter().map(|lane| lane[symbol]).sum()
            }),
            length_extras: tokens
                .iter()
                .map(|token| u64::from(token.length_extra()))
                .sum(),
        }
    }

    /// What the tokens expand to.
    pub(super) fn plain_bytes(&self) -> u64 {
        let (literals, lengths) = self.literals.split_at(FIRST_LENGTH);
        let literals: u32 = literals[..END_OF_BLOCK].iter().sum();
        let lengths: u64 = lengths
            .iter()
            .zip(&LENGTHS)
            .map(|(&count, &(base, _))| u64::from(count) * u64::from(base))
            .sum();
        u64::from(literals) + lengths + self.length_extras
    }
}

/// The two codes of a block.
pub(super) struct Packing {
    pub(super) literals: Tree<LITERALS>,
    pub(super) distances: Tree<DISTANCE_SYMBOLS>,
}

/// A symbol as it is written: its code, the code's bits, and these with the extra bits.
#[derive(Clone, Copy, Default)]
struct Slot {
    code: u16,
    code_bits: u8,
    all_bits: u8,
}

const fn length_extra_bits(symbol: usize) -> u8 {
    if symbol < FIRST_LENGTH {
        0
    } else {
        LENGTHS[symbol - FIRST_LENGTH].1
    }
}

impl Packing {
    pub(super) fn of(counts: &TokenCounts) -> Self {
        Self {
            literals: Tree::of_frequencies(&counts.literals, LIMIT_BITS),
            distances: Tree::of_frequencies(&counts.distances, LIMIT_BITS),
        }
    }

    /// RFC 1951 section 3.2.6.
    pub(super) fn fixed() -> Self {
        // Two symbols that never occur have codes too.
        let mut lengths = [8; LITERALS + 2];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        Self {
            literals: Tree::of_lengths(&lengths),
            distances: Tree::of_lengths(&[5; DISTANCE_SYMBOLS]),
        }
    }

    /// Bits of the block's tokens and its end-of-block.
    pub(super) fn bits(&self, counts: &TokenCounts) -> u64 {
        let literals: u64 = (0..LITERALS)
            .map(|symbol| {
                let bits = self.literals.lengths[symbol] + length_extra_bits(symbol);
                u64::from(counts.literals[symbol]) * u64::from(bits)
            })
            .sum();
        let distances: u64 = (0..DISTANCE_SYMBOLS)
            .map(|symbol| {
                let bits = self.distances.lengths[symbol] + DISTANCES[symbol].1;
                u64::from(counts.distances[symbol]) * u64::from(bits)
            })
            .sum();
        literals + distances
    }

    /// Appends the tokens and the end-of-block, `bits` in all.
    pub(super) fn write(
        &self,
        tokens: &[Token],
        bits: u64,
        writer: &mut BitWriter,
        out: &mut Vec<u8>,
    ) {
        const STORE: usize = size_of::<u64>();
        let mut literals = [Slot::default(); LITERAL_SLOTS];
        for (symbol, slot) in literals.iter_mut().enumerate().take(LITERALS) {
            *slot = slot_of(&self.literals, symbol, length_extra_bits(symbol));
        }
        // What literals look up stays empty.
        let mut distances = [Slot::default(); DISTANCE_SLOTS];
        for (symbol, slot) in distances.iter_mut().enumerate().take(DISTANCE_SYMBOLS) {
            *slot = slot_of(&self.distances, symbol, DISTANCES[symbol].1);
        }

        let start = out.len();
        let bytes = usize::try_from(bits / 8).unwrap_or(0) + 2 * STORE;
        out.resize(start + bytes, 0);
        let room = &mut out[start..];
        let (mut hold, mut count, mut at) = (writer.hold, writer.count, 0);
        for &token in tokens {
            let literal = literals[token.symbol()];
            let distance = distances[distance_slot(token)];
            let head =
                u64::from(literal.code) | u64::from(token.length_extra()) << literal.code_bits;
            let tail =
                u64::from(distance.code) | u64::from(token.distance_extra()) << distance.code_bits;
            hold |= (head | tail << literal.all_bits) << count;
            count += u32::from(literal.all_bits) + u32::from(distance.all_bits);
            // Always eight bytes, the next store overwrites those that are not full yet.
            room[at..at + STORE].copy_from_slice(&hold.to_le_bytes());
            at += count as usize / 8;
            hold >>= count & !7;
            count &= 7;
        }
        out.truncate(start + at);
        *writer = BitWriter { hold, count };
        let end = &literals[END_OF_BLOCK];
        writer.put(u64::from(end.code), u32::from(end.code_bits), out);
    }
}

const fn slot_of<const N: usize>(tree: &Tree<N>, symbol: usize, extra_bits: u8) -> Slot {
    let code_bits = tree.lengths[symbol];
    Slot {
        code: tree.codes[symbol],
        code_bits,
        all_bits: code_bits + extra_bits,
    }
}
