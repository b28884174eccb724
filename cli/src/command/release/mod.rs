//! `tidecast release`: releases that several sigmakers sign, and releases that are taken back.

mod add;
mod diagnose;
mod drop;
mod list;
mod propose;
mod render;
mod show;
mod sign;
mod sources;
mod withdraw;

use crate::failure::Outcome;
use crate::shell::Shell;

/// What can be done with releases.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Release {
    Propose(propose::Propose),
    Show(show::Show),
    Sign(sign::Sign),
    Add(add::Add),
    List(list::List),
    Drop(drop::Drop),
    Withdraw(withdraw::Withdraw),
}

impl Release {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        match self {
            Self::Propose(command) => command.run(shell).await,
            Self::Show(command) => command.run(shell),
            Self::Sign(command) => command.run(shell).await,
            Self::Add(command) => command.run(shell).await,
            Self::List(command) => command.run(shell),
            Self::Drop(command) => command.run(shell),
            Self::Withdraw(command) => command.run(shell).await,
        }
    }
}
