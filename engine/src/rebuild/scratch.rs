//! Content put aside: in memory while it is little, else in a file without a name.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::error::{Place, RebuildError};

/// So much stays in memory: the opened content of a `.cdiff` of a busy day.
const MEMORY_BYTES: usize = 1024 * 1024;

/// Bytes that are appended once and read anywhere.
#[derive(Debug)]
pub(super) struct Scratch<'a> {
    folder: BorrowedFd<'a>,
    memory: Vec<u8>,
    file: Option<File>,
    file_bytes: u64,
}

impl<'a> Scratch<'a> {
    /// Empty; a file is made in `folder` when it is needed.
    pub(super) fn new(folder: BorrowedFd<'a>) -> Self {
        Self {
            folder,
            memory: Vec::new(),
            file: None,
            file_bytes: 0,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.file_bytes + self.memory.len() as u64
    }

    /// Of them, on the disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.file_bytes
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), RebuildError> {
        let file = match &mut self.file {
            None if self.memory.len() + bytes.len() <= MEMORY_BYTES => {
                self.memory.extend_from_slice(bytes);
                return Ok(());
            }
            None => {
                let mut file =
                    nameless(self.folder).map_err(RebuildError::write(Place::Scratch))?;
                file.write_all(&self.memory)
                    .map_err(RebuildError::write(Place::Scratch))?;
                self.file_bytes = std::mem::take(&mut self.memory).len() as u64;
                self.file.insert(file)
            }
            Some(file) => file,
        };
        file.write_all(bytes)
            .map_err(RebuildError::write(Place::Scratch))?;
        self.file_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Appends the bytes `range` to `out`.
    ///
    /// # Errors
    /// [`RebuildError::Impossible`] for a range that was not put aside; else of the disk.
    pub(super) fn read(&self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), RebuildError> {
        let outside = || RebuildError::Impossible("a range that was not put aside");
        let in_memory = |at: u64| usize::try_from(at).map_err(|_| outside());
        if range.start > range.end || range.end > self.bytes() {
            return Err(outside());
        }
        let (first, count) = (
            in_memory(range.start).unwrap_or(usize::MAX),
            in_memory(range.end - range.start)?,
        );
        let Some(file) = &self.file else {
            let bytes = self.memory.get(first..first + count).ok_or_else(outside)?;
            out.extend_from_slice(bytes);
            return Ok(());
        };
        let from = out.len();
        out.resize(from + count, 0);
        file.read_exact_at(&mut out[from..], range.start)
            .map_err(RebuildError::write(Place::Scratch))
    }
}

/// Makes a file that has no name, so that nothing is left behind whatever happens.
fn nameless(folder: BorrowedFd<'_>) -> io::Result<File> {
    match open(folder, ".", OFlags::TMPFILE) {
        Ok(file) => return Ok(file.into()),
        // Not every file system can (NFS); and an old kernel says that `.` is a folder.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    unlinked(folder)
}

/// The same in two steps, on any file system.
fn unlinked(folder: BorrowedFd<'_>) -> io::Result<File> {
    let number = getrandom::u64().map_err(io::Error::other)?;
    let name = format!("rebuild-{number:016x}.tmp");
    let file = open(folder, &name, OFlags::CREATE | OFlags::EXCL)?;
    rustix::fs::unlinkat(folder, &name, AtFlags::empty())?;
    Ok(file.into())
}

fn open(folder: BorrowedFd<'_>, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::openat(folder, name, flags | OFlags::RDWR | OFlags::CLOEXEC, mode)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_was_put_aside_reads_back_from_memory_and_from_a_file_without_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = File::open(folder.path()).unwrap();
        let mut scratch = Scratch::new(at.as_fd());
        let content: Vec<u8> = (0..=250).cycle().take(MEMORY_BYTES + 70_000).collect();
        let mut appended = 0;
        for piece in content.chunks(50_000) {
            scratch.append(piece).unwrap();
            appended += piece.len();
            assert_eq!(scratch.bytes(), appended as u64);
            assert_eq!(scratch.disk_bytes() > 0, appended > MEMORY_BYTES);
            for from in [0, 1, appended / 2, appended - 1, appended] {
                let mut out = b"before".to_vec();
                scratch
                    .read(from as u64..appended as u64, &mut out)
                    .unwrap();
                assert!(out[6..] == content[from..appended]);
            }
            let behind = appended as u64..appended as u64 + 1;
            assert!(scratch.read(behind, &mut Vec::new()).is_err());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_system_that_makes_no_nameless_files_serves_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let at = File::open(folder.path()).unwrap();
        let mut file = unlinked(at.as_fd()).unwrap();
        file.write_all(b"there").unwrap();
        let mut read = [0; 5];
        file.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(&read, b"there");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
