//! Where each chunk of a new list comes from: contents the receiver has, or runs. SPEC §5.6.
//!
//! Sender and receiver work this out from the same lists, so a bundle need not say it.

use alloc::collections::{BTreeMap, btree_map};
use alloc::vec::Vec;
use core::ops::Range;

use super::part::{BaseRange, BundleError, PartKind, RunPart};
use crate::id::ChunkId;
use crate::limits;
use crate::list::{Entry, List};

/// Where one chunk comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A chunk of the first base that lies behind the one taken from there before: reading that base once, front
    /// to back, passes all of these.
    InOrder {
        /// Its index in the first base's list.
        entry: u32,
    },
    /// A chunk of some base, out of that order.
    Elsewhere {
        /// Index of the base.
        base: u32,
        /// Its index in that base's list.
        entry: u32,
    },
    /// The same as an earlier chunk of the new list.
    Repeat {
        /// Its index in the new list.
        entry: u32,
    },
    /// Nowhere here: a run or a fetch brings it.
    Missing,
}

/// The origins of a new list's chunks, and the stretches of missing ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    origins: Vec<Origin>,
}

fn index(at: usize) -> u32 {
    // A list has at most 4 MiB / 36 entries.
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Origins {
    /// Compares the new list with those of the bases, in the section's order.
    #[must_use]
    pub fn new(new: &List, bases: &[&List]) -> Self {
        let mut origins = alloc::vec![Origin::Missing; new.entries().len()];
        // Later bases first, so that the first base that has a chunk is the one that counts.
        let mut places: BTreeMap<ChunkId, (u32, u32)> = BTreeMap::new();
        for (base, list) in bases.iter().enumerate().rev() {
            for (entry, chunk) in list.entries().iter().enumerate().rev() {
                places.insert(chunk.id, (index(base), index(entry)));
            }
        }
        let mut earlier: BTreeMap<ChunkId, u32> = BTreeMap::new();
        for (at, chunk) in new.entries().iter().enumerate() {
            origins[at] = match places.get(&chunk.id) {
                Some(&(base, entry)) => Origin::Elsewhere { base, entry },
                None => match earlier.entry(chunk.id) {
                    btree_map::Entry::Occupied(first) => Origin::Repeat {
                        entry: *first.get(),
                    },
                    btree_map::Entry::Vacant(none) => {
                        none.insert(index(at));
                        Origin::Missing
                    }
                },
            };
        }
        if let Some(first) = bases.first() {
            for (at, entry) in in_order(new.entries(), first.entries()) {
                origins[at as usize] = Origin::InOrder { entry };
            }
        }
        Self { origins }
    }

    /// One for each chunk of the new list.
    #[must_use]
    pub fn all(&self) -> &[Origin] {
        &self.origins
    }

    /// The stretches of missing chunks, as ranges of the new list, in order.
    pub fn missing(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut at = 0;
        core::iter::from_fn(move || {
            let rest = self.origins.get(at..)?;
            let start = at + rest.iter().position(|o| *o == Origin::Missing)?;
            let len = self.origins[start..]
                .iter()
                .take_while(|o| **o == Origin::Missing)
                .count();
            at = start + len;
            Some(start..at)
        })
    }

    /// The chunks that a run holds, when all missing chunks before index `from` have come: a range of the new list.
    ///
    /// # Errors
    /// [`BundleError::Outside`] when it holds more than the next stretch of missing chunks; its maker is at fault.
    pub fn next_run(&self, from: usize, run: &RunPart<'_>) -> Result<Range<usize>, BundleError> {
        let outside = |count: usize| BundleError::Outside {
            kind: PartKind::RUN,
            what: "missing chunk",
            index: run.chunks.into(),
            count: count as u64,
        };
        let rest = self.origins.get(from..).unwrap_or_default();
        let skipped = rest
            .iter()
            .position(|o| *o == Origin::Missing)
            .ok_or_else(|| outside(0))?;
        let start = from + skipped;
        let stretch = self.origins[start..]
            .iter()
            .take_while(|o| **o == Origin::Missing)
            .count();
        let chunks = run.chunks as usize;
        if chunks > stretch {
            return Err(outside(stretch));
        }
        Ok(start..start + chunks)
    }
}

/// Pairs (index in new, index in old) of equal chunks, both rising, as many as can be: the longest rising
/// subsequence (patience sorting) of where each new chunk lies in the old list. The n-th of several equal chunks
/// pairs with the n-th.
fn in_order(new: &[Entry], old: &[Entry]) -> Vec<(u32, u32)> {
    let mut places: BTreeMap<ChunkId, (Vec<u32>, usize)> = BTreeMap::new();
    for (at, chunk) in old.iter().enumerate() {
        places.entry(chunk.id).or_default().0.push(index(at));
    }
    let mut pairs = Vec::new();
    for (at, chunk) in new.iter().enumerate() {
        if let Some((places, next)) = places.get_mut(&chunk.id)
            && let Some(place) = places.get(*next)
        {
            *next += 1;
            pairs.push((index(at), *place));
        }
    }
    // For each length, the pair that ends such a subsequence lowest; and each pair's predecessor.
    let mut ends: Vec<usize> = Vec::new();
    let mut before = alloc::vec![usize::MAX; pairs.len()];
    for (at, (_, place)) in pairs.iter().enumerate() {
        let len = ends.partition_point(|end| pairs[*end].1 < *place);
        if len > 0 {
            before[at] = ends[len - 1];
        }
        if len == ends.len() {
            ends.push(at);
        } else {
            ends[len] = at;
        }
    }
    let mut chain = Vec::with_capacity(ends.len());
    let mut at = ends.last().copied();
    while let Some(pair) = at {
        chain.push(pairs[pair]);
        at = Some(before[pair]).filter(|before| *before != usize::MAX);
    }
    chain.reverse();
    chain
}

/// Bytes of some chunks.
#[must_use]
pub fn bytes_of(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| u64::from(entry.len)).sum()
}

/// The byte range of a run's base.
///
/// # Errors
/// [`BundleError::Outside`] when the section has no such base or the base no such chunks; the maker is at fault.
pub fn base_bytes(range: BaseRange, bases: &[&List]) -> Result<Range<u64>, BundleError> {
    let outside = |what, index: u64, count: usize| BundleError::Outside {
        kind: PartKind::RUN,
        what,
        index,
        count: count as u64,
    };
    let list = bases
        .get(range.base as usize)
        .ok_or_else(|| outside("base", range.base.into(), bases.len()))?;
    let end = u64::from(range.first) + u64::from(range.count);
    let entries = usize::try_from(end)
        .ok()
        .and_then(|end| list.entries().get(range.first as usize..end))
        .ok_or_else(|| outside("chunk", end, list.entries().len()))?;
    let start = bytes_of(&list.entries()[..range.first as usize]);
    Ok(start..start + bytes_of(entries))
}

/// Refuses a run over the limits, before anything is allocated for it: `target` are its chunks, `bases` the byte
/// ranges of its prefix.
///
/// # Errors
/// [`BundleError::Outside`]; the maker is at fault.
pub fn check_run_size(target: &[Entry], bases: &[Range<u64>]) -> Result<(), BundleError> {
    let base_bytes = bases.iter().fold(0_u64, |sum, range| {
        sum.saturating_add(range.end - range.start)
    });
    for (what, index) in [("run bytes", bytes_of(target)), ("base bytes", base_bytes)] {
        if index > limits::RUN_BYTES as u64 {
            return Err(BundleError::Outside {
                kind: PartKind::RUN,
                what,
                index,
                count: limits::RUN_BYTES as u64,
            });
        }
    }
    Ok(())
}

/// Checks what a run opened to against the chunks it stands for.
///
/// # Errors
/// [`BundleError::WrongLength`] or [`BundleError::WrongChunk`]: the run, or the base it was opened with, is not the
/// right one; nothing of it may be kept.
pub fn check_run(target: &[Entry], opened: &[u8]) -> Result<(), BundleError> {
    let expected = bytes_of(target);
    if opened.len() as u64 != expected {
        return Err(BundleError::WrongLength {
            got: opened.len() as u64,
            expected,
        });
    }
    let mut rest = opened;
    for (at, entry) in target.iter().enumerate() {
        let (chunk, after) = rest.split_at(entry.len as usize);
        if ChunkId::of(chunk) != entry.id {
            return Err(BundleError::WrongChunk { at: index(at) });
        }
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Origin::{Elsewhere, InOrder, Missing, Repeat};

    fn list(names: &str) -> List {
        let entry = |name: u8| Entry {
            id: ChunkId::of(&[name]),
            len: 1,
        };
        List::new(names.bytes().map(entry).collect()).unwrap()
    }

    fn origins(new: &str, bases: &[&str]) -> Origins {
        let lists: Vec<List> = bases.iter().map(|names| list(names)).collect();
        Origins::new(&list(new), &lists.iter().collect::<Vec<_>>())
    }

    #[test]
    fn chunks_come_from_the_old_list_in_order_where_they_can() {
        assert_eq!(
            origins("abXcdXYa", &["abcd"]).all(),
            [
                InOrder { entry: 0 },
                InOrder { entry: 1 },
                Missing,
                InOrder { entry: 2 },
                InOrder { entry: 3 },
                Repeat { entry: 2 },
                Missing,
                Elsewhere { base: 0, entry: 0 },
            ]
        );
        // One chunk that moved does not spoil the order of the others.
        assert_eq!(
            origins("dabc", &["abcd"]).all()[1..],
            [
                InOrder { entry: 0 },
                InOrder { entry: 1 },
                InOrder { entry: 2 },
            ]
        );
        assert_eq!(
            origins("ab", &["a", "ab"]).all(),
            [InOrder { entry: 0 }, Elsewhere { base: 1, entry: 1 }]
        );
        assert_eq!(origins("ab", &[]).all(), [Missing, Missing]);
    }

    #[test]
    fn runs_take_the_missing_stretches_one_after_another() {
        let origins = origins("XYaZ", &["a"]);
        assert_eq!(origins.missing().collect::<Vec<_>>(), [0..2, 3..4]);
        let run = |chunks| RunPart {
            chunks,
            bases: Vec::new(),
            frame: b"",
        };
        assert_eq!(origins.next_run(0, &run(1)), Ok(0..1));
        assert_eq!(origins.next_run(1, &run(1)), Ok(1..2));
        assert_eq!(origins.next_run(2, &run(1)), Ok(3..4));
        assert!(origins.next_run(0, &run(3)).is_err());
        assert!(origins.next_run(4, &run(1)).is_err());
        assert!(origins.next_run(usize::MAX, &run(1)).is_err());
    }

    #[test]
    fn a_base_outside_and_an_over_long_run_are_refused() {
        let base = list("abc");
        let range = |base, first, count| BaseRange { base, first, count };
        assert_eq!(base_bytes(range(0, 1, 2), &[&base]), Ok(1..3));
        for bad in [range(1, 0, 1), range(0, 3, 1), range(0, 1, u32::MAX)] {
            assert!(base_bytes(bad, &[&base]).is_err());
        }
        let most = limits::RUN_BYTES as u64;
        let whole = 0..most;
        assert!(check_run_size(base.entries(), core::slice::from_ref(&whole)).is_ok());
        assert!(check_run_size(base.entries(), &[0..most, 0..1]).is_err());
    }

    #[test]
    fn a_run_with_one_wrong_byte_is_refused() {
        let target = list("abc");
        assert_eq!(check_run(target.entries(), b"abc"), Ok(()));
        assert_eq!(
            check_run(target.entries(), b"abX"),
            Err(BundleError::WrongChunk { at: 2 })
        );
        assert!(check_run(target.entries(), b"ab").is_err());
    }
}
