//! Candidates as zlib links them: positions of equal three-byte hash, the nearest first.

use alloc::boxed::Box;

use super::{
    super::token::{MATCH_BYTES_MAX, MATCH_BYTES_MIN, WINDOW_BYTES},
    DISTANCE_MAX,
    steps::{Links, Match, Reach},
};

/// The window's length, as the tables count.
pub(super) const WINDOW: u16 = 1 << 15;
pub(super) const MASK: usize = WINDOW_BYTES - 1;
/// Hash values at memLevel 9; lower levels use the first part.
pub(super) const HASHES_MAX: usize = 1 << 16;

/// zlib's hash of three bytes (`UPDATE_HASH`), which only depends on them although it is written as a rolling one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hash3 {
    shift: u32,
    mask: u32,
}

impl Hash3 {
    pub(super) const fn new(memory_level: u8) -> Self {
        let bits = memory_level as u32 + 7;
        Self {
            shift: bits.div_ceil(3),
            mask: (1 << bits) - 1,
        }
    }

    /// Of the low three bytes of `word`, which was loaded little-endian.
    #[inline(always)]
    pub(super) const fn of(self, word: u32) -> usize {
        let hash = (word & 0xff) << (2 * self.shift)
            ^ (word >> 8 & 0xff) << self.shift
            ^ (word >> 16 & 0xff);
        (hash & self.mask) as usize & (HASHES_MAX - 1)
    }

    pub(super) const fn count(self) -> usize {
        self.mask as usize + 1
    }
}

/// Positions count from the buffer's start; 0 stands for none.
#[derive(Debug)]
pub(super) struct Chains {
    hash: Hash3,
    head: Box<[u16; HASHES_MAX]>,
    before: Box<[u16; WINDOW_BYTES]>,
}

impl Chains {
    pub(super) fn new(memory_level: u8) -> Self {
        Self {
            hash: Hash3::new(memory_level),
            head: Box::new([0; HASHES_MAX]),
            before: Box::new([0; WINDOW_BYTES]),
        }
    }
}

impl Links for Chains {
    const HASHED_BYTES: usize = MATCH_BYTES_MIN;
    const FILTERED: bool = false;

    #[inline(always)]
    fn insert(&mut self, bytes: &[u8], at: usize) -> usize {
        let head = &mut self.head[self.hash.of(word32(bytes, at))];
        let former = *head;
        self.before[at & MASK] = former;
        *head = short(at);
        usize::from(former)
    }

    #[inline(always)]
    fn longest(&self, bytes: &[u8], at: usize, head: usize, reach: Reach) -> Option<Match> {
        if reach.beat >= reach.most {
            return None;
        }
        let limit = at.saturating_sub(DISTANCE_MAX);
        let mut candidate = head;
        let mut chain = reach.chain;
        let mut best = reach.beat;
        let mut found = None;
        let mut end = word16(bytes, at + best - 1);
        loop {
            // Only who continues one byte farther can be longer.
            if word16(bytes, candidate + best - 1) == end {
                let length = common(bytes, candidate, at, reach.most);
                if length > best {
                    best = length;
                    found = Some(Match {
                        length,
                        distance: at - candidate,
                    });
                    if length >= reach.nice {
                        break;
                    }
                    end = word16(bytes, at + best - 1);
                }
            }
            candidate = usize::from(self.before[candidate & MASK]);
            chain -= 1;
            if candidate <= limit || chain == 0 {
                break;
            }
        }
        found
    }

    fn slide(&mut self) {
        let hashes = self.hash.count();
        for entry in self.head[..hashes].iter_mut() {
            *entry = entry.saturating_sub(WINDOW);
        }
        for entry in self.before.iter_mut() {
            *entry = entry.saturating_sub(WINDOW);
        }
    }

    fn clear(&mut self) {
        self.head.fill(0);
        self.before.fill(0);
    }
}

/// Bytes that are equal from `a` and `b` on, at most `most`.
#[inline(always)]
pub(super) fn common(bytes: &[u8], a: usize, b: usize, most: usize) -> usize {
    debug_assert!(most <= MATCH_BYTES_MAX);
    let mut length = 0;
    while length < most {
        let differ = word64(bytes, a + length) ^ word64(bytes, b + length);
        if differ != 0 {
            return (length + differ.trailing_zeros() as usize / 8).min(most);
        }
        length += 8;
    }
    most
}

#[inline(always)]
pub(super) fn word16(bytes: &[u8], at: usize) -> u16 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |chunk| u16::from_le_bytes(*chunk))
}

#[inline(always)]
pub(super) fn word32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

#[inline(always)]
pub(super) fn word64(bytes: &[u8], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

/// A position in the tables. The search slides before any reaches 2^16.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "below 2^16, see above")]
pub(super) fn short(at: usize) -> u16 {
    debug_assert!(at < 1 << 16);
    at as u16
}
