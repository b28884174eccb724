//! Verified chunks of opened contents that wait for their file to be rebuilt. SPEC §8.7.
//!
//! As everywhere in a build there is no journal: what an interrupted one spooled is found again by its hash.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::Mode;
use tidecast_proto::id::ChunkId;
use tidecast_proto::limits;

use super::build::Build;
use super::error::DocrootError;
use super::files;
use super::layout::{Folders, SPOOL};

/// Most bytes of chunks in the spool: a file that lacks more opened content than this is fetched whole, or rebuilt from
/// runs, of which only this much outlives a cut.
pub const SPOOL_BYTES: u64 = 256 * 1024 * 1024;

/// In front of each chunk: its id, then its length in 4 bytes LE.
const RECORD_HEAD_BYTES: usize = 32 + 4;

/// Chunks in a file, found by their ids.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    places: HashMap<ChunkId, (u64, u32)>,
    end: u64,
    /// Set once the disk was full: the room is for the release.
    closed: bool,
}

impl Spool {
    /// Opens the spool, and hashes what an earlier build left in it. What comes after the first record that is not whole
    /// is cut off.
    fn open(folders: &Folders) -> io::Result<Self> {
        let file = files::open_own(&folders.state, SPOOL, Mode::from_raw_mode(0o600))?;
        Self::of(file)
    }

    /// Goes on with what `file` holds.
    pub(crate) fn of(file: File) -> io::Result<Self> {
        let mut spool = Self {
            file,
            places: HashMap::new(),
            end: 0,
            closed: false,
        };
        let mut head = [0; RECORD_HEAD_BYTES];
        let mut chunk = vec![0; limits::CHUNK_BYTES];
        while files::read_exact_at(&spool.file, &mut head, spool.end)? {
            let (id, len) = head.split_at(32);
            let (Ok(id), Ok(len)) = (id.try_into().map(ChunkId), len.try_into()) else {
                break;
            };
            let len = u32::from_le_bytes(len);
            let at = spool.end + RECORD_HEAD_BYTES as u64;
            let Some(chunk) = chunk.get_mut(..len as usize).filter(|c| !c.is_empty()) else {
                break;
            };
            if !files::read_exact_at(&spool.file, chunk, at)? || ChunkId::of(chunk) != id {
                break;
            }
            spool.places.insert(id, (at, len));
            spool.end = at + u64::from(len);
        }
        spool.file.set_len(spool.end)?;
        Ok(spool)
    }

    /// Bytes of it that are whole, and the number of different chunks in them.
    pub(crate) fn extent(&self) -> (u64, usize) {
        (self.end, self.places.len())
    }

    fn put(&mut self, id: &ChunkId, bytes: &[u8]) -> io::Result<()> {
        let Some(len) = u32::try_from(bytes.len())
            .ok()
            .filter(|len| *len > 0 && *len as usize <= limits::CHUNK_BYTES)
        else {
            return Ok(());
        };
        if self.closed || self.places.contains_key(id) || self.end >= SPOOL_BYTES {
            return Ok(());
        }
        let record = [&id.0[..], &len.to_le_bytes(), bytes].concat();
        if let Err(error) = self.file.write_all_at(&record, self.end) {
            return self.let_go(error);
        }
        let at = self.end + RECORD_HEAD_BYTES as u64;
        self.places.insert(*id, (at, len));
        self.end = at + u64::from(len);
        Ok(())
    }

    /// On a full disk the spool makes way: what was in it comes another way.
    fn let_go(&mut self, error: io::Error) -> io::Result<()> {
        use rustix::io::Errno;
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT) => {}
            _ => return Err(error),
        }
        tracing::warn!("the disk is full: chunks put aside for rebuilding are let go");
        self.closed = true;
        self.places.clear();
        self.end = 0;
        self.file.set_len(0)
    }

    fn read(&self, id: &ChunkId, out: &mut Vec<u8>) -> io::Result<bool> {
        let Some((at, len)) = self.places.get(id) else {
            return Ok(false);
        };
        let from = out.len();
        out.resize(from + *len as usize, 0);
        let whole = files::read_exact_at(&self.file, &mut out[from..], *at)?;
        if !whole || ChunkId::of(&out[from..]) != *id {
            out.truncate(from);
            return Ok(false);
        }
        Ok(true)
    }
}

/// Removes the spool; a release that is complete needs it no more. Says whether there was one.
pub(super) fn remove(folders: &Folders) -> Result<bool, DocrootError> {
    let fault = || folders.fault("remove", SPOOL);
    let found = files::look(&folders.state, SPOOL).map_err(fault())?;
    if found.is_some() {
        files::unlink(&folders.state, SPOOL).map_err(fault())?;
    }
    Ok(found.is_some())
}

impl Build {
    fn spool(&mut self) -> Result<&mut Spool, DocrootError> {
        if self.spool.is_none() {
            let spool = Spool::open(&self.folders).map_err(self.folders.fault("open", SPOOL))?;
            self.spool = Some(spool);
        }
        self.spool.as_mut().ok_or_else(|| DocrootError::State {
            path: self.folders.state_path(SPOOL),
            what: "it went away".to_owned(),
        })
    }

    /// Keeps a chunk of opened content, whose bytes the caller has checked against `id`, until its file is rebuilt; past
    /// [`SPOOL_BYTES`], or once the disk is full, it is let go.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn spool_chunk(&mut self, id: &ChunkId, bytes: &[u8]) -> Result<(), DocrootError> {
        let path = self.folders.state_path(SPOOL);
        self.spool()?
            .put(id, bytes)
            .map_err(DocrootError::writing(&path, bytes.len() as u64))
    }

    /// Whether a chunk is in the spool.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn has_spooled(&mut self, id: &ChunkId) -> Result<bool, DocrootError> {
        Ok(self.spool()?.places.contains_key(id))
    }

    /// Appends a spooled chunk to `out`, hashed as it is read; false when it is not there.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn read_spooled(&mut self, id: &ChunkId, out: &mut Vec<u8>) -> Result<bool, DocrootError> {
        let folders = self.folders.clone();
        self.spool()?
            .read(id, out)
            .map_err(folders.fault("read", SPOOL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_full_disk_empties_the_spool_and_keeps_it_empty_and_nothing_else_does() {
        let mut spool = Spool {
            file: tempfile::tempfile().unwrap(),
            places: HashMap::new(),
            end: 0,
            closed: false,
        };
        let (chunk, mut read) = (b"a chunk", Vec::new());
        let id = ChunkId::of(chunk);
        spool.put(&id, chunk).unwrap();
        assert!(spool.let_go(Errno::IO.into()).is_err());
        assert!(spool.read(&id, &mut read).unwrap());
        assert_eq!(read, chunk);
        spool.let_go(Errno::NOSPC.into()).unwrap();
        spool.put(&id, chunk).unwrap();
        assert!(!spool.read(&id, &mut read).unwrap());
        assert_eq!(spool.file.metadata().unwrap().len(), 0);
    }
}
