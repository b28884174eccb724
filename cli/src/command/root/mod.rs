//! `tidecast root`: the file that says who may sign what, made and signed offline.

pub(crate) mod at_hand;
mod install;
mod new;
mod options;
mod report;
mod rotate;
mod show;
mod sign;

use crate::failure::Outcome;
use crate::shell::Shell;

/// What can be done with roots.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Root {
    New(new::New),
    Rotate(rotate::Rotate),
    Show(show::Show),
    Sign(sign::Sign),
    Install(install::Install),
}

impl Root {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        match self {
            Self::New(command) => command.run(shell),
            Self::Rotate(command) => command.run(shell),
            Self::Show(command) => command.run(shell),
            Self::Sign(command) => command.run(shell),
            Self::Install(command) => command.run(shell).await,
        }
    }
}
