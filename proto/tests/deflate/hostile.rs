//! Streams that are cut, changed or mean harm.

use tidecast_proto::deflate::{Parameters, ParseFault, Strategy};

use crate::support::{
    effort,
    inputs::{self, Random},
    open, zlib,
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
