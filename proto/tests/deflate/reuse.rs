//! Streams made with an older one's tokens are zlib's very bytes.

use core::ops::Range;

use tidecast_proto::deflate::{Batch, OldStretch, Parameters, Strategy, Tokenizer};

use crate::{
    search::{Packer, corner_input, difference, one_of, parameters},
    support::{
        effort,
        inputs::{Random, mixture, signatures},
        parse, zlib,
    },
};

/// A stretch of the new stream.
#[derive(Debug, Clone)]
enum Piece {
    /// So many bytes of which nothing is known.
    New(usize),
    /// These bytes of the old stream.
    Same(Range<usize>),
}

/// The old stream: where each stretch begins, and what the parser gave.
struct Old {
    plain: Vec<u8>,
    batches: Vec<(usize, Batch)>,
}

impl Old {
    fn new(plain: Vec<u8>, parameters: Parameters, random: &mut Random) -> Self {
        let packed = zlib::deflate(&plain, parameters);
        let piece = one_of(random, &[50, 2_000, 60_000, 1 << 20]);
        let mut batches = Vec::new();
        let mut at = 0;
        let read = parse(&packed, u64::MAX, piece, |batch, _| {
            batches.push((at, batch.clone()));
            at += batch.plain.len();
        });
        assert!(read.is_ok());
        Self { plain, batches }
    }

    fn bytes(&self) -> u64 {
        self.plain.len() as u64
    }

    /// Tokens of what `pieces` describe, and the plain bytes of which they are made.
    fn pack(&self, edit: &Edit, parameters: Parameters, random: &mut Random) -> (Vec<u8>, Vec<u8>) {
        let new_bytes = edit.new.len() as u64;
        let mut tokenizer = Tokenizer::new(parameters, new_bytes, self.bytes());
        let mut packer = Packer::new(parameters, new_bytes);
        let mut at = 0;
        for piece in &edit.pieces {
            match piece {
                Piece::New(count) => {
                    let mut rest = &edit.new[at..at + count];
                    at += count;
                    while !rest.is_empty() {
                        let (now, later) = rest.split_at(rest.len().min(1 + random.below(50_000)));
                        tokenizer.push_new(now, &mut packer.batch);
                        packer.pack();
                        rest = later;
                    }
                }
                Piece::Same(range) => {
                    let equal = range.start as u64..range.end as u64;
                    let first = self
                        .batches
                        .partition_point(|(at, batch)| at + batch.plain.len() <= range.start);
                    for (batch_at, batch) in &self.batches[first..] {
                        if *batch_at >= range.end {
                            break;
                        }
                        if let Some(stretch) = OldStretch::cut(batch, *batch_at as u64, &equal) {
                            at += stretch.plain().len();
                            tokenizer.push_same(stretch, &mut packer.batch);
                            packer.pack();
                        }
                    }
                }
            }
        }
        tokenizer.finish(&mut packer.batch);
        packer.pack();
        packer.finish()
    }

    fn check(&self, edit: &Edit, parameters: Parameters, random: &mut Random, case: &str) {
        let (plain, packed) = self.pack(edit, parameters, random);
        assert!(plain == edit.new, "{case}: other plain bytes");
        let zlibs = zlib::deflate(&edit.new, parameters);
        assert!(
            packed == zlibs,
            "{case}, {} to {} bytes, {parameters:?}: {}",
            self.plain.len(),
            plain.len(),
            difference(&packed, &zlibs)
        );
    }
}

/// A new input made of pieces of the old one and of other bytes.
#[derive(Default)]
struct Edit {
    new: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Edit {
    fn same(mut self, old: &Old, range: Range<usize>) -> Self {
        self.new.extend_from_slice(&old.plain[range.clone()]);
        self.pieces.push(Piece::Same(range));
        self
    }

    fn insert(mut self, bytes: &[u8]) -> Self {
        self.new.extend_from_slice(bytes);
        self.pieces.push(Piece::New(bytes.len()));
        self
    }

    /// A map need not name all that is equal: shortens ranges, and drops the last one at times.
    fn trim(mut self, random: &mut Random) -> Self {
        let mut pieces = Vec::new();
        let count = self.pieces.len();
        for (index, piece) in self.pieces.into_iter().enumerate() {
            match piece {
                Piece::Same(range) if index + 1 == count && random.below(4) == 0 => {
                    pieces.push(Piece::New(range.len()));
                }
                Piece::Same(range) if random.below(2) == 0 => {
                    let front = random.below(range.len().min(700) + 1);
                    let back = random.below((range.len() - front).min(700) + 1);
                    pieces.push(Piece::New(front));
                    pieces.push(Piece::Same(range.start + front..range.end - back));
                    pieces.push(Piece::New(back));
                }
                piece => pieces.push(piece),
            }
        }
        self.pieces = pieces;
        self
    }
}

fn random_edits(old: &Old, random: &mut Random) -> Edit {
    let len = old.plain.len();
    let mut edit = Edit::default();
    let mut at = 0;
    for _ in 0..1 + random.below(4) {
        let to = at + random.below(len - at + 1);
        let added = one_of(random, &[0, 1, 40, 700, 3_000]);
        let added = random.below(added + 1);
        let bytes = if random.below(2) == 0 {
            random.bytes(added)
        } else {
            mixture(random, added)
        };
        edit = edit.same(old, at..to).insert(&bytes);
        let skip = one_of(random, &[0, 1, 5, 300, 4_000, 40_000]);
        at = (to + random.below(skip + 1)).min(len);
    }
    edit.same(old, at..len).trim(random)
}

/// Several windows long, so that there is something to copy.
fn long_input(random: &mut Random) -> Vec<u8> {
    let mut plain = Vec::new();
    for _ in 0..2 + random.below(4) {
        if random.below(3) == 0 {
            let len = random.below(100_000);
            plain.extend(signatures(random, len));
        } else {
            plain.extend(corner_input(random));
        }
    }
    plain
}

fn some_parameters(random: &mut Random) -> Parameters {
    let strategy = one_of(
        random,
        &[
            Strategy::Filtered,
            Strategy::Filtered,
            Strategy::Default,
            Strategy::Default,
            Strategy::Fixed,
            Strategy::Rle,
            Strategy::Huffman,
        ],
    );
    let level = one_of(random, &[3, 4, 5, 6, 7, 8, 9, 9, 9, 6]);
    let memory_level = one_of(random, &[8, 8, 9, 5, 2]);
    parameters(level, strategy, memory_level)
}

#[test]
fn random_edits_pack_as_zlib() {
    for seed in 0..250 * effort() {
        let mut random = Random(seed);
        let parameters = some_parameters(&mut random);
        let old = Old::new(long_input(&mut random), parameters, &mut random);
        let edit = random_edits(&old, &mut random);
        old.check(&edit, parameters, &mut random, &format!("seed {seed}"));
    }
}

fn every(step: usize, old: &Old, mut change: impl FnMut(Edit) -> Edit, skip: usize) -> Edit {
    let mut edit = Edit::default();
    let mut at = 0;
    while at < old.plain.len() {
        let to = old.plain.len().min(at + step);
        edit = edit.same(old, at..to);
        if to < old.plain.len() {
            edit = change(edit);
        }
        at = (to + skip).min(old.plain.len());
    }
    edit
}

/// Every whole-file change that a planner can come up with.
#[test]
fn adversarial_edits_pack_as_zlib() {
    let mut random = Random(7);
    let mut inputs = vec![
        ("signatures", signatures(&mut random, 400_000)),
        ("noise", random.bytes(200_000)),
        ("zeros", vec![0; 300_000]),
        ("mixture", mixture(&mut random, 300_000)),
        ("empty", Vec::new()),
        ("short", signatures(&mut random, 40_000)),
    ];
    let mut stored_inside = signatures(&mut random, 150_000);
    stored_inside.extend(random.bytes(90_000));
    stored_inside.extend(signatures(&mut random, 150_000));
    inputs.push(("noise inside", stored_inside));
    for (name, plain) in inputs {
        for parameters in [Parameters::SIGTOOL, parameters(6, Strategy::Default, 8)] {
            let len = plain.len();
            let other = signatures(&mut random, 120_000);
            let old = Old::new(plain.clone(), parameters, &mut random);
            let start = || Edit::default();
            let mut edits = vec![
                ("same", start().same(&old, 0..len)),
                ("insert at 0", start().insert(b"x").same(&old, 0..len)),
                ("delete at 0", start().same(&old, len.min(1)..len)),
                (
                    "first byte",
                    start().insert(b"x").same(&old, len.min(1)..len),
                ),
                (
                    "last byte",
                    start().same(&old, 0..len.saturating_sub(1)).insert(b"x"),
                ),
                ("append", start().same(&old, 0..len).insert(&other[..100])),
                ("append much", start().same(&old, 0..len).insert(&other)),
                ("cut", start().same(&old, 0..len.saturating_sub(1))),
                ("half", start().same(&old, 0..len / 2)),
                ("second half", start().same(&old, len / 2..len)),
                ("double", start().same(&old, 0..len).same(&old, 0..len)),
                (
                    "swapped",
                    start().same(&old, len / 2..len).same(&old, 0..len / 2),
                ),
                ("empty", start()),
                ("unrelated", start().insert(&other)),
                (
                    "noise in the middle",
                    start()
                        .same(&old, 0..len / 2)
                        .insert(&random.bytes(50_000))
                        .same(&old, len / 2..len),
                ),
                (
                    "a cut in two that is none",
                    start().same(&old, 0..len / 3).same(&old, len / 3..len),
                ),
            ];
            for step in [33_000, 40_000, 65_536, 100_000] {
                edits.push(("inserts", every(step, &old, |edit| edit.insert(b"x"), 0)));
                edits.push(("deletions", every(step, &old, |edit| edit, 1)));
            }
            for (change, edit) in edits {
                old.check(&edit, parameters, &mut random, &format!("{name}, {change}"));
            }
        }
    }
}

/// What is claimed equal and is not, what was packed otherwise, lengths that are wrong: other packed bytes, nothing worse.
#[test]
fn wrong_claims_never_panic() {
    for seed in 0..60 * effort() {
        let mut random = Random(seed ^ 0xc1a1);
        let packed_with = some_parameters(&mut random);
        let parameters = some_parameters(&mut random);
        let old = Old::new(long_input(&mut random), packed_with, &mut random);
        let mut edit = random_edits(&old, &mut random);
        for _ in 0..random.below(4) {
            // Any order, twice, and in tiny steps.
            let from = random.below(old.plain.len() + 1);
            let to = from + random.below(old.plain.len() - from + 1);
            edit = edit.same(&old, from..to);
        }
        let (plain, _) = old.pack(&edit, parameters, &mut random);
        assert!(plain == edit.new, "the plain bytes are what was pushed");

        let promised = one_of(&mut random, &[0, 1, 70_000, u64::MAX]);
        let old_promised = one_of(&mut random, &[0, 1, 70_000, u64::MAX]);
        let mut tokenizer = Tokenizer::new(parameters, promised, old_promised);
        let mut out = Batch::default();
        for (at, batch) in &old.batches {
            // The old stream's bytes at places that are not theirs.
            let lie = one_of(
                &mut random,
                &[0, 0, 0, 1, 40_000, u64::MAX / 2, u64::MAX - 600],
            );
            let at = lie.saturating_add(*at as u64);
            if let Some(stretch) = OldStretch::cut(batch, at, &(0..u64::MAX)) {
                tokenizer.push_same(stretch, &mut out);
            }
            if random.below(9) == 0 {
                tokenizer.push_new(b"unsaid", &mut out);
            }
        }
        tokenizer.finish(&mut out);
        let expanded: usize = out.tokens.iter().map(|token| token.plain_bytes()).sum();
        assert_eq!(expanded, out.plain.len());
    }
}

/// Around each place a window and a little more is searched; all else is taken over.
#[test]
fn all_but_a_window_around_each_edit_is_taken_over() {
    let mut random = Random(8);
    let old = Old::new(
        signatures(&mut random, 2_000_000),
        Parameters::SIGTOOL,
        &mut random,
    );
    let edit = every(500_000, &old, |edit| edit.insert(b"x"), 0);
    let mut tokenizer = Tokenizer::new(Parameters::SIGTOOL, edit.new.len() as u64, old.bytes());
    let mut out = Batch::default();
    for piece in &edit.pieces {
        match piece {
            Piece::New(_) => tokenizer.push_new(b"x", &mut out),
            Piece::Same(range) => {
                let equal = range.start as u64..range.end as u64;
                for (at, batch) in &old.batches {
                    if let Some(stretch) = OldStretch::cut(batch, *at as u64, &equal) {
                        tokenizer.push_same(stretch, &mut out);
                    }
                }
            }
        }
    }
    tokenizer.finish(&mut out);
    assert!(out.plain == edit.new);
    let searched = edit.new.len() as u64 - tokenizer.copied_bytes();
    let places = 3;
    assert!(
        searched <= places * 36 * 1024 + 2_000,
        "{searched} bytes searched"
    );
}
