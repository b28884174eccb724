//! The segments of a file's recipe, and the opened content they take.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use tidecast_proto::deflate::{Batch, Parameters};
use tidecast_proto::recipe::{Deflate, Segment};

use super::Stream;
use super::packed::{Packed, PackedError};
use crate::store::explain::{Opened, STREAMS_LISTED, Streams};

/// Longest stretch between streams that is written into the recipe: headers, trailers, signatures.
const LITERAL_BYTES: u64 = 1024;

/// All literals of one recipe; with the segments of the most streams that leaves it well below its limit.
const LITERALS_BYTES: u64 = 24 * 1024;

/// Bytes of a plain stretch in memory at once.
const BUFFER_BYTES: usize = 128 * 1024;

/// A file that opens, stretch by stretch.
#[derive(Debug)]
pub(in crate::publish) struct Layout {
    segments: Vec<Segment>,
    streams: Vec<(Stream, Parameters)>,
}

impl Layout {
    /// The layout of a file of `size` bytes whose `streams` rebuild exactly.
    pub(in crate::publish) fn new(
        file: &File,
        size: u64,
        streams: Vec<(Stream, Parameters)>,
    ) -> io::Result<Self> {
        let mut segments = Vec::with_capacity(2 * streams.len() + 1);
        let (mut at, mut literals) = (0, 0);
        for (stream, parameters) in &streams {
            segments.extend(gap(file, at, stream.at, &mut literals)?);
            segments.push(Segment::Deflate(Deflate::new(
                *parameters,
                stream.plain_bytes,
                stream.packed_bytes,
            )));
            at = stream.end();
        }
        segments.extend(gap(file, at, size, &mut literals)?);
        Ok(Self { segments, streams })
    }

    /// What the recipe says.
    pub(in crate::publish) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Hands the opened content to `sink`, piece by piece.
    pub(in crate::publish) fn content<E: From<io::Error>>(
        &self,
        file: &File,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut at, mut batch) = (0, Batch::default());
        for segment in &self.segments {
            match segment {
                Segment::Literal(bytes) => at += bytes.len() as u64,
                Segment::Plain { bytes } => {
                    copy(file, at, *bytes, &mut sink)?;
                    at += bytes;
                }
                Segment::Deflate(deflate) => {
                    let mut packed = Packed::new(file, at, deflate.plain_bytes);
                    loop {
                        batch.clear();
                        match packed.next(&mut batch) {
                            Ok(Some(_)) => sink(&batch.plain)?,
                            Ok(None) => break,
                            Err(PackedError::Read(error)) => return Err(error.into()),
                            // It was sound a moment ago.
                            Err(PackedError::Stream(error)) => {
                                return Err(io::Error::other(error).into());
                            }
                        }
                    }
                    at += deflate.packed_bytes;
                }
            }
        }
        Ok(())
    }

    /// The same, for people.
    pub(in crate::publish) fn opened(&self, opened_bytes: u64) -> Opened {
        let mut kinds = BTreeMap::<Parameters, (u64, u64)>::new();
        for (stream, parameters) in &self.streams {
            let (count, packed_bytes) = kinds.entry(*parameters).or_default();
            *count += 1;
            *packed_bytes += stream.packed_bytes;
        }
        let mut streams: Vec<Streams> = kinds
            .into_iter()
            .map(|(parameters, (count, packed_bytes))| Streams {
                parameters: parameters.into(),
                count,
                packed_bytes,
            })
            .collect();
        streams.sort_by_key(|streams| std::cmp::Reverse(streams.packed_bytes));
        streams.truncate(STREAMS_LISTED);
        Opened {
            opened_bytes,
            segments: self.segments.len() as u64,
            streams,
        }
    }
}

/// The segment for what lies between streams, if anything does.
fn gap(file: &File, from: u64, to: u64, literals: &mut u64) -> io::Result<Option<Segment>> {
    let bytes = to.saturating_sub(from);
    if bytes == 0 {
        return Ok(None);
    }
    if bytes > LITERAL_BYTES || *literals + bytes > LITERALS_BYTES {
        return Ok(Some(Segment::Plain { bytes }));
    }
    *literals += bytes;
    let mut literal = Vec::new();
    copy(file, from, bytes, &mut |piece: &[u8]| {
        literal.extend_from_slice(piece);
        Ok::<(), io::Error>(())
    })?;
    Ok(Some(Segment::Literal(literal)))
}

/// Hands `bytes` bytes from offset `at` of the file to `sink`.
fn copy<E: From<io::Error>>(
    file: &File,
    mut at: u64,
    bytes: u64,
    sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let end = at + bytes;
    let mut buffer = Vec::new();
    while at < end {
        let len = usize::try_from(end - at).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
        buffer.resize(len, 0);
        file.read_exact_at(&mut buffer, at)?;
        sink(&buffer)?;
        at += len as u64;
    }
    Ok(())
}
