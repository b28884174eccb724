//! Tables that turn the next bits into symbols, built per block. What codes are refused follows zlib's
//! `inflate_table()` (inftrees.c).
#![expect(
    clippy::cast_possible_truncation,
    reason = "what is cast is masked to a few bits, or a symbol or table index"
)]

use super::token::{DISTANCES, LENGTHS};

/// Longest code of literals, lengths and distances (RFC 1951 section 3.2.7).
pub(super) const CODE_BITS_MAX: usize = 15;
/// Bits looked up at once. A table of all 15 costs more to build per block than it saves.
pub(super) const LITERAL_ROOT_BITS: u32 = 11;
pub(super) const DISTANCE_ROOT_BITS: u32 = 10;
const CODE_LENGTH_ROOT_BITS: u32 = 7;
const LITERAL_ROOT: usize = 1 << LITERAL_ROOT_BITS;
const DISTANCE_ROOT: usize = 1 << DISTANCE_ROOT_BITS;
/// Symbols a fixed block's codes have; the last two of each are never valid.
pub(super) const LITERAL_SYMBOLS: usize = 288;
pub(super) const DISTANCE_SYMBOLS: usize = 32;
/// Two or more codes share every sub-table, or the code is refused as incomplete.
const LITERAL_ENTRIES: usize =
    LITERAL_ROOT + (LITERAL_SYMBOLS / 2) * (1 << (CODE_BITS_MAX - LITERAL_ROOT_BITS as usize));
const DISTANCE_ENTRIES: usize =
    DISTANCE_ROOT + (DISTANCE_SYMBOLS / 2) * (1 << (CODE_BITS_MAX - DISTANCE_ROOT_BITS as usize));

/// Why code lengths make no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadCode {
    /// More codes than bits can tell apart.
    Oversubscribed,
    /// Bit strings that mean nothing.
    Incomplete,
}

/// What the next bits mean. From bit 0, for every kind: bits to drop (4). Then
/// - literals: bits of the first (4), first byte (8), second byte (8), how many (2)
/// - length: extra bits (4), symbol (9), shortest length (9)
/// - distance: extra bits (4), symbol (8), shortest distance (14 bits and one more)
/// - sub-table: its index bits (4), its start (16)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(u32);

impl Entry {
    const LITERALS: u32 = 1 << 31;
    const VALUE: u32 = 1 << 30;
    const SUB_TABLE: u32 = 1 << 29;
    const END: u32 = 1 << 28;
    /// Bits without meaning; one bit is enough to know, as in zlib.
    const INVALID: Self = Self(1);

    const fn literal(byte: usize) -> Self {
        Self(Self::LITERALS | 1 << 24 | (byte as u32 & 0xff) << 8)
    }

    /// A lit/len symbol, still without its bits.
    fn of_literal_symbol(symbol: usize) -> Self {
        match symbol {
            0..256 => Self::literal(symbol),
            256 => Self(Self::END),
            _ => LENGTHS.get(symbol - 257).map_or(Self(0), |&(base, extra)| {
                Self(
                    Self::VALUE
                        | u32::from(extra) << 4
                        | (symbol as u32 & 0x1ff) << 8
                        | u32::from(base) << 17,
                )
            }),
        }
    }

    fn of_distance_symbol(symbol: usize) -> Self {
        DISTANCES.get(symbol).map_or(Self(0), |&(base, extra)| {
            // The largest base is 24577: 15 bits from bit 13 end at bit 27.
            Self(
                Self::VALUE
                    | u32::from(extra) << 4
                    | (symbol as u32 & 0x1f) << 8
                    | u32::from(base) << 13,
            )
        })
    }

    /// Code lengths keep their plain symbol.
    const fn of_code_length(symbol: usize) -> Self {
        Self(Self::VALUE | (symbol as u32 & 0x1f) << 8)
    }

    #[inline(always)]
    pub(super) const fn bits(self) -> u32 {
        self.0 & 15
    }

    #[inline(always)]
    pub(super) const fn is_literals(self) -> bool {
        self.0 & Self::LITERALS != 0
    }

    #[inline(always)]
    pub(super) const fn is_value(self) -> bool {
        self.0 & Self::VALUE != 0
    }

    #[inline(always)]
    const fn is_sub_table(self) -> bool {
        self.0 & Self::SUB_TABLE != 0
    }

    #[inline(always)]
    pub(super) const fn is_end(self) -> bool {
        self.0 & Self::END != 0
    }

    /// Of literals: bits of the first alone.
    #[inline(always)]
    pub(super) const fn first_bits(self) -> u32 {
        self.0 >> 4 & 15
    }

    #[inline(always)]
    pub(super) const fn first(self) -> u8 {
        (self.0 >> 8 & 0xff) as u8
    }

    #[inline(always)]
    pub(super) const fn second(self) -> u8 {
        (self.0 >> 16 & 0xff) as u8
    }

    #[inline(always)]
    pub(super) const fn literals(self) -> usize {
        (self.0 >> 24 & 3) as usize
    }

    #[inline(always)]
    pub(super) const fn extra_bits(self) -> u32 {
        self.0 >> 4 & 15
    }

    #[inline(always)]
    pub(super) const fn length_symbol(self) -> u32 {
        self.0 >> 8 & 0x1ff
    }

    #[inline(always)]
    pub(super) const fn length_base(self) -> u32 {
        self.0 >> 17 & 0x1ff
    }

    #[inline(always)]
    pub(super) const fn distance_symbol(self) -> u32 {
        self.0 >> 8 & 0x1f
    }

    #[inline(always)]
    pub(super) const fn distance_base(self) -> u32 {
        self.0 >> 13 & 0x7fff
    }

    const fn with_bits(self, bits: u32) -> Self {
        let own = if self.is_literals() {
            bits | bits << 4
        } else {
            bits
        };
        Self(self.0 | own)
    }

    const fn sub_table(start: usize, index_bits: u32) -> Self {
        Self(Self::SUB_TABLE | index_bits << 4 | (start as u32 & 0xffff) << 8)
    }

    const fn sub_index_bits(self) -> u32 {
        self.0 >> 4 & 15
    }

    const fn sub_start(self) -> usize {
        (self.0 >> 8 & 0xffff) as usize
    }
}

/// Fills `table`: a root of `root_bits`, sub-tables behind it.
fn build(
    table: &mut [Entry],
    root_bits: u32,
    lengths: &[u8],
    one_code_may_stand_alone: bool,
    entry: impl Fn(usize) -> Entry,
) -> Result<(), BadCode> {
    let mut counts = [0u16; CODE_BITS_MAX + 1];
    for &length in lengths {
        counts[usize::from(length)] += 1;
    }
    counts[0] = 0;
    let root = 1 << root_bits;
    let longest = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
    let mut left = 1i32;
    for &count in &counts[1..] {
        left = left * 2 - i32::from(count);
        if left < 0 {
            return Err(BadCode::Oversubscribed);
        }
    }
    if left > 0 {
        // zlib lets one code of one bit stand alone, and no code at all where none is used.
        if longest > 1 || !one_code_may_stand_alone {
            return Err(BadCode::Incomplete);
        }
        table[..root].fill(Entry::INVALID);
    }
    let mut next = [0u16; CODE_BITS_MAX + 2];
    let mut offsets = [0u16; CODE_BITS_MAX + 2];
    for length in 1..=CODE_BITS_MAX {
        next[length + 1] = (next[length] + counts[length]) << 1;
        offsets[length + 1] = offsets[length] + counts[length];
    }
    // By code, so that codes which share a prefix follow each other.
    let mut sorted = [0u16; LITERAL_SYMBOLS];
    for (symbol, &length) in (0u16..).zip(lengths) {
        if length > 0 {
            let offset = &mut offsets[usize::from(length)];
            sorted[usize::from(*offset)] = symbol;
            *offset += 1;
        }
    }
    let used = usize::from(offsets[CODE_BITS_MAX]);
    let mut sub_prefix = usize::MAX;
    let mut sub_start = 0;
    let mut sub_end = root;
    let sub_bits = (longest as u32).saturating_sub(root_bits);
    for &symbol in &sorted[..used] {
        let symbol = usize::from(symbol);
        let length = u32::from(lengths[symbol]);
        let code = next[length as usize];
        next[length as usize] += 1;
        let reversed = usize::from(code.reverse_bits() >> (16 - length));
        if length <= root_bits {
            let value = entry(symbol).with_bits(length);
            for slot in table[reversed..root].iter_mut().step_by(1 << length) {
                *slot = value;
            }
        } else {
            let prefix = reversed & (root - 1);
            if prefix != sub_prefix {
                sub_prefix = prefix;
                sub_start = sub_end;
                sub_end += 1 << sub_bits;
                table[prefix] = Entry::sub_table(sub_start, sub_bits);
            }
            let value = entry(symbol).with_bits(length);
            let first = sub_start + (reversed >> root_bits);
            for slot in table[first..sub_end]
                .iter_mut()
                .step_by(1 << (length - root_bits))
            {
                *slot = value;
            }
        }
    }
    Ok(())
}

/// Literals and lengths.
pub(super) struct LiteralTable([Entry; LITERAL_ENTRIES]);

impl LiteralTable {
    pub(super) const fn new() -> Self {
        Self([Entry::INVALID; LITERAL_ENTRIES])
    }

    pub(super) fn build(&mut self, lengths: &[u8]) -> Result<(), BadCode> {
        build(
            &mut self.0,
            LITERAL_ROOT_BITS,
            lengths,
            true,
            Entry::of_literal_symbol,
        )?;
        // Two literals in one look-up. Downwards, so that what follows a literal is still single.
        for index in (0..LITERAL_ROOT).rev() {
            let first = self.0[index];
            if !first.is_literals() {
                continue;
            }
            let second = self.0[index >> first.bits()];
            let bits = first.bits() + second.first_bits();
            if second.is_literals() && bits <= LITERAL_ROOT_BITS {
                self.0[index] = Entry(
                    Entry::LITERALS
                        | 2 << 24
                        | u32::from(second.first()) << 16
                        | u32::from(first.first()) << 8
                        | first.bits() << 4
                        | bits,
                );
            }
        }
        Ok(())
    }

    /// What the root says: literals, or something that [`Self::resolve`] completes.
    #[inline(always)]
    pub(super) const fn look(&self, hold: u64) -> Entry {
        self.0[(hold & (LITERAL_ROOT as u64 - 1)) as usize]
    }

    /// Follows a sub-table.
    #[inline(always)]
    pub(super) fn resolve(&self, entry: Entry, hold: u64) -> Entry {
        if !entry.is_sub_table() {
            return entry;
        }
        let index = (hold >> LITERAL_ROOT_BITS & 15) as usize & ((1 << entry.sub_index_bits()) - 1);
        self.0[entry.sub_start() + index]
    }
}

/// Distances.
pub(super) struct DistanceTable([Entry; DISTANCE_ENTRIES]);

impl DistanceTable {
    pub(super) const fn new() -> Self {
        Self([Entry::INVALID; DISTANCE_ENTRIES])
    }

    pub(super) fn build(&mut self, lengths: &[u8]) -> Result<(), BadCode> {
        build(
            &mut self.0,
            DISTANCE_ROOT_BITS,
            lengths,
            true,
            Entry::of_distance_symbol,
        )
    }

    #[inline(always)]
    pub(super) fn look(&self, hold: u64) -> Entry {
        let entry = self.0[(hold & (DISTANCE_ROOT as u64 - 1)) as usize];
        if !entry.is_sub_table() {
            return entry;
        }
        let index =
            (hold >> DISTANCE_ROOT_BITS & 31) as usize & ((1 << entry.sub_index_bits()) - 1);
        self.0[entry.sub_start() + index]
    }
}

/// Code lengths, whose codes have at most seven bits.
pub(super) struct CodeLengthTable([Entry; 1 << CODE_LENGTH_ROOT_BITS]);

impl CodeLengthTable {
    pub(super) const fn new() -> Self {
        Self([Entry::INVALID; 1 << CODE_LENGTH_ROOT_BITS])
    }

    pub(super) fn build(&mut self, lengths: &[u8]) -> Result<(), BadCode> {
        build(
            &mut self.0,
            CODE_LENGTH_ROOT_BITS,
            lengths,
            false,
            Entry::of_code_length,
        )
    }

    /// The symbol and its bits.
    pub(super) const fn look(&self, hold: u64) -> (u32, u32) {
        let entry = self.0[(hold & ((1 << CODE_LENGTH_ROOT_BITS) - 1)) as usize];
        (entry.distance_symbol(), entry.bits())
    }
}
