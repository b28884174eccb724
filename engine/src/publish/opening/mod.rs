//! Opening a file: its gzip streams are found, and those that can be rebuilt exactly are told apart from those that
//! cannot. SPEC §7.12.
//!
//! The file is read again from the page cache, up to four times: to measure a stream, to prove that it rebuilds, and
//! to store what it opens to. Nothing is stored before the proof, so a stream that fails it costs no disk. Memory is
//! a few MB, whatever the length of the file.

mod content;
mod guess;
pub(crate) mod gzip_header;
mod packed;
mod prove;
mod scan;

use std::fs::File;
use std::io;

use tidecast_proto::deflate::{Parameters, ParseFault};
use tidecast_proto::limits;

use crate::store::explain::{CLOSED_LISTED, Closed, ClosedReason};
pub(super) use content::Layout;
use packed::PackedError;
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

/// Plain bytes searched and packed again for one packed byte, beyond which work that led to nothing counts against the
/// limit: what guessing costs is then in proportion to the file. A stream of text opens to four bytes for each of its
/// own; one is read once and packed three times in vain.
const EFFORT_USUAL: u64 = 32;

/// What opening one file may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes its opened content may have.
    pub(super) opened_bytes: u64,
    /// Bytes of work that may lead to nothing; the stream that exceeds it is read as far as it goes.
    pub(super) effort_bytes: u64,
}

impl Limits {
    /// Two GiB, and a second or so of effort: only a file that is made to look like gzip everywhere comes near it.
    pub(super) const USUAL: Self = Self {
        opened_bytes: limits::OPENED_BYTES as u64,
        effort_bytes: 256 * 1024 * 1024,
    };
}

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
    /// Streams that were sound and are no zlib's.
    pub(super) differing: usize,
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
pub(super) fn look(
    file: &File,
    size: u64,
    guess: Option<Parameters>,
    limits: Limits,
) -> io::Result<Looked> {
    let mut looked = Looked::default();
    let mut scan = Scan::new(file, size, limits.effort_bytes);
    let mut search = Search {
        file,
        size,
        guess,
        opened_bytes_max: limits.opened_bytes,
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
    opened_bytes_max: u64,
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
            hint,
        } = candidate;
        // Counting the gap whole although most gaps become literals keeps the sum on the safe side.
        let gap_bytes = stream_at - self.opened_end(looked);
        let opened_bytes = self.opened_bytes + gap_bytes;
        let limit = self.opened_bytes_max.saturating_sub(opened_bytes);
        let opened_bytes_max = self.opened_bytes_max;
        let too_much = || ClosedReason::Limit {
            why: format!("the opened content would be more than {opened_bytes_max} bytes"),
        };
        let (head, parsed) = match guess::measure(self.file, stream_at, limit) {
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
        if opened_bytes + stream.plain_bytes + rest_bytes > opened_bytes_max {
            looked.close(stream_at, too_much());
            scan.spend(stream.plain_bytes);
            return Ok(stream.end());
        }
        let (outcome, wasted_bytes) =
            guess::parameters(self.file, &stream, &head, hint, self.guess)?;
        let usual_bytes = stream.packed_bytes.saturating_mul(EFFORT_USUAL);
        match outcome {
            guess::Outcome::Exact(parameters) => {
                looked.streams.push((stream, parameters));
                self.opened_bytes = opened_bytes + stream.plain_bytes;
                self.guess = Some(parameters);
                scan.spend(wasted_bytes.saturating_sub(usual_bytes));
            }
            guess::Outcome::Differs { at, nearest } => {
                let reason = ClosedReason::Differs {
                    at,
                    affected_bytes: stream.end().saturating_sub(at),
                    nearest: nearest.into(),
                };
                looked.close(stream_at, reason);
                looked.differing += 1;
                let wasted_bytes = wasted_bytes.saturating_add(stream.plain_bytes);
                scan.spend(wasted_bytes.saturating_sub(usual_bytes));
            }
        }
        Ok(stream.end())
    }

    fn opened_end(&self, looked: &Looked) -> u64 {
        looked.streams.last().map_or(0, |(stream, _)| stream.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, GzBuilder};
    use std::io::Write;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzBuilder::new().write(Vec::new(), Compression::new(9));
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn look_at(bytes: &[u8], opened_bytes: u64) -> Looked {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let limits = Limits {
            opened_bytes,
            effort_bytes: 64 << 20,
        };
        look(&file, bytes.len() as u64, None, limits).unwrap()
    }

    fn is_over_limit(looked: &Looked) -> bool {
        looked.streams.is_empty()
            && matches!(
                looked.closed.as_slice(),
                [Closed {
                    stream_at: 10,
                    reason: ClosedReason::Limit { .. },
                }]
            )
    }

    #[test]
    fn a_bomb_is_left_alone_after_as_many_bytes_as_are_allowed() {
        let bomb = gzip(&vec![0; 32 << 20]);
        assert!(bomb.len() < 40_000);
        assert!(is_over_limit(&look_at(&bomb, 1 << 20)));
        // The same without an end.
        assert!(is_over_limit(&look_at(&bomb[..bomb.len() / 2], 1 << 20)));
        // What lies around the stream is opened content too.
        let plain = vec![0; 4_000];
        let file = [gzip(&plain), vec![1; 5_000]].concat();
        assert!(is_over_limit(&look_at(&file, 9_000)));
        assert!(!is_over_limit(&look_at(&file, 9_100)));
    }

    #[test]
    fn effort_on_streams_that_lead_to_nothing_is_bounded() {
        // Each opens to 2 MiB and more and is then damaged; the header of the next one lies inside. What is left is
        // searched and packed again some times before it is given up: 20 MiB each.
        let mut damaged = gzip(&vec![0; 2 << 20]);
        damaged.truncate(damaged.len() - 12);
        damaged.push(7);
        let good = gzip(b"behind them");
        let few = [damaged.repeat(2), good.clone()].concat();
        assert_eq!(look_at(&few, 4 << 20).streams.len(), 1);
        let many = [damaged.repeat(50), good].concat();
        let looked = look_at(&many, 4 << 20);
        assert!(looked.streams.is_empty(), "{looked:?}");
        assert_eq!(looked.closed.len(), CLOSED_LISTED);
    }

    #[test]
    fn what_guessing_costs_is_counted_for_streams_of_another_producer() {
        // One fixed block: 'a' four times and a match of three, where zlib makes one of six behind the first, if any.
        // Bits from the low end of each byte.
        let mut bits = vec![1, 1, 0];
        for _ in 0..4 {
            bits.extend((0..8).rev().map(|bit| (0x30 + b'a') >> bit & 1));
        }
        bits.extend([0, 0, 0, 0, 0, 0, 1]);
        bits.extend([0; 5]);
        bits.extend([0; 7]);
        let fold = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit);
        let packed: Vec<u8> = bits.chunks(8).map(fold).collect();
        let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        let member = [&head[..], &packed, &[0; 8]].concat();

        let few = look_at(&member.repeat(3), 4 << 20);
        assert!(few.streams.is_empty());
        assert_eq!(few.differing, 3, "{few:?}");
        let many = look_at(&member.repeat(5_000), 4 << 20);
        // 64 MiB of effort, and each costs at least the tables of a few searches.
        assert!((3..256).contains(&many.differing), "{}", many.differing);
        assert!(many.streams.is_empty());
    }
}
