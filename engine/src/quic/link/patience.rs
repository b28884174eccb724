//! How long an upstream is waited for: the useful rate, and the patience it may ask for. SPEC §6.6.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quinn::RecvStream;
use tidecast_proto::limits;
use tidecast_proto::rate::UsefulRate;
use tidecast_proto::wire::Answer;

use super::Link;
use crate::quic::link_error::LinkError;

/// Times the answers of one sync may be put off, all together: at [`limits::WAIT_MS`] each, ten minutes. Only what is
/// built when it is asked for may be; everything else has another road, or another upstream.
pub(in crate::quic) const WAITS_MAX: usize = 10;

/// How often the useful-rate rule looks while something is awaited.
const RATE_CHECK: Duration = Duration::from_secs(1);

impl Link {
    /// Forgets how often the upstream has asked for patience: a sync begins.
    pub fn be_patient_anew(&self) {
        self.waits.store(0, Ordering::Relaxed);
    }

    /// Runs `work` while the upstream keeps to the useful rate.
    ///
    /// # Errors
    /// [`LinkError::TooSlow`], or what `work` ends with.
    pub async fn at_a_useful_rate<T>(
        &self,
        work: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        let mut work = std::pin::pin!(work);
        let mut rate = UsefulRate::new(self.now(), self.answered.load(Ordering::Relaxed));
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(RATE_CHECK) => {
                    let (now, bytes) = (self.now(), self.answered.load(Ordering::Relaxed));
                    let resting = self.resting_until_ms.load(Ordering::Relaxed);
                    match resting.checked_sub(now.0).and_then(|ms| u32::try_from(ms).ok()) {
                        Some(ms) if ms > 0 => rate.rest(now, ms, bytes),
                        // Our own disk holds everything up: the upstream is not to blame.
                        _ if self.waiting.load(Ordering::Relaxed) == 0 => rate.rest(now, 0, bytes),
                        _ => rate.observe(now, bytes)?,
                    }
                }
            }
        }
    }

    /// The first frame of an answer that may have to be built, patience included.
    pub(super) async fn patient_answer(
        &self,
        stream: &mut RecvStream,
    ) -> Result<Answer, LinkError> {
        while self.waits.load(Ordering::Relaxed) < WAITS_MAX {
            let (kind, body) = self.frame(stream).await?;
            match Answer::decode(kind, body)? {
                Answer::Wait(wait) => {
                    self.waits.fetch_add(1, Ordering::Relaxed);
                    let until = self
                        .now()
                        .plus(u64::from(wait.ms).min(limits::WAIT_MS as u64));
                    self.resting_until_ms.fetch_max(until.0, Ordering::Relaxed);
                }
                answer => return Ok(answer),
            }
        }
        // What patience is left of the last word is over as well.
        self.resting_until_ms.store(0, Ordering::Relaxed);
        Err(LinkError::Busy)
    }
}

/// Counts a reader for as long as it waits.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    pub(super) fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
