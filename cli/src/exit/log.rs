//! What errors of chained logs mean: of the heads a master signed, and of what a mirror believed.

use tidecast_engine::chain_log::ChainLogError;
use tidecast_engine::master::HeadsError;

use super::{Diagnose, Exit};

impl Diagnose for HeadsError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            Self::Log(error) => error.exit(),
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(self.advice())
    }
}

impl Diagnose for ChainLogError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            Self::Busy { .. } => Exit::Temporary,
            Self::Unsure { .. } => Exit::Io,
            Self::TooLong { .. } => Exit::Internal,
            _ => Exit::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(self.advice().into())
    }
}
