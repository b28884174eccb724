//! The filtered strategy's search, several times as fast as zlib's and with the same outcome.
//!
//! Filtered drops every match of up to five bytes, so candidates are linked by a hash of six. zlib's own chain, of
//! three bytes, is only counted: it says which candidates zlib would have given up before.

use alloc::boxed::Box;

use super::{
    super::token::WINDOW_BYTES,
    DISTANCE_MAX,
    chains::{HASHES_MAX, Hash3, MASK, WINDOW, common, short, word32, word64},
    steps::{Links, Match, Reach},
};

const HASH6_BITS: u32 = 17;
const HASHES6: usize = 1 << HASH6_BITS;
/// Longest match that filtered drops.
const DROPPED_BYTES: usize = 5;
/// From here on every candidate is counted, so that periodic input costs no more than at zlib.
const STEPS_UNCOUNTED: usize = 32;
/// Most candidates looked at, twice zlib's most. Only input made to collide in the six-byte hash has more; it is
/// searched to no worse an end than other bytes than zlib's, which whoever checks the outcome notices.
const STEPS_MAX: usize = 2 * 4096;

/// Positions count from the buffer's start; 0 stands for none.
#[derive(Debug)]
pub(super) struct LongChains {
    hash: Hash3,
    /// Insertions so far into each of zlib's chains, modulo 2^16: no two of a window come so far apart.
    inserted: Box<[u16; HASHES_MAX]>,
    head: Box<[u16; HASHES6]>,
    before: Box<[u16; WINDOW_BYTES]>,
    /// Which insertion into its chain a position was.
    number: Box<[u16; WINDOW_BYTES]>,
}

impl LongChains {
    pub(super) fn new(memory_level: u8) -> Self {
        Self {
            hash: Hash3::new(memory_level),
            inserted: Box::new([0; HASHES_MAX]),
            head: Box::new([0; HASHES6]),
            before: Box::new([0; WINDOW_BYTES]),
            number: Box::new([0; WINDOW_BYTES]),
        }
    }
}

impl Links for LongChains {
    const HASHED_BYTES: usize = DROPPED_BYTES + 1;
    const FILTERED: bool = true;

    #[inline(always)]
    fn insert(&mut self, bytes: &[u8], at: usize) -> usize {
        let word = word64(bytes, at);
        #[expect(clippy::cast_possible_truncation, reason = "only three bytes are used")]
        let inserted = &mut self.inserted[self.hash.of(word as u32)];
        *inserted = inserted.wrapping_add(1);
        self.number[at & MASK] = *inserted;
        let hash = (word << 16).wrapping_mul(0x9e37_79b1_85eb_ca87) >> (64 - HASH6_BITS);
        let head = &mut self.head[hash as usize & (HASHES6 - 1)];
        let former = *head;
        self.before[at & MASK] = former;
        *head = short(at);
        usize::from(former)
    }

    #[inline(always)]
    fn longest(&self, bytes: &[u8], at: usize, head: usize, reach: Reach) -> Option<Match> {
        let mut best = reach.beat.max(DROPPED_BYTES);
        if best >= reach.most {
            return None;
        }
        let number = self.number[at & MASK];
        let nearest = at.saturating_sub(DISTANCE_MAX).max(1);
        let mut candidate = head;
        let mut found = None;
        let mut end = word32(bytes, at + best - 3);
        let mut steps = 0;
        while candidate >= nearest {
            let distance = at - candidate;
            // How many candidates zlib would have looked at with this one. Only holds for members of its chain.
            let count = || usize::from(number.wrapping_sub(self.number[candidate & MASK]));
            if word32(bytes, candidate + best - 3) == end {
                let length = common(bytes, candidate, at, reach.most);
                if length > best {
                    // zlib tests the farthest distance for its first candidate only; all others must be nearer.
                    let count = count();
                    if count > reach.chain || (distance == DISTANCE_MAX && count != 1) {
                        break;
                    }
                    best = length;
                    found = Some(Match { length, distance });
                    if length >= reach.nice {
                        break;
                    }
                    end = word32(bytes, at + best - 3);
                }
            }
            steps += 1;
            if steps > STEPS_UNCOUNTED {
                let same_chain = (word32(bytes, candidate) ^ word32(bytes, at)) << 8 == 0;
                if (same_chain && count() > reach.chain) || steps > STEPS_MAX {
                    break;
                }
            }
            candidate = usize::from(self.before[candidate & MASK]);
        }
        found
    }

    fn slide(&mut self) {
        for entry in self.head.iter_mut() {
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
