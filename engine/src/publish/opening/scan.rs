//! Where in a file gzip headers stand, with bounded effort.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use tidecast_proto::deflate::LevelHint;

use super::gzip_header::{self, EXTRA_FLAGS_AT, HEADER_BYTES, MAGIC};

/// Bytes of the file in memory at once; a whole header fits wherever it begins after a step.
const BUFFER_BYTES: usize = 256 * 1024;

const _: () = assert!(BUFFER_BYTES > HEADER_BYTES);

/// What a header that is none costs at most.
const ATTEMPT_BYTES: u64 = 8 * 1024;

/// A gzip header and where its stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) header_at: u64,
    pub(super) stream_at: u64,
    /// What the header says of the level.
    pub(super) hint: LevelHint,
}

/// Walks over a file.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// May still be spent on what leads to nothing.
    effort_left: u64,
}

impl<'a> Scan<'a> {
    /// Over a file of `size` bytes, on which at most `effort_bytes` are spent for nothing.
    pub(super) fn new(file: &'a File, size: u64, effort_bytes: u64) -> Self {
        let len = usize::try_from(size).map_or(BUFFER_BYTES, |size| size.min(BUFFER_BYTES));
        Self {
            file,
            buffer: vec![0; len],
            effort_left: effort_bytes,
        }
    }

    /// Counts work that led to nothing.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.effort_left = self.effort_left.saturating_sub(bytes);
    }

    /// Whether that was too much; nothing is found from then on.
    pub(super) fn is_spent(&self) -> bool {
        self.effort_left == 0
    }

    /// The first header at offset `from` or behind it.
    pub(super) fn next(&mut self, mut from: u64) -> io::Result<Option<Candidate>> {
        while !self.is_spent() {
            let filled = self.fill(from)?;
            let at_end = filled < BUFFER_BYTES;
            let mut at = 0;
            while let Some(found) = find(&self.buffer[at..filled]) {
                at += found;
                if at > 0 && !at_end && filled - at < HEADER_BYTES {
                    break;
                }
                let header_at = from + at as u64;
                if let Some(length) = gzip_header::length(&self.buffer[at..filled]) {
                    return Ok(Some(Candidate {
                        header_at,
                        stream_at: header_at + length as u64,
                        hint: LevelHint::from_extra_flags(self.buffer[at + EXTRA_FLAGS_AT]),
                    }));
                }
                self.spend(ATTEMPT_BYTES);
                if self.is_spent() {
                    return Ok(None);
                }
                at += 1;
            }
            if at_end {
                return Ok(None);
            }
            // Either a header begins at `at` and needs more of the file in view, or none begins before the last
            // bytes, which might be the first of one.
            from += match find(&self.buffer[at..filled]) {
                Some(_) => at,
                None => filled - (MAGIC.len() - 1),
            } as u64;
        }
        Ok(None)
    }

    /// Fills the buffer from offset `from`; less than all of it only at the end of the file.
    fn fill(&mut self, from: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < self.buffer.len() {
            let got = self
                .file
                .read_at(&mut self.buffer[filled..], from + filled as u64)?;
            if got == 0 {
                break;
            }
            filled += got;
        }
        Ok(filled)
    }
}

/// Offset of the first [`MAGIC`] in `bytes`.
fn find(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == MAGIC[0])?;
        if bytes[at..].starts_with(&MAGIC) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn headers(bytes: &[u8]) -> Vec<u64> {
        let file = file(bytes);
        let mut scan = Scan::new(&file, bytes.len() as u64, u64::MAX);
        let (mut from, mut found) = (0, Vec::new());
        while let Some(candidate) = scan.next(from).unwrap() {
            assert_eq!(candidate.stream_at, candidate.header_at + 10);
            found.push(candidate.header_at);
            from = candidate.header_at + 1;
        }
        found
    }

    #[test]
    fn headers_are_found_wherever_they_stand_in_the_buffer() {
        let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0];
        let offsets = [
            0,
            12,
            BUFFER_BYTES - HEADER_BYTES - 1,
            BUFFER_BYTES - 2,
            BUFFER_BYTES + 20,
            2 * BUFFER_BYTES - 11,
            3 * BUFFER_BYTES,
            4 * BUFFER_BYTES - 12,
        ];
        let mut bytes = vec![0x1f; 4 * BUFFER_BYTES];
        for at in offsets {
            bytes[at..at + header.len()].copy_from_slice(&header);
        }
        let offsets = offsets.map(|at| at as u64);
        assert_eq!(headers(&bytes), offsets);
        assert_eq!(headers(b""), [0; 0]);
        assert_eq!(headers(&header[..10]), [0; 0]);
    }

    #[test]
    fn a_file_that_looks_like_gzip_everywhere_costs_bounded_effort() {
        // A name that never ends, begun anew every four bytes.
        let bytes = [0x1f, 0x8b, 8, 8].repeat(BUFFER_BYTES);
        let file = file(&bytes);
        let mut scan = Scan::new(&file, bytes.len() as u64, 8 << 20);
        assert_eq!(scan.next(0).unwrap(), None);
        assert!(scan.is_spent());
    }
}
