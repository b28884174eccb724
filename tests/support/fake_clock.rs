//! A program whose wall clock can be set while it runs, by libfaketime. Its monotonic clock is the true one.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library as Debian and its kin name it, in a folder per architecture.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// Where the library is; `None`, after [`super::skip`], when it is not installed.
pub(crate) fn library(test: &str) -> Option<PathBuf> {
    let mut folders = vec![PathBuf::from("/usr/lib64"), PathBuf::from("/usr/local/lib")];
    let of_architectures = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders.extend(of_architectures.map(|entry| entry.path()));
    let found = folders
        .iter()
        .map(|folder| folder.join(LIBRARY))
        .find(|path| path.is_file());
    if found.is_none() {
        let reason = "libfaketime is not installed; as root: apt-get install libfaketime";
        super::skip(test, reason);
    }
    found
}

/// A clock that programs read from a file.
#[derive(Debug)]
pub(crate) struct FakeClock {
    library: PathBuf,
    file: PathBuf,
}

impl FakeClock {
    /// One that shows the true time, kept in `file`.
    pub(crate) fn new(library: &Path, file: PathBuf) -> Self {
        let clock = Self {
            library: library.to_owned(),
            file,
        };
        clock.set(0);
        clock
    }

    /// Makes every program that runs under it so many seconds ahead of the true time, at once.
    pub(crate) fn set(&self, ahead_s: i64) {
        // Renamed into place: it is read at every look at the clock.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{ahead_s:+}\n")).unwrap();
        fs::rename(&new, &self.file).unwrap();
    }

    /// Makes `command` run under it.
    pub(crate) fn rule(&self, command: &mut Command) {
        let variables: [(&str, &OsStr); 5] = [
            ("LD_PRELOAD", self.library.as_os_str()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.as_os_str()),
            ("FAKETIME_NO_CACHE", "1".as_ref()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".as_ref()),
            // The disk's clock is the kernel's, as it would be.
            ("NO_FAKE_STAT", "1".as_ref()),
        ];
        command.envs(variables);
    }
}
