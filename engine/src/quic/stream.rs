//! Frames on streams.

use quinn::{ReadExactError, RecvStream, SendStream};
use tidecast_proto::wire::{FRAME_HEADER_BYTES, FrameType, WireError, parse_header};

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
}

/// The next frame, or `None` at the stream's end.
///
/// Not more is allocated than the frame's type allows, and bytes are only waited for, never guessed.
///
/// # Errors
/// [`StreamError`].
pub async fn read_frame(
    stream: &mut RecvStream,
) -> Result<Option<(FrameType, Vec<u8>)>, StreamError> {
    let mut header = [0; FRAME_HEADER_BYTES];
    match stream.read_exact(&mut header).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(ReadExactError::FinishedEarly(_)) => return Err(StreamError::Cut),
        Err(ReadExactError::ReadError(error)) => return Err(error.into()),
    }
    let (kind, length) = parse_header(header)?;
    // Not filled with zeros first: chunks are most of what is ever read.
    let mut body = Vec::with_capacity(length);
    while body.len() < length {
        let part = stream.read_chunk(length - body.len(), true).await?;
        body.extend_from_slice(&part.ok_or(StreamError::Cut)?.bytes);
    }
    Ok(Some((kind, body)))
}

/// Sends a whole frame.
///
/// # Errors
/// [`StreamError::Write`].
pub async fn write_frame(stream: &mut SendStream, frame: &[u8]) -> Result<(), StreamError> {
    Ok(stream.write_all(frame).await?)
}
