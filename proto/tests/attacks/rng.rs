//! Numbers from a seed: the same everywhere, so that a case can be repeated alone.

/// `SplitMix64` (Steele, Lea, Flood, 2014): enough for choosing what to break, and each case can start its own.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The numbers of case `index` of `seed`.
    pub(crate) fn new(seed: u64, index: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index.rotate_left(32));
        rng.next();
        Self(rng.next() ^ index)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`; 0 for an `n` of 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % (n.max(1) as u64)).unwrap()
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// True once in `n`.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A number that breaks things: at an edge of its kind, or anything.
    pub(crate) fn extreme(&mut self, near: u64) -> u64 {
        match self.below(10) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => 1 << 63,
            4 => u64::from(u32::MAX),
            5 => near.wrapping_add(1),
            6 => near.wrapping_sub(1),
            7 => 1 << self.below(64),
            8 => near ^ (1 << self.below(64)),
            _ => self.next(),
        }
    }
}
