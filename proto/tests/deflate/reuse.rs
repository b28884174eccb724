//! Tokens taken over from an older stream are those that a search of everything finds.

use core::ops::Range;

use tidecast_proto::deflate::{Batch, OldStretch, Parameters, Strategy, Tokenizer};

use crate::{
    inflate::{Block, blocks},
    input::{Dice, mixed, signatures},
    oracle,
    search::{difference, parameters, rounds, searched},
};

/// A stretch of the new stream.
#[derive(Debug, Clone)]
enum Piece {
    /// So many bytes of which nothing is known.
    New(usize),
    /// These bytes of the old stream.
    Same(Range<usize>),
}

/// The old stream as a parser gives it: plain offset and batch, without tokens where zlib stored bytes as they are.
struct Old {
    plain_bytes: usize,
    batches: Vec<(usize, Batch)>,
}

impl Old {
    fn new(plain: &[u8], parameters: Parameters, dice: &mut Dice) -> Self {
        let packed = oracle::deflate(plain, parameters);
        let all = searched(plain, parameters, &mut Dice::new(1));
        assert_eq!(difference(&all, plain, &packed), None);
        let most = dice.of(&[1, 50, 2_000, 40_000]);
        let mut batches = Vec::new();
        let (mut at, mut first) = (0, 0);
        for block in blocks(&packed) {
            match block {
                Block::Stored(count) => {
                    let end = at + count;
                    batches.push((
                        at,
                        Batch {
                            tokens: Vec::new(),
                            plain: plain[at..end].to_vec(),
                        },
                    ));
                    while at < end {
                        at += all.tokens[first].plain_bytes();
                        first += 1;
                    }
                }
                Block::Coded(words) => {
                    let mut tokens = &all.tokens[first..first + words.len()];
                    first += words.len();
                    while !tokens.is_empty() {
                        let (some, rest) = tokens.split_at(tokens.len().min(1 + dice.below(most)));
                        let count: usize = some.iter().map(|token| token.plain_bytes()).sum();
                        batches.push((
                            at,
                            Batch {
                                tokens: some.to_vec(),
                                plain: plain[at..at + count].to_vec(),
                            },
                        ));
                        at += count;
                        tokens = rest;
                    }
                }
            }
        }
        Self {
            plain_bytes: plain.len(),
            batches,
        }
    }

    /// The new stream's tokens, and how many bytes were copied in one go at least once.
    fn tokens(
        &self,
        new: &[u8],
        pieces: &[Piece],
        parameters: Parameters,
        dice: &mut Dice,
    ) -> Batch {
        let mut tokenizer = Tokenizer::new(parameters, new.len() as u64, self.plain_bytes as u64);
        let mut out = Batch::default();
        let mut one = Batch::default();
        let mut at = 0;
        let mut take = |one: &mut Batch| {
            let bytes: usize = one.tokens.iter().map(|token| token.plain_bytes()).sum();
            assert_eq!(bytes, one.plain.len(), "tokens and plain bytes keep step");
            out.tokens.append(&mut one.tokens);
            out.plain.append(&mut one.plain);
        };
        for piece in pieces {
            match piece {
                Piece::New(count) => {
                    let mut rest = &new[at..at + count];
                    at += count;
                    while !rest.is_empty() {
                        let (some, after) = rest.split_at(rest.len().min(1 + dice.below(50_000)));
                        tokenizer.push_new(some, &mut one);
                        take(&mut one);
                        rest = after;
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
                            tokenizer.push_same(stretch, &mut one);
                            take(&mut one);
                        }
                    }
                }
            }
        }
        tokenizer.finish(&mut one);
        take(&mut one);
        out
    }
}

/// A new input made of pieces of the old one and other bytes.
#[derive(Default)]
struct Edit {
    new: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Edit {
    fn same(&mut self, old: &[u8], range: Range<usize>) {
        self.new.extend_from_slice(&old[range.clone()]);
        self.pieces.push(Piece::Same(range));
    }

    fn insert(&mut self, bytes: &[u8]) {
        self.new.extend_from_slice(bytes);
        self.pieces.push(Piece::New(bytes.len()));
    }

    /// A map need not name all that is equal: shortens ranges, and drops the last one at times.
    fn trim(&mut self, dice: &mut Dice) {
        let mut pieces = Vec::new();
        let count = self.pieces.len();
        for (index, piece) in self.pieces.drain(..).enumerate() {
            match piece {
                Piece::Same(range) if index + 1 == count && dice.below(4) == 0 => {
                    pieces.push(Piece::New(range.len()));
                }
                Piece::Same(range) if dice.below(2) == 0 => {
                    let front = dice.below(range.len().min(700) + 1);
                    let back = dice.below((range.len() - front).min(700) + 1);
                    pieces.push(Piece::New(front));
                    pieces.push(Piece::Same(range.start + front..range.end - back));
                    pieces.push(Piece::New(back));
                }
                piece => pieces.push(piece),
            }
        }
        self.pieces = pieces;
    }

    fn check(&self, old: &Old, parameters: Parameters, dice: &mut Dice, case: &str) {
        let out = old.tokens(&self.new, &self.pieces, parameters, dice);
        let packed = oracle::deflate(&self.new, parameters);
        if let Some(difference) = difference(&out, &self.new, &packed) {
            panic!(
                "{case}, {} to {} bytes, {parameters:?}: {difference}",
                old.plain_bytes,
                self.new.len()
            );
        }
    }
}

fn random_edits(old: &[u8], dice: &mut Dice) -> Edit {
    let mut edit = Edit::default();
    let mut at = 0;
    for _ in 0..1 + dice.below(4) {
        let to = at + dice.below(old.len() - at + 1);
        edit.same(old, at..to);
        let added = match dice.below(5) {
            0 => 0,
            1 => 1,
            2 => dice.below(40),
            3 => dice.below(700),
            _ => dice.below(3_000),
        };
        let bytes = if dice.below(2) == 0 {
            dice.bytes(added)
        } else {
            signatures(dice, added)
        };
        edit.insert(&bytes);
        let skip = dice.of(&[0, 1, 5, 300, 4_000, 40_000]);
        at = (to + dice.below(skip + 1)).min(old.len());
    }
    edit.same(old, at..old.len());
    edit.trim(dice);
    edit
}

/// Large enough to be copied from: several windows.
fn large(dice: &mut Dice) -> Vec<u8> {
    let mut plain = Vec::new();
    for _ in 0..2 + dice.below(4) {
        plain.extend(mixed(dice));
    }
    plain
}

#[test]
fn random_edits_give_the_tokens_of_a_whole_search() {
    for seed in 0..rounds(600, 10_000) {
        let mut dice = Dice::new(seed);
        let plain = match dice.below(3) {
            0 => {
                let count = 50_000 + dice.below(250_000);
                signatures(&mut dice, count)
            }
            _ => large(&mut dice),
        };
        let strategy = dice.of(&[
            Strategy::Filtered,
            Strategy::Filtered,
            Strategy::Default,
            Strategy::Fixed,
            Strategy::Rle,
            Strategy::Huffman,
        ]);
        let level = dice.of(&[3, 4, 5, 6, 7, 8, 9, 9, 9, 6]);
        let memory_level = dice.of(&[8, 8, 9, 5, 2]);
        let parameters = parameters(level, strategy, memory_level);
        let old = Old::new(&plain, parameters, &mut dice);
        random_edits(&plain, &mut dice).check(&old, parameters, &mut dice, &format!("seed {seed}"));
    }
}
