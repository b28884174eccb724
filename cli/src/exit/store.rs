//! What errors of the release store mean.

use tidecast_engine::store::StoreError;
use tidecast_engine::store::explain::ExplainError;
use tidecast_engine::store::explained::UnexplainedError;

use super::{Diagnose, Exit};

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
