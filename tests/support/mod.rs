//! What the end-to-end tests share: real programs around a docroot, and a record of what they said.
//!
//! A test that lacks a program or data it needs calls [`skip`] and returns; `tests/run` prints all
//! such lines at its end, so nothing is skipped in silence.

#![allow(dead_code, reason = "each test file uses a part of this module")]

pub(crate) mod command;
pub(crate) mod container;
pub(crate) mod dns;
pub(crate) mod fake_clock;
pub(crate) mod freshclam;
pub(crate) mod http;
pub(crate) mod nobody;
pub(crate) mod process;
pub(crate) mod promise;
pub(crate) mod relay;
pub(crate) mod rot;
pub(crate) mod servers;
pub(crate) mod small_disk;
pub(crate) mod udp;
pub(crate) mod world;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Says that `test` does not run and why, on stderr and in the file `TIDECAST_SKIPS` names.
pub(crate) fn skip(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}");
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("TIDECAST_SKIPS") {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        // One write, so that lines of tests running at once do not mix.
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Whether the tests that take minutes were asked for.
pub(crate) fn long() -> bool {
    std::env::var_os("TIDECAST_LONG").is_some()
}

/// The folder with genuine ClamAV databases (`tests/genuine-data.sha256` lists them): what
/// `TIDECAST_TESTDATA` names, else what `tests/genuine-data` has fetched before. `None`, after
/// [`skip`], when there is none.
pub(crate) fn genuine(test: &str) -> Option<PathBuf> {
    let cached = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cache/testdata");
    let folder = std::env::var_os("TIDECAST_TESTDATA").map_or_else(cached, PathBuf::from);
    if folder.join("test-6.cvd").is_file() {
        return Some(folder);
    }
    skip(test, "no genuine databases; run tests/genuine-data");
    None
}

/// Where `program` is; `None`, after [`skip`], when it is not installed. Servers live in `sbin`,
/// which is not in everyone's path.
pub(crate) fn program(test: &str, program: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders
        .map(|folder| folder.join(program))
        .find(|path| path.is_file());
    if found.is_none() {
        let reason = format!("{program} is not installed; as root: apt-get install {package}");
        skip(test, &reason);
    }
    found
}
