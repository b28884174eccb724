//! Missing chunks that the new content has again later.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use tidecast_proto::bundle::Origin;
use tidecast_proto::list::Entry;

use super::error::RebuildError;
use super::scratch::Scratch;

/// Keeps exactly those chunks that come again: what was written is packed and cannot be read back.
pub(super) struct Repeats<'a> {
    /// By index in the new list; where each is kept, once it came.
    chunks: BTreeMap<u32, Option<Range<u64>>>,
    kept: Scratch<'a>,
}

impl<'a> Repeats<'a> {
    pub(super) fn new(origins: &[Origin], folder: BorrowedFd<'a>) -> Self {
        let repeated = |origin: &Origin| match origin {
            Origin::Repeat { entry } => Some((*entry, None)),
            _ => None,
        };
        Self {
            chunks: origins.iter().filter_map(repeated).collect(),
            kept: Scratch::new(folder),
        }
    }

    /// Bytes kept on the disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.kept.disk_bytes()
    }

    /// Looks through chunks that came; `first` is the index of the first one in the new list.
    pub(super) fn keep(
        &mut self,
        first: usize,
        entries: &[Entry],
        bytes: &[u8],
    ) -> Result<(), RebuildError> {
        if self.chunks.is_empty() {
            return Ok(());
        }
        let mut rest = bytes;
        for (index, entry) in (first..).zip(entries) {
            let (chunk, after) = rest.split_at((entry.len as usize).min(rest.len()));
            rest = after;
            let place = u32::try_from(index)
                .ok()
                .and_then(|index| self.chunks.get_mut(&index));
            if let Some(place) = place {
                let at = self.kept.bytes();
                self.kept.append(chunk)?;
                *place = Some(at..self.kept.bytes());
            }
        }
        Ok(())
    }

    /// The chunk that came as number `index` of the new list, which is the chunk `wanted`.
    pub(super) fn chunk(&self, index: u32, wanted: &Entry) -> Result<Vec<u8>, RebuildError> {
        let wrong = || RebuildError::Impossible("a repeat of a chunk that did not come before");
        let place = self.chunks.get(&index).cloned().flatten();
        let place = place.ok_or_else(wrong)?;
        if place.end - place.start != u64::from(wanted.len) {
            return Err(wrong());
        }
        let mut chunk = Vec::with_capacity(wanted.len as usize);
        self.kept.read(place, &mut chunk)?;
        Ok(chunk)
    }
}
