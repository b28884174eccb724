//! Files that lie in memory, for readers that want one.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};

/// A file that holds `bytes`, which only its owner may read.
pub(crate) fn file(bytes: &[u8]) -> File {
    let file = memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("memory");
    fchmod(&file, Mode::from_raw_mode(0o600)).expect("our own file");
    let mut file = File::from(file);
    file.write_all(bytes).expect("memory");
    file.seek(SeekFrom::Start(0)).expect("a file");
    file
}

/// Where a reader finds it by a path.
pub(crate) fn path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}
