//! Which runs a content is sent as, and what each is packed against. SPEC §5.6.
//!
//! The sender's choice: any choice within the limits opens. It is made so that the receiver can go through the first
//! base once, front to back: what a run takes of it lies where the run goes.

use alloc::vec::Vec;
use core::ops::Range;

use super::origin::{Origin, Origins, bytes_of};
use super::part::{BaseRange, ContentRef, Side};
use super::similar::Votes;
use crate::limits;
use crate::list::{Entry, List};

/// What a run opens to, at most: with bases four times as long within the limits, and small enough that packing it
/// well takes seconds.
pub const RUN_TARGET_BYTES: u64 = 2 * 1024 * 1024;

/// What is missing of the first base between a run's neighbours is taken whole up to here.
const GAP_BYTES: u64 = 512 * 1024;

/// Above that, at most this many times the run's own length of it.
const GAP_FACTOR: u64 = 3;

/// Unvoted chunks between two voted ones that a range goes over: cheaper than a second range.
const HOLE: u32 = 1;

/// A base that the receiver must hold a copy of to reach into it wins clearly when one in this many samples of the run
/// is in the range.
const CLEAR_WIN: u32 = 16;

/// What runs of one content are planned by.
#[derive(Debug, Clone, Copy)]
pub struct RunPlanner<'a> {
    /// The content's list.
    pub new: &'a List,
    /// The bases of its section.
    pub bases: &'a [ContentRef],
    /// Their lists.
    pub lists: &'a [&'a List],
    /// Where its chunks come from.
    pub origins: &'a Origins,
}

impl RunPlanner<'_> {
    /// The runs: ranges of missing chunks of the new list, in order, each of at most [`RUN_TARGET_BYTES`] unless it is
    /// one chunk.
    #[must_use]
    pub fn runs(&self) -> Vec<Range<usize>> {
        let entries = self.new.entries();
        let mut runs = Vec::new();
        for stretch in self.origins.missing() {
            let (mut start, mut bytes) = (stretch.start, 0);
            for at in stretch.clone() {
                let len = u64::from(entries[at].len);
                if at > start && bytes + len > RUN_TARGET_BYTES {
                    runs.push(start..at);
                    (start, bytes) = (at, 0);
                }
                bytes += len;
            }
            runs.push(start..stretch.end);
        }
        runs
    }

    /// What to pack `run` against: at most [`limits::RUN_BASES`] ranges of at most [`limits::RUN_BYTES`] together.
    /// `votes` say which chunks of the bases resemble it, `asked` how many votes there could be.
    #[must_use]
    pub fn bases(&self, run: &Range<usize>, votes: &Votes, asked: u32) -> Vec<BaseRange> {
        let mut chosen = Chosen {
            lists: self.lists,
            ranges: Vec::new(),
            rest_bytes: limits::RUN_BYTES as u64,
        };
        if let Some(gap) = self.gap(run, votes) {
            chosen.take(0, gap);
        }
        let mut rest: Vec<(u32, BaseRange)> = clusters(votes)
            .into_iter()
            .filter(|(score, range)| {
                let cheap = self
                    .bases
                    .get(range.base as usize)
                    .is_some_and(|base| base.side == Side::New);
                cheap || score.saturating_mul(CLEAR_WIN) > asked
            })
            .collect();
        rest.sort_by_key(|(score, _)| core::cmp::Reverse(*score));
        for (_, range) in rest {
            chosen.take(range.base, range.first..range.first + range.count);
        }
        chosen.ranges
    }

    /// The chunks of the first base that lie where the run goes.
    fn gap(&self, run: &Range<usize>, votes: &Votes) -> Option<Range<u32>> {
        let first = self.lists.first()?.entries();
        let all = self.origins.all();
        let in_order = |origin: &Origin| match origin {
            Origin::InOrder { entry } => Some(*entry),
            _ => None,
        };
        let before = all[..run.start]
            .iter()
            .enumerate()
            .rev()
            .find_map(|(at, origin)| Some((at + 1, in_order(origin)? + 1)));
        let after = all[run.end..]
            .iter()
            .enumerate()
            .find_map(|(at, origin)| Some((run.end + at, in_order(origin)?)));
        let (new_start, start) = before.unwrap_or((0, 0));
        let (new_end, end) = after.unwrap_or((all.len(), index(first.len())));
        if start >= end {
            // Something was put in between two chunks: they are what is near.
            let near = start.saturating_sub(1)..(end + 1).min(index(first.len()));
            return Some(near).filter(|near| !near.is_empty());
        }
        let gap = first.get(start as usize..end as usize)?;
        let wanted = bytes_of(&self.new.entries()[run.clone()]) * GAP_FACTOR;
        let wanted = wanted.clamp(GAP_BYTES, limits::RUN_BYTES as u64);
        if bytes_of(gap) <= wanted {
            return Some(start..end);
        }
        let voted = clusters(votes)
            .into_iter()
            .filter(|(_, range)| range.base == 0)
            .map(|(score, range)| {
                (
                    score,
                    range.first.max(start)..(range.first + range.count).min(end),
                )
            })
            .filter(|(_, range)| !range.is_empty())
            .max_by_key(|(score, _)| *score);
        let (centre, most) = match voted {
            // Up to what is left when others take their share.
            Some((_, voted)) => {
                let bytes = bytes_of(first.get(voted.start as usize..voted.end as usize)?);
                let centre = bytes_of(&first[start as usize..voted.start as usize]) + bytes / 2;
                (centre, wanted.min(bytes + GAP_BYTES))
            }
            // As far into the gap as the run is into the stretch that stands in its place.
            None => {
                let stretch = self.new.entries().get(new_start..new_end)?;
                let into = bytes_of(&self.new.entries()[new_start..run.start])
                    + bytes_of(&self.new.entries()[run.clone()]) / 2;
                let scaled = u128::from(into) * u128::from(bytes_of(gap))
                    / u128::from(bytes_of(stretch).max(1));
                (u64::try_from(scaled).unwrap_or(u64::MAX), wanted)
            }
        };
        let around = around(gap, centre, most);
        Some(start + around.start..start + around.end)
    }
}

/// The chunks around byte `centre` of `entries` that have at most `most` bytes together.
fn around(entries: &[Entry], centre: u64, most: u64) -> Range<u32> {
    let total = bytes_of(entries);
    let from = centre
        .saturating_sub(most / 2)
        .min(total.saturating_sub(most));
    let (mut range, mut at, mut bytes) = (None, 0_u64, 0);
    for (chunk, entry) in entries.iter().enumerate() {
        let len = u64::from(entry.len);
        if at >= from || (range.is_none() && at + len > centre) {
            if bytes + len > most && range.is_some() {
                break;
            }
            bytes += len;
            let start = range.map_or(index(chunk), |(start, _)| start);
            range = Some((start, index(chunk) + 1));
        }
        at += len;
    }
    range.map_or(0..0, |(start, end)| start..end)
}

fn index(at: usize) -> u32 {
    // A list has at most 4 MiB / 36 entries.
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Stretches of voted chunks with all their votes.
fn clusters(votes: &Votes) -> Vec<(u32, BaseRange)> {
    let mut clusters: Vec<(u32, BaseRange)> = Vec::new();
    for (&(base, chunk), &count) in votes {
        if let Some((score, last)) = clusters.last_mut()
            && last.base == base
            && chunk <= last.first + last.count + HOLE
        {
            last.count = chunk - last.first + 1;
            *score = score.saturating_add(count);
        } else {
            let range = BaseRange {
                base,
                first: chunk,
                count: 1,
            };
            clusters.push((count, range));
        }
    }
    clusters
}

/// The ranges chosen so far.
struct Chosen<'a> {
    lists: &'a [&'a List],
    ranges: Vec<BaseRange>,
    rest_bytes: u64,
}

impl Chosen<'_> {
    /// Takes what of the range there is room for and that is not in it yet.
    fn take(&mut self, base: u32, mut chunks: Range<u32>) {
        if self.ranges.len() >= limits::RUN_BASES {
            return;
        }
        for taken in self.ranges.iter().filter(|range| range.base == base) {
            let end = taken.first + taken.count;
            if chunks.start >= taken.first && chunks.start < end {
                chunks.start = end;
            }
            if chunks.end > taken.first && chunks.end <= end {
                chunks.end = taken.first;
            }
            // It would be in the middle: the whole of it is not worth twice the part.
            if chunks.start < taken.first && chunks.end > end {
                chunks.end = taken.first;
            }
        }
        let entries = self.lists.get(base as usize).and_then(|list| {
            list.entries()
                .get(chunks.start as usize..chunks.end as usize)
        });
        let mut count = 0;
        for entry in entries.unwrap_or_default() {
            let Some(rest) = self.rest_bytes.checked_sub(entry.len.into()) else {
                break;
            };
            self.rest_bytes = rest;
            count += 1;
        }
        if count > 0 {
            self.ranges.push(BaseRange {
                base,
                first: chunks.start,
                count,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Form;
    use crate::id::ChunkId;

    const NONE: Votes = Votes::new();

    fn list(names: &str, len: u32) -> List {
        let entry = |name: char| Entry {
            id: ChunkId::of(alloc::string::String::from(name).as_bytes()),
            len,
        };
        List::new(names.chars().map(entry).collect()).unwrap()
    }

    fn base(side: Side, file: u32) -> ContentRef {
        ContentRef {
            side,
            file,
            form: Form::Opened,
        }
    }

    fn range(base: u32, first: u32, count: u32) -> BaseRange {
        BaseRange { base, first, count }
    }

    /// The bases of each run of `new`, all chunks `len` bytes long.
    fn planned(new: &str, lists: &[&str], len: u32, votes: &Votes) -> Vec<Vec<BaseRange>> {
        let new = list(new, len);
        let lists: Vec<List> = lists.iter().map(|names| list(names, len)).collect();
        let lists: Vec<&List> = lists.iter().collect();
        let bases: Vec<ContentRef> = (0..index(lists.len()))
            .map(|at| base(if at == 0 { Side::Old } else { Side::New }, at))
            .collect();
        let planner = RunPlanner {
            new: &new,
            bases: &bases,
            lists: &lists,
            origins: &Origins::new(&new, &lists),
        };
        let runs = planner.runs();
        runs.iter()
            .map(|run| planner.bases(run, votes, 100))
            .collect()
    }

    #[test]
    fn a_run_is_packed_against_what_stood_in_its_place() {
        let plan = |new| planned(new, &["abcdef"], 1000, &NONE);
        assert_eq!(plan("abXYef"), [[range(0, 2, 2)]]);
        // At both ends, too.
        assert_eq!(plan("XbcdefY"), [[range(0, 0, 1)], [range(0, 5, 1)]]);
        // Nothing stood there: its neighbours are next best.
        assert_eq!(plan("abXcdef"), [[range(0, 1, 2)]]);
        assert_eq!(plan("abcdef"), Vec::<Vec<BaseRange>>::new());
        assert_eq!(planned("ab", &[], 1000, &NONE), [[]]);
    }

    #[test]
    fn what_is_missing_is_cut_into_runs_of_bounded_length() {
        let new = list("abcdefghijkl", 200_000);
        let origins = Origins::new(&new, &[]);
        let planner = RunPlanner {
            new: &new,
            bases: &[],
            lists: &[],
            origins: &origins,
        };
        assert_eq!(planner.runs(), [0..10, 10..12]);
    }

    #[test]
    fn new_content_that_resembles_it_is_taken_and_other_old_content_only_when_it_wins_clearly() {
        let votes = |base, count| Votes::from([((base, 0), count), ((base, 2), count)]);
        let plan = |votes: &Votes| planned("aXc", &["abc", "uvw"], 1000, votes);
        assert_eq!(plan(&votes(1, 1)), [[range(0, 1, 1), range(1, 0, 3)]]);
        // The first base is old content, and chunk 1 is in it already.
        assert_eq!(plan(&votes(0, 3)), [[range(0, 1, 1)]]);
        assert_eq!(plan(&votes(0, 4)), [[range(0, 1, 1), range(0, 0, 1)]]);
    }

    #[test]
    fn bases_stay_within_their_number_and_bytes() {
        // One base more than a run may have, each worth taking.
        let others: Vec<alloc::string::String> = ('\u{100}'..)
            .take(limits::RUN_BASES)
            .map(alloc::string::String::from)
            .collect();
        let lists: Vec<&str> = core::iter::once("abc")
            .chain(others.iter().map(alloc::string::String::as_str))
            .collect();
        let many: Votes = (1..index(lists.len())).map(|base| ((base, 0), 1)).collect();
        let bases = |lists: &[&str]| planned("aXc", lists, 1000, &many)[0].len();
        assert_eq!(bases(&lists), limits::RUN_BASES);
        assert_eq!(
            bases(&lists[..limits::RUN_BASES - 1]),
            limits::RUN_BASES - 1
        );

        let long: alloc::string::String = ('\u{100}'..'\u{200}').collect();
        let all: Votes = (0..256).map(|chunk| ((1, chunk), 1)).collect();
        let [bases] = &planned("aXc", &["abc", &long], 200_000, &all)[..] else {
            panic!("one run");
        };
        let count: u32 = bases.iter().map(|range| range.count).sum();
        assert_eq!(count as usize, limits::RUN_BYTES / 200_000);
    }

    #[test]
    fn of_a_long_gap_the_part_that_belongs_to_the_run_is_taken() {
        let old: alloc::string::String = ('\u{100}'..'\u{1c8}').collect();
        let new: alloc::string::String = ('\u{1000}'..'\u{1064}').collect();
        let plan = planned(&new, &[&old], 100_000, &NONE);
        assert_eq!(plan.len(), 5);
        // Half as long as what it replaces: each run's place is twice as far in.
        for (at, bases) in plan.iter().enumerate() {
            let [only] = &bases[..] else {
                panic!("{bases:?}");
            };
            let (first, end) = (only.first as usize, (only.first + only.count) as usize);
            assert!(first <= at * 40 && end >= at * 40 + 40, "{at}: {only:?}");
            assert!(only.count <= 60, "{at}: {only:?}");
        }
        // Votes know better.
        let votes: Votes = (150..170).map(|chunk| ((0, chunk), 10)).collect();
        let [only] = planned(&new[..30], &[&old], 100_000, &votes)[0][..] else {
            panic!("one base");
        };
        assert!(only.first <= 150 && only.first + only.count >= 170 && only.count <= 30);
    }
}
