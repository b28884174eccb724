//! The splice: puts the new content together, in order, out of what the bases have and what is delivered.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use bytes::{Bytes, BytesMut};
use tidecast_proto::bundle::{Origin, bytes_of};
use tidecast_proto::id::ChunkId;
use tidecast_proto::limits;
use tidecast_proto::list::Entry;

use super::error::{Damage, MissingError, RebuildError};
use super::repeats::Repeats;
use super::segments::{Halt, Segments};
use super::shelf::Shelf;
use super::{Bases, MissingChunks, Rebuilt, Source, Target};

/// Deliveries shorter than this are put together before they are compared with the old bytes in the same gap: an
/// edit often changes two chunks, and only the end of the second one is known to be equal.
const GATHER_BYTES: usize = 1024 * 1024;

/// Makes one file's content.
pub(super) struct Splice<'a> {
    target: Target<'a>,
    shelf: Shelf<'a>,
    missing: &'a mut dyn MissingChunks,
    segments: Segments<'a>,
    /// Whether equal bytes are cheaper than new ones.
    trims: bool,
    /// The range of the first base that comes next in the new content, and how much of it has been handed on.
    same: Option<Same>,
    /// Index of an in-order chunk at or behind the place looked for last.
    next_in_order: usize,
    repeats: Repeats<'a>,
    rebuilt: Rebuilt,
}

struct Same {
    range: Range<u64>,
    taken: u64,
}

/// The old content in whose place a stretch of missing chunks stands.
struct Gap {
    /// In-order content goes on here, or nowhere: then this is the old content's end.
    goes_on: u64,
    /// The old bytes that may be equal to the first missing ones begin here.
    prefix_at: Option<u64>,
    /// The old bytes that may be equal to the last missing ones end here.
    suffix_end: Option<u64>,
}

impl<'a> Splice<'a> {
    /// # Errors
    /// [`RebuildError::Impossible`] when lists, recipes and origins do not belong together.
    pub(super) fn new(
        target: Target<'a>,
        bases: &'a [Source],
        missing: &'a mut dyn MissingChunks,
        segments: Segments<'a>,
        folder: BorrowedFd<'a>,
    ) -> Result<Self, RebuildError> {
        if target.list.entries().len() != target.origins.all().len() {
            return Err(RebuildError::Impossible("origins of another list"));
        }
        let streams = |source: &Source| source.recipe.is_some() && target.recipe.is_some();
        Ok(Self {
            target,
            trims: bases.first().is_some_and(streams),
            shelf: Shelf::new(bases, folder)?,
            missing,
            segments,
            same: None,
            next_in_order: 0,
            repeats: Repeats::new(target.origins.all(), folder),
            rebuilt: Rebuilt::default(),
        })
    }

    /// Makes all of it.
    pub(super) fn run(mut self) -> Result<Rebuilt, Halt> {
        let (entries, origins) = (self.target.list.entries(), self.target.origins.all());
        let mut at = 0;
        while let (Some(entry), Some(origin)) = (entries.get(at), origins.get(at)) {
            match *origin {
                Origin::InOrder { entry: old } => {
                    let start = self.shelf.chunk_at(0, old as usize, entry)?;
                    self.rebuilt.same_bytes += u64::from(entry.len);
                    self.go_on_with(start..start + u64::from(entry.len))?;
                    at += 1;
                }
                Origin::Missing => {
                    let is_missing = |origin: &&Origin| **origin == Origin::Missing;
                    let count = origins[at..].iter().take_while(is_missing).count();
                    self.fill(at..at + count)?;
                    at += count;
                }
                Origin::Elsewhere { base, entry: old } => {
                    self.close()?;
                    self.moved(base, old as usize, entry)?;
                    at += 1;
                }
                Origin::Repeat { entry: earlier } => {
                    self.close()?;
                    let chunk = self.repeats.chunk(earlier, entry)?;
                    self.rebuilt.moved_bytes += u64::from(entry.len);
                    self.segments.push_new(&chunk)?;
                    at += 1;
                }
            }
        }
        self.close()?;
        self.segments.finish()?;
        self.rebuilt.scratch_bytes = self.shelf.disk_bytes() + self.repeats.disk_bytes();
        Ok(self.rebuilt)
    }

    /// Takes over the old range `range`, as soon as it is known where the equal range around it ends.
    fn go_on_with(&mut self, range: Range<u64>) -> Result<(), Halt> {
        match &mut self.same {
            Some(same) if same.range.end == range.start => same.range.end = range.end,
            _ => {
                self.close()?;
                self.same = Some(Same {
                    taken: range.start,
                    range,
                });
            }
        }
        Ok(())
    }

    /// Hands on what is left of the current equal range: it ends here.
    fn close(&mut self) -> Result<(), Halt> {
        self.hand_on(true)?;
        self.same = None;
        Ok(())
    }

    /// Hands on the current equal range; a part of a piece only if it is the last one, because a piece that
    /// was cut once gives no tokens again.
    fn hand_on(&mut self, ended: bool) -> Result<(), Halt> {
        let (Some(same), Some(window)) = (&mut self.same, &mut self.shelf.window) else {
            return Ok(());
        };
        while same.taken < same.range.end {
            window.passed(same.taken);
            let piece = window
                .piece_at(same.taken)?
                .ok_or(RebuildError::Impossible("origins out of order"))?;
            let end = piece.end().min(same.range.end);
            if end < piece.end() && !ended {
                break;
            }
            self.segments
                .push_same(piece, same.taken..end, &same.range)?;
            same.taken = end;
        }
        window.passed(same.taken);
        Ok(())
    }

    /// Fills a stretch of missing chunks.
    fn fill(&mut self, stretch: Range<usize>) -> Result<(), Halt> {
        self.hand_on(false)?;
        let gap = self.gap(&stretch)?;
        let mut prefix_at = gap.prefix_at;
        let mut from = stretch.start;
        while from < stretch.end {
            if let Some(window) = &mut self.shelf.window {
                let promised = self.same.as_ref().map_or(0, |same| same.range.end);
                window.expect(promised, gap.goes_on);
            }
            let (bytes, until) = self.gather(from, stretch.end)?;
            self.rebuilt.missing_bytes += bytes.len() as u64;
            self.repeats
                .keep(from, &self.target.list.entries()[from..until], &bytes)?;
            let mut middle = 0..bytes.len();
            if let (Some(at), Some(window)) = (prefix_at, &mut self.shelf.window) {
                let equal = window.common_prefix(at, gap.goes_on, &bytes)?;
                self.go_on_with(at..at + equal as u64)?;
                middle.start = equal;
                // A delivery that is equal as a whole: the next one may go on so.
                prefix_at = middle.is_empty().then_some(at + equal as u64);
            }
            let mut suffix = None;
            if until == stretch.end
                && let (Some(end), Some(window)) = (gap.suffix_end, &mut self.shelf.window)
            {
                let start = self.same.as_ref().map_or(0, |same| same.range.end);
                let start = start.max(gap.prefix_at.unwrap_or(0));
                let equal = window.common_suffix(start, end, &bytes[middle.clone()])?;
                middle.end -= equal;
                suffix = Some(end - equal as u64..end);
            }
            self.rebuilt.trimmed_bytes += (bytes.len() - middle.len()) as u64;
            if !middle.is_empty() {
                self.close()?;
                self.segments.push_new(&bytes[middle])?;
            }
            if let Some(suffix) = suffix {
                self.go_on_with(suffix)?;
            }
            from = until;
        }
        Ok(())
    }

    /// Where the old content lies that the missing chunks `stretch` stand instead of.
    fn gap(&mut self, stretch: &Range<usize>) -> Result<Gap, RebuildError> {
        let (entries, origins) = (self.target.list.entries(), self.target.origins.all());
        let in_order = |origin: &Origin| matches!(origin, Origin::InOrder { .. });
        self.next_in_order = self.next_in_order.max(stretch.end);
        while origins
            .get(self.next_in_order)
            .is_some_and(|o| !in_order(o))
        {
            self.next_in_order += 1;
        }
        let goes_on = match origins.get(self.next_in_order) {
            Some(Origin::InOrder { entry }) => {
                let new = &entries[self.next_in_order];
                self.shelf.chunk_at(0, *entry as usize, new)?
            }
            _ => self.shelf.content_bytes(0),
        };
        let prefix_at = match &self.same {
            Some(same) => Some(same.range.end),
            None => (stretch.start == 0).then_some(0),
        };
        let last = stretch.end == origins.len();
        let suffix = self.next_in_order == stretch.end
            // Nothing else needs the old content's end: a suffix is not worth reading all of it.
            && !(last && goes_on - prefix_at.unwrap_or(0) > limits::RUN_BYTES as u64);
        Ok(Gap {
            goes_on,
            prefix_at: prefix_at.filter(|_| self.trims),
            suffix_end: (suffix && self.trims).then_some(goes_on),
        })
    }

    /// Missing chunks from `from` on, not beyond `end`: their bytes, and the first one after them.
    fn gather(&mut self, from: usize, end: usize) -> Result<(Bytes, usize), RebuildError> {
        let (first, mut until) = self.delivery(from, end)?;
        if until == end || first.len() >= GATHER_BYTES {
            return Ok((first, until));
        }
        let mut gathered = BytesMut::from(&first[..]);
        while until < end && gathered.len() < GATHER_BYTES {
            let (bytes, next) = self.delivery(until, end)?;
            gathered.extend_from_slice(&bytes);
            until = next;
        }
        Ok((gathered.freeze(), until))
    }

    fn delivery(&mut self, from: usize, end: usize) -> Result<(Bytes, usize), RebuildError> {
        let delivery = self
            .missing
            .next(from, &mut self.shelf)
            .map_err(|error| match error {
                MissingError::Base(error) => *error,
                other => other.into(),
            })?;
        let until = from.saturating_add(delivery.chunks);
        let chunks = self.target.list.entries()[..end].get(from..until);
        let fits = |chunks: &[Entry]| bytes_of(chunks) == delivery.bytes.len() as u64;
        let too_long = delivery.bytes.len() > limits::RUN_BYTES;
        if delivery.chunks == 0 || too_long || !chunks.is_some_and(fits) {
            return Err(RebuildError::Impossible(
                "a delivery of other chunks than asked for",
            ));
        }
        Ok((delivery.bytes, until))
    }

    /// Takes over a chunk of a base that does not come in order.
    fn moved(&mut self, base: u32, index: usize, entry: &Entry) -> Result<(), Halt> {
        let at = self.shelf.chunk_at(base as usize, index, entry)?;
        let mut chunk = Vec::with_capacity(entry.len as usize);
        self.shelf
            .read(base, at..at + u64::from(entry.len), &mut chunk)?;
        if ChunkId::of(&chunk) != entry.id {
            let damage = Damage::Chunk {
                index,
                chunk: entry.id,
                at,
            };
            let base = base as usize;
            return Err(RebuildError::Damaged { base, damage }.into());
        }
        self.rebuilt.moved_bytes += u64::from(entry.len);
        self.segments.push_new(&chunk)
    }
}
