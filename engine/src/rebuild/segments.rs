//! Splits the new content into the segments of its recipe and makes the tokens of its streams.

use std::mem;
use std::ops::Range;

use tidecast_proto::bundle::Origin;
use tidecast_proto::deflate::{Batch, OldStretch, Parameters, Tokenizer};
use tidecast_proto::list::List;
use tidecast_proto::recipe::{Recipe, Segment};

use super::error::RebuildError;
use super::press::{Feed, Gone, Job};
use super::walk::{Piece, Stream, part};
use super::{Source, Target};

/// A batch goes to the press when it has so many plain bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// Why the work stopped.
pub(super) enum Halt {
    /// The press says why.
    Press,
    Because(RebuildError),
}

impl From<RebuildError> for Halt {
    fn from(error: RebuildError) -> Self {
        Self::Because(error)
    }
}

impl From<Gone> for Halt {
    fn from(_: Gone) -> Self {
        Self::Press
    }
}

/// Takes in the new content from front to back.
pub(super) struct Segments<'a> {
    segments: Vec<Segment>,
    /// The stream of the first base whose tokens each segment can use.
    partners: Vec<Option<Stream>>,
    next: usize,
    current: Current,
    /// Bytes that the current segment still takes.
    left_bytes: u64,
    /// Bytes that it has taken.
    done_bytes: u64,
    batch: Batch,
    feed: Feed,
    _target: std::marker::PhantomData<&'a ()>,
}

enum Current {
    Plain,
    Stream {
        tokenizer: Box<Tokenizer>,
        partner: Option<Stream>,
    },
}
