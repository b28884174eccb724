//! `tidecast key`.

mod new;
mod show;

use crate::failure::Outcome;
use crate::shell::Shell;

/// What can be done with keys.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Key {
    New(new::New),
    Show(show::Show),
}

impl Key {
    pub(crate) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        match self {
            Self::New(command) => command.run(shell),
            Self::Show(command) => command.run(shell),
        }
    }
}
