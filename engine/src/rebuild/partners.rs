//! Finds for each stream of the new file the stream of the first base whose tokens it can use.

use tidecast_proto::bundle::Origin;
use tidecast_proto::codec::CodecError;
use tidecast_proto::deflate::Parameters;
use tidecast_proto::recipe::Segment;

use super::error::RebuildError;
use super::walk::Stream;
use super::{Source, Target};

/// The old stream that a new one takes tokens from.
pub(super) type Partner = Stream;

/// A segment of the new file, ready to be made.
pub(super) enum Part<'a> {
    Literal(&'a [u8]),
    Plain {
        bytes: u64,
    },
    Stream {
        parameters: Parameters,
        plain_bytes: u64,
        /// Packed with the same parameters.
        partner: Option<Partner>,
    },
}

/// The segments of `target`, each stream with the old stream that it shares most bytes with, in order.
///
/// # Errors
/// [`RebuildError::Impossible`] when parameters are none; a recipe that was checked has no such.
pub(super) fn parts<'a>(
    target: &Target<'a>,
    base: Option<&Source>,
) -> Result<Vec<Part<'a>>, RebuildError> {
    let Some(recipe) = target.recipe else {
        return Ok(vec![Part::Plain {
            bytes: target.list.total_bytes(),
        }]);
    };
    let partners = match base {
        Some(base) => partners(target, recipe.segments(), base),
        None => Vec::new(),
    };
    let mut parts = Vec::new();
    for (index, segment) in recipe.segments().iter().enumerate() {
        parts.push(match segment {
            Segment::Literal(bytes) => Part::Literal(bytes),
            Segment::Plain { bytes } => Part::Plain { bytes: *bytes },
            Segment::Deflate(deflate) => Part::Stream {
                parameters: deflate.parameters().map_err(impossible)?,
                plain_bytes: deflate.plain_bytes,
                partner: partners.get(index).copied().flatten(),
            },
        });
    }
    Ok(parts)
}

fn impossible(_: CodecError) -> RebuildError {
    RebuildError::Impossible("a stream with parameters that zlib would refuse")
}

/// Where each segment ends in the content.
fn ends(segments: &[Segment]) -> Vec<u64> {
    let ends = segments.iter().scan(0, |end, segment| {
        *end += match segment {
            Segment::Literal(_) => 0,
            Segment::Plain { bytes } => *bytes,
            Segment::Deflate(deflate) => deflate.plain_bytes,
        };
        Some(*end)
    });
    ends.collect()
}

fn partners(target: &Target<'_>, new: &[Segment], base: &Source) -> Vec<Option<Partner>> {
    let old = match &base.recipe {
        Some(recipe) => recipe.segments(),
        None => return Vec::new(),
    };
    let (new_ends, old_ends) = (ends(new), ends(old));
    let mut best: Vec<(u64, usize)> = vec![(0, usize::MAX); new.len()];
    // In-order chunks rise in both contents, so the pairs of segments come one after the other, too.
    let (mut pair, mut shared) = ((0, 0), 0);
    let (mut old_chunks, mut new_at) = (base.list.with_offsets().enumerate(), 0);
    for (entry, origin) in target.list.entries().iter().zip(target.origins.all()) {
        let (mut at, end) = (new_at, new_at + u64::from(entry.len));
        new_at = end;
        let Origin::InOrder { entry: old_entry } = origin else {
            continue;
        };
        let Some((_, (mut old_at, _))) =
            old_chunks.find(|(index, _)| *index == *old_entry as usize)
        else {
            break;
        };
        while at < end {
            let (mut a, mut b) = pair;
            while new_ends.get(a).is_some_and(|end| *end <= at) {
                a += 1;
            }
            while old_ends.get(b).is_some_and(|end| *end <= old_at) {
                b += 1;
            }
            let (Some(new_end), Some(old_end)) = (new_ends.get(a), old_ends.get(b)) else {
                return Vec::new();
            };
            if (a, b) != pair {
                (pair, shared) = ((a, b), 0);
            }
            let bytes = (end - at).min(new_end - at).min(old_end - old_at);
            shared += bytes;
            at += bytes;
            old_at += bytes;
            if best[a].0 < shared && same_parameters(&new[a], &old[b]) {
                best[a] = (shared, b);
            }
        }
    }
    let partner = |(_, segment): (u64, usize)| match old.get(segment)? {
        Segment::Deflate(deflate) => Some(Partner {
            segment,
            start: old_ends[segment] - deflate.plain_bytes,
            plain_bytes: deflate.plain_bytes,
        }),
        _ => None,
    };
    best.into_iter().map(partner).collect()
}

fn same_parameters(new: &Segment, old: &Segment) -> bool {
    match (new, old) {
        (Segment::Deflate(new), Segment::Deflate(old)) => {
            new.parameters().is_ok() && new.parameters().ok() == old.parameters().ok()
        }
        _ => false,
    }
}
