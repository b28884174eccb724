//! Which releases stay, and which of them whole. SPEC §7.11.

use tidecast_proto::id::{ReleaseNumber, Timestamp};

/// How much of the past a store keeps; checked where it is read from the configuration.
///
/// A release ages from the moment it was *replaced*: until then every mirror may have had it, however long ago it
/// was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long a release stays after it was replaced, in milliseconds.
    pub age_ms: u64,
    /// So many of the newest stay whatever their age; at least one.
    pub releases_min: usize,
    /// Beyond so many of the newest, releases go whatever their age.
    pub releases_max: usize,
    /// So many of the newest also keep the stored bytes of files that can be rebuilt from their opened content.
    pub whole_releases: usize,
    /// How long after a release was replaced a head may still point at it and a mirror be fetching it, in
    /// milliseconds. Until then it stays, and whole.
    pub hold_ms: u64,
    /// How long a pack stays although nothing needs what is in it, in milliseconds since it was sealed:
    /// a publication that was interrupted finds its chunks again.
    pub pack_grace_ms: u64,
    /// Most bytes of cached bundles.
    pub bundle_cache_bytes: u64,
}

/// Added to a head's life for [`Retention::hold_ms`]: clocks that differ, and a fetch that began in its last moment.
pub const HOLD_MARGIN_MS: u64 = 3600 * 1000;

/// [`Retention::pack_grace_ms`] unless tests want another: time to mend a tree and publish again.
pub const PACK_GRACE_MS: u64 = 3600 * 1000;

/// What becomes of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Kept {
        /// Why.
        why: KeptFor,
        /// Whether the stored bytes of its files stay, too, and not only what they are rebuilt from.
        whole: bool,
    },
    /// It goes.
    Expired(ExpiredBy),
}

/// Why a release stays; the first of these that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeptFor {
    /// It is the newest.
    Newest,
    /// A head may still point at it.
    Head,
    /// It is one of the [`Retention::releases_min`] newest.
    Count,
    /// It was replaced less than [`Retention::age_ms`] ago.
    Age,
    /// A release or a proposal that stays only adds to it: mirrors ask for its manifest.
    Anchor,
}

impl KeptFor {
    /// The word that JSON shows.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Head => "head",
            Self::Count => "count",
            Self::Age => "age",
            Self::Anchor => "anchor",
        }
    }
}

/// Why a release goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiredBy {
    /// It was replaced longer ago than [`Retention::age_ms`].
    Age,
    /// There are more than [`Retention::releases_max`].
    Count,
}

impl ExpiredBy {
    /// The word that JSON shows.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Count => "count",
        }
    }
}

/// A release and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Which.
    pub release: ReleaseNumber,
    /// When the next one appeared in the store; `None` for the newest.
    pub replaced: Option<Timestamp>,
    /// What becomes of it.
    pub fate: Fate,
}

impl Verdict {
    /// Whether it goes.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        matches!(self.fate, Fate::Expired(_))
    }
}

impl Retention {
    /// Judges releases, given with the moment each appeared in the store, oldest first.
    pub(super) fn judge(
        &self,
        appeared: &[(ReleaseNumber, Timestamp)],
        now: Timestamp,
    ) -> Vec<Verdict> {
        let newer = appeared.iter().skip(1).map(|(_, at)| Some(*at));
        let pairs = appeared.iter().zip(newer.chain([None])).enumerate();
        pairs
            .map(|(at, ((release, _), replaced))| {
                // From the newest, which is 0.
                let rank = appeared.len() - 1 - at;
                Verdict {
                    release: *release,
                    replaced,
                    fate: self.fate(rank, replaced, now),
                }
            })
            .collect()
    }

    fn fate(&self, rank: usize, replaced: Option<Timestamp>, now: Timestamp) -> Fate {
        let whole = rank < self.whole_releases;
        let Some(replaced) = replaced else {
            return Fate::Kept {
                why: KeptFor::Newest,
                whole: true,
            };
        };
        // A time ahead of ours is no age at all: a clock was or is wrong, and what goes does not come back.
        let age_ms = now.0.saturating_sub(replaced.0);
        if age_ms < self.hold_ms {
            Fate::Kept {
                why: KeptFor::Head,
                whole: true,
            }
        } else if rank < self.releases_min {
            let why = KeptFor::Count;
            Fate::Kept { why, whole }
        } else if rank >= self.releases_max {
            Fate::Expired(ExpiredBy::Count)
        } else if age_ms >= self.age_ms {
            Fate::Expired(ExpiredBy::Age)
        } else {
            let why = KeptFor::Age;
            Fate::Kept { why, whole }
        }
    }

    /// Whether `verdicts` make anything removable that was not so at `last`, when a collection ended.
    pub(super) fn is_due(
        &self,
        appeared: &[(ReleaseNumber, Timestamp)],
        verdicts: &[Verdict],
        last: Timestamp,
    ) -> bool {
        verdicts.iter().enumerate().any(|(at, verdict)| {
            let Some(replaced) = verdict.replaced else {
                return false;
            };
            match verdict.fate {
                Fate::Expired(_) => true,
                Fate::Kept { whole: true, .. } => false,
                // Its whole files became removable when both of these had happened.
                Fate::Kept { whole: false, .. } => {
                    let outnumbered = appeared.get(at + self.whole_releases);
                    let free = replaced.plus(self.hold_ms);
                    outnumbered.is_some_and(|(_, since)| free.max(*since) > last)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETENTION: Retention = Retention {
        age_ms: 90,
        releases_min: 2,
        releases_max: 5,
        whole_releases: 2,
        hold_ms: 10,
        pack_grace_ms: 0,
        bundle_cache_bytes: 0,
    };

    /// Releases 1, 2, ... that appeared at these moments.
    fn appeared(at: &[u64]) -> Vec<(ReleaseNumber, Timestamp)> {
        let numbers = (1..).map(ReleaseNumber);
        numbers.zip(at.iter().map(|at| Timestamp(*at))).collect()
    }

    fn fates(retention: &Retention, at: &[u64], now: u64) -> Vec<Fate> {
        let verdicts = retention.judge(&appeared(at), Timestamp(now));
        verdicts.iter().map(|verdict| verdict.fate).collect()
    }

    const fn kept(why: KeptFor, whole: bool) -> Fate {
        Fate::Kept { why, whole }
    }

    const AGED: Fate = Fate::Expired(ExpiredBy::Age);

    #[test]
    fn a_release_ages_from_the_moment_it_was_replaced() {
        // Release 1 was the newest for a thousand: on the day it is replaced it is as young as can be.
        let at = [0, 1_000, 1_001, 1_002];
        let old = fates(&RETENTION, &at, 1_089);
        let newest = [kept(KeptFor::Count, true), kept(KeptFor::Newest, true)];
        assert_eq!(old[..2], [kept(KeptFor::Age, false); 2]);
        assert_eq!(old[2..], newest);
        assert_eq!(fates(&RETENTION, &at, 1_090)[0], AGED);
        assert_eq!(fates(&RETENTION, &at, u64::MAX)[..2], [AGED; 2]);
        assert_eq!(fates(&RETENTION, &at, u64::MAX)[2..], newest);
    }

    #[test]
    fn beyond_the_most_the_oldest_go_however_young() {
        let fates = fates(&RETENTION, &[100, 101, 102, 103, 104, 105, 106], 130);
        assert_eq!(fates[..2], [Fate::Expired(ExpiredBy::Count); 2]);
        assert_eq!(fates[2], kept(KeptFor::Age, false));
    }

    #[test]
    fn a_release_that_a_head_may_point_at_stays_whole_whatever_else_holds() {
        let strict = Retention {
            releases_min: 1,
            releases_max: 1,
            whole_releases: 1,
            age_ms: 0,
            ..RETENTION
        };
        let at = [100, 101, 102];
        assert_eq!(fates(&strict, &at, 110)[0], kept(KeptFor::Head, true));
        assert_eq!(
            fates(&strict, &at, 111),
            [
                Fate::Expired(ExpiredBy::Count),
                kept(KeptFor::Head, true),
                kept(KeptFor::Newest, true)
            ]
        );
    }

    #[test]
    fn a_clock_that_was_ahead_removes_nothing() {
        let at = [100, 5_000, 101, 102, 103, 104];
        assert_eq!(fates(&RETENTION, &at, 400)[0], kept(KeptFor::Head, true));
    }

    #[test]
    fn an_empty_store_and_a_single_release_are_left_alone() {
        assert!(fates(&RETENTION, &[], 1).is_empty());
        assert_eq!(
            fates(&RETENTION, &[0], u64::MAX),
            [kept(KeptFor::Newest, true)]
        );
    }

    #[test]
    fn collecting_is_due_once_for_each_thing_that_happens() {
        let due = |at: &[u64], last: u64, now: u64| {
            let appeared = appeared(at);
            let verdicts = RETENTION.judge(&appeared, Timestamp(now));
            RETENTION.is_due(&appeared, &verdicts, Timestamp(last))
        };
        // Release 1 stops being one of the two newest at 30, and no head points at it from 30 on.
        assert!(!due(&[10, 20], 0, 29));
        assert!(!due(&[10, 20, 25], 0, 29));
        assert!(due(&[10, 20, 25], 0, 30));
        assert!(due(&[10, 20, 25], 29, 30));
        assert!(!due(&[10, 20, 25], 30, 31));
        assert!(due(&[10, 20, 40], 30, 40));
        // And it expires.
        assert!(!due(&[10, 20, 25], 30, 109));
        assert!(due(&[10, 20, 25], 30, 110));
    }
}
