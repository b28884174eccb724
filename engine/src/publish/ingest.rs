//! One pass over a file: hashed, checked, cut and stored as it streams by.

use std::fs::File;
use std::io::Read;

use rustix::fs::{FileType, fstat};
use tidecast_proto::{
    chunker::Chunker,
    database::VerifyPolicy,
    id::{ChunkId, FileHash, ListId, Timestamp},
    limits,
    list::{self, List},
};

use super::databases::{self, Check};
use super::stamp::Stamp;
use super::stat_cache::Entry;
use super::tree::{Found, Tree};
use super::{Progress, PublishError};
use crate::durable::FileError;
use crate::store::StoreWriter;

/// Bytes of a file in memory at once: a window for the cut and long reads.
pub(super) const BUFFER_BYTES: usize = 1024 * 1024;

/// Chunks that fit into one list.
const LIST_ENTRIES: usize = (limits::LIST_BYTES - 8) / 36;

#[derive(Debug)]
pub(super) struct Ingest<'a> {
    writer: &'a mut StoreWriter,
    chunker: Chunker,
    verify: VerifyPolicy,
    buffer: Vec<u8>,
    read_bytes: u64,
}

impl<'a> Ingest<'a> {
    pub(super) fn new(writer: &'a mut StoreWriter, chunker: Chunker, verify: VerifyPolicy) -> Self {
        Self {
            writer,
            chunker,
            verify,
            buffer: vec![0; BUFFER_BYTES],
            read_bytes: 0,
        }
    }

    /// Bytes of file content read so far.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Whether the store holds all the file is made of, so that what the cache says can be published.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        let size = entry.stamp.size;
        let list = match entry.list {
            None => List::of_small_file(entry.hash, size),
            Some(id) => self.stored_list(&id, size),
        };
        list.is_some_and(|list| {
            let mut entries = list.entries().iter();
            entries.all(|entry| self.writer.contains_chunk(&entry.id))
        })
    }

    fn stored_list(&self, id: &ListId, size: u64) -> Option<List> {
        let bytes = self.writer.store().list(id)?.open().ok()?;
        List::decode(&bytes, *id, size).ok()
    }

    /// Reads a file whole and stores what is new of it.
    pub(super) fn read(
        &mut self,
        tree: &Tree,
        found: &Found,
        looked_at: Timestamp,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Entry, PublishError> {
        let changed = || PublishError::Changed {
            path: found.path.clone(),
        };
        let mut file = match tree.open_file(&found.path) {
            Ok(file) => file,
            // Gone, or something else took its place, since the walk saw it.
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => {
                return Err(changed());
            }
            Err(error) => return Err(error.into()),
        };
        let is_as_found = |file: &File| -> Result<bool, PublishError> {
            let stat = fstat(file).map_err(FileError::at("look at", &tree.path_of(&found.path)))?;
            let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            Ok(regular && Stamp::of(&stat) == found.stamp)
        };
        if !is_as_found(&file)? {
            return Err(changed());
        }
        let content = self.content(tree, &mut file, found, progress);
        // A half-written database is first of all half-written, so this comes before what was wrong with it.
        if !is_as_found(&file)? {
            return Err(changed());
        }
        let (hash, list, database) = content?;
        Ok(Entry {
            stamp: found.stamp,
            looked_at,
            hash,
            list,
            database: databases::in_manifest(&found.path, database, found.stamp.mtime_s()),
        })
    }

    fn content(
        &mut self,
        tree: &Tree,
        file: &mut File,
        found: &Found,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<
        (
            FileHash,
            Option<ListId>,
            Option<tidecast_proto::database::Database>,
        ),
        PublishError,
    > {
        let at_fault = |source| PublishError::Database {
            path: found.path.clone(),
            source,
        };
        let mut check = Check::new(self.verify, &found.path);
        let mut hasher = blake3::Hasher::new();
        let mut entries = Vec::new();
        let (mut start, mut end, mut read_bytes) = (0, 0, 0_u64);
        loop {
            // Chunks are cut while a whole window is in view; then the rest moves to the front for more.
            while end - start >= self.chunker.window() {
                start += self.cut(start, end, &mut entries)?;
            }
            self.buffer.copy_within(start..end, 0);
            (start, end) = (0, end - start);
            let got = file
                .read(&mut self.buffer[end..])
                .map_err(FileError::at("read", &tree.path_of(&found.path)))?;
            if got == 0 {
                break;
            }
            let fresh = &self.buffer[end..end + got];
            hasher.update(fresh);
            check.push(fresh).map_err(at_fault)?;
            end += got;
            read_bytes += got as u64;
            self.read_bytes += got as u64;
            if read_bytes > found.stamp.size {
                return Err(PublishError::Changed {
                    path: found.path.clone(),
                });
            }
            // Too many chunks for a list: said now, not after reading the rest.
            if entries.len() > LIST_ENTRIES {
                break;
            }
            progress(Progress::Reading {
                path: &found.path,
                read_bytes,
            });
        }
        while start < end {
            start += self.cut(start, end, &mut entries)?;
        }
        if read_bytes != found.stamp.size && entries.len() <= LIST_ENTRIES {
            return Err(PublishError::Changed {
                path: found.path.clone(),
            });
        }
        let list = match entries.len() {
            0 | 1 => None,
            _ => Some(List::new(entries).map_err(|source| PublishError::TooLong {
                path: found.path.clone(),
                size: found.stamp.size,
                source,
            })?),
        };
        let database = check.finish().map_err(at_fault)?;
        let list = match list {
            Some(list) => Some(self.writer.put_list(&list)?.0),
            None => None,
        };
        Ok((FileHash(*hasher.finalize().as_bytes()), list, database))
    }

    /// Stores the chunk at the start of `start..end` of the buffer; returns its length.
    fn cut(
        &mut self,
        start: usize,
        end: usize,
        entries: &mut Vec<list::Entry>,
    ) -> Result<usize, PublishError> {
        let window = &self.buffer[start..end];
        let len = self.chunker.cut(window);
        let chunk = &window[..len];
        let id = ChunkId::of(chunk);
        self.writer.put_chunk(&id, chunk)?;
        // The root's chunking was checked: no chunk is longer than this.
        debug_assert!((1..=limits::CHUNK_BYTES).contains(&len));
        entries.push(list::Entry {
            id,
            len: u32::try_from(len).unwrap_or(u32::MAX),
        });
        Ok(len)
    }
}
