//! What zlib was told when it made a stream: guessed from its first stretches, then proved over all of it.

use std::fs::File;
use std::io;

use tidecast_proto::deflate::{Batch, HEAD_PLAIN_BYTES_MAX, Head, LevelHint, Parameters, Parsed};

use super::Stream;
use super::packed::{Packed, PackedError};
use super::prove::{self, Proof};

/// Most proofs of a stream that is longer than what a guess looks at: one costs less than half of deflating it with
/// zlib, and guesses that hold so far and fail behind it are rare.
const PROOFS_MAX: usize = 3;

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

/// Reads the stream at offset `at` of `file` to its end and keeps its head. At most `plain_bytes_max` plain bytes
/// are believed.
pub(super) fn measure(
    file: &File,
    at: u64,
    plain_bytes_max: u64,
) -> Result<(Head, Parsed), PackedError> {
    let mut packed = Packed::new(file, at, plain_bytes_max);
    let (mut head, mut batch) = (Head::default(), Batch::default());
    while let Some(step) = packed.next(&mut batch)? {
        head.push(&batch, &step);
        batch.clear();
    }
    Ok((head, packed.finish()?))
}

/// Finds the parameters that rebuild `stream`, trying `guess` first.
pub(super) fn parameters(
    file: &File,
    stream: &Stream,
    head: &Head,
    hint: LevelHint,
    guess: Option<Parameters>,
) -> io::Result<Outcome> {
    let mut trial = Trial {
        file,
        stream,
        nearest: None,
    };
    // A wrong one ends at its first wrong block, most often the very first.
    if let Some(guess) = guess
        && trial.rebuilds(guess)?
    {
        return Ok(Outcome::Exact(guess));
    }
    let proofs_max = match stream.plain_bytes <= HEAD_PLAIN_BYTES_MAX as u64 {
        true => usize::MAX,
        false => PROOFS_MAX,
    };
    let candidates = head.candidates(hint);
    let candidates = candidates.iter().map(|candidate| candidate.parameters);
    for parameters in candidates
        .filter(|parameters| Some(*parameters) != guess)
        .take(proofs_max)
    {
        if trial.rebuilds(parameters)? {
            return Ok(Outcome::Exact(parameters));
        }
    }
    // No zlib cuts such blocks: what it usually makes tells where.
    if trial.nearest.is_none() && trial.rebuilds(Parameters::SIGTOOL)? {
        return Ok(Outcome::Exact(Parameters::SIGTOOL));
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
