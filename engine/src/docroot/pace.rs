//! Reading no faster than was asked. SPEC §8.11.

use std::num::NonZeroU64;
use std::time::Duration;

/// Most bytes read at once.
const PIECE_BYTES: u64 = 1024 * 1024;
/// At a low rate, pieces are what may be read in a quarter of a second, so that pauses are short ...
const PIECES_PER_S: u64 = 4;
/// ... but never less than a page.
const PIECE_BYTES_MIN: u64 = 4096;

/// A bucket of one piece that fills at the rate: nothing is saved up, so a pause is never followed by a burst.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    bytes_per_s: NonZeroU64,
    /// When what was read so far is paid for, since whatever moment the caller counts from.
    paid: Duration,
}

impl Pace {
    pub(crate) fn new(bytes_per_s: NonZeroU64) -> Self {
        Self {
            bytes_per_s,
            paid: Duration::ZERO,
        }
    }

    /// How many bytes to read at once.
    pub(crate) fn piece(self) -> usize {
        let piece = (self.bytes_per_s.get() / PIECES_PER_S).clamp(PIECE_BYTES_MIN, PIECE_BYTES);
        usize::try_from(piece).unwrap_or(usize::MAX)
    }

    /// How long to wait at `now` before more is read, after `bytes`.
    pub(crate) fn after(&mut self, bytes: u64, now: Duration) -> Duration {
        let cost = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_s.get());
        let cost = Duration::from_nanos(u64::try_from(cost).unwrap_or(u64::MAX));
        self.paid = self.paid.max(now).saturating_add(cost);
        self.paid - now
    }
}

/// How many bytes to read at once when nothing bounds the rate.
pub(crate) fn unpaced_piece() -> usize {
    usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_takes_its_time_and_a_pause_saves_nothing_up() {
        let mut pace = Pace::new(NonZeroU64::new(1_000_000).unwrap());
        assert_eq!(pace.piece(), 250_000);
        let ms = Duration::from_millis;
        assert_eq!(pace.after(250_000, ms(0)), ms(250));
        // Reading took 50 ms by itself.
        assert_eq!(pace.after(250_000, ms(300)), ms(250));
        // A minute later the next piece costs what it always does.
        assert_eq!(pace.after(250_000, ms(60_000)), ms(250));
        assert_eq!(pace.after(250_000, ms(60_000)), ms(500));
    }

    #[test]
    fn a_piece_is_never_less_than_a_page_nor_more_than_a_megabyte() {
        let piece = |rate| Pace::new(NonZeroU64::new(rate).unwrap()).piece();
        assert_eq!((piece(1), piece(u64::MAX)), (4096, unpaced_piece()));
    }
}
