//! Cuts a byte sequence as it streams by and stores the chunks.

use tidecast_proto::{
    chunker::Chunker,
    codec::CodecError,
    id::ChunkId,
    limits,
    list::{Entry, List},
};

use crate::store::{StoreError, StoreWriter};

/// Bytes of the sequence in memory at once: a window for the cut and long reads.
pub(super) const BUFFER_BYTES: usize = 1024 * 1024;

/// Chunks that fit into one list.
const LIST_ENTRIES: usize = (limits::LIST_BYTES - 8) / 36;

// What waits to be cut is less than one chunk and fits into half of the buffer.
const _: () = assert!(2 * limits::CHUNK_BYTES <= BUFFER_BYTES);

/// Cuts one sequence after the other with one buffer.
#[derive(Debug)]
pub(super) struct Cutter {
    chunker: Chunker,
    buffer: Vec<u8>,
    /// What of the buffer is not cut yet.
    start: usize,
    end: usize,
    entries: Vec<Entry>,
}

impl Cutter {
    pub(super) fn new(chunker: Chunker) -> Self {
        Self {
            chunker,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            entries: Vec::new(),
        }
    }

    /// Forgets a sequence that was not finished.
    pub(super) fn restart(&mut self) {
        (self.start, self.end) = (0, 0);
        self.entries.clear();
    }

    /// Room for the next bytes, never empty; [`Self::filled`] says how many came.
    pub(super) fn room(&mut self) -> &mut [u8] {
        // Less than a chunk is not cut yet, so this moves every byte once at most.
        if self.end > BUFFER_BYTES / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    /// Takes the first `bytes` bytes of the room, and stores the chunks that do not depend on what follows.
    pub(super) fn filled(
        &mut self,
        bytes: usize,
        writer: &mut StoreWriter,
    ) -> Result<(), StoreError> {
        self.end += bytes;
        while self.end - self.start >= self.chunker.window() {
            self.cut(writer)?;
        }
        Ok(())
    }

    /// Takes bytes that lie elsewhere.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        writer: &mut StoreWriter,
    ) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let room = self.room();
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.filled(now.len(), writer)?;
            bytes = later;
        }
        Ok(())
    }

    /// Whether there are more chunks than a list may have.
    pub(super) fn is_too_long(&self) -> bool {
        self.entries.len() > LIST_ENTRIES
    }

    /// Stores the rest. The list is of all that came since the last one.
    ///
    /// # Errors
    /// The inner one when there are too many chunks for a list.
    pub(super) fn finish(
        &mut self,
        writer: &mut StoreWriter,
    ) -> Result<Result<List, CodecError>, StoreError> {
        while self.start < self.end {
            self.cut(writer)?;
        }
        let list = List::new(std::mem::take(&mut self.entries));
        self.restart();
        Ok(list)
    }

    fn cut(&mut self, writer: &mut StoreWriter) -> Result<(), StoreError> {
        let window = &self.buffer[self.start..self.end];
        let len = self.chunker.cut(window);
        let chunk = &window[..len];
        let id = ChunkId::of(chunk);
        writer.put_chunk(&id, chunk)?;
        // The root's chunking was checked: no chunk is longer than this.
        debug_assert!((1..=limits::CHUNK_BYTES).contains(&len));
        self.entries.push(Entry {
            id,
            len: u32::try_from(len).unwrap_or(u32::MAX),
        });
        self.start += len;
        Ok(())
    }
}
