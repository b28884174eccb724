//! An append-only file whose records are chained by their hashes. SPEC §7.14.
//!
//! A record is on disk when [`Turn::append`] returns. What a crash leaves of the last one is cut back by the next
//! append; a record that was changed, taken out or moved is an error for everybody who reads on from it. Several
//! processes may append: each locks the file and first reads what the others have written.

pub(crate) mod reading;
pub(crate) mod record;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

pub use reading::{End, read};
pub use record::{Record, RecordKind};

use crate::durable::{self, FileError};
use record::RecordHash;

/// What tells one log from another.
#[derive(Debug)]
pub struct Format {
    /// The domain of its hashes (BLAKE3's key derivation): no record of one log is one of another.
    pub domain: &'static str,
    /// Longest body, in bytes.
    pub body_bytes_max: usize,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its first bytes.
    #[error("its header was changed")]
    Header,
    /// The record before it was changed, taken out, or is another one.
    #[error("it does not follow from the record before it")]
    Chain,
    /// Nobody writes such.
    #[error("it is longer than any record")]
    TooLong,
    /// Its content, or its hash.
    #[error("its content was changed")]
    Hash,
}

/// Why a log cannot be read or added to. It stays as it is.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainLogError {
    /// The disk or its permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody changed it, or the disk did.
    #[error("{}: record {record} (at byte {at}): {fault}", path.display())]
    Damaged {
        path: PathBuf,
        record: u64,
        at: u64,
        fault: Fault,
    },
    /// The file is not the one that was read before: restored or replaced while in use.
    #[error("{} was replaced by an earlier or another one while it was in use", path.display())]
    Replaced { path: PathBuf },
    /// Somebody else holds it.
    #[error("{} is locked by another process", path.display())]
    Busy { path: PathBuf },
    /// After an append that failed, what is on the disk is not known.
    #[error("the disk did not say whether it kept the end of {}", path.display())]
    Unsure { path: PathBuf },
    /// More than a record may hold; a bug.
    #[error("{}: a record of {bytes} bytes", path.display())]
    TooLong { path: PathBuf, bytes: usize },
}

impl ChainLogError {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::File(_) => "check that its disk works, has room, and belongs to this user",
            Self::Damaged { .. } => {
                "restore the newest backup of this file; `tidecast audit` says which records are good"
            }
            Self::Replaced { .. } => "stop whatever replaces it, then start again",
            Self::Busy { .. } => "try again when the other process is done",
            Self::Unsure { .. } => "mend the disk, then start again",
            Self::TooLong { .. } => "report this",
        }
    }
}

/// How often, and how long apart, the lock is tried for: those who hold it write a few hundred bytes.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A log that is added to.
#[derive(Debug)]
pub struct ChainLog {
    path: PathBuf,
    format: &'static Format,
    end: End,
    /// An append failed and could not be undone.
    unsure: bool,
    /// Where tests let the disk fail.
    #[cfg(test)]
    pub(crate) fail_at: Option<Step>,
}

/// What an append does, in order.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A file of no bytes exists.
    Made,
    /// So many bytes of the record are written, and the rest fails.
    Written(usize),
    /// All are written, and are not said to be on disk.
    Unsynced,
    /// They are, but the file's name is not.
    Unnamed,
}

impl ChainLog {
    /// Reads the log in `path`, of which there may be none yet, and hands over every record.
    ///
    /// # Errors
    /// [`ChainLogError`]; nothing was changed.
    pub fn open(
        path: &Path,
        format: &'static Format,
        take: &mut dyn FnMut(&Record),
    ) -> Result<Self, ChainLogError> {
        Ok(Self {
            path: path.to_owned(),
            format,
            end: read(path, format, take)?.unwrap_or(End::EMPTY),
            unsure: false,
            #[cfg(test)]
            fail_at: None,
        })
    }

    /// Whether there is a record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.records == 0
    }

    /// Locks the file and hands over what others have added: what is appended next can build on it.
    ///
    /// # Errors
    /// [`ChainLogError`]; nothing was changed.
    pub fn begin(&mut self, take: &mut dyn FnMut(&Record)) -> Result<Turn<'_>, ChainLogError> {
        if self.unsure {
            return Err(ChainLogError::Unsure {
                path: self.path.clone(),
            });
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)
            .map_err(FileError::at("open", &self.path))?;
        self.lock(&file)?;
        #[cfg(test)]
        self.stop(Step::Made)?;
        self.check_is_the_same(&mut file)?;
        self.end = reading::read_on(&self.path, self.format, &mut file, self.end, take)?;
        Ok(Turn { log: self, file })
    }

    fn lock(&self, file: &File) -> Result<(), ChainLogError> {
        for tried in 0.. {
            match flock(file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::WOULDBLOCK) if tried < LOCK_TRIES => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => break,
                Err(error) => return Err(FileError::at("lock", &self.path)(error).into()),
            }
        }
        Err(ChainLogError::Busy {
            path: self.path.clone(),
        })
    }

    /// The last record that was read must still stand where it stood.
    fn check_is_the_same(&self, file: &mut File) -> Result<(), ChainLogError> {
        let mut found = RecordHash::NONE;
        if let Some(at) = self.end.bytes.checked_sub(RecordHash::LEN as u64) {
            let read = file
                .seek(SeekFrom::Start(at))
                .and_then(|_| file.read_exact(&mut found.0));
            match read {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    found = RecordHash::NONE;
                }
                Err(error) => return Err(FileError::at("read", &self.path)(error).into()),
            }
        }
        if found != self.end.hash {
            return Err(ChainLogError::Replaced {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    #[cfg(test)]
    fn stop(&mut self, step: Step) -> Result<(), ChainLogError> {
        match self.fail_at {
            Some(at) if at == step => {
                self.fail_at = None;
                Err(FileError::at("write", &self.path)(io::Error::other("injected")).into())
            }
            _ => Ok(()),
        }
    }
}

/// The right to append, until dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    log: &'a mut ChainLog,
    file: File,
}

impl Turn<'_> {
    /// Adds records, in their order; they are on disk when this returns.
    ///
    /// # Errors
    /// [`ChainLogError`]. None of them counts for this process: nothing may be done in their name. After a crash they
    /// may be found to be there all the same.
    pub fn append(self, records: &[(RecordKind, Vec<u8>)]) -> Result<(), ChainLogError> {
        let Self { log, mut file } = self;
        let mut end = log.end;
        let mut bytes = Vec::new();
        for (kind, body) in records {
            let (encoded, hash) =
                record::encode(log.format, end.hash, *kind, body).map_err(|bytes| {
                    ChainLogError::TooLong {
                        path: log.path.clone(),
                        bytes,
                    }
                })?;
            bytes.extend_from_slice(&encoded);
            end = End {
                bytes: end.bytes + encoded.len() as u64,
                records: end.records + 1,
                torn_bytes: 0,
                hash,
            };
        }
        if let Err(error) = log.write(&mut file, &bytes) {
            // So that it cannot come back under another record's number. Where this fails, too, only a new start finds
            // out what is there.
            let undone = file.set_len(log.end.bytes).and_then(|()| file.sync_all());
            log.unsure = undone.is_err();
            return Err(error);
        }
        log.end = end;
        Ok(())
    }
}

impl ChainLog {
    fn write(&mut self, file: &mut File, bytes: &[u8]) -> Result<(), ChainLogError> {
        let first = self.end.records == 0;
        #[cfg(test)]
        let whole = bytes;
        #[cfg(test)]
        let bytes = match self.fail_at {
            Some(Step::Written(len)) => &bytes[..len.min(bytes.len())],
            _ => bytes,
        };
        // What a crash left of a record goes first: a shorter one over it would leave its end behind.
        file.set_len(self.end.bytes)
            .and_then(|()| file.seek(SeekFrom::Start(self.end.bytes)))
            .and_then(|_| file.write_all(bytes))
            .map_err(FileError::at("write", &self.path))?;
        #[cfg(test)]
        {
            self.stop(Step::Written(bytes.len().min(whole.len())))?;
            self.stop(Step::Unsynced)?;
        }
        file.sync_all().map_err(FileError::at("sync", &self.path))?;
        #[cfg(test)]
        self.stop(Step::Unnamed)?;
        if first {
            durable::sync_folder_of(&self.path)?;
        }
        Ok(())
    }
}
