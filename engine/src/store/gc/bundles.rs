//! Cached bundles that have had their day. SPEC §7.11.

use std::collections::BTreeSet;
use std::path::Path;

use tidecast_proto::id::ReleaseNumber;

use crate::durable::FileError;
use crate::store::bundle_files::{self, BundleFile};

/// The bundles in the store at `folder` that go: those whose base is none of `kept`, then the oldest until the rest
/// has at most `cap` bytes. Other files are left alone.
///
/// # Errors
/// [`FileError`].
pub(super) fn discarded(
    folder: &Path,
    kept: &BTreeSet<ReleaseNumber>,
    cap: u64,
) -> Result<Vec<BundleFile>, FileError> {
    let (useful, mut going): (Vec<_>, Vec<_>) = bundle_files::all(folder)?
        .into_iter()
        .partition(|bundle| kept.contains(&bundle.from));
    going.extend(bundle_files::beyond(useful, cap));
    Ok(going)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::bundle_files::BUNDLES;
    use std::fs;
    use std::time::{Duration, SystemTime};

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
            let name = |b: &BundleFile| b.path.file_name().unwrap().to_str().unwrap().to_owned();
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
