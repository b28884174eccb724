//! Which chunks a build lacks, and every place each of them goes.

use std::collections::HashMap;

use tidecast_proto::id::ChunkId;
use tidecast_proto::list::Entry;

/// One place of one chunk.
#[derive(Debug, Clone, Copy)]
struct Target {
    entry: Entry,
    file: u32,
    offset: u64,
}

/// Sorted by chunk: about 56 bytes per place, so a 10 GB feed costs 10 MB.
#[derive(Debug, Default)]
pub(super) struct Targets {
    sorted: Vec<Target>,
    done: Vec<bool>,
    /// Where in `sorted` each distinct chunk begins, in file order.
    order: Vec<u32>,
    /// Distinct chunks not there yet.
    left: usize,
}

impl Targets {
    /// Takes places in file order.
    pub(super) fn new(places: Vec<(Entry, u32, u64)>) -> Self {
        let mut sorted: Vec<Target> = places
            .into_iter()
            .map(|(entry, file, offset)| Target {
                entry,
                file,
                offset,
            })
            .collect();
        sorted.sort_unstable_by_key(|t| (t.entry.id, t.entry.len, t.file, t.offset));
        let mut order: Vec<u32> = (0..u32::try_from(sorted.len()).unwrap_or(u32::MAX))
            .filter(|at| {
                let at = *at as usize;
                at == 0 || sorted[at - 1].entry.id != sorted[at].entry.id
            })
            .collect();
        order.sort_unstable_by_key(|at| {
            let first = &sorted[*at as usize];
            (first.file, first.offset)
        });
        Self {
            done: vec![false; sorted.len()],
            left: order.len(),
            sorted,
            order,
        }
    }

    /// The places of a chunk, for [`Self::place`].
    pub(super) fn range(&self, id: &ChunkId) -> std::ops::Range<usize> {
        let from = self.sorted.partition_point(|t| t.entry.id < *id);
        let count = self.sorted[from..].partition_point(|t| t.entry.id == *id);
        from..from + count
    }

    /// Whether any place lacks the chunk.
    pub(super) fn wants(&self, id: &ChunkId) -> bool {
        let range = self.range(id);
        self.done[range].iter().any(|done| !done)
    }

    /// File and offset of one place, if it lacks its chunk of `len` bytes.
    pub(super) fn place(&self, at: usize, len: usize) -> Option<(u32, u64)> {
        let target = &self.sorted[at];
        // A list that names a chunk with two lengths lies about one; that file never becomes complete.
        (!self.done[at] && target.entry.len as usize == len).then_some((target.file, target.offset))
    }

    /// Marks the chunk as there.
    pub(super) fn done(&mut self, id: &ChunkId) {
        let range = self.range(id);
        if self.done[range.clone()].iter().any(|done| !done) {
            self.left -= 1;
            self.done[range].fill(true);
        }
    }

    /// Distinct chunks not there yet, in file order.
    pub(super) fn missing(&self) -> impl Iterator<Item = Entry> + '_ {
        self.order
            .iter()
            .filter(|at| !self.done[**at as usize])
            .map(|at| self.sorted[*at as usize].entry)
    }

    /// Whether nothing is missing any more.
    pub(super) fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// Bytes of all places that lack their chunk.
    pub(super) fn missing_bytes(&self) -> u64 {
        self.sorted
            .iter()
            .zip(&self.done)
            .filter(|(_, done)| !**done)
            .map(|(t, _)| u64::from(t.entry.len))
            .sum()
    }

    /// Bytes of the places that lack their chunk, by file.
    pub(super) fn missing_by_file(&self) -> HashMap<u32, u64> {
        let mut bytes = HashMap::new();
        for (target, done) in self.sorted.iter().zip(&self.done) {
            if !done {
                *bytes.entry(target.file).or_default() += u64::from(target.entry.len);
            }
        }
        bytes
    }

    /// The file of every place.
    pub(super) fn files(&self) -> impl Iterator<Item = u32> + '_ {
        self.sorted.iter().map(|t| t.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8]) -> Entry {
        Entry {
            id: ChunkId::of(name),
            len: 10,
        }
    }

    #[test]
    fn each_chunk_is_asked_for_once_in_file_order_and_goes_to_all_its_places() {
        let (a, b) = (entry(b"a"), entry(b"b"));
        let mut targets = Targets::new(vec![(b, 0, 0), (a, 0, 10), (b, 1, 30)]);
        assert_eq!(targets.missing().collect::<Vec<_>>(), [b, a]);
        assert_eq!(targets.missing_bytes(), 30);
        let places = |len| {
            let places = targets.range(&b.id).filter_map(|at| targets.place(at, len));
            places.collect::<Vec<_>>()
        };
        assert_eq!((places(10), places(11)), (vec![(0, 0), (1, 30)], vec![]));
        targets.done(&b.id);
        targets.done(&b.id);
        assert!(!targets.is_complete());
        assert!(!targets.wants(&b.id) && targets.wants(&a.id));
        assert_eq!(targets.missing().collect::<Vec<_>>(), [a]);
        assert!(!targets.wants(&ChunkId::of(b"never")));
        targets.done(&a.id);
        assert!(targets.is_complete());
    }
}
