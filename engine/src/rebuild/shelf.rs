//! The shelf: the bases, and how each stretch of them is had.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use tidecast_proto::deflate::Batch;
use tidecast_proto::list::Entry;

use super::error::RebuildError;
use super::scratch::Scratch;
use super::walk::{self, Walk};
use super::window::Window;
use super::{Bases, Source};

/// The bases of one rebuild.
pub(super) struct Shelf<'a> {
    sources: &'a [Source],
    /// Of the first base.
    pub(super) window: Option<Window<'a>>,
    /// Opened contents, where bytes out of order were needed.
    copies: Vec<Option<Scratch<'a>>>,
    /// Where each chunk begins, where that was needed.
    offsets: Vec<Option<Vec<u64>>>,
    folder: BorrowedFd<'a>,
}

impl<'a> Shelf<'a> {
    /// # Errors
    /// [`RebuildError::Impossible`] when a list and a recipe disagree.
    pub(super) fn new(sources: &'a [Source], folder: BorrowedFd<'a>) -> Result<Self, RebuildError> {
        for source in sources {
            if let Some(recipe) = &source.recipe
                && recipe.opened_bytes() != source.list.total_bytes()
            {
                return Err(RebuildError::Impossible(
                    "a base whose list and recipe disagree",
                ));
            }
        }
        Ok(Self {
            sources,
            window: sources.first().map(Window::new),
            copies: sources.iter().map(|_| None).collect(),
            offsets: sources.iter().map(|_| None).collect(),
            folder,
        })
    }

    /// Bytes of content of base number `base`; 0 when there is none.
    pub(super) fn content_bytes(&self, base: usize) -> u64 {
        self.sources
            .get(base)
            .map_or(0, |source| source.list.total_bytes())
    }

    /// Where chunk number `index` of base number `base` begins, which is the chunk `wanted`.
    ///
    /// # Errors
    /// [`RebuildError::Impossible`] when it is not.
    pub(super) fn chunk_at(
        &mut self,
        base: usize,
        index: usize,
        wanted: &Entry,
    ) -> Result<u64, RebuildError> {
        let wrong = RebuildError::Impossible("an origin that is another chunk");
        let (Some(source), Some(offsets)) = (self.sources.get(base), self.offsets.get_mut(base))
        else {
            return Err(wrong);
        };
        let offsets = offsets.get_or_insert_with(|| {
            let offsets = source.list.with_offsets();
            offsets.map(|(at, _)| at).collect()
        });
        match (source.list.entries().get(index), offsets.get(index)) {
            (Some(entry), Some(at)) if entry == wanted => Ok(*at),
            _ => Err(wrong),
        }
    }

    /// Bytes of opened content that lie on the disk a second time.
    pub(super) fn disk_bytes(&self) -> u64 {
        let copies = self.copies.iter().flatten();
        copies.map(Scratch::disk_bytes).sum()
    }

    /// The opened content of base number `base`, in any order.
    fn copy(&mut self, base: usize) -> Result<&Scratch<'a>, RebuildError> {
        let none = RebuildError::Impossible("a base that is not there");
        let (Some(source), Some(place)) = (self.sources.get(base), self.copies.get_mut(base))
        else {
            return Err(none);
        };
        if place.is_none() {
            let mut copy = Scratch::new(self.folder);
            let mut walk = Walk::new(base, source);
            let mut batch = Batch::default();
            while let Some(piece) = walk.next(batch)? {
                copy.append(&piece.batch.plain)?;
                batch = piece.batch;
            }
            *place = Some(copy);
        }
        place.as_ref().ok_or(none)
    }
}

impl Bases for Shelf<'_> {
    fn read(
        &mut self,
        base: u32,
        range: Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), RebuildError> {
        let base = base as usize;
        let outside = RebuildError::Impossible("a range outside its base");
        let Some(source) = self.sources.get(base) else {
            return Err(outside);
        };
        if range.start > range.end || range.end > source.list.total_bytes() {
            return Err(outside);
        }
        if source.recipe.is_none() {
            let count = usize::try_from(range.end - range.start).map_err(|_| outside)?;
            return walk::read_exact(base, source, range.start, count, out);
        }
        let from = out.len();
        if base == 0
            && let Some(window) = &mut self.window
        {
            if window.read(&range, out)? {
                return Ok(());
            }
            out.truncate(from);
        }
        self.copy(base)?.read(range, out)
    }
}
