//! Numbers that look random and are the same everywhere.

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
///
/// Eight bytes of state, no seed it cannot stand, and fast enough to make feeds of 100 MB at once.
/// Nothing that must be secret may come from it.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// The stream called `name`; streams of one seed do not depend on each other's length.
    pub(super) fn named(seed: u64, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
        let mut state = [0; 8];
        hasher.finalize_xof().fill(&mut state);
        Self(u64::from_le_bytes(state))
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, 0 when that is 0. The tiny bias of a remainder does not matter here.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// One of `choices`, which must not be empty.
    pub(super) fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        let index = self.below(choices.len() as u64);
        choices[usize::try_from(index).unwrap_or(0)]
    }

    /// Appends `digits` lower-case hex digits.
    pub(super) fn hex(&mut self, digits: usize, out: &mut Vec<u8>) {
        self.digits(b"0123456789abcdef", 4, digits, out);
    }

    /// Appends `digits` digits of the base-64 alphabet that ClamAV's signatures are written in
    /// (libclamav/dsig.c).
    pub(super) fn signature(&mut self, digits: usize, out: &mut Vec<u8>) {
        const ALPHABET: &[u8; 64] =
            b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/";
        self.digits(ALPHABET, 6, digits, out);
    }

    /// Appends digits of an alphabet of `2^bits` letters.
    fn digits(&mut self, alphabet: &[u8], bits: usize, mut digits: usize, out: &mut Vec<u8>) {
        while digits > 0 {
            let mut word = self.next();
            for _ in 0..digits.min(64 / bits) {
                let low = usize::try_from(word & ((1 << bits) - 1)).unwrap_or(0);
                out.push(alphabet[low]);
                word >>= bits;
            }
            digits = digits.saturating_sub(64 / bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_are_those_of_the_published_generator() {
        let mut random = Random(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn digits_come_in_the_asked_number() {
        let mut out = Vec::new();
        Random::named(1, "a").hex(39, &mut out);
        assert_eq!(out.len(), 39);
        Random::named(1, "a").signature(171, &mut out);
        assert_eq!(out.len(), 39 + 171);
    }
}
