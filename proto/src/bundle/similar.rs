//! Which chunks of the bases resemble a stretch of content: sampled by their bytes, so that content is found again
//! where chunk boundaries differ. SPEC §5.6.
//!
//! Advice to whoever makes runs; nothing on the wire depends on it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Bytes that must agree: shorter than a line of signatures, longer than what lines of one kind have in common.
const WINDOW: usize = 32;

/// Samples an index may hold, at 16 bytes each.
const SAMPLES: u64 = 1 << 20;

/// At most one position in 16 is a sample: each line of 60 bytes has one more often than not.
const BITS_MIN: u32 = 4;

/// Places of one sample beyond which it says nothing: padding, columns of zeros.
const PLACES_MAX: usize = 4;

/// Odd, with bits all over; what it is multiplied with ends in the upper bits.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Votes for each (base, chunk).
pub type Votes = BTreeMap<(u32, u32), u32>;

/// A hash over the last [`WINDOW`] bytes that is rolled on byte by byte.
#[derive(Debug, Clone)]
struct Roller {
    hash: u64,
    last: [u8; WINDOW],
    at: usize,
    out: u64,
}

impl Roller {
    fn new() -> Self {
        // As if that many zeros had gone through.
        let (mut out, mut hash) = (1_u64, 0_u64);
        for _ in 0..WINDOW {
            out = out.wrapping_mul(FACTOR);
            hash = hash.wrapping_mul(FACTOR).wrapping_add(1);
        }
        Self {
            hash,
            last: [0; WINDOW],
            at: 0,
            out,
        }
    }

    /// Calls `found` with each sample that ends in `bytes`: where the lowest `bits` of its name are zero.
    fn roll(&mut self, bytes: &[u8], bits: u32, mut found: impl FnMut(u64)) {
        let mask = (1_u64 << bits) - 1;
        for &byte in bytes {
            let old = core::mem::replace(&mut self.last[self.at % WINDOW], byte);
            self.at += 1;
            self.hash = self
                .hash
                .wrapping_mul(FACTOR)
                .wrapping_add(u64::from(byte) + 1)
                .wrapping_sub((u64::from(old) + 1).wrapping_mul(self.out));
            let name = (self.hash ^ (self.hash >> 32)).wrapping_mul(FACTOR);
            let name = name ^ (name >> 29);
            if name & mask == 0 && self.at >= WINDOW {
                found(name);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sample {
    name: u64,
    base: u32,
    chunk: u32,
}

/// Takes in the bases, one after the other, chunk by chunk.
#[derive(Debug)]
pub struct SampleIndexBuilder {
    bits: u32,
    samples: Vec<Sample>,
    roller: Roller,
    place: Option<(u32, u32)>,
}

impl SampleIndexBuilder {
    /// An index of bases that have `total_bytes` together.
    #[must_use]
    pub fn new(total_bytes: u64) -> Self {
        let bits = u64::BITS - (total_bytes / SAMPLES).leading_zeros();
        Self {
            bits: bits.max(BITS_MIN),
            samples: Vec::new(),
            roller: Roller::new(),
            place: None,
        }
    }

    /// Takes in a chunk.
    pub fn chunk(&mut self, base: u32, chunk: u32, bytes: &[u8]) {
        // Samples may reach back into the chunk before, if that is the last one that came.
        let follows = chunk
            .checked_sub(1)
            .is_some_and(|before| self.place == Some((base, before)));
        if !follows {
            self.roller = Roller::new();
        }
        self.place = Some((base, chunk));
        let samples = &mut self.samples;
        self.roller.roll(bytes, self.bits, |name| {
            // Twice what is expected, so that content made to have many cannot fill memory.
            if samples.len() as u64 <= 2 * SAMPLES {
                samples.push(Sample { name, base, chunk });
            }
        });
    }

    /// The index.
    #[must_use]
    pub fn finish(mut self) -> SampleIndex {
        self.samples.sort_unstable();
        self.samples.dedup();
        SampleIndex {
            bits: self.bits,
            samples: self.samples,
        }
    }
}

/// Where the bases' samples are.
#[derive(Debug)]
pub struct SampleIndex {
    bits: u32,
    samples: Vec<Sample>,
}

impl SampleIndex {
    /// How often samples of `content` occur in each chunk of the bases, and how many samples `content` has.
    #[must_use]
    pub fn votes(&self, content: &[u8]) -> (Votes, u32) {
        let (mut votes, mut asked) = (Votes::new(), 0_u32);
        Roller::new().roll(content, self.bits, |name| {
            asked = asked.saturating_add(1);
            let first = self.samples.partition_point(|sample| sample.name < name);
            let places = self.samples[first..]
                .iter()
                .take(PLACES_MAX + 1)
                .take_while(|sample| sample.name == name);
            if places.clone().count() <= PLACES_MAX {
                for place in places {
                    let count = votes.entry((place.base, place.chunk)).or_insert(0_u32);
                    *count = count.saturating_add(1);
                }
            }
        });
        (votes, asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn noise(seed: u8, bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new()
            .update(&[seed])
            .finalize_xof()
            .fill(&mut noise);
        noise
    }

    #[test]
    fn content_is_found_again_wherever_it_was_cut() {
        let base = noise(1, 40_000);
        let mut builder = SampleIndexBuilder::new(base.len() as u64);
        for (chunk, bytes) in (0..).zip(base.chunks(10_000)) {
            builder.chunk(7, chunk, bytes);
        }
        let index = builder.finish();
        let mut moved = noise(2, 500);
        moved.extend_from_slice(&base[12_345..18_000]);
        let (votes, asked) = index.votes(&moved);
        assert_eq!(votes.keys().collect::<Vec<_>>(), [&(7, 1)]);
        let hits = votes[&(7, 1)];
        // One position in 16 of 5,655 bytes, and the noise in front was asked for, too.
        assert!(
            (250..450).contains(&hits) && asked > hits,
            "{hits} of {asked}"
        );
    }

    #[test]
    fn padding_says_nothing_and_short_content_has_no_samples() {
        let mut builder = SampleIndexBuilder::new(1 << 20);
        for chunk in 0..16 {
            builder.chunk(0, chunk, &vec![0; 1 << 16]);
        }
        let index = builder.finish();
        assert!(index.votes(&vec![0; 1 << 16]).0.is_empty());
        assert_eq!(index.votes(&noise(1, WINDOW - 1)), (Votes::new(), 0));
    }

    #[test]
    fn an_index_is_bounded_however_much_goes_in() {
        assert_eq!(SampleIndexBuilder::new(0).bits, BITS_MIN);
        assert_eq!(SampleIndexBuilder::new(SAMPLES * 16 - 1).bits, BITS_MIN);
        assert_eq!(SampleIndexBuilder::new(400 << 20).bits, 9);
        assert!(SampleIndexBuilder::new(u64::MAX).bits < 64);
    }
}
