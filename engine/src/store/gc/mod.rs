//! Removes what no kept release needs. SPEC §7.11.
//!
//! A [`Retention`] says which releases stay; [`Marks`](mark::Marks) finds what they need; a [`Collection`] removes
//! the rest, pack by pack.

mod bundles;
mod collection;
mod last;
mod mark;
mod plan;
mod retention;

#[cfg(test)]
mod tests;

use tidecast_proto::id::Timestamp;

use super::{Store, StoreError};
pub use collection::{Collection, GcProblem, GcReport};
pub use plan::{Files, GcPlan};
pub use retention::{ExpiredBy, Fate, HOLD_MARGIN_MS, KeptFor, PACK_GRACE_MS, Retention, Verdict};

use plan::Work;

impl Store {
    /// What a collection would do now. Writes nothing and takes no lock.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Incomplete`] when it cannot be told what is needed.
    pub fn plan_gc(&self, retention: &Retention, now: Timestamp) -> Result<GcPlan, StoreError> {
        let snapshot = self.shared.current.load_full();
        Ok(Work::of(self.folder(), &snapshot, retention, now)?.plan)
    }

    /// Whether anything has become removable since the last collection; looks at names and times only.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn gc_is_due(&self, retention: &Retention, now: Timestamp) -> Result<bool, StoreError> {
        let snapshot = self.shared.current.load();
        let appeared = plan::appeared(&snapshot)?;
        Ok(retention.is_due(&appeared, last::read(self.folder()), now))
    }
}

/// A power cut at any step, for tests.
mod step {
    use std::path::Path;

    use crate::durable::FileError;

    #[cfg(test)]
    thread_local! {
        /// Steps this thread may still begin.
        pub(super) static LEFT: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) };
    }

    /// Called before each change of the disk.
    #[cfg_attr(
        not(test),
        expect(clippy::unnecessary_wraps, reason = "fails in tests")
    )]
    pub(super) fn begins(path: &Path) -> Result<(), FileError> {
        #[cfg(test)]
        if let Some(left) = LEFT.get() {
            if left == 0 {
                return Err(FileError::at("stop before", path)(std::io::Error::other(
                    "power cut",
                )));
            }
            LEFT.set(Some(left - 1));
        }
        let _ = path;
        Ok(())
    }
}
