//! The disk thread: every step on the docroot, and every change of the state folder that goes with it, happens there, one
//! after another, off the network's tasks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidecast_proto::id::ObjectId;
use tokio::sync::{mpsc, oneshot};

use super::MirrorError;
use crate::docroot::{Build, Docroot};

/// Jobs that wait for the disk. With chunks of at most 256 KiB this bounds what a slow disk can pile up; when
/// it is full, reading from the network pauses and so does the sender.
const JOBS: usize = 64;

/// What the thread is called, in `top -H` and in traces.
const THREAD: &str = "tidecast-disk";

/// What the thread owns.
#[derive(Debug)]
pub(super) struct DiskState {
    pub(super) docroot: Docroot,
    /// The tree being built.
    pub(super) build: Option<Build>,
    /// The release that did not fit when it was last begun, and the bytes it needs.
    pub(super) no_room: Option<(ObjectId, u64)>,
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
    /// Starts the thread, and waits for what `open` does there before anything else; brings back what it found beside the
    /// docroot.
    ///
    /// # Errors
    /// Of `open`; or the system gave no thread.
    pub(super) fn start<T: Send + 'static>(
        mode: DiskMode,
        open: impl FnOnce() -> Result<(Docroot, T), MirrorError> + Send + 'static,
    ) -> Result<(Self, T), MirrorError> {
        let state = |docroot| DiskState {
            docroot,
            build: None,
            no_room: None,
        };
        if let DiskMode::Inline(job) = mode {
            let (docroot, found) = open()?;
            let state = Arc::new(Mutex::new(state(docroot)));
            return Ok((Self::Inline(state, job), found));
        }
        let (jobs, mut queue) = mpsc::channel::<Job>(JOBS);
        let (opened, found) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name(THREAD.into())
            .spawn(move || {
                let (docroot, outcome) = match open() {
                    Ok((docroot, found)) => (Some(docroot), Ok(found)),
                    Err(error) => (None, Err(error)),
                };
                // Whoever started this waits for it.
                let _ = opened.send(outcome);
                let Some(mut state) = docroot.map(state) else {
                    return;
                };
                while let Some(job) = queue.blocking_recv() {
                    job(&mut state);
                }
            })
            .map_err(MirrorError::Thread)?;
        let found = found.recv().map_err(|_| DiskGone)??;
        Ok((Self::Thread(jobs), found))
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
