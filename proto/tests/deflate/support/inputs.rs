//! Deterministic inputs of every character.

/// A small generator (splitmix64): the same numbers everywhere, for ever.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    fn letters(&mut self, alphabet: &[u8], len: usize) -> Vec<u8> {
        (0..len)
            .map(|_| alphabet[self.below(alphabet.len())])
            .collect()
    }
}

/// Lines as a virus database has them.
pub(crate) fn signatures(random: &mut Random, len: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 128);
    while text.len() < len {
        let hash = random.letters(b"0123456789abcdef", 32);
        text.extend(hash);
        let line = format!(
            ":{}:Win.Trojan.Agent-{}\n",
            random.below(4_000_000),
            random.below(8_000_000)
        );
        text.extend(line.as_bytes());
    }
    text.truncate(len);
    text
}

/// Like machine code: short fields that often repeat, among noise.
pub(crate) fn binary(random: &mut Random, len: usize) -> Vec<u8> {
    let words: Vec<Vec<u8>> = (0..200)
        .map(|_| {
            let len = 1 + random.below(7);
            random.bytes(len)
        })
        .collect();
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        match random.below(4) {
            0 => bytes.push(random.byte()),
            1 => bytes.extend([0; 4]),
            _ => {
                let index = random.below(words.len()).min(random.below(words.len()));
                bytes.extend(&words[index]);
            }
        }
    }
    bytes.truncate(len);
    bytes
}

/// A mixture of stretches, each of one of many characters: what finds most deviations from zlib.
pub(crate) fn mixture(random: &mut Random, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 300);
    while bytes.len() < len {
        let share = 1 + random.below(8);
        let stretch = 1 + random.below(1 + len / share);
        match random.below(8) {
            0 => bytes.extend(random.bytes(stretch)),
            1 => {
                while random.below(20) != 0 {
                    let (byte, times) = (random.byte(), 1 + random.below(400));
                    bytes.extend(std::iter::repeat_n(byte, times));
                }
            }
            2 => {
                let letters = 2 + random.below(4);
                bytes.extend(random.letters(&b"abcde"[..letters], stretch));
            }
            3 => bytes.extend(random.letters(b"0123456789abcdef", stretch)),
            4 => {
                let period_bytes = 1 + random.below(300);
                let period = random.bytes(period_bytes);
                for index in 0..stretch {
                    let noise = u8::from(random.below(97) == 0);
                    bytes.push(period[index % period.len()] ^ noise);
                }
            }
            5 => {
                let back = 32_400 + random.below(220);
                if let Some(from) = bytes.len().checked_sub(back) {
                    let to = bytes.len().min(from + stretch.min(2_000));
                    bytes.extend_from_within(from..to);
                } else {
                    bytes.extend(random.letters(b"xyz", stretch.min(100)));
                }
            }
            6 => {
                if !bytes.is_empty() {
                    let from = random.below(bytes.len());
                    let to = bytes.len().min(from + stretch.min(600));
                    bytes.extend_from_within(from..to);
                }
            }
            _ => bytes.extend(signatures(random, stretch)),
        }
    }
    bytes.truncate(len);
    bytes
}
