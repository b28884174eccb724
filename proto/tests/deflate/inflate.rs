//! A slow inflater that keeps the tokens: what the search is compared with, so that it depends on no code under test.

use tidecast_proto::deflate::Token;

/// What one token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word {
    symbol: usize,
    length_extra: u32,
    distance_symbol: usize,
    distance_extra: u32,
}

impl From<Token> for Word {
    fn from(token: Token) -> Self {
        Self {
            symbol: token.symbol(),
            length_extra: token.length_extra(),
            distance_symbol: token.distance_symbol(),
            distance_extra: token.distance_extra(),
        }
    }
}

/// One block of zlib's stream.
#[derive(Debug)]
pub(crate) enum Block {
    /// So many bytes as they are; the tokens zlib found are lost.
    Stored(usize),
    Coded(Vec<Word>),
}

/// Taken apart; the stream is stock zlib's own, so nothing is checked.
pub(crate) fn blocks(packed: &[u8]) -> Vec<Block> {
    let mut bits = Bits { packed, at: 0 };
    let mut blocks = Vec::new();
    loop {
        let last = bits.take(1) == 1;
        blocks.push(match bits.take(2) {
            0 => {
                bits.at = bits.at.div_ceil(8) * 8;
                let count = bits.take(16) as usize;
                bits.at += 16 + 8 * count;
                Block::Stored(count)
            }
            1 => {
                let mut lengths = vec![8; 144];
                lengths.extend([9; 112]);
                lengths.extend([7; 24]);
                lengths.extend([8; 8]);
                Block::Coded(words(&mut bits, &Code::new(&lengths), &Code::new(&[5; 30])))
            }
            _ => dynamic(&mut bits),
        });
        if last {
            return blocks;
        }
    }
}

fn dynamic(bits: &mut Bits<'_>) -> Block {
    const ORDER: [usize; 19] = [
        16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
    ];
    let literals = bits.take(5) as usize + 257;
    let distances = bits.take(5) as usize + 1;
    let coded = bits.take(4) as usize + 4;
    let mut lengths = [0; 19];
    for symbol in ORDER.into_iter().take(coded) {
        lengths[symbol] = bits.take(3) as usize;
    }
    let code = Code::new(&lengths);
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (length, times) = match code.symbol(bits) {
            16 => (lengths[lengths.len() - 1], 3 + bits.take(2)),
            17 => (0, 3 + bits.take(3)),
            18 => (0, 11 + bits.take(7)),
            length => (length, 1),
        };
        lengths.extend((0..times).map(|_| length));
    }
    let (literals, distances) = lengths.split_at(literals);
    Block::Coded(words(bits, &Code::new(literals), &Code::new(distances)))
}

fn words(bits: &mut Bits<'_>, literals: &Code, distances: &Code) -> Vec<Word> {
    let mut words = Vec::new();
    loop {
        let symbol = literals.symbol(bits);
        let mut word = Word {
            symbol,
            length_extra: 0,
            distance_symbol: 0,
            distance_extra: 0,
        };
        match symbol {
            0..256 => {}
            256 => return words,
            _ => {
                if (265..285).contains(&symbol) {
                    word.length_extra = bits.take((symbol - 261) / 4);
                }
                word.distance_symbol = distances.symbol(bits);
                if word.distance_symbol >= 4 {
                    word.distance_extra = bits.take(word.distance_symbol / 2 - 1);
                }
            }
        }
        words.push(word);
    }
}

struct Bits<'a> {
    packed: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> u32 {
        let mut value = 0;
        for bit in 0..count {
            value |= u32::from(self.packed[self.at / 8] >> (self.at % 8) & 1) << bit;
            self.at += 1;
        }
        value
    }
}

/// Codes of each length and their symbols in order: the canonical decoding of RFC 1951 section 3.2.2.
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let mut counts = [0; 16];
        let mut symbols: Vec<usize> = (0..lengths.len())
            .filter(|symbol| lengths[*symbol] > 0)
            .collect();
        symbols.sort_by_key(|symbol| lengths[*symbol]);
        for length in lengths {
            counts[*length] += 1;
        }
        Self { counts, symbols }
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> usize {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            code |= bits.take(1) as usize;
            if code < first + count {
                return self.symbols[index + code - first];
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        panic!("not a code of this block");
    }
}
