//! zlib's stream -> tokens -> the same stream again: parser and encoder, without the search.

use tidecast_proto::deflate::{Encoder, Parameters, Strategy, Token};

use crate::support::{
    effort,
    inputs::{self, Random},
    parse, zlib,
};

pub(crate) const STRATEGIES: [Strategy; 5] = [
    Strategy::Default,
    Strategy::Filtered,
    Strategy::Huffman,
    Strategy::Rle,
    Strategy::Fixed,
];

fn parameters(level: u8, strategy: Strategy, memory_level: u8) -> Parameters {
    Parameters::new(level, strategy, memory_level).expect("in range")
}

/// What became of a case.
#[derive(Debug, Default)]
struct Tally {
    exact: usize,
    /// zlib stored a block, and no strategy says how it had split it.
    opaque: usize,
    stored: usize,
}

impl Tally {
    fn check(&mut self, plain: &[u8], parameters: Parameters, packed_pieces: usize) {
        let packed = zlib::deflate(plain, parameters);
        let mut encoder = Encoder::new(parameters, plain.len() as u64);
        let mut ours = Vec::with_capacity(packed.len() + 64);
        let mut opened = Vec::with_capacity(plain.len());
        let (mut opaque, mut stored) = (false, false);
        let parsed = parse(&packed, plain.len() as u64, packed_pieces, |batch, step| {
            opened.extend_from_slice(&batch.plain);
            stored |= step.stored;
            if step.stored && parameters.strategy() == Strategy::Huffman {
                let literals: Vec<Token> = batch
                    .plain
                    .iter()
                    .map(|&byte| Token::literal(byte))
                    .collect();
                encoder.push(&literals, &batch.plain, &mut ours);
            } else if step.stored && !batch.plain.is_empty() {
                opaque = true;
            } else {
                encoder.push(&batch.tokens, &batch.plain, &mut ours);
            }
        })
        .expect("zlib's own stream");
        assert!(parsed.padding_clear);
        assert!(opened == plain, "opened to something else");
        if opaque {
            self.opaque += 1;
            return;
        }
        encoder.finish(&mut ours);
        let differs = ours.iter().zip(&packed).position(|(a, b)| a != b);
        assert!(
            ours == packed,
            "{parameters:?}, {} plain bytes: {} packed bytes, zlib {}, first difference at {differs:?}",
            plain.len(),
            ours.len(),
            packed.len(),
        );
        self.exact += 1;
        self.stored += usize::from(stored);
    }
}

fn any_parameters(random: &mut Random) -> Parameters {
    let small = |value: usize| u8::try_from(value).expect("below ten");
    parameters(
        small(1 + random.below(9)),
        STRATEGIES[random.below(5)],
        small(1 + random.below(9)),
    )
}

#[test]
fn every_setting_gives_the_same_stream() {
    let mut random = Random(1);
    let inputs = [
        Vec::new(),
        b"a".to_vec(),
        vec![0; 40_000],
        inputs::signatures(&mut random, 34_000),
        inputs::binary(&mut random, 34_000),
        random.bytes(10_000),
    ];
    let mut tally = Tally::default();
    for plain in &inputs {
        for level in 1..=9 {
            for strategy in STRATEGIES {
                for memory_level in 1..=9 {
                    tally.check(plain, parameters(level, strategy, memory_level), 1 << 20);
                }
            }
        }
    }
    // Of 2,430 cases, the random bytes alone are stored.
    assert!(tally.exact >= 2_000, "{tally:?}");
}

#[test]
fn random_inputs_give_the_same_stream() {
    let mut random = Random(2);
    let mut tally = Tally::default();
    for case in 0..1_500 * effort() {
        let len = match random.below(12) {
            0 => 32_300 + random.below(600),
            1 => 65_100 + random.below(600),
            2 => random.below(120_000),
            _ => random.below(6_000),
        };
        let plain = match random.below(5) {
            0 => inputs::signatures(&mut random, len),
            1 => inputs::binary(&mut random, len),
            _ => inputs::mixture(&mut random, len),
        };
        let piece = if case % 7 == 0 {
            1 + random.below(400)
        } else {
            1 << 20
        };
        tally.check(&plain, any_parameters(&mut random), piece);
    }
    assert!(tally.exact >= 900, "{tally:?}");
}

#[test]
fn the_shortest_inputs_give_the_same_stream() {
    let mut random = Random(3);
    let mut tally = Tally::default();
    for len in 0..12 {
        for _ in 0..8 {
            let letters = [2, 256][random.below(2)];
            let plain: Vec<u8> = (0..len)
                .map(|_| u8::try_from(random.below(letters)).expect("a byte"))
                .collect();
            for strategy in STRATEGIES {
                for level in [1, 4, 9] {
                    tally.check(&plain, parameters(level, strategy, 8), 1 << 20);
                }
            }
        }
    }
    assert!(tally.exact >= 1_200, "{tally:?}");
}

/// Bytes without matches that take fewer bits than stored: every byte is a token.
fn only_literals(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len)
        .map(|_| u8::try_from(random.below(100)).expect("a byte"))
        .collect()
}

#[test]
fn a_last_literal_does_not_end_a_full_block() {
    let mut random = Random(4);
    let mut tally = Tally::default();
    for memory_level in [1, 2, 8, 9] {
        let block = parameters(9, Strategy::Filtered, memory_level).block_tokens();
        for blocks in 1..=3 {
            for len in block * blocks - 2..=block * blocks + 2 {
                for strategy in STRATEGIES {
                    for level in [3, 4] {
                        let plain = only_literals(&mut random, len);
                        tally.check(&plain, parameters(level, strategy, memory_level), 1 << 20);
                        let mut ends_in_match = plain;
                        ends_in_match.extend([7; 20]);
                        tally.check(
                            &ends_in_match,
                            parameters(level, strategy, memory_level),
                            1 << 20,
                        );
                    }
                }
            }
        }
    }
    assert!(tally.exact >= 1_000, "{tally:?}");
}

#[test]
fn a_block_that_left_zlibs_buffer_is_not_stored() {
    let mut random = Random(5);
    let mut tally = Tally::default();
    for start in (32_630..32_900).step_by(5) {
        let mut plain = vec![random.byte(); start];
        let noise = 32_767 + random.below(40_000);
        plain.extend(random.bytes(noise));
        tally.check(&plain, parameters(9, Strategy::Huffman, 9), 1 << 20);
        tally.check(&plain, parameters(9, Strategy::Filtered, 9), 1 << 20);
        tally.check(&plain, parameters(1, Strategy::Default, 9), 1 << 20);
        tally.check(&plain, parameters(6, Strategy::Rle, 9), 1 << 20);
    }
    assert!(tally.exact >= 54 && tally.stored >= 20, "{tally:?}");
}

#[test]
fn codes_that_grow_too_long_are_repaired_alike() {
    let mut random = Random(6);
    let mut tally = Tally::default();
    for start in [(1, 2), (2, 3), (1, 3), (2, 2), (1, 1)] {
        for symbols in 12..20 {
            let (mut a, mut b) = start;
            let mut plain = Vec::new();
            for symbol in 0..symbols {
                plain.extend(std::iter::repeat_n(symbol * 3, a));
                (a, b) = (b, a + b);
            }
            for index in (1..plain.len()).rev() {
                plain.swap(index, random.below(index + 1));
            }
            plain.truncate(32_000);
            for strategy in [Strategy::Huffman, Strategy::Filtered, Strategy::Default] {
                tally.check(&plain, parameters(9, strategy, 9), 1 << 20);
            }
        }
    }
    assert!(tally.exact >= 110, "{tally:?}");
}

#[test]
fn a_block_as_short_stored_as_coded_is_stored() {
    let mut random = Random(7);
    let mut tally = Tally::default();
    for _ in 0..800 * effort() {
        let (len, letters) = (20 + random.below(680), 60 + random.below(197));
        let plain: Vec<u8> = (0..len)
            .map(|_| u8::try_from(random.below(letters)).expect("a byte"))
            .collect();
        for strategy in [Strategy::Huffman, Strategy::Filtered] {
            tally.check(&plain, parameters(9, strategy, 8), 1 << 20);
        }
    }
    assert!(tally.exact >= 800 && tally.stored >= 100, "{tally:?}");
}
