//! Why a file could not be rebuilt, by who is at fault.

use std::io;

use tidecast_proto::deflate::ParseError;
use tidecast_proto::id::{ChunkId, FileHash};

/// Why a file could not be rebuilt. What was written to the output is no file yet; bases are never changed.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// A content that lies on this machine is not what its list says. It must be fetched whole, or repaired.
    #[error("base {base}: the file on this disk is damaged")]
    Damaged {
        base: usize,
        #[source]
        damage: Damage,
    },
    /// The disk would not give a base.
    #[error("base {base}: cannot read")]
    Read {
        base: usize,
        #[source]
        source: io::Error,
    },
    /// Whoever delivers missing chunks could not.
    #[error("missing chunks did not come")]
    Missing(#[from] MissingError),
    /// The disk or a quota is full.
    #[error("no space to write {place}")]
    NoSpace { place: Place },
    /// The disk would not take the output, or not give back what was put aside.
    #[error("cannot write {place}")]
    Write {
        place: Place,
        #[source]
        source: io::Error,
    },
    /// Every base is sound and every chunk right, and yet another file came out: its producer's zlib packs otherwise,
    /// or the recipe is wrong. The file must be fetched whole.
    #[error("rebuilt {got_bytes} bytes with hash {got}, expected {expected_bytes} with {expected}")]
    Differs {
        expected: FileHash,
        expected_bytes: u64,
        got: FileHash,
        got_bytes: u64,
    },
    /// The system would not start a second thread.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// Lists, recipes and origins that do not belong together, or a delivery of other chunks than asked for: the release or the
    /// caller is at fault.
    #[error("asked for the impossible: {0}")]
    Impossible(&'static str),
}

/// What is wrong with a base.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The file is shorter than it was.
    #[error("it ends at byte {at}, {expected} were expected")]
    Short { at: u64, expected: u64 },
    /// A stream in it is no deflate stream any more.
    #[error("the stream that begins at byte {stream_at} does not open")]
    Stream {
        stream_at: u64,
        #[source]
        error: ParseError,
    },
    /// A stream in it opens to another length.
    #[error("the stream that begins at byte {stream_at} opens to another length than before")]
    Length { stream_at: u64 },
    /// One of its chunks has other bytes.
    #[error("chunk {index} of its content, {chunk}, at byte {at}, has other bytes")]
    Chunk {
        index: usize,
        chunk: ChunkId,
        at: u64,
    },
}

/// Where a rebuild writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The file that is made.
    Output,
    /// Content put aside in the folder for temporary files.
    Scratch,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Output => "the rebuilt file",
            Self::Scratch => "a temporary copy of opened content",
        })
    }
}

/// Why missing chunks did not come.
#[derive(Debug, thiserror::Error)]
pub enum MissingError {
    /// They did not come: the network, a cut bundle, a store.
    #[error("not delivered")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What came, opened with what [`super::Bases`] read, is not what the list says. The rebuild then looks whether a
    /// base is damaged, and says so if it is.
    #[error("not the chunks that the list names")]
    Unfit(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A base could not be read; handed on as it is.
    #[error("a base could not be read")]
    Base(#[source] Box<RebuildError>),
}

impl From<RebuildError> for MissingError {
    fn from(error: RebuildError) -> Self {
        Self::Base(Box::new(error))
    }
}

impl RebuildError {
    /// What an operator can do about it, where there is something to do.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::Damaged { .. } | Self::Read { .. } => {
                "run `tidecast verify`; a disk that damages files should be replaced"
            }
            Self::NoSpace { .. } => "free space on the docroot's file system, or raise the quota",
            Self::Write { .. } => "see the system's log for errors of this disk",
            _ => return None,
        })
    }

    /// Sorts what the system said about a write.
    pub(super) fn write(place: Place) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            use rustix::io::Errno;
            match Errno::from_io_error(&source) {
                Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace { place },
                _ => Self::Write { place, source },
            }
        }
    }
}
