//! The pack being written: append-only, and worth something after a crash. SPEC §7.6.
//!
//! Nothing in it is visible to readers. Each record carries what it takes to check it, so a writer that comes
//! after a crash keeps the records that are whole and cuts off the rest.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::pack::{self, HEAD, PACK_BYTES, PACK_RECORDS};
use super::record::{Kind, Record};
use super::{StoreError, snapshot};
use crate::durable::{self, FileError};

/// Its name in the packs folder.
const OPEN: &str = "open";

#[derive(Debug)]
pub(crate) struct OpenPack {
    path: PathBuf,
    file: File,
    /// Bytes written: [`HEAD`] and whole records.
    len: usize,
    /// Over those bytes; becomes the pack's name.
    hasher: blake3::Hasher,
    /// Sorted the way the index is.
    records: BTreeMap<(Kind, [u8; 32]), (Record, u32)>,
    buffer: Vec<u8>,
}

impl OpenPack {
    /// Goes on with the pack a writer left in `packs`, or begins one.
    pub(super) fn resume(packs: &Path) -> Result<Self, StoreError> {
        let path = packs.join(OPEN);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(FileError::at("open", &path))?;
        Self::of(path.clone(), file).map_err(|error| FileError::at("read", &path)(error).into())
    }

    /// Goes on with what `file` holds.
    pub(crate) fn of(path: PathBuf, file: File) -> io::Result<Self> {
        let mut pack = Self {
            path,
            file,
            len: 0,
            hasher: blake3::Hasher::new(),
            records: BTreeMap::new(),
            buffer: Vec::new(),
        };
        pack.recover()?;
        Ok(pack)
    }

    /// Bytes of it that are whole, and the number of different records in them.
    pub(crate) fn extent(&self) -> (usize, usize) {
        (self.len, self.records.len())
    }

    /// Whether there is anything to go on with in `packs`.
    pub(super) fn left_in(packs: &Path) -> bool {
        packs.join(OPEN).exists()
    }

    /// Reads the records that are whole and cuts off what follows the last of them.
    fn recover(&mut self) -> io::Result<()> {
        let mut reader = BufReader::new(self.file.try_clone()?);
        reader.seek(SeekFrom::Start(0))?;
        let mut head = [0; HEAD.len()];
        if read_whole(&mut reader, &mut head)? && head == *HEAD {
            self.grow(HEAD);
            while let Some(record) = self.next_whole_record(&mut reader)? {
                let offset = self.len + Record::LEN;
                let bytes = std::mem::take(&mut self.buffer);
                self.grow(&bytes);
                self.buffer = bytes;
                self.remember(record, offset);
            }
        }
        self.file.set_len(self.len as u64)?;
        self.file.seek(SeekFrom::Start(self.len as u64))?;
        Ok(())
    }

    /// Leaves the record, head and stored bytes, in the buffer.
    fn next_whole_record(&mut self, reader: &mut impl Read) -> io::Result<Option<Record>> {
        let mut head = [0; Record::LEN];
        if !read_whole(reader, &mut head)? {
            return Ok(None);
        }
        let Ok(record) = Record::parse(&head) else {
            return Ok(None);
        };
        if !self.has_room_for(record.stored_len as usize) {
            return Ok(None);
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(&head);
        self.buffer
            .resize(Record::LEN + record.stored_len as usize, 0);
        let whole = read_whole(reader, &mut self.buffer[Record::LEN..])?;
        let good = whole && record.check(&self.buffer[Record::LEN..]).is_ok();
        Ok(good.then_some(record))
    }

    pub(super) fn contains(&self, kind: Kind, id: &[u8; 32]) -> bool {
        self.records.contains_key(&(kind, *id))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether a record of that many stored bytes leaves the sealed pack within its limits.
    pub(super) fn has_room_for(&self, stored_len: usize) -> bool {
        self.has_room_for_all(1, Record::LEN + stored_len)
    }

    /// Whether so many records of so many bytes, heads included, leave the sealed pack within its limits.
    pub(super) fn has_room_for_all(&self, count: usize, bytes: usize) -> bool {
        let records = self.records.len() + count;
        let index = pack::overhead(records) - HEAD.len();
        records <= PACK_RECORDS && self.len.max(HEAD.len()) + bytes + index <= PACK_BYTES
    }

    /// Writes a record, which [`Self::has_room_for`]. After an error this value must be dropped: the next
    /// [`Self::resume`] cuts the half-written record off.
    pub(super) fn append(&mut self, record: Record, stored: &[u8]) -> Result<(), StoreError> {
        // Not before there is something to write: a full disk must not keep out a writer that makes room on it.
        if self.len == 0 {
            self.write(HEAD)?;
        }
        let offset = self.len + Record::LEN;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.extend_from_slice(&record.to_bytes());
        buffer.extend_from_slice(stored);
        let written = self.write(&buffer);
        self.buffer = buffer;
        written?;
        self.remember(record, offset);
        Ok(())
    }

    /// Writes index and trailer, syncs, and gives the pack its name: from then on readers may see it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is visible, and what a full disk left is taken up by the next
    /// [`Self::resume`].
    pub(super) fn seal(mut self) -> Result<(), StoreError> {
        // PACK_BYTES fits 32 bits, so every offset does.
        let index_at = u32::try_from(self.len).unwrap_or(u32::MAX);
        let index = pack::encode_index(index_at, self.records.values().copied());
        self.write(&index)?;
        if let Err(error) = self.file.sync_all() {
            // After a failed sync the system may forget what it could not write and still hand it out from
            // memory, so nothing in this file can be believed any more.
            let _ = std::fs::remove_file(&self.path);
            return Err(FileError::at("sync", &self.path)(error).into());
        }
        let sealed = self
            .path
            .with_file_name(snapshot::pack_name(&self.hasher.finalize()));
        std::fs::rename(&self.path, &sealed).map_err(FileError::at("rename to", &sealed))?;
        durable::sync_folder_of(&sealed)?;
        Ok(())
    }

    /// Throws it away: what is in it is somewhere else.
    pub(super) fn discard(packs: &Path) -> Result<(), FileError> {
        let path = packs.join(OPEN);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FileError::at("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        #[cfg(test)]
        full_disk::charge(&mut self.file, bytes).map_err(FileError::at("write", &self.path))?;
        self.file
            .write_all(bytes)
            .map_err(FileError::at("write", &self.path))?;
        self.grow(bytes);
        Ok(())
    }

    fn grow(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        self.hasher.update(bytes);
    }

    fn remember(&mut self, record: Record, offset: usize) {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        self.records
            .insert((record.kind, record.id), (record, offset));
    }
}

/// Fills `bytes`; false when the file ends before.
fn read_whole(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// A disk that fills up, for tests.
#[cfg(test)]
pub(crate) mod full_disk {
    use super::{File, Write, io};
    use std::cell::Cell;

    thread_local! {
        /// Bytes this thread may still write into open packs.
        pub(crate) static BYTES_LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Writes the part of `bytes` that still fits and fails, when not all of it does.
    pub(super) fn charge(file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let Some(left) = BYTES_LEFT.get() else {
            return Ok(());
        };
        if bytes.len() > left {
            file.write_all(&bytes[..left])?;
            BYTES_LEFT.set(Some(0));
            return Err(io::ErrorKind::StorageFull.into());
        }
        BYTES_LEFT.set(Some(left - bytes.len()));
        Ok(())
    }
}
