//! What errors of a master mean, and of publishing.

use tidecast_engine::bundle::BundleBuildError;
use tidecast_engine::master::{ExportError, FeedError, InstallError, MasterError, NodesError};
use tidecast_engine::publish::PublishError;
use tidecast_engine::quic::ListenError;
use tidecast_engine::vouched;

use super::{Diagnose, Exit};

impl Diagnose for FeedError {
    fn exit(&self) -> Exit {
        match self {
            Self::Key(error) => error.exit(),
            Self::File(error) => error.exit(),
            Self::Config(error) => error.exit(),
            Self::Roots(error) => error.exit(),
            Self::Exists { .. } => Exit::CannotCreate,
            Self::NoRoot { .. } | Self::NoFirst => Exit::NoInput,
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
            Self::NotNamed { .. } => Some(
                "`tidecast key show FILE` prints the keys of the state folder; a root must name them first"
                    .into(),
            ),
            Self::Given(_) => Some("`tidecast root show FILE` says what is missing".into()),
            Self::NoFirst => Some("give every root, 1 to the newest, each with --root".into()),
            _ => None,
        }
    }
}

impl Diagnose for InstallError {
    fn exit(&self) -> Exit {
        match self {
            Self::Feed(error) => error.exit(),
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Feed(error) => return error.hint(),
            Self::Contradicts { .. } => {
                "find out who signed two roots of one number; `tidecast root show FILE` shows either".into()
            }
            _ => "`tidecast root show FILE` says what is missing".into(),
        })
    }
}

impl Diagnose for NodesError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            Self::Setting { .. } => Exit::Usage,
            Self::NotListed { .. } => Exit::NoInput,
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Setting { .. } => {
                Some("give another value; if nodes.json was edited, correct it there".into())
            }
            Self::NotListed { .. } => {
                Some("admit it with `tidecast node admit KEY`, which takes the same options".into())
            }
            _ => Some("correct the file, or restore it from a backup".into()),
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
            Self::Retired { .. } => {
                Some("make the key the root names this master's, or stop this master".into())
            }
            Self::Unannounceable {
                release,
                root,
                source,
            } => Some(vouched::advice(*release, *root, source)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_engine::keyfile::KeyFileError;

    #[test]
    fn an_error_wrapped_twice_keeps_its_code_and_hint() {
        let missing = || KeyFileError::Missing { path: "/k".into() };
        let wrapped = MasterError::Feed(FeedError::Key(missing()));
        assert_eq!(wrapped.exit(), missing().exit());
        assert_eq!(wrapped.hint(), missing().hint());
    }
}
