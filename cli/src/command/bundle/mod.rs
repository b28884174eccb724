//! `tidecast bundle`: releases that are carried by hand.

mod export;
mod import;

use crate::failure::Outcome;
use crate::shell::Shell;

/// What can be done with bundles.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Bundle {
    Export(export::Export),
    Import(import::Import),
}

impl Bundle {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        match self {
            Self::Export(command) => command.run(shell).await,
            Self::Import(command) => command.run(shell).await,
        }
    }
}
