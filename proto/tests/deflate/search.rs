//! What the search finds packs to zlib's very bytes.

use tidecast_proto::deflate::{Batch, Encoder, Parameters, Strategy, Tokenizer};

use crate::support::{
    effort,
    inputs::{Random, binary, mixture, signatures},
    parse, zlib,
};

pub(crate) const STRATEGIES: [Strategy; 5] = [
    Strategy::Default,
    Strategy::Filtered,
    Strategy::Huffman,
    Strategy::Rle,
    Strategy::Fixed,
];

pub(crate) fn parameters(level: u8, strategy: Strategy, memory_level: u8) -> Parameters {
    Parameters::new(level, strategy, memory_level).expect("both from 1 to 9")
}

pub(crate) fn one_of<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[random.below(choices.len())]
}

/// Kinds and lengths near the corners of the window and of zlib's buffer.
pub(crate) fn corner_input(random: &mut Random) -> Vec<u8> {
    let len = match random.below(8) {
        0 => random.below(12),
        1 => random.below(700),
        2 => random.below(20_000),
        3 | 4 => 32_000 + random.below(1_500),
        5 | 6 => 65_000 + random.below(1_200),
        _ => 60_000 + random.below(90_000),
    };
    mixture(random, len)
}

/// Tokens on their way to packed bytes, each batch on its own, as the product does it.
pub(crate) struct Packer {
    encoder: Encoder,
    pub(crate) batch: Batch,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Packer {
    pub(crate) fn new(parameters: Parameters, plain_bytes: u64) -> Self {
        Self {
            encoder: Encoder::new(parameters, plain_bytes),
            batch: Batch::default(),
            plain: Vec::new(),
            packed: Vec::new(),
        }
    }

    pub(crate) fn pack(&mut self) {
        let expanded: usize = self
            .batch
            .tokens
            .iter()
            .map(|token| token.plain_bytes())
            .sum();
        assert_eq!(
            expanded,
            self.batch.plain.len(),
            "tokens and plain bytes keep step"
        );
        self.encoder
            .push(&self.batch.tokens, &self.batch.plain, &mut self.packed);
        self.plain.extend_from_slice(&self.batch.plain);
        self.batch.clear();
    }

    /// Plain bytes given out, and the packed bytes.
    pub(crate) fn finish(mut self) -> (Vec<u8>, Vec<u8>) {
        self.encoder.finish(&mut self.packed);
        (self.plain, self.packed)
    }
}

/// Searches all of `plain`, fed in pieces of up to `piece` bytes.
pub(crate) fn searched(
    plain: &[u8],
    parameters: Parameters,
    piece: usize,
    random: &mut Random,
) -> (Vec<u8>, Vec<u8>) {
    let mut tokenizer = Tokenizer::new(parameters, plain.len() as u64, 0);
    let mut packer = Packer::new(parameters, plain.len() as u64);
    let mut rest = plain;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(1 + random.below(piece)));
        tokenizer.push_new(now, &mut packer.batch);
        packer.pack();
        rest = later;
    }
    tokenizer.finish(&mut packer.batch);
    packer.pack();
    packer.finish()
}

/// The first token of two streams that differs, for messages.
pub(crate) fn difference(ours: &[u8], zlibs: &[u8]) -> String {
    let all = |packed: &[u8]| {
        let mut tokens = Vec::new();
        let read = parse(packed, u64::MAX, packed.len().max(1), |batch, _| {
            tokens.extend_from_slice(&batch.tokens);
        });
        (tokens, read.map(|read| read.blocks))
    };
    let ((ours, our_blocks), (zlibs, zlib_blocks)) = (all(ours), all(zlibs));
    let same = ours
        .iter()
        .zip(&zlibs)
        .take_while(|(our, zlib)| our == zlib)
        .count();
    let at: usize = ours[..same].iter().map(|token| token.plain_bytes()).sum();
    format!(
        "token {same}, some {at} bytes in: {:?}, zlib has {:?}; blocks {our_blocks:?}, zlib {zlib_blocks:?}",
        ours.get(same),
        zlibs.get(same)
    )
}

fn check(plain: &[u8], parameters: Parameters, random: &mut Random, case: &str) {
    let piece = one_of(random, &[100, 5_000, 70_000, 1 << 20]);
    let (given, packed) = searched(plain, parameters, piece, random);
    assert!(given == plain, "{case}: other plain bytes");
    let zlibs = zlib::deflate(plain, parameters);
    assert!(
        packed == zlibs,
        "{case}, {} bytes, {parameters:?}: {}",
        plain.len(),
        difference(&packed, &zlibs)
    );
}

#[test]
fn every_level_strategy_and_memory_level_packs_as_zlib() {
    let mut random = Random(1);
    let text = include_bytes!("../../../SPEC.md");
    let inputs: [(&str, Vec<u8>); 7] = [
        ("text", text[..text.len().min(70_000)].to_vec()),
        ("signatures", signatures(&mut random, 70_000)),
        ("binary", binary(&mut random, 70_000)),
        ("zeros", vec![0; 70_000]),
        ("noise", random.bytes(70_000)),
        ("tiny", b"a".to_vec()),
        ("empty", Vec::new()),
    ];
    for (name, plain) in &inputs {
        for strategy in STRATEGIES {
            for level in 1..=9 {
                for memory_level in [8, 9, one_of(&mut random, &[1, 2, 3, 4, 5, 6, 7])] {
                    check(
                        plain,
                        parameters(level, strategy, memory_level),
                        &mut random,
                        name,
                    );
                }
            }
        }
    }
}

#[test]
fn random_inputs_pack_as_zlib() {
    for seed in 0..600 * effort() {
        let mut random = Random(seed);
        let plain = corner_input(&mut random);
        let strategy = match random.below(7) {
            0 | 1 => Strategy::Filtered,
            2 | 3 => Strategy::Default,
            other => STRATEGIES[other - 2],
        };
        let level = one_of(&mut random, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 6]);
        let memory_level = one_of(&mut random, &[8, 8, 9, 9, 1, 4, 6]);
        let parameters = parameters(level, strategy, memory_level);
        check(&plain, parameters, &mut random, &format!("seed {seed}"));
    }
}

#[test]
fn pieces_of_one_byte_pack_as_zlib() {
    let mut random = Random(5);
    for strategy in STRATEGIES {
        for level in [1, 4, 9] {
            let plain = mixture(&mut random, 70_000);
            let parameters = parameters(level, strategy, 8);
            let (_, packed) = searched(&plain, parameters, 1, &mut random);
            assert!(packed == zlib::deflate(&plain, parameters));
        }
    }
}

/// zlib's buffer slides one step early when fewer than 262 bytes are left.
#[test]
fn twins_at_the_farthest_distance_pack_as_zlib_wherever_the_input_ends() {
    let mut random = Random(2);
    let noise = random.bytes(100_000);
    for distance in [32_505, 32_506, 32_507] {
        for copy_at in (65_272..=65_276).flat_map(|at| [at, at + 32_768]) {
            for after in (0..=30).chain(255..=264).chain([600]) {
                let mut plain = noise[..copy_at].to_vec();
                plain.extend_from_within(
                    copy_at - distance..copy_at - distance + after.clamp(3, 40),
                );
                if random.below(2) == 0 {
                    // A nearer candidate: zlib lets only the first one lie at the very limit.
                    plain.copy_within(copy_at..copy_at + 3, copy_at - 100);
                }
                plain.extend_from_slice(&noise[..600]);
                plain.truncate(copy_at + after);
                let strategy = one_of(&mut random, &[Strategy::Filtered, Strategy::Default]);
                let level = one_of(&mut random, &[1, 4, 6, 9]);
                check(
                    &plain,
                    parameters(level, strategy, 8),
                    &mut random,
                    &format!("distance {distance}, twin at {copy_at}"),
                );
            }
        }
    }
}

#[test]
fn the_shortest_inputs_pack_as_zlib() {
    let mut random = Random(3);
    for length in 0..12 {
        for letters in [1, 2, 256] {
            for strategy in STRATEGIES {
                for level in [1, 3, 4, 6, 9] {
                    let plain: Vec<u8> = (0..length)
                        .map(|_| random.byte() % u8::try_from(letters - 1).expect("small").max(1))
                        .collect();
                    check(&plain, parameters(level, strategy, 8), &mut random, "short");
                }
            }
        }
    }
}

/// Full blocks at the very end, blocks whose start has left the buffer, stored blocks that are just worth it.
#[test]
fn blocks_end_where_zlib_ends_them() {
    let mut random = Random(6);
    let noise = random.bytes(140_000);
    for (memory_level, full) in [(8, 16_383), (9, 32_767)] {
        for blocks in [1, 2, 3] {
            for len in full * blocks - 2..=full * blocks + 2 {
                for strategy in STRATEGIES {
                    let level = one_of(&mut random, &[1, 4, 9]);
                    check(
                        &noise[..len],
                        parameters(level, strategy, memory_level),
                        &mut random,
                        "full",
                    );
                }
            }
        }
    }
    for equal in (32_630..32_900).step_by(9) {
        let mut plain = vec![7; equal];
        plain.extend_from_slice(&noise[..70_000]);
        for strategy in STRATEGIES {
            check(
                &plain,
                parameters(9, strategy, 9),
                &mut random,
                "left the buffer",
            );
        }
    }
    for _ in 0..800 {
        let letters = 60 + random.below(197);
        let plain: Vec<u8> = (0..20 + random.below(680))
            .map(|_| u8::try_from(random.below(letters)).expect("at most 256 letters"))
            .collect();
        check(&plain, Parameters::SIGTOOL, &mut random, "stored or not");
    }
}

#[test]
fn a_wrong_promise_of_length_never_panics() {
    let plain = signatures(&mut Random(4), 100_000);
    for promised in [0, 1, 50_000, 65_536, 100_001, u64::MAX] {
        for strategy in STRATEGIES {
            for level in [1, 9] {
                let mut tokenizer =
                    Tokenizer::new(parameters(level, strategy, 8), promised, u64::MAX);
                let mut out = Batch::default();
                for piece in plain.chunks(7_777) {
                    tokenizer.push_new(piece, &mut out);
                }
                tokenizer.finish(&mut out);
                let kept = plain
                    .len()
                    .min(usize::try_from(promised).unwrap_or(usize::MAX));
                assert!(out.plain == plain[..kept]);
                let expanded: usize = out.tokens.iter().map(|token| token.plain_bytes()).sum();
                assert_eq!(expanded, kept);
            }
        }
    }
}
