//! The docroot's clock: the machine's, as far as the newest head bears it out. SPEC §8.8.

use std::sync::{Arc, OnceLock};

use tidecast_proto::id::Timestamp;
use tidecast_proto::trust::Trust;

use super::memory::Beliefs;
use crate::clock::Clock;

/// What is written into the docroot outlives a clock that was wrong for a minute: a Last-Modified of 1970 hides a new file
/// from every client, and a tree that was switched to in 2106 would never be let go of.
#[derive(Debug)]
pub(super) struct VouchedClock {
    clock: Arc<dyn Clock>,
    /// Absent while the docroot is being opened, before anything is believed.
    beliefs: OnceLock<Arc<Beliefs>>,
}

impl VouchedClock {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            beliefs: OnceLock::new(),
        }
    }

    /// From now on these say what time it can be.
    pub(super) fn believe(&self, beliefs: Arc<Beliefs>) {
        // Said once, by whoever made it.
        let _ = self.beliefs.set(beliefs);
    }
}

impl Clock for VouchedClock {
    fn now(&self) -> Timestamp {
        let clock = self.clock.now();
        let vouched = self
            .beliefs
            .get()
            .and_then(|b| b.with(|t| vouched(t, clock)));
        vouched.unwrap_or(clock)
    }
}

/// `clock`, but not before the issued floor and not after the last of the heads has expired.
fn vouched(trust: &Trust, clock: Timestamp) -> Timestamp {
    let now = trust.now(clock);
    trust.heads_expire().map_or(now, |expires| now.min(expires))
}
