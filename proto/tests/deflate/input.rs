//! Inputs that reach the corners of zlib's rules, made from a seed.

/// A small generator (xorshift64*): the same inputs on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Less than `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// Lines as in a signature database: a name, hex, few repetitions.
pub(crate) fn signatures(dice: &mut Dice, count: usize) -> Vec<u8> {
    const FAMILIES: [&str; 6] = [
        "Win.Trojan.Agent",
        "Doc.Dropper.Emotet",
        "Unix.Malware.Mirai",
        "Win.Packed.Zusy",
        "Html.Phishing.Bank",
        "Js.Coinminer.Generic",
    ];
    let mut out = Vec::with_capacity(count + 600);
    while out.len() < count {
        out.extend_from_slice(dice.of(&FAMILIES).as_bytes());
        out.extend_from_slice(
            format!(
                "-{}-{}:{}:*:",
                dice.below(9_999_999),
                dice.below(3),
                dice.below(9)
            )
            .as_bytes(),
        );
        let digits = 16 + dice.below(200);
        out.extend((0..digits).map(|_| b"0123456789abcdef"[dice.below(16)]));
        out.push(b'\n');
    }
    out.truncate(count);
    out
}

/// A stretch of one kind.
fn stretch(dice: &mut Dice, before: &[u8], count: usize) -> Vec<u8> {
    match dice.below(9) {
        0 => dice.bytes(count),
        1 => vec![dice.below(256) as u8; count],
        2 => {
            let letters = 2 + dice.below(4);
            (0..count)
                .map(|_| b'a' + dice.below(letters) as u8)
                .collect()
        }
        3 => (0..count)
            .map(|_| b"0123456789abcdef"[dice.below(16)])
            .collect(),
        4 => {
            let period = 1 + dice.below(700);
            let pattern = dice.bytes(period);
            let mut out: Vec<u8> = pattern.iter().copied().cycle().take(count).collect();
            for _ in 0..count / 500 {
                let at = dice.below(count);
                out[at] = dice.below(256) as u8;
            }
            out
        }
        5 | 6 => {
            let far = 32_400 + dice.below(220);
            match before.len().checked_sub(far) {
                Some(at) => before[at..].iter().copied().take(count).collect(),
                None => signatures(dice, count),
            }
        }
        7 => {
            let mut out = Vec::new();
            while out.len() < count && !before.is_empty() {
                let at = dice.below(before.len());
                let length = 3 + dice.below(300);
                out.extend(before[at..].iter().take(length));
                let odd = dice.below(4);
                out.extend(dice.bytes(odd));
            }
            out.truncate(count);
            out
        }
        _ => signatures(dice, count),
    }
}

/// A mix of kinds, of a length near one of the window's corners.
pub(crate) fn mixed(dice: &mut Dice) -> Vec<u8> {
    let target = match dice.below(8) {
        0 => dice.below(12),
        1 => dice.below(700),
        2 => dice.below(20_000),
        3 | 4 => 32_000 + dice.below(1_500),
        5 | 6 => 65_000 + dice.below(1_200),
        _ => 60_000 + dice.below(90_000),
    };
    let mut out = Vec::with_capacity(target);
    while out.len() < target {
        let count = match dice.below(3) {
            0 => 1 + dice.below(300),
            1 => 1 + dice.below(5_000),
            _ => 1 + dice.below(40_000),
        };
        let more = stretch(dice, &out, count);
        out.extend(more);
    }
    out.truncate(target);
    out
}
