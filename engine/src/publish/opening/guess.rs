//! What zlib was told when it made a stream: guessed from its first tokens, then proved over all of it.

use std::fs::File;
use std::io;

use tidecast_proto::deflate::{Batch, BlockKind, Parameters, Strategy, Token, Tokenizer};

use super::Stream;
use super::packed::PackedError;
use super::prove::{self, Proof};
use super::sample::Sample;

/// Most proofs of one stream: one costs less than half of deflating it with zlib, and guesses that hold for a
/// whole sample and fail behind it are rare.
const PROOFS_MAX: usize = 3;

/// Tokens are compared after this many plain bytes, so that a wrong guess costs little.
const STEP_BYTES: usize = 16 * 1024;

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It rebuilds exactly.
    Exact(Parameters),
    /// It does not.
    Differs {
        /// The first byte that differs with the nearest parameters, by its offset in the file.
        at: u64,
        nearest: Parameters,
    },
}

/// Finds the parameters that rebuild `stream`, trying `guess` first.
pub(super) fn parameters(
    file: &File,
    stream: &Stream,
    sample: &Sample,
    guess: Option<Parameters>,
) -> io::Result<Outcome> {
    let mut trial = Trial {
        file,
        stream,
        nearest: None,
    };
    let (mut proofs, mut best) = (0, None);
    let candidates = candidates(sample);
    let others = candidates.iter().filter(|other| Some(**other) != guess);
    for candidate in guess.iter().chain(others) {
        let agreed = agreed_bytes(sample, stream, *candidate);
        if agreed < sample.batch.plain.len() {
            if best.is_none_or(|(most, _)| agreed > most) {
                best = Some((agreed, *candidate));
            }
            continue;
        }
        if trial.rebuilds(*candidate)? {
            return Ok(Outcome::Exact(*candidate));
        }
        proofs += 1;
        if proofs == PROOFS_MAX {
            break;
        }
    }
    // It ends at the token that is known to differ: cheap, and tells which byte that is.
    if let Some((_, nearest)) = best.filter(|_| proofs == 0)
        && trial.rebuilds(nearest)?
    {
        return Ok(Outcome::Exact(nearest));
    }
    let (at, nearest) = trial.nearest.unwrap_or((stream.at, Parameters::SIGTOOL));
    Ok(Outcome::Differs { at, nearest })
}

/// Rebuilds one stream with one guess after the other.
struct Trial<'a> {
    file: &'a File,
    stream: &'a Stream,
    /// What came farthest, and how far.
    nearest: Option<(u64, Parameters)>,
}

impl Trial<'_> {
    fn rebuilds(&mut self, parameters: Parameters) -> io::Result<bool> {
        let at = match prove::prove(self.file, self.stream, parameters) {
            Ok(Proof::Exact) => return Ok(true),
            Ok(Proof::DiffersAt(at)) => at,
            Err(PackedError::Read(error)) => return Err(error),
            // It was sound a moment ago: somebody writes into the file, which its stamp will tell.
            Err(PackedError::Stream(_)) => self.stream.at,
        };
        if self.nearest.is_none_or(|(farthest, _)| at > farthest) {
            self.nearest = Some((at, parameters));
        }
        Ok(false)
    }
}

/// Plain bytes of the sample for which zlib with `parameters` finds the same tokens.
fn agreed_bytes(sample: &Sample, stream: &Stream, parameters: Parameters) -> usize {
    let mut tokenizer = Tokenizer::new(parameters, stream.plain_bytes, 0);
    let (mut batch, mut expected) = (Batch::default(), sample.batch.tokens.iter());
    let mut agreed = 0;
    let mut agrees = |found: &[Token]| {
        for token in found {
            match expected.next() {
                Some(other) if other == token => agreed += token.plain_bytes(),
                Some(_) => return false,
                // Behind the sample.
                None => return true,
            }
        }
        true
    };
    for piece in sample.batch.plain.chunks(STEP_BYTES) {
        batch.clear();
        tokenizer.push_new(piece, &mut batch);
        if !agrees(&batch.tokens) {
            return agreed;
        }
    }
    if sample.batch.plain.len() as u64 == stream.plain_bytes {
        batch.clear();
        tokenizer.finish(&mut batch);
        if !agrees(&batch.tokens) {
            return agreed;
        }
    }
    // The last tokens wait for what comes behind the sample; nothing speaks against them.
    sample.batch.plain.len()
}

/// All parameters that the sample does not rule out, likely ones first.
fn candidates(sample: &Sample) -> Vec<Parameters> {
    let mut candidates = Vec::new();
    for memory_level in memory_levels(sample) {
        for (strategy, levels) in strategies(sample) {
            let made = |level: &u8| Parameters::new(*level, strategy, memory_level).ok();
            candidates.extend(levels.iter().filter_map(made));
        }
    }
    candidates
}

/// Best first, and then as people use them.
const LEVELS: &[u8] = &[9, 6, 1, 8, 7, 5, 4, 3, 2];
/// The levels whose search obeys the filtered strategy.
const LAZY_LEVELS: &[u8] = &[9, 6, 8, 7, 5, 4];
/// For strategies that search alike at every level.
const ANY_LEVEL: &[u8] = &[9];

/// Shortest match that the filtered strategy keeps.
const FILTERED_MATCH_BYTES: usize = 6;

fn strategies(sample: &Sample) -> Vec<(Strategy, &'static [u8])> {
    let tokens = &sample.batch.tokens;
    let mut matches = tokens.iter().filter(|token| !token.is_literal());
    let (mut any, mut all_long, mut all_near) = (false, true, true);
    for found in &mut matches {
        any = true;
        all_long &= found.plain_bytes() >= FILTERED_MATCH_BYTES;
        all_near &= found.distance_symbol() == 0;
    }
    let mut strategies = Vec::new();
    if all_long {
        strategies.push((Strategy::Filtered, LAZY_LEVELS));
    }
    strategies.push((Strategy::Default, LEVELS));
    if any && all_near {
        strategies.insert(0, (Strategy::Rle, ANY_LEVEL));
    }
    if !any {
        strategies.insert(0, (Strategy::Huffman, ANY_LEVEL));
    }
    let coded = |kind| matches!(kind, BlockKind::Fixed | BlockKind::Dynamic);
    let mut blocks = sample.blocks.iter().filter(|block| coded(block.kind));
    if blocks.all(|block| block.kind == BlockKind::Fixed) {
        strategies.push((Strategy::Fixed, LEVELS));
    }
    strategies
}

/// The memLevels whose blocks have as many tokens as those of the sample, usual ones first.
fn memory_levels(sample: &Sample) -> Vec<u8> {
    let tokens_of = |memory_level: u8| (1_u64 << (memory_level + 6)) - 1;
    let full = sample
        .blocks
        .iter()
        .find(|block| !block.last && block.kind != BlockKind::Stored);
    let last = sample.blocks.iter().find(|block| block.last);
    let mut levels = vec![8, 9, 7, 6, 5, 4, 3, 2, 1];
    levels.retain(|level| match (full, last) {
        (Some(block), _) => block.tokens == tokens_of(*level),
        (None, Some(block)) => block.tokens <= tokens_of(*level),
        (None, None) => true,
    });
    if levels.is_empty() {
        // Not a size that zlib makes: what comes nearest still tells where it differs.
        levels.push(8);
    }
    levels
}
