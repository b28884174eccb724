//! Response bodies: nothing, bytes at hand, or a file read block by block.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

/// Bytes read from disk at once. One block waits in hyper for the socket and none is read ahead, so
/// 1024 slow clients hold 128 MiB at most. One hop to the blocking pool per block lets a client on
/// loopback have 1.3 GB/s; half the size, 0.8.
pub(super) const BLOCK_BYTES: usize = 128 * 1024;

/// What is sent after the headers. Its length is always known.
pub(super) enum ResponseBody {
    /// Nothing, or what is left of bytes at hand.
    Bytes(Option<Bytes>),
    /// A stretch of an open file.
    File(FileBody),
}

impl ResponseBody {
    pub(super) fn empty() -> Self {
        Self::Bytes(None)
    }

    pub(super) fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::Bytes((!bytes.is_empty()).then_some(bytes))
    }

    /// Reads the first block of a stretch, so that a disk that fails at once can still be answered
    /// with a status; a stretch of one block needs the file no longer. Blocks.
    pub(super) fn start(file: File, offset: u64, length: u64) -> io::Result<Self> {
        let first = read_block(&file, offset, length)?;
        let rest = length - first.len() as u64;
        if rest == 0 {
            return Ok(Self::bytes(first));
        }
        Ok(Self::File(FileBody {
            file: Arc::new(file),
            offset: offset + first.len() as u64,
            rest,
            ready: Some(first),
            reading: None,
        }))
    }

    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::File(file) => file.unsent(),
        }
    }
}

/// A stretch of an open file, read with positioned reads on the blocking pool. Never mapped: a file
/// truncated by someone else must end this download, not the process.
pub(super) struct FileBody {
    file: Arc<File>,
    /// Where the next read starts.
    offset: u64,
    /// Bytes not read yet.
    rest: u64,
    ready: Option<Bytes>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    fn unsent(&self) -> u64 {
        self.rest + self.ready.as_ref().map_or(0, |bytes| bytes.len() as u64)
    }

    fn poll_block(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(bytes) = self.ready.take() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        if self.rest == 0 {
            return Poll::Ready(None);
        }
        let reading = self.reading.get_or_insert_with(|| {
            let file = Arc::clone(&self.file);
            let (offset, rest) = (self.offset, self.rest);
            tokio::task::spawn_blocking(move || read_block(&file, offset, rest))
        });
        let outcome = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let block = outcome.unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Ok(bytes) = &block {
            self.offset += bytes.len() as u64;
            self.rest -= bytes.len() as u64;
        } else {
            self.rest = 0;
        }
        Poll::Ready(Some(block))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::File(file) => file
                .poll_block(cx)
                .map(|block| block.map(|bytes| bytes.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length())
    }
}

/// Reads the next block of a stretch that has `rest` bytes left: a full block or all of the rest.
fn read_block(file: &File, offset: u64, rest: u64) -> io::Result<Bytes> {
    let wanted = usize::try_from(rest).map_or(BLOCK_BYTES, |rest| rest.min(BLOCK_BYTES));
    let mut block = Vec::with_capacity(wanted);
    while block.len() < wanted {
        let at = offset + block.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut block), at) {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!(
                        "file ends at {at}, {} bytes early",
                        rest - block.len() as u64
                    ),
                ));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    // The allocator may give more than asked for, and the read fills what there is.
    block.truncate(wanted);
    Ok(block.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http_body_util::BodyExt;

    use super::*;

    fn file_of(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[tokio::test]
    async fn any_stretch_arrives_whole_and_in_order() {
        let content: Vec<u8> = (0..=250).cycle().take(3 * BLOCK_BYTES + 17).collect();
        for (offset, length) in [
            (0, content.len()),
            (0, 0),
            (0, 512),
            (content.len() - 1, 1),
            (100, BLOCK_BYTES),
            (100, BLOCK_BYTES + 1),
            (BLOCK_BYTES, 2 * BLOCK_BYTES),
        ] {
            let body =
                ResponseBody::start(file_of(&content), offset as u64, length as u64).unwrap();
            assert_eq!(body.length(), length as u64);
            let sent = body.collect().await.unwrap().to_bytes();
            assert!(
                sent == content[offset..offset + length],
                "{offset}+{length}"
            );
        }
    }

    #[tokio::test]
    async fn a_file_cut_while_it_is_sent_ends_in_an_error_not_in_zeros() {
        let file = file_of(&vec![7; 3 * BLOCK_BYTES]);
        let handle = file.try_clone().unwrap();
        let mut body = ResponseBody::start(file, 0, 3 * BLOCK_BYTES as u64).unwrap();
        handle.set_len(BLOCK_BYTES as u64 + 5).unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(body.frame().await.is_none());
    }

    #[test]
    fn a_file_too_short_at_the_start_is_an_error_before_any_header() {
        assert!(ResponseBody::start(file_of(b"abc"), 0, 4).is_err());
    }
}
