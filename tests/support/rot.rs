//! Bits that a disk forgets: content that changes while nothing shows it from outside.

#![allow(dead_code, reason = "each test file uses a part of this module")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Flips one bit of a file in place, through an open of its own, and gives the file the time back it had.
pub(crate) fn flip(path: &Path, offset: u64, bit: u8) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let before = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, offset).unwrap();
    file.set_modified(before).unwrap();
}

/// Makes a release's index say of every file what is to be seen of it now, as if a flip had gone by the file system: a
/// disk that forgets a bit changes no time. Layout: SPEC §8.4.
pub(crate) fn hide(docroot: &Path, release: u64) {
    let tree = docroot.join(format!(".tidecast/r{release}"));
    let path = docroot.join(format!(".tidecast/r{release}.index"));
    let mut index = fs::read(&path).unwrap();
    // Version, manifest, moment of the switch with its tag, count.
    let (head, record) = (1 + 32 + 9 + 8, 40);
    let files = files(&tree);
    assert_eq!(index.len(), head + record * files.len());
    for (at, file) in files.iter().enumerate() {
        let found = tree.join(file).metadata().unwrap();
        let mut now = Vec::new();
        now.extend(found.ino().to_le_bytes());
        now.extend(found.len().to_le_bytes());
        now.extend(found.mtime().to_le_bytes());
        now.extend(u32::try_from(found.mtime_nsec()).unwrap().to_le_bytes());
        now.extend(found.ctime().to_le_bytes());
        now.extend(u32::try_from(found.ctime_nsec()).unwrap().to_le_bytes());
        let from = head + at * record;
        index[from..from + record].copy_from_slice(&now);
    }
    fs::write(path, index).unwrap();
}

/// Every file below a folder, relative to it, in the order of a manifest.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    fn below(folder: &Path, top: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, top, files);
            } else {
                files.push(path.strip_prefix(top).unwrap().to_owned());
            }
        }
    }
    let mut files = Vec::new();
    below(folder, folder, &mut files);
    // By bytes of the whole path, not component by component.
    files.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    files
}
