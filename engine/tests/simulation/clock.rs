//! What time it is: the simulation's time, and what a machine takes it for.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tidecast_engine::clock::Clock;
use tidecast_proto::id::Timestamp;

/// When every run begins: 2026-01-01, in Unix milliseconds.
pub(crate) const EPOCH_MS: u64 = 1_767_225_600_000;

/// The time that has passed, for all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Elapsed(Arc<AtomicU64>);

impl Elapsed {
    pub(crate) fn ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    /// What a right clock shows.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(EPOCH_MS + self.ms())
    }
}

/// One machine's clock, which may be wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostClock {
    elapsed: Elapsed,
    ahead_ms: Arc<AtomicI64>,
}

impl HostClock {
    pub(crate) fn new(elapsed: &Elapsed) -> Self {
        Self {
            elapsed: elapsed.clone(),
            ahead_ms: Arc::default(),
        }
    }

    /// From now on it is wrong by so much; 0 puts it right.
    pub(crate) fn jump(&self, ahead_ms: i64) {
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }
}

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        let right = self.elapsed.now().0;
        Timestamp(right.saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed)))
    }
}
