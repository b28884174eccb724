//! The press: the second thread, which packs tokens, hashes what comes out and writes it.

use std::fs::File;
use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use tidecast_proto::deflate::{Batch, Encoder, Parameters};
use tidecast_proto::id::FileHash;

use super::error::{Place, RebuildError};

/// Jobs that wait for the press. A job is about 64 KiB of content and its tokens, so both threads stay within a core's cache,
/// and neither waits for the other because of one dear block.
const JOBS: usize = 4;
/// Written at once.
const WRITE_BYTES: usize = 256 * 1024;

/// What is to be done next.
pub(super) enum Job {
    /// Bytes of the file as they are; in the batch's plain bytes.
    Bytes(Batch),
    /// A deflate stream begins, over so many plain bytes.
    Begin(Parameters, u64),
    /// What follows in the stream.
    Tokens(Batch),
    /// The stream ends.
    End,
    /// All of the file was handed in.
    Done,
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pressed {
    pub(super) hash: FileHash,
    pub(super) bytes: u64,
}

/// The end that jobs are handed in at.
pub(super) struct Feed {
    jobs: SyncSender<Job>,
    emptied: Receiver<Batch>,
}

/// The press is gone, and knows why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone;

impl Feed {
    pub(super) fn send(&self, job: Job) -> Result<(), Gone> {
        self.jobs.send(job).map_err(|_| Gone)
    }

    /// An empty batch, one that was used before if there is one.
    pub(super) fn batch(&self) -> Batch {
        self.emptied.try_recv().unwrap_or_default()
    }
}

/// Writes the file.
pub(super) struct Press<'a> {
    jobs: Receiver<Job>,
    emptied: Sender<Batch>,
    out: &'a mut File,
    limit_bytes: u64,
    packed: Vec<u8>,
    hasher: blake3::Hasher,
    written: u64,
}

impl<'a> Press<'a> {
    /// Writes to `out`, at most `limit_bytes` and a little.
    pub(super) fn new(out: &'a mut File, limit_bytes: u64) -> (Self, Feed) {
        let (jobs, queue) = sync_channel(JOBS);
        // Holds only batches that came through the other one.
        let (emptied, returned) = channel();
        let press = Self {
            jobs: queue,
            emptied,
            out,
            limit_bytes,
            packed: Vec::new(),
            hasher: blake3::Hasher::new(),
            written: 0,
        };
        let feed = Feed {
            jobs,
            emptied: returned,
        };
        (press, feed)
    }

    /// Works until all is done, more comes out than the file has, or nobody hands in any more: then what came out is
    /// no file.
    ///
    /// # Errors
    /// [`RebuildError::NoSpace`] or [`RebuildError::Write`].
    pub(super) fn run(mut self) -> Result<Pressed, RebuildError> {
        let mut encoder = None;
        while let Ok(job) = self.jobs.recv() {
            match job {
                Job::Begin(parameters, plain_bytes) => {
                    encoder = Some(Encoder::new(parameters, plain_bytes));
                }
                Job::Tokens(batch) => {
                    if let Some(encoder) = &mut encoder {
                        encoder.push(&batch.tokens, &batch.plain, &mut self.packed);
                    }
                    self.give_back(batch);
                }
                Job::End => {
                    if let Some(encoder) = encoder.take() {
                        encoder.finish(&mut self.packed);
                    }
                }
                Job::Bytes(batch) => {
                    self.packed.extend_from_slice(&batch.plain);
                    self.give_back(batch);
                }
                Job::Done => break,
            }
            if self.packed.len() >= WRITE_BYTES {
                self.write()?;
            }
            if self.written > self.limit_bytes {
                break;
            }
        }
        self.write()?;
        Ok(Pressed {
            hash: FileHash(*self.hasher.finalize().as_bytes()),
            bytes: self.written,
        })
    }

    fn give_back(&self, mut batch: Batch) {
        batch.clear();
        // The other thread may have handed in its last.
        let _ = self.emptied.send(batch);
    }

    fn write(&mut self) -> Result<(), RebuildError> {
        self.hasher.update(&self.packed);
        self.out
            .write_all(&self.packed)
            .map_err(RebuildError::write(Place::Output))?;
        self.written += self.packed.len() as u64;
        self.packed.clear();
        Ok(())
    }
}
