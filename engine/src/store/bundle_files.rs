//! The files of cached bundles: their folder, their names, and which go first. SPEC §7.6, §7.11.
//!
//! Building, sweeping and collecting all go by these rules. A bundle can be made again at any time, so losing one
//! costs a moment and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tidecast_proto::id::ReleaseNumber;

use super::snapshot;
use crate::durable::FileError;

/// Their folder in a store's.
pub const BUNDLES: &str = "bundles";

/// The file name of the bundle from one release to another.
pub(crate) fn name(from: ReleaseNumber, to: ReleaseNumber) -> String {
    format!("{from}-{to}.bundle")
}

/// The releases that a bundle called `text` starts from and leads to; `None` for any other name.
pub(crate) fn parse(text: &str) -> Option<(ReleaseNumber, ReleaseNumber)> {
    let (from, to) = text.strip_suffix(".bundle")?.split_once('-')?;
    let from = ReleaseNumber(from.parse().ok()?);
    let to = ReleaseNumber(to.parse().ok()?);
    (name(from, to) == text).then_some((from, to))
}

/// A cached bundle.
#[derive(Debug)]
pub(crate) struct BundleFile {
    pub(crate) from: ReleaseNumber,
    pub(crate) to: ReleaseNumber,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    written: SystemTime,
}

/// The bundles in the store at `folder`, oldest first. Files with other names are left out.
///
/// # Errors
/// [`FileError`].
pub(crate) fn all(folder: &Path) -> Result<Vec<BundleFile>, FileError> {
    let mut all = Vec::new();
    for (name, path) in snapshot::list(&folder.join(BUNDLES))? {
        let Some((from, to)) = parse(&name) else {
            continue;
        };
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            // Whoever else tidies up was faster.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(FileError::at("look at", &path)(error)),
        };
        all.push(BundleFile {
            from,
            to,
            path,
            bytes: found.len(),
            written: found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        });
    }
    all.sort_by_key(|bundle| bundle.written);
    Ok(all)
}

/// The first ones of `bundles` whose going leaves at most `cap` bytes.
pub(crate) fn beyond(bundles: Vec<BundleFile>, cap: u64) -> Vec<BundleFile> {
    let mut left = bundles
        .iter()
        .fold(0_u64, |sum, bundle| sum.saturating_add(bundle.bytes));
    bundles
        .into_iter()
        .take_while(|bundle| {
            let goes = left > cap;
            left = left.saturating_sub(bundle.bytes);
            goes
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_as_they_are_written_are_bundles() {
        let (from, to) = (ReleaseNumber(1), ReleaseNumber(20));
        assert_eq!(parse(&name(from, to)), Some((from, to)));
        for other in ["01-20.bundle", "1-20", "1-20.7.tmp", "README", "-.bundle"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
