//! What can be wrong with a bundle, or with runs.

use std::io;

use tidecast_proto::bundle::{BundleError, PartKind};
use tidecast_proto::codec::CodecError;
use tidecast_proto::list::ListError;
use tidecast_proto::recipe::RecipeError;

use crate::docroot::DocrootError;
use crate::rebuild::{MissingError, RebuildError};

/// Why a bundle, or runs, did not do. What was verified before is kept, and what is missing is fetched another way.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleFault {
    /// Its form, or a run that is not what its list says.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A recipe is another one, or impossible.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A list is another one, or impossible.
    #[error(transparent)]
    List(#[from] ListError),
    /// Something signed in it cannot be read.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// It does not open, or not with what it is to be opened with.
    #[error("{kind} part: does not open: {source}")]
    Packed { kind: PartKind, source: io::Error },
    /// It leads to another release than its head said.
    #[error("it leads to another release than the head that was followed")]
    OtherRelease,
    /// It starts elsewhere.
    #[error("it starts from another release than the one that is live")]
    OtherStart,
    /// A section about a file that has one already.
    #[error("two sections for {path}")]
    Twice { path: String },
    /// A section that its manifest does not allow.
    #[error("{path}: {what}")]
    Section { path: String, what: &'static str },
    /// Its bases have more chunks than anything real has.
    #[error("{path}: its bases have {got} chunks, the limit is {limit}")]
    TooManyChunks {
        path: String,
        got: usize,
        limit: usize,
    },
    /// More roots than one walk may take.
    #[error("more roots than one walk may take")]
    TooManyRoots,
    /// Bytes after its end.
    #[error("bytes after its END part")]
    AfterTheEnd,
    /// Lists, recipes and runs that do not belong together.
    #[error("{path}: cannot be rebuilt from it: {source}")]
    Rebuild { path: String, source: RebuildError },
    /// The file it is read from.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// This machine's disk, not the bundle.
    #[error(transparent)]
    Disk(#[from] DocrootError),
}

impl From<BundleFault> for MissingError {
    fn from(fault: BundleFault) -> Self {
        match fault {
            // What came does not fit what it was opened with: the bases must be looked at.
            BundleFault::Packed { .. }
            | BundleFault::Bundle(
                BundleError::WrongChunk { .. } | BundleError::WrongLength { .. },
            ) => Self::Unfit(Box::new(fault)),
            other => Self::Failed(Box::new(other)),
        }
    }
}
