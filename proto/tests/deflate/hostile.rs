//! Streams that are cut, changed or mean harm.

use tidecast_proto::deflate::{
    Batch, BlockKind, Parameters, ParseFault, Parser, STRETCH_PLAIN_BYTES_MAX, Strategy,
};

use crate::support::{
    effort,
    inputs::{self, Random},
    open, parse, zlib,
};

/// More than any small stream here opens to.
const LIMIT: usize = 1 << 17;

fn parameters(level: u8, strategy: Strategy, memory_level: u8) -> Parameters {
    Parameters::new(level, strategy, memory_level).expect("in range")
}

/// One stream per kind of block, and one of several blocks.
fn streams() -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut random = Random(7);
    let text = inputs::signatures(&mut random, 900);
    let mixture = inputs::mixture(&mut random, 3_000);
    let noise = random.bytes(300);
    [
        (text.clone(), parameters(9, Strategy::Filtered, 8)),
        (text, parameters(6, Strategy::Fixed, 8)),
        (mixture, parameters(6, Strategy::Default, 1)),
        (noise, parameters(9, Strategy::Filtered, 8)),
        (Vec::new(), parameters(9, Strategy::Filtered, 8)),
    ]
    .into_iter()
    .map(|(plain, parameters)| {
        let packed = zlib::deflate(&plain, parameters);
        (packed, plain)
    })
    .collect()
}

fn agrees(packed: &[u8], piece: usize) -> bool {
    let ours = open(packed, LIMIT as u64, piece);
    let theirs = zlib::inflate(packed, LIMIT);
    assert_eq!(
        ours.as_ref().ok(),
        theirs.as_ref(),
        "{packed:02x?}: {ours:?}"
    );
    theirs.is_some()
}

#[test]
fn pieces_of_any_size_open_alike() {
    for (packed, plain) in streams() {
        for piece in [1, 2, 3, 7, 16, 17, 64, 4096] {
            assert_eq!(
                open(&packed, 1 << 20, piece),
                Ok((plain.clone(), packed.len()))
            );
        }
    }
}

#[test]
fn a_cut_stream_is_cut_wherever_it_is_cut() {
    for (packed, _) in streams() {
        for end in 0..packed.len() {
            for piece in [1, 4096] {
                let error = open(&packed[..end], 1 << 20, piece).expect_err("cut");
                assert_eq!(
                    error.fault,
                    ParseFault::Cut,
                    "cut at {end} of {}",
                    packed.len()
                );
            }
        }
    }
}

#[test]
fn what_follows_the_stream_is_left_alone() {
    for (mut packed, plain) in streams() {
        let end = packed.len();
        packed.extend([0xff; 100]);
        for piece in [1, 5, 4096] {
            assert_eq!(open(&packed, 1 << 20, piece), Ok((plain.clone(), end)));
        }
    }
}

#[test]
fn every_flipped_bit_is_judged_as_zlib_judges_it() {
    let mut accepted = 0;
    for (mut packed, _) in streams() {
        for bit in 0..packed.len() * 8 {
            packed[bit / 8] ^= 1 << (bit % 8);
            accepted += usize::from(agrees(&packed, 4096));
            packed[bit / 8] ^= 1 << (bit % 8);
        }
    }
    assert!(accepted > 1_000, "{accepted}");
}

#[test]
fn mutated_streams_are_judged_as_zlib_judges_them() {
    let mut random = Random(11);
    let (mut accepted, mut refused) = (0, 0);
    let streams = streams();
    for _ in 0..6_000 * effort() {
        let mut packed = streams[random.below(streams.len())].0.clone();
        for _ in 0..=random.below(4) {
            let near_the_start = packed.len().min(100);
            let at = random.below(near_the_start);
            match random.below(3) {
                0 => packed[at] = random.byte(),
                1 => packed.insert(at, random.byte()),
                _ => packed[at] ^= 1 << random.below(8),
            }
        }
        let piece = [1, 3, 4096][random.below(3)];
        if agrees(&packed, piece) {
            accepted += 1;
        } else {
            refused += 1;
        }
    }
    assert!(accepted > 300 && refused > 300, "{accepted}, {refused}");
}

#[test]
fn noise_is_judged_as_zlib_judges_it() {
    let mut random = Random(13);
    let mut accepted = 0;
    for _ in 0..20_000 * effort() {
        let len = 1 + random.below(60);
        let mut packed = random.bytes(len);
        // Half of them as a dynamic block, the richest in rules.
        if random.below(2) == 0 {
            packed[0] = packed[0] & !7 | 0b101;
        }
        accepted += usize::from(agrees(&packed, 4096));
    }
    assert!(accepted > 20, "{accepted}");
}

/// zlib's densest: about a thousand plain bytes per packed one.
fn bomb(plain_bytes: usize) -> Vec<u8> {
    zlib::deflate(&vec![0; plain_bytes], parameters(9, Strategy::Default, 8))
}

#[test]
fn a_bomb_ends_in_a_named_error_at_the_limit() {
    let packed = bomb(30_000_000);
    assert!(packed.len() < 32_000);
    let limit = 1_000_000;
    let mut appended = 0;
    let error = parse(&packed, limit, 4096, |batch, _| {
        appended += batch.plain.len();
    })
    .expect_err("opens to more");
    assert_eq!(error.fault, ParseFault::TooLarge { limit });
    assert!(appended as u64 <= limit, "{appended}");
    assert!(error.plain_bytes <= limit + STRETCH_PLAIN_BYTES_MAX as u64);
}

#[test]
fn the_limit_itself_is_allowed_and_one_less_is_not() {
    let packed = bomb(200_000);
    assert!(open(&packed, 200_000, 4096).is_ok());
    let error = open(&packed, 199_999, 4096).expect_err("opens to more");
    assert_eq!(error.fault, ParseFault::TooLarge { limit: 199_999 });
}

#[test]
fn an_endless_row_of_empty_blocks_needs_no_memory() {
    // Fixed blocks of an end-of-block each: ten bits, of which four fill five bytes.
    let mut packed = Vec::new();
    for _ in 0..50_000 {
        packed.extend([0x02, 0x08, 0x20, 0x80, 0x00]);
    }
    let mut calls = 0;
    let error = parse(&packed, 10, 4096, |batch, _| {
        calls += 1;
        assert!(batch.plain.is_empty());
    })
    .expect_err("never ends");
    assert_eq!(error.fault, ParseFault::Cut);
    assert!(calls >= 200_000, "{calls}");
}

#[test]
fn a_refusal_names_the_place_and_is_repeated() {
    // A fixed block: literal 'a', then length symbol 257 with distance 4, before which nothing is.
    let mut parser = Parser::new();
    let mut batch = Batch::default();
    let packed = zlib::deflate(b"a", parameters(9, Strategy::Fixed, 8));
    let mut bits = u32::from(packed[0]) | u32::from(packed[1]) << 8;
    bits &= 0x7ff;
    // Symbol 257 is 0000001, distance symbol 3 is 00011; codes stand with their first bit lowest.
    bits |= 0b100_0000 << 11 | 0b11000 << 18;
    let error = parser
        .advance(&bits.to_le_bytes(), &mut batch)
        .expect_err("too far");
    assert_eq!(error.fault, ParseFault::Distance { distance: 4 });
    assert_eq!((error.packed_bits, error.plain_bytes), (11, 1));
    assert_eq!(batch, Batch::default());
    assert_eq!(parser.advance(&[0], &mut batch), Err(error));
    assert_eq!(parser.finish(), Err(error));
}

#[test]
fn padding_that_is_not_zero_is_reported() {
    let mut packed = zlib::deflate(b"", parameters(9, Strategy::Filtered, 8));
    let clear = |packed: &[u8]| {
        parse(packed, 10, 4096, |_, _| {})
            .expect("opens")
            .padding_clear
    };
    assert!(clear(&packed));
    packed[1] |= 0x80;
    assert!(!clear(&packed));
}

#[test]
fn block_ends_tell_kind_and_tokens() {
    let mut random = Random(17);
    let text = inputs::signatures(&mut random, 60_000);
    let parameters = parameters(9, Strategy::Huffman, 8);
    let mut blocks = Vec::new();
    parse(
        &zlib::deflate(&text, parameters),
        u64::MAX,
        1000,
        |_, step| {
            blocks.extend(step.block_ended);
        },
    )
    .expect("zlib's own");
    let (last, full) = blocks.split_last().expect("one at least");
    assert!(full.iter().all(|block| {
        block.kind == BlockKind::Dynamic
            && block.tokens == parameters.block_tokens() as u64
            && block.plain_bytes == block.tokens
            && !block.last
    }));
    assert_eq!(full.len(), text.len() / parameters.block_tokens());
    assert!(last.last);
}
