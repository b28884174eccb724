//! A mirror's course: which upstream to ask, when to ask again, and what to do when something comes. SPEC §6.7.
//!
//! Feed [`Mirror::handle`] with what happened, carry out what [`Mirror::poll`] returns, and call again by
//! [`Mirror::poll_timeout`] at the latest.

use alloc::{collections::VecDeque, vec::Vec};

use crate::rate::Millis;

/// Between two polls on a connection that stays up, in milliseconds; a fifth more or less by chance, so that
/// mirrors started together drift apart.
pub const POLL_MS: u64 = 300_000;
/// Between two tries to get back to the first upstream, in milliseconds. The others are asked for newer roots then, one at
/// a time: whoever stole a master's keys would never send the root that replaces them.
pub const RETURN_MS: u64 = 300_000;
/// Between two receipts when nothing happens, in milliseconds.
pub const RECEIPT_MS: u64 = 3_600_000;
/// A node that waits to be admitted greets again after this, in case the nudge was lost, in milliseconds.
pub const PENDING_MS: u64 = 60_000;
/// The same where there are other upstreams: the next one may know this node already.
pub const PENDING_ELSEWHERE_MS: u64 = 10_000;
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
    /// Another upstream was tried while connected to one.
    Probed {
        /// Which.
        upstream: usize,
        /// Whether it would let us in.
        up: bool,
        /// A signed head that it sent, accepted, and of a release or a time that the present upstream has not told of.
        head: Option<Vec<u8>>,
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
    /// Connect to this upstream (index into the list of all, the configured ones first) and greet it. Ends in
    /// [`Event::Welcomed`], [`Event::Pending`] or [`Event::Failed`].
    Connect(usize),
    /// Greet again on the same connection.
    Greet,
    /// Ask whether there is anything new.
    Poll,
    /// Bring the docroot to what this signed head points at.
    Sync(Vec<u8>),
    /// Greet this upstream as well, leaving the connection as it is, and take the newer roots it has. Ends in
    /// [`Event::Probed`].
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
    /// Upstreams that failed since the last sync that ended well: a welcome alone proves nothing.
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
    /// A head that overtook the welcome on its own stream: it is the newer of the two.
    early_head: Option<Vec<u8>>,
    /// The nudge that overtook the refusal it speaks of.
    early_admission: bool,
    /// The first upstream of this round that let us wait: where every other one fails, we wait there.
    pending_at: Option<usize>,
    /// We go back to it, to stay.
    settle: bool,
    /// The operator asked; the next answer to a poll leads to a sync even if there is nothing new.
    wanted: bool,
    /// Whose word the present upstream's was compared with last.
    compared_with: usize,
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
            early_head: None,
            early_admission: false,
            pending_at: None,
            settle: false,
            wanted: false,
            compared_with: 0,
            actions: VecDeque::new(),
            jitter: seed,
        }
    }

    /// There are so many upstreams from now on; those that stay keep their places.
    pub fn set_upstreams(&mut self, upstreams: usize) {
        self.upstreams = upstreams.max(1);
        self.current = self.current.min(self.upstreams - 1);
        self.pending_at.take_if(|at| *at >= upstreams);
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
                let others = if self.upstreams > 1 {
                    return_at
                } else {
                    poll_at
                };
                Some(poll_at.min(others).min(receipt_at))
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

    /// Whether an upstream lets us wait to be admitted.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(self.link, Link::Pending { .. })
    }

    /// Whether any upstream has sent a head yet.
    #[must_use]
    pub fn knows_a_release(&self) -> bool {
        self.last_head.is_some()
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
            Event::Pending => self.pending(now),
            Event::Admitted => match self.link {
                Link::Pending { .. } => self.greet(),
                Link::Connecting => self.early_admission = true,
                Link::Down { .. } | Link::Up { .. } => {}
            },
            Event::Failed => self.failed(now),
            Event::Announced(head) => match self.link {
                Link::Connecting => self.early_head = Some(head),
                _ => self.announced(head),
            },
            Event::Unchanged => {
                if core::mem::take(&mut self.wanted)
                    && let Some(head) = self.last_head.clone()
                {
                    self.announced(head);
                }
            }
            Event::SyncEnded(outcome) => self.sync_ended(now, outcome),
            Event::Probed { upstream, up, head } => self.probed(now, upstream, up, head),
            Event::Wanted => match self.link {
                Link::Down { .. } => self.link = Link::Down { until: now },
                Link::Pending { .. } => self.link = Link::Pending { greet_at: now },
                Link::Connecting => {}
                Link::Up { .. } => {
                    self.wanted = true;
                    // Whoever refused us a good head before is asked again after this one.
                    self.failures = 0;
                    self.actions.push_back(Action::Poll);
                }
            },
            Event::Tick => {}
        }
        self.tick(now);
    }

    fn welcomed(&mut self, now: Millis, head: Option<Vec<u8>>) {
        let head = self.early_head.take().or(head);
        self.pending_at = None;
        self.settle = false;
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

    /// Another upstream may know this node; where none does, the last one asked is waited at.
    fn pending(&mut self, now: Millis) {
        if self.early_admission {
            self.greet();
        } else if !self.settle && self.failures + 1 < self.upstreams {
            self.pending_at.get_or_insert(self.current);
            self.actions.push_back(Action::Disconnect);
            self.failed(now);
        } else {
            self.pending_at = None;
            self.settle = false;
            let pause = if self.upstreams > 1 {
                PENDING_ELSEWHERE_MS
            } else {
                PENDING_MS
            };
            self.link = Link::Pending {
                greet_at: now.plus(self.jittered(pause)),
            };
        }
    }

    fn greet(&mut self) {
        self.early_admission = false;
        self.link = Link::Connecting;
        self.actions.push_back(Action::Greet);
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
                self.failures = 0;
                self.rounds = 0;
                self.local_faults = 0;
                if let (true, Link::Up { receipt_at, .. }) = (switched, &mut self.link) {
                    *receipt_at = now;
                }
            }
            // Another upstream may have a better head. Where all have been asked, the last one is stayed with.
            SyncOutcome::HeadRefused if self.is_up() && self.failures + 1 < self.upstreams => {
                self.queued = None;
                self.actions.push_back(Action::Disconnect);
                self.failed(now);
                return;
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
            self.failures = 0;
            self.rounds = 0;
        }
        // All of this is about the connection that has ended; the next welcome brings the head again.
        self.retry = None;
        self.early_head = None;
        self.early_admission = false;
        self.wanted = false;
        self.failures += 1;
        if self.failures < self.upstreams {
            self.current = (self.current + 1) % self.upstreams;
            self.connect();
        } else if let Some(pending_at) = self.pending_at.take() {
            // The operator there should see us wait, and whoever types `sync` should learn of it.
            self.settle = true;
            self.current = pending_at;
            self.connect();
        } else {
            self.settle = false;
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

    fn probed(&mut self, now: Millis, upstream: usize, up: bool, head: Option<Vec<u8>>) {
        let next = now.plus(self.jittered(RETURN_MS));
        let Link::Up { return_at, .. } = &mut self.link else {
            return;
        };
        *return_at = next.max(*return_at);
        // A sync under way is let finish; the next probe comes soon enough.
        if up && upstream == 0 && self.current > 0 && !self.syncing {
            self.actions.push_back(Action::Disconnect);
            self.current = 0;
            self.connect();
            return;
        }
        // An upstream that does not have what it points at is left for the next by the sync that finds this out. One that
        // was tried is not tried at every opinion: the polls see to that.
        if let Some(head) = head.filter(|head| self.last_head.as_ref() != Some(head)) {
            self.announced(head);
        }
    }

    fn tick(&mut self, now: Millis) {
        match self.link {
            Link::Down { until } if now >= until => self.connect(),
            Link::Pending { greet_at } if now >= greet_at && self.upstreams > 1 => {
                // Round again: whichever of them has admitted this node by now lets it in.
                self.failures = 0;
                self.current = 0;
                self.actions.push_back(Action::Disconnect);
                self.connect();
            }
            Link::Pending { greet_at } if now >= greet_at => self.greet(),
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
            // Where every head was refused, the others may have better ones by now: once per poll, so that whoever sends
            // bad heads all the time does not send us round all the time.
            self.failures = 0;
        }
        if now >= *return_at {
            *return_at = next_return;
            if self.current > 0 {
                self.actions.push_back(Action::Probe(0));
            }
            if let Some(other) = self.second_opinion() {
                self.actions.push_back(Action::Probe(other));
            }
        }
    }

    /// The next upstream to compare the present one with; the first is tried anyway.
    fn second_opinion(&mut self) -> Option<usize> {
        for _ in 0..self.upstreams {
            self.compared_with = (self.compared_with + 1) % self.upstreams;
            if self.compared_with != 0 && self.compared_with != self.current {
                return Some(self.compared_with);
            }
        }
        None
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
mod tests;
