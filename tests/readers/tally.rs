//! What readers have seen together.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Violations of a kind told word by word; the others are counted.
const TOLD_MAX: u64 = 5;

/// How the promise of SPEC §8 may be broken, as a reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    /// A file that is not whole, or not the one it is called.
    Torn,
    /// A name that every release has is not there.
    Missing,
    /// Two names at one moment of two releases; a name in a release that has none such.
    Mixed,
    /// A name is there and leads nowhere.
    Dangling,
    /// An older release after a newer one.
    Older,
    /// Something of the operator's has changed.
    Touched,
    /// A web server forbids a name that is not about to go.
    Forbidden,
    /// A web server answers something else than it may.
    Refused,
}

/// Counts of looks and of violations, and when to end.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    over: AtomicBool,
    /// The newest release that may be visible: its publishing has begun.
    begun: AtomicU64,
    looks: Mutex<BTreeMap<&'static str, u64>>,
    wrong: Mutex<(BTreeMap<Wrong, u64>, Vec<String>)>,
}

impl Tally {
    /// Tells all readers to end.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// To be called before `release` is published.
    pub(crate) fn begin(&self, release: u64) {
        self.begun.store(release, Ordering::SeqCst);
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Counts one look of this kind.
    pub(crate) fn look(&self, kind: &'static str) {
        *self.looks.lock().unwrap().entry(kind).or_default() += 1;
    }

    /// Looks of this kind so far.
    pub(crate) fn looks(&self, kind: &str) -> u64 {
        self.looks.lock().unwrap().get(kind).copied().unwrap_or(0)
    }

    pub(crate) fn wrong(&self, wrong: Wrong, what: impl fmt::Display) {
        let mut all = self.wrong.lock().unwrap();
        let count = all.0.entry(wrong).or_default();
        *count += 1;
        if *count <= TOLD_MAX {
            all.1.push(format!("{wrong:?}: {what}"));
        }
    }

    /// Violations of this kind so far.
    pub(crate) fn count(&self, wrong: Wrong) -> u64 {
        let all = self.wrong.lock().unwrap();
        all.0.get(&wrong).copied().unwrap_or(0)
    }

    /// Prints the figures and fails if there is any violation.
    #[track_caller]
    pub(crate) fn settle(&self) {
        println!("{self}");
        let all = self.wrong.lock().unwrap();
        assert!(all.0.is_empty(), "{:?}\n{}", all.0, all.1.join("\n"));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in &*self.looks.lock().unwrap() {
            writeln!(f, "{count:>12} {kind}")?;
        }
        let all = self.wrong.lock().unwrap();
        let total: u64 = all.0.values().sum();
        write!(f, "{total:>12} violations")?;
        for (wrong, count) in &all.0 {
            write!(f, ", {count} {wrong:?}")?;
        }
        f.write_char('\n')
    }
}

/// Numbers that look random, the same for one seed (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }

    pub(crate) fn one_of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}
