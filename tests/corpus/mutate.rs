//! Changes inputs in the ways that find faults in readers: single bits, lengths and counts, pieces of other inputs.

/// Numbers by a fixed rule (splitmix64), so that a seed says all.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = end as u64;
        usize::try_from(self.next() % end).expect("below a usize")
    }

    /// Skewed to small numbers: mutations near each other, pieces of a few bytes.
    fn small(&mut self, end: usize) -> usize {
        let end = self.below(end) + 1;
        self.below(end)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("a byte")
    }
}

/// Lengths, counts and numbers at which readers differ.
const NUMBERS: [u64; 24] = [
    0,
    1,
    2,
    3,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x4_0000,
    0x10_0000,
    0x80_0000,
    0xff_ffff,
    0x100_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    u64::MAX / 2 + 1,
    u64::MAX,
];

/// One of `inputs`, changed in one to six ways, no longer than `bytes_max`.
pub(crate) fn mutant(inputs: &[Vec<u8>], bytes_max: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.small(6) {
        change(&mut bytes, inputs, random);
    }
    bytes.truncate(bytes_max);
    bytes
}

fn change(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], random: &mut Random) {
    if bytes.is_empty() {
        let len = random.small(64);
        bytes.extend((0..len).map(|_| random.byte()));
        return;
    }
    let at = random.below(bytes.len());
    let some = 1 + random.small((bytes.len() - at).min(256));
    match random.below(12) {
        0 | 1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = random.byte(),
        3 => number(bytes, at, random),
        // What was a length is one off.
        4 => bytes[at] = bytes[at].wrapping_add([1, 0xff][random.below(2)]),
        5 => bytes.truncate(at),
        6 => drop(bytes.drain(at..at + some)),
        7 => {
            let piece = bytes[at..at + some].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        8 => {
            let piece: Vec<u8> = (0..random.small(16) + 1).map(|_| random.byte()).collect();
            bytes.splice(at..at, piece);
        }
        9 => {
            let to = random.below(bytes.len() - some + 1);
            bytes.copy_within(at..at + some, to);
        }
        // Another input's end, or a piece of it in the middle.
        _ => {
            let other = &inputs[random.below(inputs.len())];
            let from = random.below(other.len() + 1);
            let to = from + random.below(other.len() - from + 1);
            if random.below(2) == 0 {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            } else {
                bytes.splice(
                    at..(at + some).min(bytes.len()),
                    other[from..to].iter().copied(),
                );
            }
        }
    }
}

/// Writes one of the numbers over what stands at `at`: 1, 2, 4 or 8 bytes, or in decimal digits.
fn number(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let number = NUMBERS[random.below(NUMBERS.len())];
    if bytes[at].is_ascii_digit() {
        let digits = bytes[at..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        bytes.splice(at..at + digits, number.to_string().into_bytes());
        return;
    }
    let len = [1, 2, 4, 8][random.below(4)].min(bytes.len() - at);
    let mut written = number.to_le_bytes();
    if random.below(4) == 0 {
        written[..len].reverse();
    }
    bytes[at..at + len].copy_from_slice(&written[..len]);
}
