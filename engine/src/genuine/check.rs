//! The check of one file as it streams by, whatever it is.

use tidecast_proto::{
    database::{
        self, Cdiff, CvdCheck, DatabaseError, DatabaseFile, HEADER_BYTES, Script, ScriptCheck,
        VerifyPolicy, is_plain_body,
    },
    manifest::Database,
    name::ReleasePath,
};

use super::inflate::{GzipError, Inflate};

/// Longest `.cdiff` that is checked, in bytes: it is signed as a whole and so kept in memory as a whole. Official
/// ones stay below a few MB; a longer one costs clients more than it saves them.
pub const CDIFF_BYTES: usize = 32 * 1024 * 1024;

/// Bytes of a container that decide how it is read: the header, and the first of the body.
const START_BYTES: usize = HEADER_BYTES + 7;

/// What is wrong with a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseFault {
    /// Clients would refuse it.
    #[error(transparent)]
    Rule(#[from] DatabaseError),
    /// It does not open.
    #[error("{0}")]
    Gzip(#[from] GzipError),
    /// Over [`CDIFF_BYTES`].
    #[error("a .cdiff over {CDIFF_BYTES} bytes")]
    CdiffLong,
}

impl DatabaseFault {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Rule(error) => error.advice(),
            Self::Gzip(_) => "it was damaged or not copied whole: fetch or build it again",
            Self::CdiffLong => "leave it out: clients then take the whole database",
        }
    }
}

/// The check of one file, whatever it is.
#[derive(Debug)]
pub(crate) enum Check<'a> {
    /// No database.
    None,
    /// A container whose first bytes are still being collected.
    Start {
        path: &'a str,
        policy: VerifyPolicy,
        first: Vec<u8>,
    },
    Container(Box<Container>),
    Cdiff {
        path: &'a str,
        policy: VerifyPolicy,
        bytes: Vec<u8>,
    },
}

#[derive(Debug)]
pub(crate) struct Container {
    check: CvdCheck,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Plain,
    Gzip(Inflate),
    /// The policy does not ask what is in it.
    Closed,
}

/// What a whole file was found to be.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing whose content is looked at, or no more than that it is sound.
    Nothing,
    Container(database::Database),
    /// A cdiff's script, of a policy that reads it.
    Script(Script),
}

impl Found {
    pub(crate) fn container(self) -> Option<database::Database> {
        match self {
            Self::Container(database) => Some(database),
            Self::Nothing | Self::Script(_) => None,
        }
    }
}

impl<'a> Check<'a> {
    pub(crate) fn new(policy: VerifyPolicy, path: &'a ReleasePath) -> Self {
        let path = path.as_str();
        match DatabaseFile::of(path) {
            DatabaseFile::Container { .. } => Self::Start {
                path,
                policy,
                first: Vec::with_capacity(START_BYTES),
            },
            DatabaseFile::Cdiff { .. } if policy != VerifyPolicy::None => Self::Cdiff {
                path,
                policy,
                bytes: Vec::new(),
            },
            _ => Self::None,
        }
    }

    /// Takes the file's next bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<(), DatabaseFault> {
        if let Self::Start {
            path,
            policy,
            first,
        } = self
        {
            let taken = bytes.len().min(START_BYTES - first.len());
            first.extend_from_slice(&bytes[..taken]);
            if first.len() < START_BYTES {
                return Ok(());
            }
            bytes = &bytes[taken..];
            let container = Container::new(*policy, path, first)?;
            *self = Self::Container(Box::new(container));
        }
        match self {
            Self::Container(container) => container.push(bytes),
            Self::Cdiff { bytes: all, .. } if all.len() + bytes.len() > CDIFF_BYTES => {
                Err(DatabaseFault::CdiffLong)
            }
            Self::Cdiff { bytes: all, .. } => {
                all.extend_from_slice(bytes);
                Ok(())
            }
            Self::None | Self::Start { .. } => Ok(()),
        }
    }

    /// Says that the file ends here, and judges it.
    pub(crate) fn finish(self) -> Result<Found, DatabaseFault> {
        let container = |found: Option<_>| found.map_or(Found::Nothing, Found::Container);
        match self {
            Self::None => Ok(Found::Nothing),
            // A file this short has no body to speak of; the check says what it lacks.
            Self::Start {
                path,
                policy,
                first,
            } => Container::new(policy, path, &first)?
                .finish()
                .map(container),
            Self::Container(check) => check.finish().map(container),
            Self::Cdiff {
                path,
                policy,
                bytes,
            } => Ok(check_cdiff(policy, path, &bytes)?.map_or(Found::Nothing, Found::Script)),
        }
    }
}

impl Container {
    fn new(policy: VerifyPolicy, path: &str, first: &[u8]) -> Result<Self, DatabaseFault> {
        let (header, body) = first.split_at(first.len().min(HEADER_BYTES));
        let check = CvdCheck::new(policy, path, header)?;
        let kind = match check.wants_opened() {
            true if is_plain_body(body) => Body::Plain,
            true => Body::Gzip(Inflate::new(true)),
            false => Body::Closed,
        };
        let mut container = Self { check, body: kind };
        container.push(body)?;
        Ok(container)
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), DatabaseFault> {
        let Self { check, body } = self;
        check.packed(bytes);
        match body {
            Body::Plain => Ok(check.opened(bytes)?),
            Body::Gzip(inflate) => inflate.push(bytes, |opened| Ok(check.opened(opened)?)),
            Body::Closed => Ok(()),
        }
    }

    fn finish(self) -> Result<Option<database::Database>, DatabaseFault> {
        if let Body::Gzip(inflate) = self.body {
            inflate.finish()?;
        }
        Ok(self.check.finish()?)
    }
}

fn check_cdiff(
    policy: VerifyPolicy,
    path: &str,
    bytes: &[u8],
) -> Result<Option<Script>, DatabaseFault> {
    let cdiff = Cdiff::check(policy, path, bytes)?;
    let Some(content) = cdiff.content.filter(|_| policy == VerifyPolicy::Genuine) else {
        return Ok(None);
    };
    let mut script = ScriptCheck::new();
    let mut inflate = Inflate::new(false);
    inflate.push(content.packed, |opened| {
        Ok::<(), DatabaseFault>(script.opened(opened)?)
    })?;
    inflate.finish()?;
    Ok(Some(script.finish()?))
}

/// What the manifest says of a checked database: only of kinds clients ask `If-Modified-Since` for.
pub(crate) fn in_manifest(
    path: &ReleasePath,
    found: Option<database::Database>,
    mtime_s: u64,
) -> Option<Database> {
    let DatabaseFile::Container { container, .. } = DatabaseFile::of(path.as_str()) else {
        return None;
    };
    let found = found.filter(|_| container != database::Container::Cud)?;
    Some(Database {
        name: found.name,
        version: found.version.0.into(),
        // A header without any readable time: clients have none to compare with either.
        build_time_s: found.build_time_s.unwrap_or(mtime_s),
    })
}
