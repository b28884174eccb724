//! The road each file takes to a mirror, and why. SPEC §8.6.
//!
//! The dearer a road, the less it needs: a link needs the same file, a bundle the release it starts from, runs and chunks an
//! older file that opens, and whole chunks nothing. What fails on one road goes on along a dearer one.

use core::fmt;

/// How a file comes to be on a mirror, cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Road {
    /// The live release has the same file: it is linked.
    Unchanged,
    /// Its section of a bundle.
    Bundle,
    /// Runs for its opened content, asked for by list.
    Runs,
    /// The missing chunks of its opened content; it is rebuilt.
    Chunks,
    /// Chunks of the file as it is.
    Whole,
}

impl Road {
    /// Every road, cheapest first.
    pub const ALL: [Self; 5] = [
        Self::Unchanged,
        Self::Bundle,
        Self::Runs,
        Self::Chunks,
        Self::Whole,
    ];

    /// The word for it in the log, in `tidecast sync -n`, and in the JSON of reports and status.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Bundle => "bundle",
            Self::Runs => "runs",
            Self::Chunks => "chunks",
            Self::Whole => "whole",
        }
    }
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// Why it is that road and not a cheaper one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoadReason {
    /// The live release has the same file.
    Same,
    /// The bundle has a section for it.
    InBundle,
    /// Nothing is live: there is nothing to build on.
    Fresh,
    /// The live release has no file to build it on.
    NoBase,
    /// The file it would be built on, or the very file itself, is damaged on this mirror's disk.
    BaseDamaged,
    /// Its content is not known opened: there is no recipe for it, or none for the file before.
    NotOpened,
    /// This road costs fewer bytes than the one before it.
    Cheaper,
    /// The upstream has no bundle from the live release.
    BundleAbsent,
    /// The bundle was cut, or something in it was wrong.
    BundleFailed,
    /// The bundle has no section for it.
    NotInBundle,
    /// The rebuilt file was not the one that was published.
    RebuildDiffers,
}

impl RoadReason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Same,
        Self::InBundle,
        Self::Fresh,
        Self::NoBase,
        Self::BaseDamaged,
        Self::NotOpened,
        Self::Cheaper,
        Self::BundleAbsent,
        Self::BundleFailed,
        Self::NotInBundle,
        Self::RebuildDiffers,
    ];

    /// The word for it in the log, in `tidecast sync -n`, and in the JSON of reports and status.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::InBundle => "in_bundle",
            Self::Fresh => "fresh",
            Self::NoBase => "no_base",
            Self::BaseDamaged => "base_damaged",
            Self::NotOpened => "not_opened",
            Self::Cheaper => "cheaper",
            Self::BundleAbsent => "bundle_absent",
            Self::BundleFailed => "bundle_failed",
            Self::NotInBundle => "not_in_bundle",
            Self::RebuildDiffers => "rebuild_differs",
        }
    }
}

impl fmt::Display for RoadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// A road and why it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The road.
    pub road: Road,
    /// Why.
    pub reason: RoadReason,
}

impl Choice {
    /// The road with its reason.
    #[must_use]
    pub fn new(road: Road, reason: RoadReason) -> Self {
        Self { road, reason }
    }
}

/// What the live release has of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Nothing is live.
    NothingLive,
    /// The same file, right as it lies there.
    Same,
    /// No file of that path.
    None,
    /// A file that does not open, or of which recipe and list are not known.
    NotOpened,
    /// A file whose recipe and list of opened content are known.
    Opened,
    /// The file, but what lies on the disk is something else.
    Damaged,
}

/// What became of the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleState {
    /// The upstream has none.
    Absent,
    /// It says more bytes than the files to build have.
    TooDear,
    /// It is there, or was applied to its end.
    Good {
        /// Whether it has a section for the file.
        holds_file: bool,
    },
    /// It was cut or wrong before the file was complete.
    Failed,
}

/// What became of a road that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// Not yet.
    NotYet,
    /// It does not lead there.
    Closed,
}

/// All that the choice for one file depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoadFacts {
    /// What the live release has.
    pub base: Base,
    /// Whether the new file has a recipe.
    pub opens: bool,
    /// The bundle.
    pub bundle: BundleState,
    /// Runs asked for by list.
    pub runs: Tried,
    /// Whether a rebuild made another file.
    pub differs: bool,
    /// Bytes of the opened chunks that are missing; `None` as long as the lists are not known.
    pub missing_opened_bytes: Option<u64>,
    /// Bytes of the file that would be fetched whole: an upper bound.
    pub whole_bytes: u64,
}

impl RoadFacts {
    /// The cheapest road that is open.
    #[must_use]
    pub fn choose(&self) -> Choice {
        use {Road::*, RoadReason as Why};
        let whole = |reason| Choice::new(Whole, reason);
        match self.base {
            Base::Same => return Choice::new(Unchanged, Why::Same),
            Base::NothingLive => return whole(Why::Fresh),
            _ if self.differs => return whole(Why::RebuildDiffers),
            Base::Damaged => return whole(Why::BaseDamaged),
            Base::None | Base::NotOpened | Base::Opened => {}
        }
        let reason = match self.bundle {
            BundleState::Good { holds_file: true } => {
                return Choice::new(Bundle, Why::InBundle);
            }
            BundleState::Good { holds_file: false } => Why::NotInBundle,
            BundleState::Absent => Why::BundleAbsent,
            BundleState::TooDear => Why::Cheaper,
            BundleState::Failed => Why::BundleFailed,
        };
        if self.base == Base::None {
            return whole(Why::NoBase);
        }
        if !self.opens || self.base == Base::NotOpened {
            return whole(Why::NotOpened);
        }
        // Runs are never longer than their chunks, so what is too much as chunks is only known to be so for chunks.
        if self.runs == Tried::NotYet {
            return Choice::new(Runs, reason);
        }
        match self.missing_opened_bytes {
            Some(bytes) if bytes < self.whole_bytes => Choice::new(Chunks, reason),
            Some(_) => whole(Why::Cheaper),
            None => whole(Why::NotOpened),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    const CHANGED: RoadFacts = RoadFacts {
        base: Base::Opened,
        opens: true,
        bundle: BundleState::Absent,
        runs: Tried::NotYet,
        differs: false,
        missing_opened_bytes: Some(10),
        whole_bytes: 1000,
    };

    fn choice(change: impl FnOnce(&mut RoadFacts)) -> (&'static str, &'static str) {
        let mut facts = CHANGED;
        change(&mut facts);
        let choice = facts.choose();
        (choice.road.code(), choice.reason.code())
    }

    #[test]
    fn each_file_takes_the_cheapest_road_that_is_open() {
        let good = |holds_file| BundleState::Good { holds_file };
        for (got, expected) in [
            (choice(|f| f.base = Base::Same), ("unchanged", "same")),
            (choice(|f| f.base = Base::NothingLive), ("whole", "fresh")),
            (choice(|f| f.bundle = good(true)), ("bundle", "in_bundle")),
            // A bundle carries new files and files that do not open, too.
            (
                choice(|f| (f.base, f.opens, f.bundle) = (Base::None, false, good(true))),
                ("bundle", "in_bundle"),
            ),
            (choice(|_| ()), ("runs", "bundle_absent")),
            (
                choice(|f| f.bundle = good(false)),
                ("runs", "not_in_bundle"),
            ),
            (
                choice(|f| f.bundle = BundleState::Failed),
                ("runs", "bundle_failed"),
            ),
            (
                choice(|f| f.bundle = BundleState::TooDear),
                ("runs", "cheaper"),
            ),
            (choice(|f| f.base = Base::None), ("whole", "no_base")),
            (
                choice(|f| f.base = Base::NotOpened),
                ("whole", "not_opened"),
            ),
            (choice(|f| f.opens = false), ("whole", "not_opened")),
        ] {
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn what_fails_goes_on_along_a_dearer_road() {
        let closed = |f: &mut RoadFacts| (f.bundle, f.runs) = (BundleState::Failed, Tried::Closed);
        assert_eq!(choice(closed), ("chunks", "bundle_failed"));
        assert_eq!(
            choice(|f| {
                closed(f);
                f.missing_opened_bytes = Some(1000);
            }),
            ("whole", "cheaper")
        );
        assert_eq!(
            choice(|f| {
                closed(f);
                f.missing_opened_bytes = None;
            }),
            ("whole", "not_opened")
        );
        let good = BundleState::Good { holds_file: true };
        assert_eq!(
            choice(|f| (f.bundle, f.base) = (good, Base::Damaged)),
            ("whole", "base_damaged")
        );
        assert_eq!(
            choice(|f| (f.bundle, f.differs) = (good, true)),
            ("whole", "rebuild_differs")
        );
    }

    #[test]
    fn no_two_roads_and_no_two_reasons_share_a_word() {
        let roads: BTreeSet<_> = Road::ALL.iter().map(|road| road.code()).collect();
        let reasons: BTreeSet<_> = RoadReason::ALL.iter().map(|why| why.code()).collect();
        assert_eq!(
            (roads.len(), reasons.len()),
            (Road::ALL.len(), RoadReason::ALL.len())
        );
    }
}
