//! Answers of more than one frame: objects, chunks, bundles, runs.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidecast_proto::id::ChunkId;
use tidecast_proto::key::PublicKey;
use tidecast_proto::limits;
use tidecast_proto::wire::{
    BundleHeader, ChunkHeader, FetchBundle, FetchRuns, FrameType, ObjectHeader, ObjectName, Wait,
    frame,
};

use super::Master;
use super::pace::Outlet;
use crate::bundle;
use crate::quic::StreamError;
use crate::store::StoredBytes;

/// A frame of an object on its way out, in bytes: small enough that a stream is not held by one write.
const PART_BYTES: usize = 256 * 1024;

/// What is ready within this time needs no word about it.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// How often a mirror is asked to go on waiting: a little before the last word runs out.
const WAIT_EVERY: Duration = Duration::from_millis(limits::WAIT_MS as u64 - 5_000);

#[expect(clippy::cast_possible_truncation, reason = "a minute")]
const WAIT: Wait = Wait {
    ms: limits::WAIT_MS as u32,
};

impl Master {
    pub(super) async fn send_object(
        &self,
        send: &mut Outlet<'_>,
        name: ObjectName,
    ) -> Result<(), StreamError> {
        let stored = match name {
            ObjectName::Manifest(id) => self.store.manifest_bytes_packed(&id),
            ObjectName::List(id) => self.store.list(&id),
            ObjectName::Recipe(id) => self.store.recipe(&id),
        };
        let Some(stored) = stored else {
            return absent(send).await;
        };
        let header = ObjectHeader {
            encoding: stored.encoding,
            opened_bytes: stored.opened_len.into(),
            packed_bytes: stored.bytes.len() as u64,
        };
        send.frame(&header.to_frame()).await?;
        send_parts(send, &stored.bytes).await
    }

    /// Chunks go from the mapped pack to the packets without a copy of ours.
    pub(super) async fn send_chunks(
        &self,
        send: &mut Outlet<'_>,
        ids: &[ChunkId],
    ) -> Result<(), StreamError> {
        for id in ids {
            let Some(StoredBytes {
                encoding,
                opened_len,
                bytes,
            }) = self.store.chunk(id)
            else {
                absent(send).await?;
                continue;
            };
            let header = ChunkHeader {
                encoding,
                opened_bytes: opened_len,
            };
            let start = Bytes::from(header.to_frame_start(bytes.len()));
            send.pieces(&mut [start, bytes]).await?;
        }
        Ok(())
    }

    /// Sends a bundle to mirror `node`, whose newest root is `root_version`, after as much patience as it takes to build.
    pub(super) async fn send_bundle(
        self: &Arc<Self>,
        send: &mut Outlet<'_>,
        node: PublicKey,
        fetch: FetchBundle,
        root_version: u64,
    ) -> Result<(), StreamError> {
        let core = patiently(send, self.clone().bundle(node, fetch)).await?;
        let front = core.as_ref().and_then(|_| self.front(fetch, root_version));
        let (Some(core), Some(front)) = (core, front) else {
            return absent(send).await;
        };
        send_bundle_parts(send, Vec::new(), fetch, front, &core).await
    }

    /// Sends an announcement, and after it the bundle if it is ready and small.
    pub(super) async fn send_announcement(
        &self,
        send: &mut Outlet<'_>,
        announcement: Vec<u8>,
        bundle: Option<FetchBundle>,
        root_version: u64,
    ) -> Result<(), StreamError> {
        let ready = bundle.and_then(|fetch| {
            let core = self.ready_bundle(fetch)?;
            let front = self.front(fetch, root_version)?;
            let small = front.len() + core.len() <= limits::UNASKED_BUNDLE_BYTES;
            // An announcement must not wait behind what its node is still owed.
            (small && !send.is_limited()).then_some((fetch, front, core))
        });
        match ready {
            Some((fetch, front, core)) => {
                send_bundle_parts(send, announcement, fetch, front, &core).await
            }
            None => send.frame_at_once(&announcement).await,
        }
    }

    /// What stands in front of a core now; `None` when there is something newer than where it leads to.
    fn front(&self, fetch: FetchBundle, root_version: u64) -> Option<Vec<u8>> {
        let view = self.view.load();
        let head = view.head.as_ref()?;
        let roots = usize::try_from(root_version).ok()?;
        let roots = view.roots.get(roots..).unwrap_or_default();
        (head.body.manifest == fetch.to).then(|| bundle::front(fetch.from, &head.bytes, roots))
    }

    pub(super) async fn send_runs(
        self: &Arc<Self>,
        send: &mut Outlet<'_>,
        node: PublicKey,
        fetch: FetchRuns,
    ) -> Result<(), StreamError> {
        match patiently(send, self.clone().runs(node, fetch)).await? {
            Some(runs) => {
                let header = BundleHeader::of_runs(runs.bytes.len() as u64);
                send.frame(&header.to_frame()).await?;
                send_parts(send, &runs.bytes).await
            }
            None => absent(send).await,
        }
    }
}

/// Waits for `work` and tells the mirror so.
async fn patiently<T>(
    send: &mut Outlet<'_>,
    work: impl Future<Output = T>,
) -> Result<T, StreamError> {
    let mut work = pin!(work);
    let mut patience = PATIENCE;
    loop {
        match tokio::time::timeout(patience, &mut work).await {
            Ok(done) => return Ok(done),
            Err(_) => send.frame_at_once(&WAIT.to_frame()).await?,
        }
        patience = WAIT_EVERY;
    }
}

async fn absent(send: &mut Outlet<'_>) -> Result<(), StreamError> {
    send.frame(&frame(FrameType::ABSENT, &[])).await
}

async fn send_parts(send: &mut Outlet<'_>, bytes: &[u8]) -> Result<(), StreamError> {
    for part in bytes.chunks(PART_BYTES) {
        send.frame(&frame(FrameType::PART, part)).await?;
    }
    Ok(())
}

/// BUNDLE and PART frames behind `start`. A small bundle goes out in one write, so that it fills as few packets as
/// can be.
async fn send_bundle_parts(
    send: &mut Outlet<'_>,
    start: Vec<u8>,
    fetch: FetchBundle,
    front: Vec<u8>,
    core: &[u8],
) -> Result<(), StreamError> {
    let header = BundleHeader {
        from: fetch.from,
        to: fetch.to,
        bytes: (front.len() + core.len()) as u64,
    };
    let (first, rest) = core.split_at(core.len().min(PART_BYTES));
    let first = frame(FrameType::PART, &[&front, first].concat());
    send.frame(&[start, header.to_frame(), first].concat())
        .await?;
    send_parts(send, rest).await
}
