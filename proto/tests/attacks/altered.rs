//! Bytes with something changed: a bit, a number, an order, a length, a piece of another object.

use crate::rng::Rng;

/// What is done to the bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Flip,
    Overwrite,
    Swap,
    Truncate,
    Splice,
    Duplicate,
    Remove,
    Insert,
    Number,
    Append,
}

impl Change {
    pub(crate) const ALL: [Self; 10] = [
        Self::Flip,
        Self::Overwrite,
        Self::Swap,
        Self::Truncate,
        Self::Splice,
        Self::Duplicate,
        Self::Remove,
        Self::Insert,
        Self::Number,
        Self::Append,
    ];
}

/// A stretch of `len` bytes: anywhere, most often short.
fn stretch(rng: &mut Rng, len: usize) -> std::ops::Range<usize> {
    let from = rng.below(len);
    let most = if rng.once_in(4) {
        len - from
    } else {
        (len - from).min(64)
    };
    from..from + 1 + rng.below(most)
}

/// Changes `bytes`, with pieces of `other` where pieces are wanted.
pub(crate) fn change(change: Change, bytes: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    if out.is_empty() {
        return out;
    }
    match change {
        Change::Flip => {
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(out.len());
                out[at] ^= 1 << rng.below(8);
            }
        }
        Change::Overwrite => {
            for at in stretch(rng, bytes.len()) {
                out[at] = rng.next().to_le_bytes()[0];
            }
        }
        Change::Swap => {
            let len = 1 + rng.below(bytes.len().min(96) / 2 + 1);
            let (a, b) = (rng.below(bytes.len()), rng.below(bytes.len()));
            let (a, b) = (a.min(b), a.max(b));
            let len = len.min(b - a).min(bytes.len() - b);
            let (front, back) = out.split_at_mut(b);
            front[a..a + len].swap_with_slice(&mut back[..len]);
        }
        Change::Truncate => out.truncate(rng.below(bytes.len())),
        Change::Splice => {
            let from = stretch(rng, other.len().max(1));
            let piece = other.get(from).unwrap_or(&[]);
            let to = stretch(rng, bytes.len());
            // As often in the place of as many bytes: then lengths still hold.
            let to = if rng.once_in(2) {
                to.start..(to.start + piece.len()).min(bytes.len())
            } else {
                to
            };
            out.splice(to, piece.iter().copied());
        }
        Change::Duplicate => {
            let from = stretch(rng, bytes.len());
            let at = if rng.once_in(2) {
                from.end
            } else {
                rng.below(bytes.len())
            };
            out.splice(at..at, bytes[from].iter().copied());
        }
        Change::Remove => {
            out.drain(stretch(rng, bytes.len()));
        }
        Change::Insert => {
            let at = rng.below(bytes.len());
            let some: Vec<u8> = (0..1 + rng.below(40))
                .map(|_| rng.next().to_le_bytes()[0])
                .collect();
            out.splice(at..at, some);
        }
        Change::Number => {
            let at = rng.below(bytes.len().saturating_sub(8).max(1));
            if let Some(place) = out.get_mut(at..at + 8) {
                let near = u64::from_le_bytes(place.try_into().unwrap());
                place.copy_from_slice(&rng.extreme(near).to_le_bytes());
            }
        }
        Change::Append => {
            let from = stretch(rng, other.len().max(1));
            out.extend_from_slice(other.get(from).unwrap_or(&[0]));
        }
    }
    out
}
