//! What zlib was told when it made a stream: guessed from its first stretches, then proved over all of it.

use std::fs::File;
use std::io;

use tidecast_proto::deflate::{
    Batch, HEAD_PLAIN_BYTES_MAX, Head, LevelHint, Parameters, Parsed, TABLE_BYTES,
};

use super::Stream;
use super::packed::{Packed, PackedError};
use super::prove::{self, Proof};

/// Most proofs of a stream that is longer than what a guess looks at: one costs less than half of deflating it with
/// zlib, and guesses that hold so far and fail behind it are rare.
const PROOFS_MAX: usize = 3;

/// What is opened and packed again before it is compared, about.
const STRETCH_BYTES: u64 = 64 * 1024;

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

/// Finds the parameters that rebuild `stream`, trying `guess` first. Also returns what was searched and packed again
/// for nothing, in plain bytes.
pub(super) fn parameters(
    file: &File,
    stream: &Stream,
    head: &Head,
    hint: LevelHint,
    guess: Option<Parameters>,
) -> io::Result<(Outcome, u64)> {
    let mut trial = Trial {
        file,
        stream,
        nearest: None,
        wasted_bytes: 0,
    };
    // A wrong one ends at its first wrong block, most often the very first.
    if let Some(guess) = guess
        && trial.rebuilds(guess)?
    {
        return Ok((Outcome::Exact(guess), 0));
    }
    let proofs_max = match stream.plain_bytes <= HEAD_PLAIN_BYTES_MAX as u64 {
        true => usize::MAX,
        false => PROOFS_MAX,
    };
    let search = head.search(hint);
    trial.wasted_bytes += search.effort_bytes;
    let candidates = search
        .candidates
        .iter()
        .map(|candidate| candidate.parameters);
    for parameters in candidates
        .filter(|parameters| Some(*parameters) != guess)
        .take(proofs_max)
    {
        if trial.rebuilds(parameters)? {
            return Ok((Outcome::Exact(parameters), trial.wasted_bytes));
        }
    }
    // No zlib cuts such blocks: what it usually makes tells where.
    if trial.nearest.is_none() && trial.rebuilds(Parameters::SIGTOOL)? {
        return Ok((Outcome::Exact(Parameters::SIGTOOL), trial.wasted_bytes));
    }
    let (at, nearest) = trial.nearest.unwrap_or((stream.at, Parameters::SIGTOOL));
    Ok((Outcome::Differs { at, nearest }, trial.wasted_bytes))
}

/// Rebuilds one stream with one guess after the other.
struct Trial<'a> {
    file: &'a File,
    stream: &'a Stream,
    /// What came farthest, and how far.
    nearest: Option<(u64, Parameters)>,
    wasted_bytes: u64,
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
        // A proof goes through the stream in stretches; how far it came in packed bytes says how far in plain ones.
        let share = u128::from(at.saturating_sub(self.stream.at))
            * u128::from(self.stream.plain_bytes)
            / u128::from(self.stream.packed_bytes.max(1));
        let packed_again = u64::try_from(share).unwrap_or(u64::MAX).max(STRETCH_BYTES);
        self.wasted_bytes += TABLE_BYTES + packed_again.min(self.stream.plain_bytes);
        if self.nearest.is_none_or(|(farthest, _)| at > farthest) {
            self.nearest = Some((at, parameters));
        }
        Ok(false)
    }
}
