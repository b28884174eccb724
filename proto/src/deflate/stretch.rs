//! The cutter: a piece of an old stream, cut down to the part whose plain bytes a new stream shares.

use core::ops::Range;

use super::{
    reuse::EQUAL_BYTES_MIN,
    token::{Batch, Token},
};

/// Plain bytes of an old stream that come next in the new one, with the old stream's tokens as far as they help.
#[derive(Debug, Clone, Copy)]
pub struct OldStretch<'a> {
    /// Where the plain bytes lie in the old stream.
    pub(super) at: u64,
    pub(super) plain: &'a [u8],
    /// They stand for `plain[covered]`, without a gap.
    pub(super) tokens: &'a [Token],
    /// The bytes before belong to a token that begins before the stretch, those behind to one that hangs over its
    /// end. No tokens: nothing is covered.
    pub(super) covered: (usize, usize),
}

impl<'a> OldStretch<'a> {
    /// The part of `batch` inside `equal`; `None` when that is empty.
    ///
    /// `batch` is what the parser gave at old plain offset `at`; `equal` is the whole old range that the new stream
    /// shares, not only its part in this batch. Costs a walk over the batch's tokens when a cut falls inside it,
    /// nothing otherwise.
    #[must_use]
    pub fn cut(batch: &'a Batch, at: u64, equal: &Range<u64>) -> Option<Self> {
        let batch_end = at.saturating_add(batch.plain.len() as u64);
        let from = equal.start.max(at);
        let to = equal.end.min(batch_end);
        if from >= to {
            return None;
        }
        // Both lie within the batch, so both differences fit.
        let first = usize::try_from(from - at).ok()?;
        let last = usize::try_from(to - at).ok()?;
        let plain = batch.plain.get(first..last)?;
        let opaque = Self {
            at: from,
            plain,
            tokens: &[],
            covered: (plain.len(), plain.len()),
        };
        // Too short to copy from, so not worth a walk: a batch may be cut a million times.
        if equal.start > 0 && equal.end - equal.start < EQUAL_BYTES_MIN {
            return Some(opaque);
        }
        let mut tokens = batch.tokens.as_slice();
        let mut start = 0;
        while start < first {
            let Some((token, rest)) = tokens.split_first() else {
                return Some(opaque);
            };
            start += token.plain_bytes();
            tokens = rest;
        }
        let mut end = batch.plain.len();
        while end > last {
            let Some((token, rest)) = tokens.split_last() else {
                return Some(opaque);
            };
            end = end.saturating_sub(token.plain_bytes());
            tokens = rest;
        }
        if tokens.is_empty() || start >= end {
            return Some(opaque);
        }
        Some(Self {
            at: from,
            plain,
            tokens,
            covered: (start - first, end - first),
        })
    }

    /// Plain bytes of the stretch.
    #[must_use]
    pub const fn plain(&self) -> &'a [u8] {
        self.plain
    }
}
