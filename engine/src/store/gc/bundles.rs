//! Cached bundles that have had their day. SPEC §7.11.
//!
//! A bundle can be made again at any time, so losing one costs a moment and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tidecast_proto::id::ReleaseNumber;

use crate::durable::FileError;
use crate::store::snapshot;

/// Where they lie in a store's folder.
pub(super) const BUNDLES: &str = "bundles";

/// A bundle that goes.
#[derive(Debug)]
pub(super) struct Discarded {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// The release that mirrors must have to use the bundle called `name`: `<from>-<to>.bundle`.
fn base_of(name: &str) -> Option<ReleaseNumber> {
    let (from, to) = name.strip_suffix(".bundle")?.split_once('-')?;
    let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
    (format!("{from}-{to}.bundle") == name).then_some(ReleaseNumber(from))
}

/// The bundles in the store at `folder` that go: those whose base is none of `kept`, then the oldest until the rest
/// has at most `cap` bytes. Other names are left alone.
///
/// # Errors
/// [`FileError`].
pub(super) fn discarded(
    folder: &Path,
    kept: &BTreeSet<ReleaseNumber>,
    cap: u64,
) -> Result<Vec<Discarded>, FileError> {
    let mut all = Vec::new();
    for (name, path) in snapshot::list(&folder.join(BUNDLES))? {
        let Some(base) = base_of(&name) else {
            continue;
        };
        let (modified, bytes) = match fs::symlink_metadata(&path) {
            Ok(found) => (
                found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                found.len(),
            ),
            // A master that runs removes some itself.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(FileError::at("look at", &path)(error)),
        };
        all.push((kept.contains(&base), modified, Discarded { path, bytes }));
    }
    // Those without a base first, then the oldest.
    all.sort_by_key(|(useful, modified, _)| (*useful, *modified));
    let mut left = all.iter().fold(0_u64, |sum, (_, _, bundle)| {
        sum.saturating_add(bundle.bytes)
    });
    let goes = |(useful, _, bundle): &(bool, SystemTime, Discarded)| {
        let goes = !useful || left > cap;
        left -= if goes { bundle.bytes } else { 0 };
        goes
    };
    let going = all.into_iter();
    let mut goes = goes;
    Ok(going
        .filter_map(|entry| goes(&entry).then_some(entry.2))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn bundles_without_a_base_go_and_then_the_oldest_until_the_rest_fits() {
        let folder = tempfile::tempdir().unwrap();
        let bundles = folder.path().join(BUNDLES);
        fs::create_dir(&bundles).unwrap();
        for (name, age_s) in [
            ("1-9.bundle", 1),
            ("2-9.bundle", 5),
            ("3-9.bundle", 9),
            ("4-9.bundle", 3),
            ("04-9.bundle", 99),
            ("README", 99),
        ] {
            fs::write(bundles.join(name), [0; 10]).unwrap();
            let path = bundles.join(name);
            let file = fs::File::options().append(true).open(path).unwrap();
            let modified = SystemTime::now() - Duration::from_secs(age_s);
            file.set_modified(modified).unwrap();
        }
        let kept: BTreeSet<_> = [2, 3, 4].map(ReleaseNumber).into();
        let gone = |cap| -> Vec<String> {
            let gone = discarded(folder.path(), &kept, cap).unwrap();
            let name = |b: &Discarded| b.path.file_name().unwrap().to_str().unwrap().to_owned();
            gone.iter().map(name).collect()
        };
        assert_eq!(gone(30), ["1-9.bundle"]);
        assert_eq!(gone(29), ["1-9.bundle", "3-9.bundle"]);
        assert_eq!(gone(10), ["1-9.bundle", "3-9.bundle", "2-9.bundle"]);
        assert_eq!(gone(0).len(), 4);
    }

    #[test]
    fn a_store_without_bundles_has_none_to_remove() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            discarded(folder.path(), &BTreeSet::new(), 0)
                .unwrap()
                .is_empty()
        );
    }
}
