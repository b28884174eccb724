//! The disk thread: every step on the docroot happens there, one after another, off the network's tasks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::docroot::{Build, Docroot};

/// Jobs that wait for the disk. With chunks of at most 256 KiB this bounds what a slow disk can pile up; when
/// it is full, reading from the network pauses and so does the sender.
const JOBS: usize = 64;

/// What the thread owns.
#[derive(Debug)]
pub(super) struct DiskState {
    pub(super) docroot: Docroot,
    /// The tree being built.
    pub(super) build: Option<Build>,
}

type Job = Box<dyn FnOnce(&mut DiskState) + Send>;

/// Where the disk's work is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskMode {
    /// On a thread of its own, named `tidecast-disk`.
    #[default]
    Thread,
    /// Where it is asked for: a simulator's order of events must not depend on threads. Each job keeps whoever hands it
    /// in so long on the runtime's clock, so that a crash can come between two of them.
    Inline(Duration),
}

/// A handle to the disk's thread, which ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub(super) enum Disk {
    Thread(mpsc::Sender<Job>),
    Inline(Arc<Mutex<DiskState>>, Duration),
}

/// The disk thread is gone: a job on it panicked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the disk thread ended; this is a bug in tidecast")]
pub struct DiskGone;

impl Disk {
    /// Starts the thread.
    pub(super) fn start(docroot: Docroot, mode: DiskMode) -> std::io::Result<Self> {
        let mut state = DiskState {
            docroot,
            build: None,
        };
        if let DiskMode::Inline(job) = mode {
            return Ok(Self::Inline(Arc::new(Mutex::new(state)), job));
        }
        let (jobs, mut queue) = mpsc::channel::<Job>(JOBS);
        std::thread::Builder::new()
            .name("tidecast-disk".into())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    job(&mut state);
                }
            })?;
        Ok(Self::Thread(jobs))
    }

    /// Whether jobs are done by whoever hands them in, who must not block then.
    pub(super) fn is_inline(&self) -> bool {
        matches!(self, Self::Inline(..))
    }

    /// Runs `job` after everything that was handed in before, and brings back its result.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut DiskState) -> T + Send + 'static,
    ) -> Result<T, DiskGone> {
        let (reply, result) = oneshot::channel();
        self.post(move |state| {
            // Nobody may be waiting any more; the job was done all the same.
            let _ = reply.send(job(state));
        })
        .await?;
        result.await.map_err(|_| DiskGone)
    }

    /// Hands in `job` and goes on, once there is room.
    pub(super) async fn post(
        &self,
        job: impl FnOnce(&mut DiskState) + Send + 'static,
    ) -> Result<(), DiskGone> {
        match self {
            Self::Thread(jobs) => jobs.send(Box::new(job)).await.map_err(|_| DiskGone),
            Self::Inline(state, pause) => {
                job(&mut *state.lock().map_err(|_| DiskGone)?);
                if !pause.is_zero() {
                    tokio::time::sleep(*pause).await;
                }
                Ok(())
            }
        }
    }
}
