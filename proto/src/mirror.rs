//! A mirror's course: which upstream to ask, when to ask again, and what to do when something comes. SPEC §6.7.
//!
//! Feed [`Mirror::handle`] with what happened, carry out what [`Mirror::poll`] returns, and call again by
//! [`Mirror::poll_timeout`] at the latest.

use alloc::{collections::VecDeque, vec::Vec};

use crate::rate::Millis;

/// Between two polls on a connection that stays up, in milliseconds; a fifth more or less by chance, so that
/// mirrors started together drift apart.
pub const POLL_MS: u64 = 300_000;
/// Between two tries to get back to the first upstream, in milliseconds.
pub const RETURN_MS: u64 = 300_000;
/// Between two receipts when nothing happens, in milliseconds.
pub const RECEIPT_MS: u64 = 3_600_000;
/// A node that waits to be admitted greets again after this, in case the nudge was lost, in milliseconds.
pub const PENDING_MS: u64 = 60_000;
/// First pause after every upstream failed, doubled each round, in milliseconds.
pub const BACKOFF_MIN_MS: u64 = 1_000;
/// Longest pause, in milliseconds.
pub const BACKOFF_MAX_MS: u64 = 60_000;
/// A connection that lasted this long forgets earlier failures, in milliseconds.
pub const STEADY_MS: u64 = 30_000;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The upstream let us in; it may have sent its newest head.
    Welcomed {
        /// The signed head.
        head: Option<Vec<u8>>,
    },
    /// We wait to be admitted; the connection stays.
    Pending,
    /// The upstream says that has changed.
    Admitted,
    /// The upstream could not be reached, was lost, refused us or broke the protocol.
    Failed,
    /// A signed head came, asked for or not.
    Announced(Vec<u8>),
    /// A poll found nothing new.
    Unchanged,
    /// The sync that was under way is over.
    SyncEnded(SyncOutcome),
    /// The first upstream was tried while connected to another.
    Probed {
        /// Whether it answered.
        up: bool,
    },
    /// The operator wants a look now.
    Wanted,
    /// Nothing, but time has passed.
    Tick,
}

/// How a sync ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncOutcome {
    /// The docroot has what the head asked for.
    Done {
        /// Whether it was switched just now.
        switched: bool,
    },
    /// The upstream sent wrong bytes, nothing, or too little.
    UpstreamAtFault,
    /// The disk or the docroot is at fault: asking another upstream would not help.
    LocalFault,
    /// The head itself is refused (old, expired, another feed's): stay, poll on.
    HeadRefused,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect to this upstream (index into the configured list) and greet it. Ends in [`Event::Welcomed`],
    /// [`Event::Pending`] or [`Event::Failed`].
    Connect(usize),
    /// Greet again on the same connection.
    Greet,
    /// Ask whether there is anything new.
    Poll,
    /// Bring the docroot to what this signed head points at.
    Sync(Vec<u8>),
    /// See whether this upstream answers, leaving the connection as it is.
    Probe(usize),
    /// Send a receipt.
    Receipt,
    /// Close the connection.
    Disconnect,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Link {
    Down {
        until: Millis,
    },
    Connecting,
    Pending {
        greet_at: Millis,
    },
    Up {
        since: Millis,
        poll_at: Millis,
        return_at: Millis,
        receipt_at: Millis,
    },
}

/// One mirror's course.
#[derive(Debug)]
pub struct Mirror {
    upstreams: usize,
    /// The one being asked.
    current: usize,
    link: Link,
    /// Upstreams that failed since the last good connection.
    failures: usize,
    /// Rounds through all upstreams that failed.
    rounds: u32,
    syncing: bool,
    /// The newest head that came while a sync was under way.
    queued: Option<Vec<u8>>,
    /// A head to try again after a local fault.
    retry: Option<(Millis, Vec<u8>)>,
    local_faults: u32,
    last_head: Option<Vec<u8>>,
    actions: VecDeque<Action>,
    jitter: u64,
}

impl Mirror {
    /// A mirror of `upstreams` (at least one), not yet connected. `seed` varies its pauses.
    #[must_use]
    pub fn new(now: Millis, upstreams: usize, seed: u64) -> Self {
        Self {
            upstreams: upstreams.max(1),
            current: 0,
            link: Link::Down { until: now },
            failures: 0,
            rounds: 0,
            syncing: false,
            queued: None,
            retry: None,
            local_faults: 0,
            last_head: None,
            actions: VecDeque::new(),
            jitter: seed,
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to come back with [`Event::Tick`] if nothing happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        let link = match self.link {
            Link::Down { until } => Some(until),
            Link::Connecting => None,
            Link::Pending { greet_at } => Some(greet_at),
            Link::Up {
                poll_at,
                return_at,
                receipt_at,
                ..
            } => {
                let back = if self.current > 0 { return_at } else { poll_at };
                Some(poll_at.min(back).min(receipt_at))
            }
        };
        let retry = self.retry.as_ref().map(|(at, _)| *at);
        [link, retry].into_iter().flatten().min()
    }

    /// The upstream that is connected or being tried.
    #[must_use]
    pub fn upstream(&self) -> usize {
        self.current
    }

    /// Whether an upstream has let us in.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// Whether every upstream failed and the mirror pauses.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(self.link, Link::Down { .. })
    }

    /// Takes in one event.
    pub fn handle(&mut self, now: Millis, event: Event) {
        match event {
            Event::Welcomed { head } => self.welcomed(now, head),
            Event::Pending => {
                self.failures = 0;
                self.link = Link::Pending {
                    greet_at: now.plus(self.jittered(PENDING_MS)),
                };
            }
            Event::Admitted => {
                if matches!(self.link, Link::Pending { .. }) {
                    self.link = Link::Connecting;
                    self.actions.push_back(Action::Greet);
                }
            }
            Event::Failed => self.failed(now),
            Event::Announced(head) => self.announced(head),
            Event::Unchanged => {}
            Event::SyncEnded(outcome) => self.sync_ended(now, outcome),
            Event::Probed { up } => self.probed(now, up),
            Event::Wanted => match self.link {
                Link::Down { .. } => self.link = Link::Down { until: now },
                Link::Pending { .. } => self.link = Link::Pending { greet_at: now },
                Link::Connecting => {}
                Link::Up { .. } => {
                    if let Some((at, _)) = &mut self.retry {
                        *at = now;
                    }
                    self.actions.push_back(Action::Poll);
                }
            },
            Event::Tick => {}
        }
        self.tick(now);
    }

    fn welcomed(&mut self, now: Millis, head: Option<Vec<u8>>) {
        self.failures = 0;
        self.link = Link::Up {
            since: now,
            poll_at: now.plus(self.jittered(POLL_MS)),
            return_at: now.plus(self.jittered(RETURN_MS)),
            receipt_at: now,
        };
        if let Some(head) = head {
            self.announced(head);
        }
    }

    /// The newest head wins. One that comes during a sync is kept and looked at right after it.
    fn announced(&mut self, head: Vec<u8>) {
        self.retry = None;
        self.last_head = Some(head.clone());
        if self.syncing {
            self.queued = Some(head);
        } else {
            self.syncing = true;
            self.actions.push_back(Action::Sync(head));
        }
    }

    fn sync_ended(&mut self, now: Millis, outcome: SyncOutcome) {
        self.syncing = false;
        match outcome {
            SyncOutcome::Done { switched } => {
                self.rounds = 0;
                self.local_faults = 0;
                if let (true, Link::Up { receipt_at, .. }) = (switched, &mut self.link) {
                    *receipt_at = now;
                }
            }
            SyncOutcome::HeadRefused => {}
            SyncOutcome::LocalFault => {
                let pause = self.backoff(self.local_faults);
                self.local_faults = self.local_faults.saturating_add(1);
                self.retry = self.last_head.clone().map(|head| (now.plus(pause), head));
            }
            SyncOutcome::UpstreamAtFault => {
                // Its queued word counts for nothing now; the next upstream sends its own with the welcome.
                self.queued = None;
                if self.is_up() {
                    self.actions.push_back(Action::Disconnect);
                    self.failed(now);
                }
                return;
            }
        }
        if let Some(head) = self.queued.take() {
            self.announced(head);
        }
    }

    fn failed(&mut self, now: Millis) {
        if let Link::Up { since, .. } = self.link
            && now.0.saturating_sub(since.0) >= STEADY_MS
        {
            self.rounds = 0;
        }
        self.failures += 1;
        if self.failures < self.upstreams {
            self.current = (self.current + 1) % self.upstreams;
            self.connect();
        } else {
            let pause = self.backoff(self.rounds);
            self.rounds = self.rounds.saturating_add(1);
            self.failures = 0;
            self.current = 0;
            self.link = Link::Down {
                until: now.plus(pause),
            };
        }
    }

    fn connect(&mut self) {
        self.link = Link::Connecting;
        self.actions.push_back(Action::Connect(self.current));
    }

    fn probed(&mut self, now: Millis, up: bool) {
        let next = now.plus(self.jittered(RETURN_MS));
        let Link::Up { return_at, .. } = &mut self.link else {
            return;
        };
        *return_at = next;
        // A sync under way is let finish; the next probe comes soon enough.
        if up && !self.syncing {
            self.actions.push_back(Action::Disconnect);
            self.current = 0;
            self.connect();
        }
    }

    fn tick(&mut self, now: Millis) {
        match self.link {
            Link::Down { until } if now >= until => self.connect(),
            Link::Pending { greet_at } if now >= greet_at => {
                self.link = Link::Connecting;
                self.actions.push_back(Action::Greet);
            }
            Link::Up { .. } => self.tick_up(now),
            _ => {}
        }
        if !self.syncing
            && let Some((_, head)) = self.retry.take_if(|(at, _)| now >= *at)
        {
            self.announced(head);
        }
    }

    fn tick_up(&mut self, now: Millis) {
        let (next_poll, next_return) = (
            now.plus(self.jittered(POLL_MS)),
            now.plus(self.jittered(RETURN_MS)),
        );
        let Link::Up {
            poll_at,
            return_at,
            receipt_at,
            ..
        } = &mut self.link
        else {
            return;
        };
        if now >= *receipt_at {
            *receipt_at = now.plus(RECEIPT_MS);
            self.actions.push_back(Action::Receipt);
        }
        if now >= *poll_at {
            *poll_at = next_poll;
            self.actions.push_back(Action::Poll);
        }
        if now >= *return_at {
            *return_at = next_return;
            if self.current > 0 {
                self.actions.push_back(Action::Probe(0));
            }
        }
    }

    fn backoff(&mut self, tries: u32) -> u64 {
        let pause = BACKOFF_MIN_MS
            .saturating_mul(1_u64.checked_shl(tries).unwrap_or(u64::MAX))
            .min(BACKOFF_MAX_MS);
        self.jittered(pause)
    }

    /// `ms` and up to a fifth more or less. splitmix64: enough to keep mirrors from marching in step.
    fn jittered(&mut self, ms: u64) -> u64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.jitter;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ms - ms / 5 + z % (ms / 5 * 2 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn drain(mirror: &mut Mirror) -> Vec<Action> {
        core::iter::from_fn(|| mirror.poll()).collect()
    }

    fn started(upstreams: usize) -> Mirror {
        let mut mirror = Mirror::new(Millis(0), upstreams, 7);
        mirror.handle(Millis(0), Event::Tick);
        assert_eq!(drain(&mut mirror), [Action::Connect(0)]);
        mirror
    }

    fn up(upstreams: usize) -> Mirror {
        let mut mirror = started(upstreams);
        mirror.handle(Millis(10), Event::Welcomed { head: None });
        assert_eq!(drain(&mut mirror), [Action::Receipt]);
        mirror
    }

    fn head(name: &str) -> Vec<u8> {
        name.as_bytes().to_vec()
    }

    const DONE: Event = Event::SyncEnded(SyncOutcome::Done { switched: true });

    #[test]
    fn a_push_during_a_sync_is_never_lost_and_the_newest_wins() {
        let mut mirror = up(1);
        mirror.handle(Millis(20), Event::Announced(head("1")));
        assert_eq!(drain(&mut mirror), [Action::Sync(head("1"))]);
        mirror.handle(Millis(21), Event::Announced(head("2")));
        mirror.handle(Millis(22), Event::Announced(head("3")));
        assert_eq!(drain(&mut mirror), []);
        mirror.handle(Millis(30), DONE);
        let actions = drain(&mut mirror);
        assert!(actions.contains(&Action::Sync(head("3"))), "{actions:?}");
        assert!(actions.contains(&Action::Receipt), "{actions:?}");
    }

    #[test]
    fn the_next_upstream_is_asked_at_once_and_a_pause_comes_after_the_last() {
        let mut mirror = started(3);
        mirror.handle(Millis(1), Event::Failed);
        assert_eq!(drain(&mut mirror), [Action::Connect(1)]);
        mirror.handle(Millis(2), Event::Failed);
        assert_eq!(drain(&mut mirror), [Action::Connect(2)]);
        mirror.handle(Millis(3), Event::Failed);
        assert_eq!(drain(&mut mirror), []);
        let until = mirror.poll_timeout().unwrap();
        assert!((803..=1_203).contains(&until.0), "{until:?}");
        mirror.handle(until, Event::Tick);
        assert_eq!(drain(&mut mirror), [Action::Connect(0)]);
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut mirror = started(1);
        let mut now = Millis(1);
        let mut last = 0;
        for _ in 0..12 {
            mirror.handle(now, Event::Failed);
            let until = mirror.poll_timeout().unwrap();
            last = until.0 - now.0;
            assert!(last <= BACKOFF_MAX_MS * 6 / 5, "{last}");
            now = until;
            mirror.handle(now, Event::Tick);
            assert_eq!(drain(&mut mirror), [Action::Connect(0)]);
        }
        assert!(last >= BACKOFF_MAX_MS * 4 / 5, "{last}");
    }

    #[test]
    fn the_first_upstream_is_taken_back_when_it_recovers() {
        let mut mirror = started(2);
        mirror.handle(Millis(1), Event::Failed);
        drain(&mut mirror);
        mirror.handle(Millis(2), Event::Welcomed { head: None });
        drain(&mut mirror);
        let now = loop {
            let now = mirror.poll_timeout().unwrap();
            mirror.handle(now, Event::Tick);
            if drain(&mut mirror).contains(&Action::Probe(0)) {
                break now;
            }
            assert!(now.0 < RETURN_MS * 2, "never probed");
        };
        mirror.handle(now, Event::Probed { up: false });
        assert_eq!(drain(&mut mirror), []);
        mirror.handle(now, Event::Probed { up: true });
        assert_eq!(drain(&mut mirror), [Action::Disconnect, Action::Connect(0)]);
    }

    #[test]
    fn a_lying_upstream_is_left_and_a_full_disk_is_not_blamed_on_it() {
        let mut mirror = up(2);
        mirror.handle(Millis(20), Event::Announced(head("1")));
        drain(&mut mirror);
        mirror.handle(Millis(30), Event::SyncEnded(SyncOutcome::LocalFault));
        assert_eq!(drain(&mut mirror), []);
        let again = mirror.poll_timeout().unwrap();
        mirror.handle(again, Event::Tick);
        assert_eq!(drain(&mut mirror), [Action::Sync(head("1"))]);
        mirror.handle(again, Event::SyncEnded(SyncOutcome::UpstreamAtFault));
        assert_eq!(drain(&mut mirror), [Action::Disconnect, Action::Connect(1)]);
    }

    #[test]
    fn a_waiting_node_greets_again_when_nudged_or_after_a_minute() {
        let mut mirror = started(1);
        mirror.handle(Millis(1), Event::Pending);
        assert_eq!(drain(&mut mirror), []);
        mirror.handle(Millis(2), Event::Admitted);
        assert_eq!(drain(&mut mirror), [Action::Greet]);
        mirror.handle(Millis(3), Event::Pending);
        let at = mirror.poll_timeout().unwrap();
        mirror.handle(at, Event::Tick);
        assert_eq!(drain(&mut mirror), [Action::Greet]);
    }

    #[test]
    fn a_quiet_connection_polls_and_sends_a_receipt_each_hour() {
        let mut mirror = up(1);
        let (mut polls, mut receipts) = (0, 0);
        loop {
            let now = mirror.poll_timeout().unwrap();
            if now.0 > 4 * RECEIPT_MS {
                break;
            }
            mirror.handle(now, Event::Tick);
            for action in drain(&mut mirror) {
                match action {
                    Action::Poll => polls += 1,
                    Action::Receipt => receipts += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!((40..=60).contains(&polls), "{polls}");
        assert!((3..=4).contains(&receipts), "{receipts}");
        assert_eq!(vec![mirror.upstream()], [0]);
    }
}
