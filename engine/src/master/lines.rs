//! How much of what a node says goes to the log: nobody fills a disk by saying one thing and then another. SPEC §7.4.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tidecast_proto::id::Timestamp;
use tidecast_proto::key::PublicKey;

/// Lines about one node in each [`WINDOW_MS`]: a mirror that catches up with several releases in a row is told whole.
const LINES: u32 = 6;

/// Ten minutes.
const WINDOW_MS: u64 = 600 * 1000;

/// Whether something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    Yes,
    /// It is, and that nothing more will be for a while.
    Last,
    No,
}

#[derive(Debug)]
struct Window {
    began: Timestamp,
    lines: u32,
}

/// The lines that were written about each node lately.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<BTreeMap<PublicKey, Window>>);

impl Lines {
    /// Counts a line about `node`, which is an admitted one: those bound the list.
    pub(super) fn another(&self, node: &PublicKey, now: Timestamp) -> Telling {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back begins anew, too.
        windows.retain(|_, w| w.began <= now && now.0 - w.began.0 < WINDOW_MS);
        let window = windows.entry(*node).or_insert(Window {
            began: now,
            lines: 0,
        });
        window.lines = window.lines.saturating_add(1);
        match window.lines {
            ..LINES => Telling::Yes,
            LINES => Telling::Last,
            _ => Telling::No,
        }
    }

    /// As [`Self::another`], where the last one is told by a line of its own. Says whether to write the line.
    pub(super) fn allow(&self, node: &PublicKey, now: Timestamp) -> bool {
        let telling = self.another(node, now);
        if telling == Telling::Last {
            tracing::warn!(%node, "this node says one thing and then another: after the next line, nothing of that is told for ten minutes");
        }
        telling != Telling::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::key::SecretKey;

    #[test]
    fn a_node_has_six_lines_in_ten_minutes_and_takes_none_of_anothers() {
        let lines = Lines::default();
        let [node, other] = [1, 2].map(|seed| SecretKey::from_seed(&[seed; 32]).public());
        let mut now = Timestamp(1_000);
        let written = |now| (0..1_000).filter(|_| lines.allow(&node, now)).count();
        assert_eq!(written(now), 6);
        assert_eq!(lines.another(&other, now), Telling::Yes);
        now.0 += WINDOW_MS - 1;
        assert_eq!(written(now), 0);
        now.0 += 1;
        assert_eq!(written(now), 6);
        assert_eq!(lines.0.lock().unwrap().len(), 1, "the other said no more");
        assert_eq!(written(Timestamp(0)), 6, "the clock was set back");
    }
}
