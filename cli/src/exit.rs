//! Exit codes, and which error ends in which: the one place that knows. SPEC §10.5.
//!
//! Codes are those of BSD's `sysexits.h`.

use std::io;
use std::path::Path;

use tidecast_engine::bundle::BundleBuildError;
use tidecast_engine::config::ConfigError;
use tidecast_engine::control::ControlError;
use tidecast_engine::docroot::DocrootError;
use tidecast_engine::durable::FileError;
use tidecast_engine::keyfile::KeyFileError;
use tidecast_engine::master::{
    ExportError, FeedError, HeadsError, MasterError, NodesError, RELEASE_KEY, ROOT_KEY,
};
use tidecast_engine::mirror::{
    ImportError, MemoryError, MirrorError, SyncError, SyncFailure, with_port,
};
use tidecast_engine::publish::PublishError;
use tidecast_engine::quic::{LinkError, ListenError};
use tidecast_engine::roots::RootsError;
use tidecast_engine::store::StoreError;
use tidecast_engine::store::explain::ExplainError;
use tidecast_engine::store::explained::UnexplainedError;
use tidecast_proto::root::RootError;

use crate::{diagnosis, suggestion};

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// What was asked for is done, or was done already.
    Ok = 0,
    /// A person has to decide something first, or no other code fits.
    General = 1,
    /// The command line is wrong.
    Usage = 2,
    /// What was read is not acceptable: a tree, a signed object, a damaged file.
    Data = 65,
    /// Something that should be there is not.
    NoInput = 66,
    /// Nobody answers.
    Unavailable = 69,
    /// A bug.
    Internal = 70,
    /// Something that should not be there is, or a place cannot be used.
    CannotCreate = 73,
    /// The disk.
    Io = 74,
    /// Try again later.
    Temporary = 75,
    /// A key or a user may not.
    NoPermission = 77,
    /// A configuration is wrong or missing.
    Config = 78,
}

impl Exit {
    /// The number the shell sees.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// What an error means to the person at the terminal.
pub(crate) trait Diagnose: std::error::Error {
    /// The process's end.
    fn exit(&self) -> Exit;
    /// What to do about it.
    fn hint(&self) -> Option<String> {
        None
    }
}

impl Diagnose for io::Error {
    fn exit(&self) -> Exit {
        match self.kind() {
            io::ErrorKind::PermissionDenied => Exit::NoPermission,
            io::ErrorKind::NotFound => Exit::NoInput,
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => Exit::CannotCreate,
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => Exit::Unavailable,
            _ => Exit::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self.kind() {
            io::ErrorKind::PermissionDenied => "run it as the user these files belong to",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on that disk",
            io::ErrorKind::AddrInUse => "another program listens there; name another address",
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
            _ => return None,
        };
        Some(text.into())
    }
}

impl Diagnose for FileError {
    fn exit(&self) -> Exit {
        self.source.exit()
    }

    fn hint(&self) -> Option<String> {
        self.source.hint()
    }
}

impl Diagnose for ConfigError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            _ => Exit::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Missing { .. } => Some(
                "name the state folder with --state; or make a feed with `tidecast feed init`, or a mirror with `tidecast join`"
                    .into(),
            ),
            Self::Syntax { source, .. } => Some(
                suggestion::for_unknown_field(source.message())
                    .unwrap_or_else(|| "correct that line".into()),
            ),
            _ => Some("correct that line; `tidecast config check` tells when it is right".into()),
        }
    }
}

impl Diagnose for KeyFileError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            Self::Missing { .. } => Exit::NoInput,
            Self::Open { .. } => Exit::NoPermission,
            Self::Malformed { .. } => Exit::Data,
            _ => Exit::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Missing { path } => Some(if is_kept_apart(path) {
                "name the folder that `tidecast feed init` put the keys into, with --keys".into()
            } else {
                "name the state folder with --state; if that is right, restore the key from a backup"
                    .into()
            }),
            Self::Open { path, .. } => Some(format!(
                "if nobody has read it: chmod 600 {}; otherwise make a new key",
                path.display()
            )),
            Self::Malformed { .. } => Some("restore it from a backup".into()),
            _ => None,
        }
    }
}

/// Whether a key file is one of those that lie in the keys folder and not in the state.
fn is_kept_apart(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    matches!(name, Some(ROOT_KEY | RELEASE_KEY))
}

impl Diagnose for RootsError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            _ => Some("restore that file from a backup".into()),
        }
    }
}

impl Diagnose for FeedError {
    fn exit(&self) -> Exit {
        match self {
            Self::Key(error) => error.exit(),
            Self::File(error) => error.exit(),
            Self::Config(error) => error.exit(),
            Self::Roots(error) => error.exit(),
            Self::Exists { .. } => Exit::CannotCreate,
            Self::NoRoot { .. } => Exit::NoInput,
            Self::Root(_) => Exit::Usage,
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Key(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Roots(error) => error.hint(),
            Self::Exists { .. } => Some(
                "publish into it with `tidecast publish TREE`, or name another folder with --state"
                    .into(),
            ),
            Self::Chain { .. } | Self::NoRoot { .. } => {
                Some("restore the folder from a backup".into())
            }
            _ => None,
        }
    }
}

impl Diagnose for NodesError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            _ => Some("correct the file, or restore it from a backup".into()),
        }
    }
}

impl Diagnose for StoreError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            Self::Pack { .. }
            | Self::Release { .. }
            | Self::WrongContent { .. }
            | Self::Missing { .. }
            | Self::Incomplete { .. } => Exit::Data,
            Self::Locked { .. } | Self::Unsettled { .. } => Exit::Temporary,
            _ => Exit::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(self.advice().into())
    }
}

impl Diagnose for UnexplainedError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoRelease { .. } => Exit::NoInput,
            Self::Store(error) => error.exit(),
            Self::Explain(ExplainError::File(error)) => error.exit(),
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Explain(ExplainError::File(error)) => error.hint(),
            _ => Some(self.advice()),
        }
    }
}

impl Diagnose for HeadsError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            _ => Exit::Data,
        }
    }
}

impl Diagnose for ListenError {
    fn exit(&self) -> Exit {
        match self {
            Self::Socket(error) => error.exit(),
            _ => Exit::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Socket(error) => error.hint(),
            _ => None,
        }
    }
}

impl Diagnose for MasterError {
    fn exit(&self) -> Exit {
        match self {
            Self::Feed(error) => error.exit(),
            Self::Nodes(error) => error.exit(),
            Self::Store(error) => error.exit(),
            Self::Heads(error) => error.exit(),
            Self::Listen(error) => error.exit(),
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Feed(error) => error.hint(),
            Self::Nodes(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Heads(error) => error.hint(),
            Self::Listen(error) => error.hint(),
            _ => Some("restore the store from a backup, or publish the tree again".into()),
        }
    }
}

impl Diagnose for ExportError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoRelease { .. } | Self::Newest(_) => Exit::NoInput,
            Self::Build(BundleBuildError::Store(error)) => error.exit(),
            Self::Build(BundleBuildError::Io(_)) => Exit::Io,
            Self::File(error) | Self::Build(BundleBuildError::File(error)) => error.exit(),
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(self.advice().into())
    }
}

impl Diagnose for PublishError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoTree { .. } | Self::NotAFolder { .. } | Self::Empty { .. } => Exit::NoInput,
            Self::Changed { .. } => Exit::Temporary,
            Self::TooFewKeys { .. } => Exit::NoPermission,
            Self::OtherFeed { .. } => Exit::Config,
            Self::Store(error) => error.exit(),
            Self::File(error) => error.exit(),
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        use tidecast_proto::manifest::ManifestError;
        let advice = self.advice();
        Some(match self {
            Self::Successor(ManifestError::Shrinks { .. }) => format!("{advice}: --allow-shrink"),
            Self::Successor(ManifestError::DatabaseRollback { .. }) => {
                format!("{advice}; if it is meant all the same: --allow-database-rollback")
            }
            Self::TooFewKeys { needed: 0..2, .. } => format!("{advice}: --keys DIR"),
            _ => advice.into(),
        })
    }
}

impl Diagnose for ControlError {
    fn exit(&self) -> Exit {
        match self {
            Self::NotRunning { .. } => Exit::Unavailable,
            Self::Io { source, .. } => source.exit(),
            _ => Exit::General,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } => source.hint(),
            _ => None,
        }
    }
}

impl Diagnose for DocrootError {
    fn exit(&self) -> Exit {
        match self {
            Self::Missing { .. } | Self::NothingLive { .. } => Exit::NoInput,
            Self::NotAFolder { .. } => Exit::CannotCreate,
            Self::NotWritable { .. } | Self::Denied { .. } => Exit::NoPermission,
            Self::OtherFeed { .. } => Exit::Config,
            Self::InUse { .. } | Self::Replaced { .. } => Exit::Temporary,
            Self::Io { .. }
            | Self::NoSpace { .. }
            | Self::ReadOnly { .. }
            | Self::DiskFault { .. } => Exit::Io,
            Self::Successor(_)
            | Self::WrongContent { .. }
            | Self::WrongFeed { .. }
            | Self::NotNewer { .. }
            | Self::State { .. } => Exit::Data,
            _ => Exit::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NothingLive { .. } => Some("fetch a release with `tidecast sync`".into()),
            _ => self.advice().map(Into::into),
        }
    }
}

impl Diagnose for MemoryError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            _ => Some("restore the state folder, or join again with the fingerprint".into()),
        }
    }
}

impl Diagnose for MirrorError {
    fn exit(&self) -> Exit {
        match self {
            Self::Config(error) => error.exit(),
            Self::Key(error) => error.exit(),
            Self::Memory(error) => error.exit(),
            Self::Docroot(error) => error.exit(),
            _ => Exit::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Memory(error) => error.hint(),
            Self::Docroot(error) => error.hint(),
            _ => None,
        }
    }
}

impl Diagnose for SyncFailure {
    fn exit(&self) -> Exit {
        match self {
            Self::Pending { .. } | Self::Refused(_) => Exit::NoPermission,
            Self::Unreachable { tried } => match tried.iter().find(|(_, why)| answered(why)) {
                Some((_, SyncError::Root(_) | SyncError::NotAMaster(_))) => Exit::Data,
                Some((_, why)) => diagnosis::exit_of(why.whose()),
                None => Exit::Unavailable,
            },
            Self::Sync(SyncError::Docroot(error)) => error.exit(),
            Self::Sync(SyncError::Memory(error)) => error.exit(),
            Self::Sync(error) => diagnosis::exit_of(error.whose()),
            Self::Mirror(error) => error.exit(),
            _ => Exit::Temporary,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Mirror(error) => error.hint(),
            Self::Unreachable { tried } => match tried.first() {
                Some((upstream, SyncError::Link(LinkError::NoAnswer))) => {
                    Some(unanswered(upstream))
                }
                Some((_, SyncError::Root(RootError::WrongFingerprint { .. }))) => Some(
                    "ask the feed's operators for the fingerprint again, and check the upstream's address; both stand in mirror.toml"
                        .into(),
                ),
                _ => Some(self.advice()),
            },
            _ => Some(self.advice()).filter(|advice| !advice.is_empty()),
        }
    }
}

impl Diagnose for ImportError {
    fn exit(&self) -> Exit {
        match self {
            Self::File { source, .. } => source.exit(),
            Self::NotAFile { .. }
            | Self::NotABundle { .. }
            | Self::Bundle { .. }
            | Self::Incomplete { .. }
            | Self::OtherFeed { .. }
            | Self::OtherStart { .. } => Exit::Data,
            Self::NothingLive => Exit::NoInput,
            Self::Sync(SyncError::Docroot(error)) => error.exit(),
            Self::Sync(SyncError::Memory(error)) => error.exit(),
            Self::Sync(error) => diagnosis::exit_of(error.whose()),
            Self::Mirror(error) => error.exit(),
            _ => Exit::General,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Mirror(error) => error.hint(),
            _ => Some(self.advice()).filter(|advice| !advice.is_empty()),
        }
    }
}

/// Whether somebody was there, but could not be worked with.
fn answered(why: &SyncError) -> bool {
    why.whose() != "network"
}

/// What to check when an upstream does not answer.
pub(crate) fn unanswered(upstream: &str) -> String {
    let full = with_port(upstream);
    let (host, port) = full.rsplit_once(':').unwrap_or((&full, ""));
    format!(
        "check that a master runs on {host}, that it listens on UDP port {port}, and that firewalls on both sides let UDP {port} through"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_nobody_may_read_is_a_matter_of_permission_and_a_full_disk_of_the_disk() {
        let at = |kind: io::ErrorKind| {
            FileError::at("open", Path::new("/x"))(io::Error::from(kind)).exit()
        };
        assert_eq!(at(io::ErrorKind::PermissionDenied), Exit::NoPermission);
        assert_eq!(at(io::ErrorKind::StorageFull), Exit::Io);
        assert_eq!(at(io::ErrorKind::NotFound), Exit::NoInput);
    }

    #[test]
    fn an_error_wrapped_twice_keeps_its_code_and_hint() {
        let missing = || KeyFileError::Missing { path: "/k".into() };
        let wrapped = MasterError::Feed(FeedError::Key(missing()));
        assert_eq!(wrapped.exit(), missing().exit());
        assert_eq!(wrapped.hint(), missing().hint());
    }

    #[test]
    fn an_upstream_that_does_not_answer_is_named_with_host_port_and_what_to_check() {
        let failure = SyncFailure::Unreachable {
            tried: vec![("master.example.org".into(), LinkError::NoAnswer.into())],
        };
        assert_eq!(failure.exit(), Exit::Unavailable);
        let hint = failure.hint().unwrap();
        assert!(hint.contains("runs on master.example.org"), "{hint}");
        assert!(
            hint.contains("UDP port 4873") && hint.contains("firewalls"),
            "{hint}"
        );
    }

    #[test]
    fn an_upstream_of_another_feed_is_no_matter_of_the_network() {
        let feed = |text: &str| tidecast_proto::id::FeedId::of(text.as_bytes());
        let wrong = RootError::WrongFingerprint {
            got: feed("a"),
            expected: feed("b"),
        };
        let failure = SyncFailure::Unreachable {
            tried: vec![
                ("a".into(), wrong.into()),
                ("b".into(), LinkError::NoAnswer.into()),
            ],
        };
        assert_eq!(failure.exit(), Exit::Data);
        assert!(failure.hint().unwrap().contains("fingerprint again"));
    }

    #[test]
    fn codes_are_those_of_sysexits() {
        let codes = [
            Exit::Data,
            Exit::NoInput,
            Exit::Unavailable,
            Exit::Internal,
            Exit::CannotCreate,
            Exit::Io,
            Exit::Temporary,
            Exit::NoPermission,
            Exit::Config,
        ];
        assert_eq!(codes.map(Exit::code), [65, 66, 69, 70, 73, 74, 75, 77, 78]);
    }
}
