//! What zlib was told when it made a stream, found from its first stretches: memLevel from the first full block,
//! level and strategy by searching anew with one candidate after another and comparing tokens.

use alloc::vec::Vec;

use super::{
    parameters::{Parameters, Strategy},
    parse::{Block, BlockKind, Step},
    reuse::Tokenizer,
    token::{Batch, Token},
};

/// Plain bytes looked at: enough that levels 8 and 9, or two memLevels, come apart on most content.
pub const HEAD_PLAIN_BYTES_MAX: usize = 1024 * 1024;
/// Searched at a time, so that a wrong candidate is given up early.
const PIECE_BYTES: usize = 16 * 1024;
/// A candidate whose search sees other bytes than zlib's did, because the head is cut, may differ this close to its
/// end: the longest match, and the step that decides on it.
const CUT_BYTES: usize = 600;
/// Blocks kept: the first full one says all.
const BLOCKS_MAX: usize = 64;
/// Candidates listed. Where more make the same tokens, the head says too little to tell them apart (zeros, a few
/// lines), and any of them will do.
pub const CANDIDATES_MAX: usize = 8;

/// The start of a stream as the parser gave it.
#[derive(Debug, Default)]
pub struct Head {
    plain: Vec<u8>,
    tokens: Vec<Stretch>,
    blocks: Vec<Block>,
    ended: bool,
}

/// Tokens in a row. Between stretches lie stored blocks.
#[derive(Debug)]
struct Stretch {
    at: usize,
    end: usize,
    tokens: Vec<Token>,
}

/// How far a candidate came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// What was tried.
    pub parameters: Parameters,
    /// Plain offset of the first token that zlib would have made otherwise; `None` when all looked at are the same.
    pub differs_at: Option<u64>,
}

/// What came of a search, and what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Search {
    /// The candidates that make the same tokens, likeliest first, or else the one that came farthest.
    ///
    /// Several are listed when the head does not tell them apart: only packing the whole stream proves one. Empty only
    /// when no zlib cuts blocks like this, whatever it was told.
    pub candidates: Vec<Candidate>,
    /// Plain bytes that were searched by all candidates together, each one's tables counted as [`TABLE_BYTES`].
    pub effort_bytes: u64,
}

/// What setting up the tables of a search costs at least, as plain bytes that could be searched in that time.
pub const TABLE_BYTES: u64 = 16 * 1024;

/// What the gzip header's XFL byte says: 2 for level 9, 4 for level 1, as zlib's `deflateInit2` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LevelHint {
    /// Anything.
    #[default]
    None,
    /// Level 9.
    Best,
    /// Level 1, or one of the strategies that do not search.
    Fastest,
}

impl LevelHint {
    /// From a gzip header's XFL.
    #[must_use]
    pub const fn from_extra_flags(extra_flags: u8) -> Self {
        match extra_flags {
            2 => Self::Best,
            4 => Self::Fastest,
            _ => Self::None,
        }
    }
}

impl Head {
    /// Takes in what one call of the parser gave. False once there is enough.
    pub fn push(&mut self, batch: &Batch, step: &Step) -> bool {
        if self.is_full() {
            return false;
        }
        let at = self.plain.len();
        self.plain.extend_from_slice(&batch.plain);
        if !batch.tokens.is_empty() {
            match self.tokens.last_mut() {
                Some(last) if last.end == at => {
                    last.tokens.extend_from_slice(&batch.tokens);
                    last.end = self.plain.len();
                }
                _ => self.tokens.push(Stretch {
                    at,
                    end: self.plain.len(),
                    tokens: batch.tokens.clone(),
                }),
            }
        }
        // Only the first few say anything, and a stream may consist of empty ones.
        if let Some(block) = step.block_ended {
            if self.blocks.len() < BLOCKS_MAX {
                self.blocks.push(block);
            }
            self.ended |= block.last;
        }
        !self.is_full()
    }

    /// Whether enough was seen.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.ended || self.plain.len() >= HEAD_PLAIN_BYTES_MAX
    }

    /// Finds the candidates that make the same tokens.
    #[must_use]
    pub fn search(&self, hint: LevelHint) -> Search {
        let mut same = Vec::new();
        let mut effort_bytes = 0;
        let mut farthest: Option<Candidate> = None;
        for parameters in self.tried(hint) {
            let differs_at = self.differs_at(parameters);
            let searched = differs_at.unwrap_or(self.plain.len() as u64);
            effort_bytes += TABLE_BYTES + searched;
            let candidate = Candidate {
                parameters,
                differs_at,
            };
            match differs_at {
                None => {
                    same.push(candidate);
                    if same.len() == CANDIDATES_MAX {
                        break;
                    }
                }
                Some(at)
                    if farthest
                        .and_then(|best| best.differs_at)
                        .is_none_or(|best| at > best) =>
                {
                    farthest = Some(candidate);
                }
                Some(_) => {}
            }
        }
        if same.is_empty() {
            same.extend(farthest);
        }
        Search {
            candidates: same,
            effort_bytes,
        }
    }

    /// Every combination that the blocks allow, likeliest first.
    fn tried(&self, hint: LevelHint) -> Vec<Parameters> {
        let matches = self
            .tokens
            .iter()
            .flat_map(|stretch| &stretch.tokens)
            .any(|token| !token.is_literal());
        let all_fixed = !self.blocks.is_empty()
            && self
                .blocks
                .iter()
                .all(|block| block.kind != BlockKind::Dynamic);
        let levels: &[u8] = match hint {
            LevelHint::Fastest => &[1, 6, 9, 5, 4, 8, 7, 3, 2],
            _ => &[9, 6, 1, 5, 8, 7, 4, 3, 2],
        };
        let mut tried = Vec::new();
        for memory_level in self.memory_levels() {
            for &level in levels {
                for strategy in [
                    Strategy::Filtered,
                    Strategy::Default,
                    Strategy::Fixed,
                    Strategy::Huffman,
                    Strategy::Rle,
                ] {
                    let possible = match strategy {
                        // Greedy search knows no filtered rule, and all levels are one without a search.
                        Strategy::Filtered => level >= 4,
                        Strategy::Default => true,
                        Strategy::Fixed => all_fixed,
                        Strategy::Huffman => !matches && level == 6,
                        Strategy::Rle => level == 6,
                    };
                    if possible
                        && let Ok(parameters) = Parameters::new(level, strategy, memory_level)
                    {
                        tried.push(parameters);
                    }
                }
            }
        }
        tried
    }

    /// memLevels whose blocks are as long as the ones seen.
    fn memory_levels(&self) -> Vec<u8> {
        const LIKELIEST: [u8; 9] = [8, 9, 7, 6, 5, 4, 3, 2, 1];
        let most = |level: u8| (1_u64 << (level + 6)) - 1;
        if let Some(first) = self.blocks.first()
            && first.kind == BlockKind::Stored
            && !first.last
        {
            // Bytes stored as they are were nearly all literals: as many as tokens, or a few more.
            return (1..=9)
                .rev()
                .filter(|level| most(*level) <= first.plain_bytes)
                .collect();
        }
        let coded = self
            .blocks
            .iter()
            .filter(|block| block.kind != BlockKind::Stored);
        // All but the last block are full.
        if let Some(full) = coded.clone().find(|block| !block.last) {
            return LIKELIEST
                .into_iter()
                .filter(|level| most(*level) == full.tokens)
                .collect();
        }
        let longest = coded.map(|block| block.tokens).max().unwrap_or(0);
        LIKELIEST
            .into_iter()
            .filter(|level| most(*level) >= longest)
            .collect()
    }

    fn differs_at(&self, parameters: Parameters) -> Option<u64> {
        // A cut head is searched as if much followed.
        let total = if self.ended {
            self.plain.len() as u64
        } else {
            u64::MAX
        };
        let end = if self.ended {
            self.plain.len()
        } else {
            self.plain.len().saturating_sub(CUT_BYTES)
        };
        let mut tokenizer = Tokenizer::new(parameters, total, 0);
        let mut ours = Batch::default();
        let mut at = 0;
        let mut theirs = Theirs::new(&self.tokens);
        for piece in self.plain.chunks(PIECE_BYTES) {
            tokenizer.push_new(piece, &mut ours);
            if let Some(differs_at) = theirs.compare(&ours.tokens, &mut at, end) {
                return Some(differs_at as u64);
            }
            ours.clear();
        }
        if self.ended {
            tokenizer.finish(&mut ours);
            return theirs
                .compare(&ours.tokens, &mut at, end)
                .map(|at| at as u64);
        }
        None
    }
}

/// Goes through the tokens of the head.
struct Theirs<'a> {
    stretches: &'a [Stretch],
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Theirs<'a> {
    const fn new(stretches: &'a [Stretch]) -> Self {
        Self {
            stretches,
            tokens: &[],
            at: 0,
        }
    }

    /// The first of `ours`, which begin at `at`, that is another before `end`.
    fn compare(&mut self, ours: &[Token], at: &mut usize, end: usize) -> Option<usize> {
        for our in ours {
            while self.tokens.is_empty() {
                let (stretch, rest) = self.stretches.split_first()?;
                self.tokens = &stretch.tokens;
                self.at = stretch.at;
                self.stretches = rest;
            }
            if *at >= end {
                return None;
            }
            // Before the stretch lie bytes stored as they are, whose tokens are lost.
            if *at > self.at || (*at == self.at && self.tokens.first() != Some(our)) {
                return Some(*at);
            }
            if *at == self.at {
                self.at += our.plain_bytes();
                self.tokens = &self.tokens[1..];
            }
            *at += our.plain_bytes();
        }
        None
    }
}
