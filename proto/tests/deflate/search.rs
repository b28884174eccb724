//! The search finds zlib's tokens.

use tidecast_proto::deflate::{Batch, Parameters, Strategy, Tokenizer};

use crate::{
    inflate::{Block, Word, blocks},
    input::{Dice, mixed, signatures},
    oracle,
};

pub(crate) const STRATEGIES: [Strategy; 5] = [
    Strategy::Default,
    Strategy::Filtered,
    Strategy::Huffman,
    Strategy::Rle,
    Strategy::Fixed,
];

/// The long form is asked for by an environment variable; it takes many minutes.
pub(crate) fn rounds(quick: u64, long: u64) -> u64 {
    if std::env::var_os("TIDECAST_DEFLATE_LONG").is_some() {
        long
    } else {
        quick
    }
}

pub(crate) fn parameters(level: u8, strategy: Strategy, memory_level: u8) -> Parameters {
    Parameters::new(level, strategy, memory_level).unwrap()
}

/// Everything searched, in pieces of random sizes.
pub(crate) fn searched(plain: &[u8], parameters: Parameters, dice: &mut Dice) -> Batch {
    let mut tokenizer = Tokenizer::new(parameters, plain.len() as u64, 0);
    let mut out = Batch::default();
    let most = dice.of(&[1, 300, 5_000, 70_000, 1 << 20]);
    let mut rest = plain;
    // Single bytes are slow; a thousand of them show what there is to show.
    let mut pieces = 0;
    while !rest.is_empty() {
        let size = if pieces > 1_000 {
            rest.len()
        } else {
            1 + dice.below(most)
        };
        let (piece, after) = rest.split_at(size.min(rest.len()));
        tokenizer.push_new(piece, &mut out);
        assert_eq!(
            bytes_of(&out),
            out.plain.len(),
            "tokens and plain bytes keep step"
        );
        if pieces % 16 == 0 && pieces > 64 {
            pieces += 1;
        }
        rest = after;
        pieces += 1;
    }
    tokenizer.finish(&mut out);
    out
}

fn bytes_of(out: &Batch) -> usize {
    out.tokens.iter().map(|token| token.plain_bytes()).sum()
}

/// `None` when these are zlib's tokens, wherever zlib's stream shows them.
pub(crate) fn difference(out: &Batch, plain: &[u8], packed: &[u8]) -> Option<String> {
    if out.plain != plain {
        return Some("other plain bytes".into());
    }
    let mut tokens = out.tokens.iter();
    let mut at = 0;
    for block in blocks(packed) {
        match block {
            Block::Stored(count) => {
                let end = at + count;
                while at < end {
                    at += tokens.next()?.plain_bytes();
                }
                // zlib cuts a stored block where a block of tokens ends.
                if at != end {
                    return Some(format!("a token hangs over the stored block before {end}"));
                }
            }
            Block::Coded(words) => {
                for word in words {
                    let Some(token) = tokens.next() else {
                        return Some("tokens are missing".into());
                    };
                    if Word::from(*token) != word {
                        return Some(format!(
                            "byte {at}: {:?}, zlib has {word:?}",
                            Word::from(*token)
                        ));
                    }
                    at += token.plain_bytes();
                }
            }
        }
    }
    tokens.next().map(|_| "tokens behind the end".into())
}

fn check(plain: &[u8], parameters: Parameters, dice: &mut Dice, case: &str) {
    let packed = oracle::deflate(plain, parameters);
    let out = searched(plain, parameters, dice);
    if let Some(difference) = difference(&out, plain, &packed) {
        panic!(
            "{case}, {} bytes, {parameters:?}: {difference}",
            plain.len()
        );
    }
}

#[test]
fn every_level_strategy_and_memory_level_finds_zlibs_tokens() {
    let mut dice = Dice::new(1);
    let text = include_bytes!("../../../SPEC.md");
    let binary = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let inputs: [(&str, Vec<u8>); 7] = [
        ("text", text.to_vec()),
        ("signatures", signatures(&mut dice, 200_000)),
        ("binary", binary[binary.len() / 3..][..300_000].to_vec()),
        ("zeros", vec![0; 150_000]),
        ("random", dice.bytes(150_000)),
        ("tiny", b"a".to_vec()),
        ("empty", Vec::new()),
    ];
    for (name, plain) in &inputs {
        for strategy in STRATEGIES {
            for level in 1..=9 {
                for memory_level in [8, 9, dice.of(&[1, 2, 3, 4, 5, 6, 7])] {
                    check(
                        plain,
                        parameters(level, strategy, memory_level),
                        &mut dice,
                        name,
                    );
                }
            }
        }
    }
}

#[test]
fn random_inputs_find_zlibs_tokens() {
    for seed in 0..rounds(1_500, 30_000) {
        let mut dice = Dice::new(seed);
        let plain = mixed(&mut dice);
        let strategy = dice.of(&[
            Strategy::Filtered,
            Strategy::Filtered,
            Strategy::Default,
            Strategy::Default,
            Strategy::Fixed,
            Strategy::Rle,
            Strategy::Huffman,
        ]);
        let level = dice.of(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 6]);
        let memory_level = dice.of(&[8, 8, 9, 9, 1, 4, 6]);
        check(
            &plain,
            parameters(level, strategy, memory_level),
            &mut dice,
            &format!("seed {seed}"),
        );
    }
}

#[test]
fn twins_at_the_farthest_distance_find_zlibs_tokens_wherever_the_input_ends() {
    let mut dice = Dice::new(2);
    for distance in [32_505, 32_506, 32_507] {
        for copy_at in 65_272..=65_276 {
            for slid in [0, 32_768] {
                let ends = (0..=30).step_by(3).chain(255..=264).chain([600]);
                for after in ends {
                    let mut plain = dice.bytes(copy_at + slid);
                    let twin: Vec<u8> =
                        plain[copy_at + slid - distance..][..after.clamp(3, 40)].to_vec();
                    plain.extend(twin);
                    let odd = dice.bytes(600);
                    plain.extend(odd);
                    plain.truncate(copy_at + slid + after);
                    let strategy = dice.of(&[Strategy::Filtered, Strategy::Default]);
                    let level = dice.of(&[1, 4, 6, 9]);
                    check(
                        &plain,
                        parameters(level, strategy, 8),
                        &mut dice,
                        &format!("distance {distance}, copy at {copy_at} + {slid}"),
                    );
                }
            }
        }
    }
}

#[test]
fn the_shortest_inputs_find_zlibs_tokens() {
    let mut dice = Dice::new(3);
    for length in 0..12 {
        for letters in [1, 2, 256] {
            for strategy in STRATEGIES {
                for level in 1..=9 {
                    let plain: Vec<u8> = (0..length).map(|_| dice.below(letters) as u8).collect();
                    check(&plain, parameters(level, strategy, 8), &mut dice, "short");
                }
            }
        }
    }
}

#[test]
fn input_other_than_promised_never_panics() {
    let mut dice = Dice::new(4);
    let plain = signatures(&mut dice, 100_000);
    for promised in [0, 1, 50_000, 65_536, 100_001, u64::MAX] {
        for strategy in STRATEGIES {
            let mut tokenizer = Tokenizer::new(parameters(9, strategy, 8), promised, u64::MAX);
            let mut out = Batch::default();
            for piece in plain.chunks(7_777) {
                tokenizer.push_new(piece, &mut out);
            }
            tokenizer.finish(&mut out);
            let kept = plain
                .len()
                .min(usize::try_from(promised).unwrap_or(usize::MAX));
            assert!(out.plain == plain[..kept]);
            assert_eq!(bytes_of(&out), kept);
        }
    }
}
