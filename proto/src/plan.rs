//! The plan: what a new release asks of a mirror that holds an older one. SPEC §8.6.

use alloc::vec::Vec;

use crate::manifest::{File, ManifestBody};

/// What becomes of each file when a mirror goes from one release to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan<'a> {
    /// In both, [the same](File::same_as): linked.
    pub unchanged: Vec<&'a File>,
    /// In both, but not the same: built.
    pub changed: Vec<&'a File>,
    /// New: built.
    pub added: Vec<&'a File>,
    /// Only in the old one.
    pub removed: Vec<&'a File>,
}

impl<'a> Plan<'a> {
    /// Compares two releases; `old` is `None` on a fresh mirror.
    #[must_use]
    pub fn new(new: &'a ManifestBody, old: Option<&'a ManifestBody>) -> Self {
        let mut plan = Self::default();
        for file in &new.files {
            match old.and_then(|old| old.file(file.path.as_str())) {
                None => plan.added.push(file),
                Some(before) if file.same_as(before) => plan.unchanged.push(file),
                Some(_) => plan.changed.push(file),
            }
        }
        if let Some(old) = old {
            plan.removed = old
                .files
                .iter()
                .filter(|file| new.file(file.path.as_str()).is_none())
                .collect();
        }
        plan
    }

    /// Files whose content must be written, in path order.
    pub fn to_build(&self) -> impl Iterator<Item = &'a File> + '_ {
        self.changed.iter().chain(&self.added).copied()
    }

    /// Bytes of those files.
    #[must_use]
    pub fn build_bytes(&self) -> u64 {
        self.to_build()
            .fold(0, |sum, file| sum.saturating_add(file.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{Epoch, FeedId, FileHash, ReleaseNumber, Timestamp},
        manifest::{Database, Flags},
        name::ReleasePath,
    };
    use alloc::string::String;

    fn release(files: &[(&str, &[u8])]) -> ManifestBody {
        ManifestBody {
            feed: FeedId::of(b""),
            epoch_min: Epoch(0),
            release: ReleaseNumber(1),
            previous: None,
            anchor: None,
            created: Timestamp(0),
            notes: String::new(),
            files: files
                .iter()
                .map(|(path, content)| File {
                    path: ReleasePath::new(*path).unwrap(),
                    size: content.len() as u64,
                    executable: false,
                    mtime_s: 0,
                    hash: FileHash::of(content),
                    list: None,
                    recipe: None,
                    database: None,
                })
                .collect(),
            flags: Flags::default(),
            extensions: Vec::new(),
        }
    }

    fn paths(files: &[&File]) -> Vec<String> {
        files.iter().map(|f| f.path.as_str().into()).collect()
    }

    #[test]
    fn every_file_has_exactly_one_fate() {
        let old = release(&[("a", b"1"), ("b", b"2"), ("c", b"3")]);
        let new = release(&[("a", b"1"), ("b", b"22"), ("d", b"4")]);
        let plan = Plan::new(&new, Some(&old));
        assert_eq!(paths(&plan.unchanged), ["a"]);
        assert_eq!(paths(&plan.changed), ["b"]);
        assert_eq!(paths(&plan.added), ["d"]);
        assert_eq!(paths(&plan.removed), ["c"]);
        assert_eq!(plan.build_bytes(), 3);
        assert_eq!(Plan::new(&new, None).added.len(), 3);
    }

    #[test]
    fn a_changed_mode_is_a_change() {
        let old = release(&[("a", b"1")]);
        let mut new = old.clone();
        new.files[0].executable = true;
        assert_eq!(paths(&Plan::new(&new, Some(&old)).changed), ["a"]);
    }

    #[test]
    fn a_database_with_another_build_time_is_a_change_and_with_another_version_alone_is_none() {
        let database = |version, build_time_s| {
            Some(Database {
                name: String::from("daily"),
                version,
                build_time_s,
            })
        };
        let mut old = release(&[("daily.cvd", b"1")]);
        old.files[0].database = database(1, 10);
        let mut new = old.clone();
        new.files[0].database = database(2, 10);
        assert_eq!(paths(&Plan::new(&new, Some(&old)).unchanged), ["daily.cvd"]);
        new.files[0].database = database(2, 11);
        assert_eq!(paths(&Plan::new(&new, Some(&old)).changed), ["daily.cvd"]);
    }
}
