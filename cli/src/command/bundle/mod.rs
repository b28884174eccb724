//! `tidecast bundle`.

mod import;

use crate::failure::Outcome;
use crate::shell::Shell;

/// Carry releases by hand, where there is no network.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Bundle {
    Import(import::Import),
}

impl Bundle {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        match self {
            Self::Import(command) => command.run(shell).await,
        }
    }
}
