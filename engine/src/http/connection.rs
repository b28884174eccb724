//! A client's socket with its clocks: idle between requests, stalled while it is written to.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::ledger::Ledger;

/// A ledger shared by the connection, which sees bytes leave, and the service, which announces them.
pub(super) type SharedLedger = Arc<Mutex<Ledger>>;

pub(super) fn lock(ledger: &SharedLedger) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wraps a stream: ends it when the client takes nothing for `stall`, or asks nothing for `idle`
/// after an answer.
pub(super) struct Connection<S> {
    stream: S,
    ledger: SharedLedger,
    idle: Timer,
    stall: Timer,
    /// Bytes came in after the last answer was complete.
    asking: bool,
    reader: Option<Waker>,
}

impl<S> Connection<S> {
    pub(super) fn new(stream: S, ledger: SharedLedger, idle: Duration, stall: Duration) -> Self {
        Self {
            stream,
            ledger,
            idle: Timer::new(idle),
            stall: Timer::new(stall),
            asking: true,
            reader: None,
        }
    }

    /// What follows from a write's outcome, for either way of writing.
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Ok(count)) => {
                self.stall.stop();
                let settled = {
                    let mut ledger = lock(&self.ledger);
                    let mut rest = count;
                    for buffer in buffers {
                        let taken = rest.min(buffer.len());
                        ledger.sent(&buffer[..taken]);
                        rest -= taken;
                    }
                    ledger.is_settled()
                };
                if settled {
                    self.asking = false;
                    // hyper may have looked for the next request before these bytes left; the idle
                    // clock starts at its next look.
                    if let Some(reader) = self.reader.take() {
                        reader.wake();
                    }
                }
                Poll::Ready(Ok(count))
            }
            Poll::Pending if self.stall.poll_expired(cx) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "client takes no bytes",
            ))),
            other => other,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if outcome.is_ready() {
            this.idle.stop();
            this.reader = None;
            this.asking |= buffer.filled().len() > before;
            return outcome;
        }
        if !this.asking && lock(&this.ledger).is_settled() && this.idle.poll_expired(cx) {
            // End of stream: hyper closes without a word, as after a client's own close.
            return Poll::Ready(Ok(()));
        }
        this.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(cx, outcome, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.wrote(cx, outcome, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A clock that starts when it is first polled after a stop.
struct Timer {
    after: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Timer {
    fn new(after: Duration) -> Self {
        Self {
            after,
            sleep: None,
            running: false,
        }
    }

    fn stop(&mut self) {
        self.running = false;
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> bool {
        let after = self.after;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        if !self.running {
            self.running = true;
            sleep.as_mut().reset(Instant::now() + after);
        }
        sleep.as_mut().poll(cx).is_ready()
    }
}
