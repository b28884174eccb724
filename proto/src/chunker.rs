//! Where content is cut: FastCDC (v2020, normalised). SPEC §5.1.
//!
//! Cut points are part of the wire contract: a master and a mirror that cut differently share nothing. The
//! parameters therefore stand in the root and never change for the life of a feed.

use alloc::borrow::Cow;

use fastcdc::v2020::{Normalization, cut_gear, get_gear_with_seed, select_masks};

use crate::codec::{CodecError, Decode, Encode};
use crate::limits;

/// How content is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Chunking {
    /// No chunk but the last is shorter, in bytes.
    pub min: u32,
    /// Where the cutting rule changes from strict to lax, in bytes. The mean comes out a little above.
    pub avg: u32,
    /// No chunk is longer, in bytes.
    pub max: u32,
    /// FastCDC's normalisation level, 0 to 3.
    pub level: u8,
    /// Mixed into the gear table; feeds with different seeds share no cut points.
    pub seed: u64,
}

impl Default for Chunking {
    /// 16 / 64 / 256 KiB, level 1, seed 0.
    fn default() -> Self {
        Self {
            min: 16 * 1024,
            avg: 64 * 1024,
            max: 256 * 1024,
            level: 1,
            seed: 0,
        }
    }
}

impl Chunking {
    /// Refuses parameters that the algorithm or our limits do not allow.
    ///
    /// # Errors
    /// [`CodecError::BadField`]; the root's maker is at fault.
    pub fn check(&self) -> Result<(), CodecError> {
        let bad = |why| {
            Err(CodecError::BadField {
                field: "chunking",
                why,
            })
        };
        if [self.min, self.avg, self.max].iter().any(|n| n % 2 != 0) {
            return bad("sizes must be even");
        }
        // Below 1 KiB a file would have so many chunks that its list outgrows its limit.
        if self.min < 1024 || self.min > self.avg || self.avg > self.max {
            return bad("sizes must be 1024 <= min <= avg <= max");
        }
        if self.max as usize > limits::CHUNK_BYTES {
            return bad("max is over the limit for a chunk");
        }
        if self.level > 3 {
            return bad("level is over 3");
        }
        Ok(())
    }

    fn normalization(self) -> Normalization {
        match self.level {
            0 => Normalization::Level0,
            1 => Normalization::Level1,
            2 => Normalization::Level2,
            _ => Normalization::Level3,
        }
    }
}

/// Finds cut points. Make one per feed and use it for every file.
#[derive(Debug, Clone)]
pub struct Chunker {
    chunking: Chunking,
    mask_s: u64,
    mask_l: u64,
    gear: Cow<'static, [u64]>,
    gear_ls: Cow<'static, [u64]>,
}

impl Chunker {
    /// A chunker for `chunking`, which has passed [`Chunking::check`].
    #[must_use]
    pub fn new(chunking: Chunking) -> Self {
        let (mask_s, mask_l) = select_masks(chunking.avg as usize, chunking.normalization());
        let (gear, gear_ls) = get_gear_with_seed(chunking.seed);
        Self {
            chunking,
            mask_s,
            mask_l,
            gear,
            gear_ls,
        }
    }

    /// The parameters.
    #[must_use]
    pub fn chunking(&self) -> Chunking {
        self.chunking
    }

    /// Bytes to have in view for a cut that does not depend on what follows.
    #[must_use]
    pub fn window(&self) -> usize {
        self.chunking.max as usize
    }

    /// Length of the chunk at the start of `window`.
    ///
    /// `window` must hold [`Self::window`] bytes, or everything that is left of the content. Returns 0 only for
    /// an empty window.
    #[must_use]
    pub fn cut(&self, window: &[u8]) -> usize {
        let (_, length) = cut_gear(
            window,
            self.chunking.min as usize,
            self.chunking.avg as usize,
            self.chunking.max as usize,
            self.mask_s,
            self.mask_l,
            self.mask_s << 1,
            self.mask_l << 1,
            &self.gear,
            &self.gear_ls,
        );
        length
    }

    /// The chunks of content that is whole in memory, in order.
    pub fn chunks<'a>(&'a self, mut content: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + 'a {
        core::iter::from_fn(move || {
            let (chunk, rest) = content.split_at(self.cut(content));
            content = rest;
            (!chunk.is_empty()).then_some(chunk)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// Deterministic bytes without structure (BLAKE3's output stream).
    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = alloc::vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn cuts_stay_within_their_bounds_and_cover_everything() {
        let content = noise(3_000_001);
        let chunker = Chunker::new(Chunking::default());
        let lengths: Vec<usize> = chunker.chunks(&content).map(<[u8]>::len).collect();
        assert_eq!(lengths.iter().sum::<usize>(), content.len());
        let (last, others) = lengths.split_last().unwrap();
        assert!(
            others.iter().all(|n| (16 * 1024..=256 * 1024).contains(n)),
            "{lengths:?}"
        );
        assert!(*last <= 256 * 1024);
        assert!(chunker.chunks(&[]).next().is_none());
    }

    #[test]
    fn a_window_of_the_longest_chunk_is_enough() {
        let content = noise(2_000_000);
        let chunker = Chunker::new(Chunking {
            seed: 9,
            ..Chunking::default()
        });
        let mut at = 0;
        for chunk in chunker.chunks(&content) {
            let end = content.len().min(at + chunker.window());
            assert_eq!(chunker.cut(&content[at..end]), chunk.len());
            at += chunk.len();
        }
    }

    #[test]
    fn an_edit_moves_only_the_cuts_around_it() {
        let old = noise(4_000_000);
        let mut new = old.clone();
        new.splice(2_000_000..2_000_000, *b"inserted");
        let chunker = Chunker::new(Chunking::default());
        let known: Vec<&[u8]> = chunker.chunks(&old).collect();
        let fresh: usize = chunker
            .chunks(&new)
            .filter(|c| !known.contains(c))
            .map(<[u8]>::len)
            .sum();
        assert!(fresh < 600_000, "{fresh} bytes changed for 8 inserted");
    }

    #[test]
    fn impossible_parameters_are_refused() {
        let good = Chunking::default();
        for bad in [
            Chunking {
                min: 16_383,
                ..good
            },
            Chunking { min: 2, ..good },
            Chunking {
                min: 128 * 1024,
                ..good
            },
            Chunking {
                max: 512 * 1024,
                ..good
            },
            Chunking { level: 4, ..good },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert!(good.check().is_ok());
    }
}
