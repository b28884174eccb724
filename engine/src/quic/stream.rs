//! Frames on streams.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quinn::{ReadExactError, RecvStream, SendStream};
use tidecast_proto::wire::{FRAME_HEADER_BYTES, FrameType, WireError, parse_header};

/// Room that is made for a body before any of it has come, in bytes. A length costs its sender nothing.
const FIRST_ROOM_BYTES: usize = 64 * 1024;

/// How long a peer may take nothing of what is written to it. Mirrors pause while they rebuild a file, which takes small
/// machines minutes.
const READER_PATIENCE: Duration = Duration::from_secs(300);

/// Why a frame did not come or go.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer broke the protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Cut,
    /// Reading failed: the connection is gone, or the peer reset the stream.
    #[error("{0}")]
    Read(#[from] quinn::ReadError),
    /// Writing failed.
    #[error("{0}")]
    Write(#[from] quinn::WriteError),
    /// The stream ended where an answer was due.
    #[error("the stream ended without an answer")]
    NoAnswer,
    /// The peer asked, and then read nothing for minutes.
    #[error("nothing was read for {} s", READER_PATIENCE.as_secs())]
    NotRead,
}

/// The next frame, or `None` at the stream's end.
///
/// Not more is allocated than the frame's type allows, and little before bytes have come.
///
/// # Errors
/// [`StreamError`].
pub async fn read_frame(
    stream: &mut RecvStream,
) -> Result<Option<(FrameType, Vec<u8>)>, StreamError> {
    read_frame_if(stream, |_| Ok(()), &AtomicU64::new(0)).await
}

/// As [`read_frame`]. A type that `due` refuses is refused before its body is read; the frame's bytes are added to
/// `received` as they come.
///
/// # Errors
/// [`StreamError`].
pub async fn read_frame_if(
    stream: &mut RecvStream,
    due: impl FnOnce(FrameType) -> Result<(), WireError>,
    received: &AtomicU64,
) -> Result<Option<(FrameType, Vec<u8>)>, StreamError> {
    let mut header = [0; FRAME_HEADER_BYTES];
    match stream.read_exact(&mut header).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(ReadExactError::FinishedEarly(_)) => return Err(StreamError::Cut),
        Err(ReadExactError::ReadError(error)) => return Err(error.into()),
    }
    let (kind, length) = parse_header(header)?;
    due(kind)?;
    // Not filled with zeros first: chunks are most of what is ever read.
    let mut body = Vec::with_capacity(length.min(FIRST_ROOM_BYTES));
    while body.len() < length {
        let part = stream.read_chunk(length - body.len(), true).await?;
        let part = part.ok_or(StreamError::Cut)?.bytes;
        received.fetch_add(part.len() as u64, Ordering::Relaxed);
        if body.capacity() - body.len() < part.len() {
            body.reserve_exact(length - body.len());
        }
        body.extend_from_slice(&part);
    }
    Ok(Some((kind, body)))
}

/// Sends a whole frame.
///
/// # Errors
/// [`StreamError::Write`], or [`StreamError::NotRead`].
pub async fn write_frame(stream: &mut SendStream, frame: &[u8]) -> Result<(), StreamError> {
    let mut left = frame;
    while !left.is_empty() {
        let written = patiently(stream.write(left)).await??;
        left = left.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Sends all of `chunks`, without a copy.
///
/// # Errors
/// As [`write_frame`].
pub async fn write_chunks(
    stream: &mut SendStream,
    chunks: &mut [Bytes],
) -> Result<(), StreamError> {
    let mut left = chunks;
    while !left.is_empty() {
        let written = patiently(stream.write_chunks(left)).await??;
        left = left.get_mut(written.chunks..).unwrap_or_default();
    }
    Ok(())
}

async fn patiently<T>(write: impl Future<Output = T>) -> Result<T, StreamError> {
    tokio::time::timeout(READER_PATIENCE, write)
        .await
        .map_err(|_| StreamError::NotRead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_waited_for_five_minutes() {
        let begun = tokio::time::Instant::now();
        let stalled = patiently(std::future::pending::<()>()).await;
        assert!(matches!(stalled, Err(StreamError::NotRead)));
        assert_eq!(begun.elapsed(), READER_PATIENCE);
    }
}
