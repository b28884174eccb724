//! Why a tree was not published.

use std::fmt;
use std::path::PathBuf;

use tidecast_proto::{
    codec::CodecError,
    id::{FeedId, ReleaseNumber},
    manifest::ManifestError,
    name::{NameError, ReleasePath},
};

use crate::durable::FileError;
use crate::genuine::DatabaseFault;
use crate::store::StoreError;

/// Most offending names an error lists: what a person reads before cleaning up the tree.
pub const OFFENCES_LISTED: usize = 50;

/// Why no release was made. Readers of the store see what they saw before.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The tree holds what a release cannot.
    #[error("{} cannot be published: {offences}", tree.display())]
    Tree { tree: PathBuf, offences: Offences },
    /// A wrong path, or a mount that is missing.
    #[error("{} holds no files", tree.display())]
    Empty { tree: PathBuf },
    /// Over the limit of SPEC §2.
    #[error("{} holds more than {limit} files", tree.display())]
    TooManyFiles { tree: PathBuf, limit: usize },
    /// Somebody writes into the tree.
    #[error("{path} changed while it was being published")]
    Changed { path: ReleasePath },
    /// It has more chunks than a list may have.
    #[error("{path} ({size} bytes) is too long: {source}")]
    TooLong {
        path: ReleasePath,
        size: u64,
        source: CodecError,
    },
    /// There is nothing under that path.
    #[error("there is no folder {}", tree.display())]
    NoTree { tree: PathBuf },
    /// A single file, most likely.
    #[error("{} is not a folder", tree.display())]
    NotAFolder { tree: PathBuf },
    /// Clients would refuse it.
    #[error("{path}: {source}")]
    Database {
        path: ReleasePath,
        source: DatabaseFault,
    },
    /// Clients would take one of them, and not always the same.
    #[error("{first} and {second} are the same database")]
    DatabaseTwice {
        first: ReleasePath,
        second: ReleasePath,
    },
    /// The release may not follow the one before.
    #[error(transparent)]
    Successor(ManifestError),
    /// The notes or the manifest as a whole break a limit.
    #[error("the manifest cannot be made: {0}")]
    Manifest(#[from] CodecError),
    /// Keys are missing, or belong to another feed.
    #[error(
        "{usable} of the {needed} release keys this feed needs are at hand ({given} given): nothing was signed"
    )]
    TooFewKeys {
        usable: usize,
        needed: usize,
        given: usize,
    },
    /// The state folder and the store do not belong together.
    #[error("the store holds releases of feed {store}, not of {asked}")]
    OtherFeed { store: FeedId, asked: FeedId },
    /// Somebody named a number next to the last one there is.
    #[error("no release has a number above {last}: nothing was signed")]
    NumbersUsedUp { last: ReleaseNumber },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the tree cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

impl PublishError {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Tree { .. } => "remove or rename them, or make them readable, then publish again",
            Self::NoTree { .. } => "check the path",
            Self::NotAFolder { .. } => {
                "name the folder that holds it: a release is a whole folder, whatever was in the one before"
            }
            Self::Empty { .. } => "check the path: a release without files is never meant",
            Self::TooManyFiles { .. } | Self::TooLong { .. } => "publish less in one feed",
            Self::Changed { .. } => "publish again when nothing writes into the tree",
            Self::Database { source, .. } => source.advice(),
            Self::DatabaseTwice { .. } => "keep the newer one",
            Self::Successor(ManifestError::Shrinks { .. }) => {
                "if it is meant, allow this release to shrink the feed"
            }
            Self::Successor(_) => {
                "publish a rebuilt database with a higher version: clients ignore older ones"
            }
            Self::Manifest(_) => "shorten the notes, or publish fewer files in one feed",
            Self::TooFewKeys { needed: 2.., .. } => {
                "several sigmakers sign this feed's releases: begin with `tidecast release propose TREE`"
            }
            Self::TooFewKeys { .. } => "give the folder that holds this feed's release keys",
            Self::OtherFeed { .. } => "name the state folder of this feed",
            Self::NumbersUsedUp { .. } => {
                "name a lower number; if a release has this one already, begin a new feed"
            }
            Self::Store(error) => error.advice(),
            Self::File(_) => "make the file readable for this user, then publish again",
        }
    }
}

/// Something in a tree that cannot be in a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offence {
    /// Where, below the tree; what is not printable is escaped.
    pub path: String,
    /// Which rule it breaks.
    pub rule: Rule,
}

/// What a release cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rule {
    /// An unsafe or reserved name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A name that is not even text.
    #[error("a name that is not UTF-8")]
    NotText,
    /// A symbolic link, a device, a pipe or a socket.
    #[error("{0}, not a file or folder")]
    Kind(&'static str),
    /// This user may not read it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

/// All offences of a tree: their number, and the first [`OFFENCES_LISTED`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offences {
    listed: Vec<Offence>,
    count: usize,
}

impl Offences {
    pub(super) fn add(&mut self, path: &str, rule: Rule) {
        self.count += 1;
        if self.listed.len() < OFFENCES_LISTED {
            let path = path.escape_debug().to_string();
            self.listed.push(Offence { path, rule });
        }
    }

    pub(super) fn sort(&mut self) {
        self.listed.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first of them.
    #[must_use]
    pub fn listed(&self) -> &[Offence] {
        &self.listed
    }
}

impl fmt::Display for Offences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, offence) in self.listed.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", offence.path, offence.rule)?;
        }
        match self.count - self.listed.len() {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
