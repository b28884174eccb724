//! A deflate stream in a file, opened stretch by stretch from the page cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use tidecast_proto::deflate::{Batch, ParseError, Parsed, Parser, Status, Step};

/// Bytes of the file in memory at once.
const BUFFER_BYTES: usize = 128 * 1024;

/// Reads one stream. A few hundred KiB of memory, whatever its length.
pub(super) struct Packed<'a> {
    file: &'a File,
    parser: Parser,
    buffer: Vec<u8>,
    /// What of the buffer was not consumed yet.
    start: usize,
    end: usize,
    /// Offset in the file of the end of the buffer.
    read_to: u64,
    ended: bool,
}

/// Why a stream has no next stretch.
#[derive(Debug, thiserror::Error)]
pub(super) enum PackedError {
    /// The disk.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The stream.
    #[error(transparent)]
    Stream(#[from] ParseError),
}

impl<'a> Packed<'a> {
    /// The stream that begins at offset `at` of `file` and opens to at most `plain_bytes_max` bytes.
    pub(super) fn new(file: &'a File, at: u64, plain_bytes_max: u64) -> Self {
        Self {
            file,
            parser: Parser::with_limit(plain_bytes_max),
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            read_to: at,
            ended: false,
        }
    }

    /// Appends the next stretch to `batch`; `None` behind the last.
    pub(super) fn next(&mut self, batch: &mut Batch) -> Result<Option<Step>, PackedError> {
        if self.ended {
            return Ok(None);
        }
        loop {
            if self.start == self.end {
                let got = self.file.read_at(&mut self.buffer, self.read_to)?;
                if got == 0 {
                    // The parser says that the stream is cut.
                    self.parser.finish()?;
                    return Ok(None);
                }
                self.read_to += got as u64;
                (self.start, self.end) = (0, got);
            }
            let step = self
                .parser
                .advance(&self.buffer[self.start..self.end], batch)?;
            self.start += step.consumed;
            self.ended = step.status == Status::End;
            let empty = batch.plain.is_empty() && step.block_ended.is_none();
            if self.ended || !empty {
                return Ok(Some(step));
            }
        }
    }

    /// What the stream came to, after its last stretch.
    pub(super) fn finish(&self) -> Result<Parsed, ParseError> {
        self.parser.finish()
    }
}
