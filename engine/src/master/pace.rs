//! How fast answers to a node go out: at the rate its operator is granted, all its connections together. SPEC §7.4.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use quinn::SendStream;
use tidecast_proto::key::PublicKey;
use tokio::time::Instant;

use super::{Master, Nodes};
use crate::metrics::Sent;
use crate::quic::{StreamError, write_chunks, write_frame};

/// How often whoever waits looks whether the rate was changed meanwhile.
const LOOK: Duration = Duration::from_millis(250);

/// What may be saved up, in seconds of the rate: a bundle of an ordinary day goes out at once.
const BURST_S: u64 = 1;

/// Bytes that may go out now. A frame goes out whole once nothing is owed, so a limited node receives frame after frame
/// and keeps to the useful rate however many streams it reads.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    rate: Option<u64>,
    /// What may go out, in millionths of a byte; below 0 what was sent ahead.
    left: i128,
    at: Instant,
}

const MILLION: i128 = 1_000_000;

impl Bucket {
    fn full(rate: Option<u64>, now: Instant) -> Self {
        Self {
            rate,
            left: rate.map_or(0, Self::burst),
            at: now,
        }
    }

    fn burst(rate: u64) -> i128 {
        i128::from(rate) * i128::from(BURST_S) * MILLION
    }

    /// How long until the next frame; taken as sent when there is nothing to wait for.
    fn take(&mut self, bytes: u64, now: Instant) -> Option<Duration> {
        let rate = self.rate?;
        // Bytes a second are millionths of a byte a microsecond.
        let passed = now.saturating_duration_since(self.at).as_micros();
        let earned = i128::from(rate) * i128::try_from(passed).unwrap_or(i128::MAX / MILLION);
        self.at = now;
        self.left = self.left.saturating_add(earned).min(Self::burst(rate));
        if self.left < 0 {
            let wait = self.left.unsigned_abs() / u128::from(rate.max(1)) + 1;
            return Some(Duration::from_micros(
                u64::try_from(wait).unwrap_or(u64::MAX),
            ));
        }
        self.left -= i128::from(bytes) * MILLION;
        None
    }
}

/// One node's rate.
#[derive(Debug)]
pub(super) struct Pace {
    bucket: Mutex<Bucket>,
    /// Held by the one whose frame is next, in order of arrival.
    turn: tokio::sync::Mutex<()>,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self {
            bucket: Mutex::new(Bucket::full(Some(rate), Instant::now())),
            turn: tokio::sync::Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the rate, also for whoever waits; no bound from now on without.
    fn set_rate(&self, rate: Option<u64>) {
        let mut bucket = self.lock();
        if bucket.rate != rate {
            *bucket = Bucket::full(rate, Instant::now());
        }
    }

    /// Waits until a frame of `bytes` may go out.
    async fn wait(&self, bytes: usize) {
        let _turn = self.turn.lock().await;
        loop {
            let wait = self.lock().take(bytes as u64, Instant::now());
            match wait {
                Some(wait) => tokio::time::sleep(wait.min(LOOK)).await,
                None => return,
            }
        }
    }
}

/// The nodes that have a rate; as many as the list of nodes names.
#[derive(Debug, Default)]
pub(super) struct Paces(Mutex<BTreeMap<PublicKey, Arc<Pace>>>);

impl Paces {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PublicKey, Arc<Pace>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the list says now; answers under way go on at the new rate.
    pub(super) fn take_over(&self, nodes: &Nodes) {
        let mut paces = self.lock();
        paces.retain(|key, pace| {
            let node = nodes.0.get(key);
            let rate = node.and_then(|node| node.settings.rate_bytes_per_s);
            pace.set_rate(rate);
            rate.is_some()
        });
        for (key, node) in &nodes.0 {
            if let Some(rate) = node.settings.rate_bytes_per_s {
                paces
                    .entry(*key)
                    .or_insert_with(|| Arc::new(Pace::new(rate)));
            }
        }
    }

    /// A node's; `None` when it may have what the line carries.
    pub(super) fn of(&self, node: &PublicKey) -> Option<Arc<Pace>> {
        self.lock().get(node).cloned()
    }
}

/// Where an answer's frames go: a stream, at its node's pace, counted.
pub(super) struct Outlet<'a> {
    stream: &'a mut SendStream,
    pace: Option<Arc<Pace>>,
    sent: Counter,
}

impl Master {
    /// Where frames of `kind` go to `node`.
    pub(super) fn outlet<'a>(
        &self,
        stream: &'a mut SendStream,
        node: &PublicKey,
        kind: Sent,
    ) -> Outlet<'a> {
        Outlet::new(stream, self.paces.of(node), self.counters.sent(kind))
    }
}

impl<'a> Outlet<'a> {
    fn new(stream: &'a mut SendStream, pace: Option<Arc<Pace>>, sent: Counter) -> Self {
        Self { stream, pace, sent }
    }

    /// Whether its node has a rate.
    pub(super) fn is_limited(&self) -> bool {
        self.pace.is_some()
    }

    /// Sends a whole frame that is not content, whatever the node is owed.
    ///
    /// # Errors
    /// As [`write_frame`].
    pub(super) async fn frame_at_once(&mut self, frame: &[u8]) -> Result<(), StreamError> {
        self.sent.inc_by(frame.len() as u64);
        write_frame(self.stream, frame).await
    }

    /// Sends a whole frame.
    ///
    /// # Errors
    /// As [`write_frame`].
    pub(super) async fn frame(&mut self, frame: &[u8]) -> Result<(), StreamError> {
        self.may_send(frame.len()).await;
        write_frame(self.stream, frame).await
    }

    /// Sends one frame in pieces, without a copy.
    ///
    /// # Errors
    /// As [`write_chunks`].
    pub(super) async fn pieces(&mut self, pieces: &mut [Bytes]) -> Result<(), StreamError> {
        self.may_send(pieces.iter().map(Bytes::len).sum()).await;
        write_chunks(self.stream, pieces).await
    }

    async fn may_send(&mut self, bytes: usize) {
        if let Some(pace) = &self.pace {
            pace.wait(bytes).await;
        }
        self.sent.inc_by(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long `frames` frames of `bytes` each take at `rate`.
    fn takes(rate: u64, frames: u32, bytes: u64) -> Duration {
        let begun = Instant::now();
        let mut now = begun;
        let mut bucket = Bucket::full(Some(rate), now);
        for _ in 0..frames {
            while let Some(wait) = bucket.take(bytes, now) {
                now += wait;
            }
        }
        now - begun
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_after_a_second_s_worth_at_once() {
        // 100 frames of 10,000 bytes: one second's worth at once, the frame that overdraws it on top.
        let took = takes(100_000, 100, 10_000).as_secs_f64();
        assert!((8.8..=9.1).contains(&took), "{took}");
        assert_eq!(takes(1_000_000, 100, 10_000), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_least_rate_the_longest_frames_keep_to_the_useful_rate() {
        use tidecast_proto::limits;
        let longest = limits::CHUNK_BYTES as u64;
        let window = Duration::from_millis(limits::USEFUL_WINDOW_MS as u64);
        let least = limits::USEFUL_BYTES_PER_S as u64 * window.as_secs();
        let begun = Instant::now();
        let mut now = begun;
        let mut bucket = Bucket::full(Some(super::super::settings::RATE_BYTES_PER_S_MIN), now);
        let mut sent_at = Vec::new();
        while sent_at.len() < 40 {
            match bucket.take(longest, now) {
                Some(wait) => now += wait,
                None => sent_at.push(now - begun),
            }
        }
        // Whenever a window begins.
        for start in (0..500).map(Duration::from_secs) {
            let inside = |at: &&Duration| (start..start + window).contains(*at);
            let sent = longest * sent_at.iter().filter(inside).count() as u64;
            assert!(sent >= least, "{sent} bytes in the window from {start:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn streams_of_one_node_share_its_rate_and_a_change_reaches_those_who_wait() {
        let pace = Arc::new(Pace::new(20_000));
        pace.wait(20_000 * 61).await;
        let begun = Instant::now();
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let pace = pace.clone();
                tokio::spawn(async move { pace.wait(100_000).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(waiting.iter().all(|one| !one.is_finished()));
        pace.set_rate(None);
        for one in waiting {
            one.await.unwrap();
        }
        assert!(
            begun.elapsed() < Duration::from_secs(11),
            "{:?}",
            begun.elapsed()
        );
    }
}
