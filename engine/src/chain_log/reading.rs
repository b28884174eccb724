//! Reading a chained log from front to back, in bounded memory.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::record::{self, Header, Record, RecordHash};
use super::{ChainLogError, Fault, Format};
use crate::durable::FileError;

/// How far a log is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Bytes of whole records.
    pub bytes: u64,
    /// How many.
    pub records: u64,
    /// Bytes behind them that a crash left of a record: it was never acted on.
    pub torn_bytes: u64,
    pub(super) hash: RecordHash,
}

impl End {
    pub(crate) const EMPTY: Self = Self {
        bytes: 0,
        records: 0,
        torn_bytes: 0,
        hash: RecordHash::NONE,
    };
}

/// Reads the whole log in `path` and hands over each record that follows from the one before; `None` when there is no
/// log.
///
/// # Errors
/// [`ChainLogError`]; what came before it was handed over.
pub fn read(
    path: &Path,
    format: &Format,
    take: &mut dyn FnMut(&Record),
) -> Result<Option<End>, ChainLogError> {
    match File::open(path) {
        Ok(mut file) => read_on(path, format, &mut file, End::EMPTY, take).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::at("open", path)(error).into()),
    }
}

/// Reads what stands behind `from`.
pub(crate) fn read_on(
    path: &Path,
    format: &Format,
    file: &mut File,
    from: End,
    take: &mut dyn FnMut(&Record),
) -> Result<End, ChainLogError> {
    let failed = |error: io::Error| ChainLogError::File(FileError::at("read", path)(error));
    let length = file.metadata().map_err(failed)?.len();
    file.seek(SeekFrom::Start(from.bytes)).map_err(failed)?;
    let mut input = BufReader::new(&mut *file).take(length.saturating_sub(from.bytes));
    let mut end = End {
        torn_bytes: 0,
        ..from
    };
    loop {
        let damaged = |fault| ChainLogError::Damaged {
            path: path.to_owned(),
            record: end.records + 1,
            at: end.bytes,
            fault,
        };
        let left = input.limit();
        if left == 0 {
            return Ok(end);
        }
        let mut header = [0; Header::LEN];
        let torn = End {
            torn_bytes: left,
            ..end
        };
        if left < Header::LEN as u64 {
            // Less than a writer writes at once.
            return Ok(torn);
        }
        input.read_exact(&mut header).map_err(failed)?;
        let Some(decoded) = Header::decode(format, &header) else {
            drop(input);
            return match never_written(file, end.bytes, length).map_err(failed)? {
                true => Ok(torn),
                false => Err(damaged(Fault::Header)),
            };
        };
        if decoded.previous != end.hash {
            return Err(damaged(Fault::Chain));
        }
        let body_len = decoded.body_len as usize;
        if body_len > format.body_bytes_max {
            return Err(damaged(Fault::TooLong));
        }
        let whole = (Header::LEN + body_len + RecordHash::LEN) as u64;
        if left < whole {
            return Ok(torn);
        }
        let mut body = vec![0; body_len];
        input.read_exact(&mut body).map_err(failed)?;
        let mut hash = RecordHash::NONE;
        input.read_exact(&mut hash.0).map_err(failed)?;
        if record::hash(format, &header, &body) != hash {
            drop(input);
            return match never_written(file, end.bytes, length).map_err(failed)? {
                true => Ok(torn),
                false => Err(damaged(Fault::Hash)),
            };
        }
        let record = Record {
            number: end.records + 1,
            at: end.bytes,
            kind: decoded.kind,
            body,
        };
        end = End {
            bytes: end.bytes + whole,
            records: record.number,
            torn_bytes: 0,
            hash,
        };
        take(&record);
    }
}

/// Disks write at least so much at once.
const SECTOR_BYTES: u64 = 512;

/// So many zeros at the end are none of a hash.
const ZEROS_MIN: u64 = 16;

/// Whether the record at `start` is one that a power cut kept from the disk: the file is as long as it was to be, but
/// from the record's beginning, or from some sector on, nothing was written.
fn never_written(file: &mut File, start: u64, length: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(start))?;
    let mut input = BufReader::new(file).take(length.saturating_sub(start));
    let (mut at, mut zeros_from) = (start, start);
    let mut piece = [0; 4096];
    loop {
        let read = input.read(&mut piece)?;
        if read == 0 {
            break;
        }
        if let Some(last) = piece[..read].iter().rposition(|byte| *byte != 0) {
            zeros_from = at + last as u64 + 1;
        }
        at += read as u64;
    }
    let from = if zeros_from == start {
        start
    } else {
        zeros_from.next_multiple_of(SECTOR_BYTES)
    };
    Ok(length.saturating_sub(from) >= ZEROS_MIN)
}
