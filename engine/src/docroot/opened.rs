//! The list of a content that lies here, made of the content itself. SPEC §8.7.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use flate2::{Decompress, FlushDecompress, Status};
use tidecast_proto::chunker::Chunker;
use tidecast_proto::id::ChunkId;
use tidecast_proto::limits;
use tidecast_proto::list::{Entry, List};
use tidecast_proto::recipe::{Recipe, Segment};

/// How much is read or opened at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Chunks in the longest list.
const ENTRIES_MAX: usize = limits::LIST_BYTES / 36;

/// Cuts a file, or what `recipe` says is its opened content, and lists the chunks; `None` when it cannot be read or is
/// not what the recipe says.
pub(super) fn list_of(file: &File, recipe: Option<&Recipe>, chunker: &Chunker) -> Option<List> {
    let mut cutter = Cutter::new(chunker);
    match recipe {
        None => {
            let bytes = file.metadata().ok()?.len();
            copy(file, 0, bytes, &mut cutter).ok()?;
        }
        Some(recipe) => {
            let mut at = 0_u64;
            for segment in recipe.segments() {
                let bytes = match segment {
                    Segment::Literal(bytes) => bytes.len() as u64,
                    Segment::Plain { bytes } => {
                        copy(file, at, *bytes, &mut cutter).ok()?;
                        *bytes
                    }
                    Segment::Deflate(deflate) => {
                        let packed = at..at.checked_add(deflate.packed_bytes)?;
                        inflate(file, packed, deflate.plain_bytes, &mut cutter).ok()?;
                        deflate.packed_bytes
                    }
                };
                at = at.checked_add(bytes)?;
            }
        }
    }
    cutter.end()
}

fn copy(file: &File, from: u64, bytes: u64, cutter: &mut Cutter<'_>) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = from;
    let end = from.saturating_add(bytes);
    while at < end {
        let count = usize::try_from(end - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        file.read_exact_at(&mut piece[..count], at)?;
        cutter.take(&piece[..count])?;
        at += count as u64;
    }
    Ok(())
}

/// Opens one stream, which must have exactly the lengths the recipe gives it.
fn inflate(
    file: &File,
    packed: std::ops::Range<u64>,
    plain_bytes: u64,
    cutter: &mut Cutter<'_>,
) -> io::Result<()> {
    let mut stream = Decompress::new(false);
    let (mut piece, mut opened) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let mut at = packed.start;
    loop {
        let count = usize::try_from(packed.end - at).map_or(PIECE_BYTES, |n| n.min(PIECE_BYTES));
        file.read_exact_at(&mut piece[..count], at)?;
        let (taken, made) = (stream.total_in(), stream.total_out());
        let status = stream.decompress(&piece[..count], &mut opened, FlushDecompress::None)?;
        let taken = stream.total_in() - taken;
        let made = stream.total_out() - made;
        cutter.take(
            opened
                .get(..usize::try_from(made).unwrap_or(0))
                .unwrap_or_default(),
        )?;
        at += taken;
        let wrong = stream.total_out() > plain_bytes;
        match status {
            Status::StreamEnd if at == packed.end && stream.total_out() == plain_bytes => {
                return Ok(());
            }
            Status::Ok if !wrong && (taken > 0 || made > 0) => {}
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Cuts what it is given piece by piece.
struct Cutter<'a> {
    chunker: &'a Chunker,
    held: Vec<u8>,
    entries: Vec<Entry>,
}

impl<'a> Cutter<'a> {
    fn new(chunker: &'a Chunker) -> Self {
        Self {
            chunker,
            held: Vec::new(),
            entries: Vec::new(),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.held.extend_from_slice(bytes);
        self.cut_while(self.chunker.window())
    }

    /// Fails once there are more chunks than a list of ours has: reading on would only pile up.
    fn cut_while(&mut self, least: usize) -> io::Result<()> {
        let mut from = 0;
        while self.held.len() - from >= least.max(1) {
            let chunk = &self.held[from..];
            let chunk = &chunk[..self.chunker.cut(chunk)];
            self.entries.push(Entry {
                id: ChunkId::of(chunk),
                len: u32::try_from(chunk.len()).unwrap_or(u32::MAX),
            });
            from += chunk.len();
            if self.entries.len() > ENTRIES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        self.held.drain(..from);
        Ok(())
    }

    fn end(mut self) -> Option<List> {
        self.cut_while(1).ok()?;
        List::new(self.entries).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tidecast_proto::chunker::Chunking;
    use tidecast_proto::deflate::Parameters;
    use tidecast_proto::id::ListId;
    use tidecast_proto::recipe::{Deflate, RecipeBody};

    #[test]
    fn what_has_more_chunks_than_a_list_is_not_read_on() {
        let chunker = Chunker::new(Chunking::default());
        let mut cutter = Cutter::new(&chunker);
        cutter.entries = vec![
            Entry {
                id: ChunkId([0; 32]),
                len: 1
            };
            ENTRIES_MAX
        ];
        let piece = vec![7; 4 * limits::CHUNK_BYTES];
        assert!(cutter.take(&piece).is_err());
        assert!(cutter.held.len() <= piece.len());
    }

    #[test]
    fn a_list_is_made_of_the_file_or_of_what_it_holds() {
        let chunker = Chunker::new(Chunking::default());
        let content = "Trojan.Agent:1:*:deadbeef\n".repeat(40_000).into_bytes();
        let mut deflated =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        deflated.write_all(&content).unwrap();
        let packed = deflated.finish().unwrap();
        let file_bytes = [b"head".as_slice(), &packed, b"plain tail"].concat();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&file_bytes).unwrap();
        let lengths = |content: &[u8]| {
            let chunks = chunker.chunks(content).map(ChunkId::of);
            chunks.collect::<Vec<_>>()
        };
        let ids = |list: List| list.entries().iter().map(|e| e.id).collect::<Vec<_>>();

        let stored = list_of(&file, None, &chunker).unwrap();
        assert_eq!(ids(stored), lengths(&file_bytes));
        let recipe = |plain_bytes| {
            Recipe::new(RecipeBody {
                opened: ListId::of(b""),
                segments: vec![
                    Segment::Literal(b"head".to_vec()),
                    Segment::Deflate(Deflate::new(
                        Parameters::SIGTOOL,
                        plain_bytes,
                        packed.len() as u64,
                    )),
                    Segment::Plain { bytes: 10 },
                ],
            })
            .unwrap()
        };
        let right = recipe(content.len() as u64);
        let opened = list_of(&file, Some(&right), &chunker).unwrap();
        assert_eq!(
            ids(opened),
            lengths(&[&content, &b"plain tail"[..]].concat())
        );
        let wrong = recipe(content.len() as u64 - 1);
        assert!(list_of(&file, Some(&wrong), &chunker).is_none());
    }
}
