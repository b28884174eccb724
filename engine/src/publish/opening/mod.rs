//! Opening a file: its gzip streams are found, and those that can be rebuilt exactly are told apart from those that
//! cannot. SPEC §7.8.
//!
//! The file is read again from the page cache, up to four times: to measure a stream, to prove that it rebuilds, and
//! to store what it opens to. Nothing is stored before the proof, so a stream that fails it costs no disk. Memory is
//! a few MB, whatever the length of the file.

mod content;
mod guess;
mod gzip_header;
mod packed;
mod prove;
mod sample;
mod scan;

use std::fs::File;
use std::io;

use tidecast_proto::deflate::{ParseFault, Parameters};
use tidecast_proto::limits;

use crate::store::explain::{CLOSED_LISTED, Closed, ClosedReason};
pub(super) use content::Layout;
use packed::PackedError;
use prove::Proof;
use scan::{Candidate, Scan};

/// Most streams of one file that are opened: each takes two segments, one more ends the file.
const STREAMS_MAX: usize = (limits::RECIPE_SEGMENTS - 1) / 2;

/// A header this near the start of a file is meant as one (a `.cvd` has 512 bytes before it, a `.cdiff` some 20), so
/// what is wrong behind it is worth telling.
const FRONT_BYTES: u64 = 1024;

/// So is what is wrong with a stream that was sound for this many plain bytes: no chance match of a header lasts.
const SOUND_BYTES: u64 = 32 * 1024;

/// Bytes of the checksum and length behind a gzip stream; the next member's header may follow.
const TRAILER_BYTES: u64 = 8;

/// What an attempt at a stream costs at least: its tables.
const ATTEMPT_BYTES: u64 = 16 * 1024;

/// Plain bytes out of one packed byte, beyond which a stream that cannot be rebuilt counts as wasted effort.
const EXPANSION_USUAL: u64 = 32;

/// A deflate stream in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    /// Offset in the file.
    pub(super) at: u64,
    /// Its bytes.
    pub(super) packed_bytes: u64,
    /// Bytes it opens to.
    pub(super) plain_bytes: u64,
}

impl Stream {
    fn end(&self) -> u64 {
        self.at + self.packed_bytes
    }
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// The streams that rebuild exactly, and how; in order.
    pub(super) streams: Vec<(Stream, Parameters)>,
    /// The first streams that stay closed.
    pub(super) closed: Vec<Closed>,
}

impl Looked {
    fn close(&mut self, stream_at: u64, reason: ClosedReason) {
        if self.closed.len() < CLOSED_LISTED {
            self.closed.push(Closed { stream_at, reason });
        }
    }
}

/// Finds the streams of a file of `size` bytes and how they were made; `guess` is how they were made the last time.
///
/// # Errors
/// What the disk says. Bytes that are no sound stream are no error.
pub(super) fn look(file: &File, size: u64, guess: Option<Parameters>) -> io::Result<Looked> {
    let mut looked = Looked::default();
    let mut scan = Scan::new(file, size);
    let mut search = Search {
        file,
        size,
        guess,
        opened_bytes: 0,
        last_end: 0,
    };
    let mut from = 0;
    while let Some(candidate) = scan.next(from)? {
        from = search.attempt(candidate, &mut scan, &mut looked)?;
        if looked.streams.len() == STREAMS_MAX {
            let why = format!("the file holds more than {STREAMS_MAX} streams");
            if let Some(next) = scan.next(from)? {
                looked.close(next.stream_at, ClosedReason::Limit { why });
            }
            return Ok(looked);
        }
    }
    if scan.is_spent() {
        let why = "too much of the file looks like gzip and is not".to_owned();
        looked.close(from, ClosedReason::Limit { why });
    }
    Ok(looked)
}

struct Search<'a> {
    file: &'a File,
    size: u64,
    guess: Option<Parameters>,
    /// Opened content up to the end of the last stream that rebuilds.
    opened_bytes: u64,
    /// End of the last sound stream, 0 before the first.
    last_end: u64,
}

impl Search<'_> {
    /// Tries to open what stands behind a header. Returns where to look for the next header.
    fn attempt(
        &mut self,
        candidate: Candidate,
        scan: &mut Scan<'_>,
        looked: &mut Looked,
    ) -> io::Result<u64> {
        let Candidate {
            header_at,
            stream_at,
        } = candidate;
        // Counting the gap whole although most gaps become literals keeps the sum on the safe side.
        let gap_bytes = stream_at - self.opened_end(looked);
        let opened_bytes = self.opened_bytes + gap_bytes;
        let limit = (limits::OPENED_BYTES as u64).saturating_sub(opened_bytes);
        let too_much = || ClosedReason::Limit {
            why: format!(
                "the opened content would be more than {} bytes",
                limits::OPENED_BYTES
            ),
        };
        let (sample, parsed) = match sample::measure(self.file, stream_at, limit) {
            Ok(measured) => measured,
            Err(PackedError::Read(error)) => return Err(error),
            Err(PackedError::Stream(error)) => {
                let meant = header_at < FRONT_BYTES
                    || (self.last_end > 0 && header_at == self.last_end + TRAILER_BYTES);
                if meant || error.plain_bytes >= SOUND_BYTES {
                    let reason = match error.fault {
                        ParseFault::TooLarge { .. } => too_much(),
                        fault => ClosedReason::Damaged {
                            at: stream_at + error.packed_bits / 8,
                            why: fault.to_string(),
                        },
                    };
                    looked.close(stream_at, reason);
                }
                let wasted = error.plain_bytes.saturating_add(error.packed_bits / 8);
                scan.spend(wasted.max(ATTEMPT_BYTES));
                return Ok(header_at + 1);
            }
        };
        let stream = Stream {
            at: stream_at,
            packed_bytes: parsed.packed_bytes,
            plain_bytes: parsed.plain_bytes,
        };
        self.last_end = stream.end();
        let rest_bytes = self.size.saturating_sub(stream.end());
        if opened_bytes + stream.plain_bytes + rest_bytes > limits::OPENED_BYTES as u64 {
            looked.close(stream_at, too_much());
            scan.spend(stream.plain_bytes);
            return Ok(stream.end());
        }
        match guess::parameters(self.file, &stream, &sample, self.guess)? {
            guess::Outcome::Exact(parameters) => {
                looked.streams.push((stream, parameters));
                self.opened_bytes = opened_bytes + stream.plain_bytes;
                self.guess = Some(parameters);
            }
            guess::Outcome::Differs { at, nearest } => {
                let reason = ClosedReason::Differs {
                    at,
                    affected_bytes: stream.end().saturating_sub(at),
                    nearest: nearest.map(Into::into),
                };
                looked.close(stream_at, reason);
                let usual = stream.packed_bytes.saturating_mul(EXPANSION_USUAL);
                scan.spend(stream.plain_bytes.saturating_sub(usual));
            }
        }
        Ok(stream.end())
    }

    fn opened_end(&self, looked: &Looked) -> u64 {
        looked.streams.last().map_or(0, |(stream, _)| stream.end())
    }
}
