//! Removes what no kept release needs. SPEC §7.11.
//!
//! A [`Retention`] says which releases stay; [`Marks`](mark::Marks) finds what they need; a [`Collection`] removes
//! the rest, pack by pack.

mod anchors;
mod bundles;
mod collection;
mod last;
mod mark;
mod plan;
mod retention;

#[cfg(test)]
mod tests;

use tidecast_proto::id::Timestamp;

use super::{Store, StoreError, proposals};
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

    /// Whether anything has become removable since the last collection; looks at names and times, and into releases only
    /// when one would go.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn gc_is_due(&self, retention: &Retention, now: Timestamp) -> Result<bool, StoreError> {
        let snapshot = self.shared.current.load();
        let appeared = plan::appeared(&snapshot)?;
        let mut verdicts = retention.judge(&appeared, now);
        if verdicts.iter().any(Verdict::is_expired) {
            let open = proposals::open(self.folder(), &snapshot)?;
            anchors::keep(&snapshot, &open, &mut verdicts)?;
        }
        Ok(retention.is_due(&appeared, &verdicts, last::read(self.folder())))
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
