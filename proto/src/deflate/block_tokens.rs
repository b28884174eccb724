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
/// All a distance symbol's bits can be.
const DISTANCE_SLOTS: usize = 32;
/// Neighbours are often equal; counters of their own keep one addition from waiting for the other.
const LANES: usize = 4;

/// How often each symbol occurs in a block, the end-of-block included.
pub(super) struct TokenCounts {
    literals: [u32; LITERALS],
    distances: [u32; DISTANCE_SYMBOLS],
    length_extras: u64,
}

impl TokenCounts {
    pub(super) fn of(tokens: &[Token]) -> Self {
        let mut literals = [[0u32; LITERAL_SLOTS]; LANES];
        let mut distances = [[0u32; DISTANCE_SLOTS]; LANES];
        let (groups, rest) = tokens.as_chunks::<LANES>();
        for group in groups {
            for lane in 0..LANES {
                literals[lane][group[lane].symbol()] += 1;
                distances[lane][group[lane].distance_symbol()] += 1;
            }
        }
        for &token in rest {
            literals[0][token.symbol()] += 1;
            distances[0][token.distance_symbol()] += 1;
        }
        let mut counts = Self {
            literals: core::array::from_fn(|symbol| literals.iter().map(|lane| lane[symbol]).sum()),
            distances: core::array::from_fn(|symbol| {
                distances.iter().map(|lane| lane[symbol]).sum()
            }),
            length_extras: tokens
                .iter()
                .map(|token| u64::from(token.length_extra()))
                .sum(),
        };
        // Literals were counted as distance symbol 0, which costs less than telling them apart.
        counts.distances[0] -= counts.literals[..END_OF_BLOCK].iter().sum::<u32>();
        counts.literals[END_OF_BLOCK] = 1;
        counts
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
        let mut literals = [Slot::default(); LITERAL_SLOTS];
        for (symbol, slot) in literals.iter_mut().enumerate().take(LITERALS) {
            *slot = slot_of(&self.literals, symbol, length_extra_bits(symbol));
        }
        let mut distances = [Slot::default(); DISTANCE_SLOTS];
        for (symbol, slot) in distances.iter_mut().enumerate().take(DISTANCE_SYMBOLS) {
            *slot = slot_of(&self.distances, symbol, DISTANCES[symbol].1);
        }

        let start = out.len();
        let bytes = usize::try_from(bits / 8).unwrap_or(0) + 2 * size_of::<u64>();
        out.resize(start + bytes, 0);
        let mut stores = Stores {
            hold: writer.hold,
            count: writer.count,
            room: &mut out[start..],
            at: 0,
        };
        let mut rest = tokens;
        loop {
            // Three codes of at most 15 bits need one store.
            while let Some((&[a, b, c], behind)) = rest.split_first_chunk() {
                if !(a.is_literal() && b.is_literal() && c.is_literal()) {
                    break;
                }
                stores.add_code(literals[a.symbol()]);
                stores.add_code(literals[b.symbol()]);
                stores.add_code(literals[c.symbol()]);
                stores.store();
                rest = behind;
            }
            let Some((&token, behind)) = rest.split_first() else {
                break;
            };
            rest = behind;
            let literal = literals[token.symbol()];
            if token.is_literal() {
                stores.add_code(literal);
            } else {
                stores.add(literal, token.length_extra());
                stores.add(distances[token.distance_symbol()], token.distance_extra());
            }
            stores.store();
        }
        let (hold, count, at) = (stores.hold, stores.count, stores.at);
        out.truncate(start + at);
        *writer = BitWriter { hold, count };
        let end = &literals[END_OF_BLOCK];
        writer.put(u64::from(end.code), u32::from(end.code_bits), out);
    }
}

/// Bits gathered in a register and stored eight bytes at a time: every store overwrites what the one before could not
/// fill.
struct Stores<'a> {
    hold: u64,
    count: u32,
    room: &'a mut [u8],
    at: usize,
}

impl Stores<'_> {
    #[inline(always)]
    fn add_code(&mut self, slot: Slot) {
        self.hold |= u64::from(slot.code) << self.count;
        self.count += u32::from(slot.code_bits);
    }

    #[inline(always)]
    fn add(&mut self, slot: Slot, extra: u32) {
        let bits = u64::from(slot.code) | u64::from(extra) << slot.code_bits;
        self.hold |= bits << self.count;
        self.count += u32::from(slot.all_bits);
    }

    /// Keeps at most seven bits, so that 48 of a match or 45 of three literals fit again.
    #[inline(always)]
    fn store(&mut self) {
        self.room[self.at..self.at + size_of::<u64>()].copy_from_slice(&self.hold.to_le_bytes());
        self.at += self.count as usize / 8;
        self.hold >>= self.count & !7;
        self.count &= 7;
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
