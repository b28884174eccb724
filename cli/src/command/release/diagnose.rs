//! What a proposal's errors mean to the person at the terminal.

use tidecast_engine::proposal::ProposalError;

use crate::exit::{Diagnose, Exit};

impl Diagnose for ProposalError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            Self::Store(error) => error.exit(),
            Self::Publish(error) => error.exit(),
            Self::NotThere { .. } | Self::NoRelease(_) | Self::NoSuchFile(_) => Exit::NoInput,
            Self::Ambiguous { .. } => Exit::Usage,
            Self::NotAReleaseKey(_) => Exit::NoPermission,
            Self::WrongFeed { .. } => Exit::Config,
            Self::SignedAlready(_)
            | Self::Stale { .. }
            | Self::Released(_)
            | Self::Unchanged(_)
            | Self::TooMany
            | Self::NothingLeft(_) => Exit::General,
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Publish(error) => error.hint(),
            _ => Some(self.advice()),
        }
    }
}
