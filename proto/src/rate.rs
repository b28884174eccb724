//! The useful-rate rule: a source that sends too little of what was asked is dropped. SPEC §6.6.

use crate::limits;

/// Milliseconds on a monotonic clock that starts anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// This moment plus `ms`.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// A source sent less than the rule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "only {bytes} bytes in {ms} ms, under {} bytes/s",
    limits::USEFUL_BYTES_PER_S
)]
pub struct TooSlow {
    /// What came in the window.
    pub bytes: u64,
    /// How long the window was.
    pub ms: u64,
}

/// Watches one source while something is asked of it.
#[derive(Debug, Clone)]
pub struct UsefulRate {
    window_start: Millis,
    bytes_at_start: u64,
}

impl UsefulRate {
    /// Starts watching a source that has sent `total_bytes` so far.
    #[must_use]
    pub fn new(now: Millis, total_bytes: u64) -> Self {
        Self {
            window_start: now,
            bytes_at_start: total_bytes,
        }
    }

    /// Judges the source, which has sent `total_bytes` of asked-for bytes by now.
    ///
    /// # Errors
    /// [`TooSlow`] once a whole window has passed below the rate.
    pub fn observe(&mut self, now: Millis, total_bytes: u64) -> Result<(), TooSlow> {
        let ms = now.0.saturating_sub(self.window_start.0);
        if ms < limits::USEFUL_WINDOW_MS as u64 {
            return Ok(());
        }
        let bytes = total_bytes.saturating_sub(self.bytes_at_start);
        *self = Self::new(now, total_bytes);
        if bytes * 1000 < limits::USEFUL_BYTES_PER_S as u64 * ms {
            return Err(TooSlow { bytes, ms });
        }
        Ok(())
    }

    /// The upstream asked for patience: a new window begins when it is over, at most [`limits::WAIT_MS`] ahead.
    pub fn rest(&mut self, now: Millis, ms: u32, total_bytes: u64) {
        *self = Self::new(
            now.plus(u64::from(ms).min(limits::WAIT_MS as u64)),
            total_bytes,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_per_second_is_dropped_after_one_window() {
        let mut rate = UsefulRate::new(Millis(5), 0);
        for second in 1..30 {
            assert_eq!(rate.observe(Millis(5 + second * 1000), second), Ok(()));
        }
        assert_eq!(
            rate.observe(Millis(30_005), 30),
            Err(TooSlow {
                bytes: 30,
                ms: 30_000
            })
        );
    }

    #[test]
    fn just_enough_is_enough_and_old_merit_does_not_count() {
        let mut rate = UsefulRate::new(Millis(0), 0);
        assert_eq!(rate.observe(Millis(30_000), 8 * 1024 * 30), Ok(()));
        assert!(rate.observe(Millis(60_000), 8 * 1024 * 31).is_err());
    }

    #[test]
    fn asking_for_patience_suspends_the_rule_for_a_bounded_time() {
        let mut rate = UsefulRate::new(Millis(0), 0);
        rate.rest(Millis(1_000), u32::MAX, 0);
        assert_eq!(rate.observe(Millis(80_000), 0), Ok(()));
        assert!(rate.observe(Millis(91_000), 0).is_err());
    }
}
