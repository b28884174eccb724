//! What errors of a mirror, its docroot and its syncs mean.

use tidecast_engine::docroot::DocrootError;
use tidecast_engine::mirror::{
    HoldError, ImportError, MemoryError, MirrorError, RotateError, SyncError, SyncFailure,
    with_port,
};
use tidecast_engine::quic::LinkError;
use tidecast_proto::root::RootError;

use super::{Diagnose, Exit};
use crate::diagnosis;

impl Diagnose for DocrootError {
    fn exit(&self) -> Exit {
        match self {
            Self::Missing { .. } | Self::NothingLive { .. } => Exit::NoInput,
            Self::NotAFolder { .. } => Exit::CannotCreate,
            Self::NotWritable { .. } | Self::Denied { .. } => Exit::NoPermission,
            Self::OtherFeed { .. } | Self::NotExchangeable { .. } => Exit::Config,
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
            Self::Log(error) => error.exit(),
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Log(error) => error.hint(),
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

impl Diagnose for HoldError {
    fn exit(&self) -> Exit {
        match self {
            Self::NothingLive => Exit::NoInput,
            Self::Reason => Exit::Data,
            Self::File(error) => error.exit(),
            Self::Docroot(error) => error.exit(),
            Self::Mirror(error) => error.exit(),
            _ => Exit::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Mirror(error) => error.hint(),
            _ => self.advice().map(Into::into),
        }
    }
}

impl Diagnose for ImportError {
    fn exit(&self) -> Exit {
        match self {
            Self::Held(_) => Exit::General,
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

impl Diagnose for RotateError {
    fn exit(&self) -> Exit {
        match self {
            Self::Key(error) => error.exit(),
            Self::File(error) => error.exit(),
            Self::Asking(error) => error.exit(),
            _ => Exit::General,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Key(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Asking(error) => error.hint(),
            _ => None,
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
}
