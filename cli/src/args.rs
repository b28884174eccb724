//! The command line: global options, and which command.

use std::io::Write;
use std::path::PathBuf;

use crate::command;
use crate::failure::Outcome;
use crate::logging::LogFormat;
use crate::shell::{self, Shell};

/// Carries signed antivirus databases from a master to its mirrors.
///
/// A master publishes a folder as a signed release and announces it; mirrors fetch what they lack, check it, and
/// switch their docroot in one step. Clients download over plain HTTP.
#[derive(Debug, clap::Parser)]
#[command(name = "tidecast", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Above the options that every command has.
const HEADING: &str = "Global options";

#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// The folder that holds keys, configuration and, on a master, the releases.
    ///
    /// Default: /var/lib/tidecast for root, otherwise ~/.local/state/tidecast (XDG).
    #[arg(long, global = true, value_name = "DIR", env = "TIDECAST_STATE", help_heading = HEADING)]
    state: Option<PathBuf>,
    /// Print results as JSON, one object per line; errors too, on stderr.
    #[arg(long, global = true, help_heading = HEADING)]
    pub(crate) json: bool,
    /// Say more; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = HEADING)]
    pub(crate) verbose: u8,
    /// Say nothing but results and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = HEADING)]
    pub(crate) quiet: bool,
    /// How log lines on stderr look.
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        help_heading = HEADING
    )]
    pub(crate) log_format: LogFormat,
}

impl Global {
    /// The surroundings these options ask for.
    pub(crate) fn shell(self, out: &mut dyn Write) -> Shell<'_> {
        Shell {
            state_named: self.state.is_some(),
            state: self.state.unwrap_or_else(shell::default_state),
            json: self.json,
            quiet: self.quiet,
            verbose: self.verbose > 0,
            out,
        }
    }
}

#[derive(Debug, clap::Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it, parsed once")]
pub(crate) enum Command {
    /// Make a feed.
    #[command(subcommand)]
    Feed(command::feed::Feed),
    /// Make keys, and see what they are for.
    #[command(subcommand)]
    Key(command::key::Key),
    /// Make, sign and install roots: who may sign what.
    #[command(subcommand)]
    Root(command::root::Root),
    Publish(command::publish::Publish),
    /// Have several sigmakers sign a release, or take one back.
    #[command(subcommand)]
    Release(command::release::Release),
    Gc(command::gc::Gc),
    Master(command::master::Master),
    Join(command::join::Join),
    /// See and decide which mirrors may fetch.
    #[command(subcommand)]
    Node(command::node::Node),
    Sync(command::sync::Sync),
    Mirror(command::mirror::Mirror),
    Hold(command::hold::Hold),
    Unhold(command::hold::Unhold),
    Status(command::status::Status),
    Verify(command::verify::Verify),
    Audit(command::audit::Audit),
    /// Carry releases by hand.
    #[command(subcommand)]
    Bundle(command::bundle::Bundle),
    Explain(command::explain::Explain),
    Demo(command::demo::Demo),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(command::config::Config),
    #[command(subcommand, hide = true)]
    Generate(command::generate::Generate),
}

impl Command {
    /// Whether it stays until it is told to end.
    pub(crate) fn is_daemon(&self) -> bool {
        matches!(self, Self::Master(_) | Self::Mirror(_))
    }

    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        match self {
            Self::Feed(command) => command.run(shell),
            Self::Key(command) => command.run(shell),
            Self::Root(command) => command.run(shell).await,
            Self::Publish(command) => command.run(shell).await,
            Self::Release(command) => command.run(shell).await,
            Self::Gc(command) => command.run(shell).await,
            Self::Master(command) => command.run(shell).await,
            Self::Join(command) => command.run(shell),
            Self::Node(command) => command.run(shell).await,
            Self::Sync(command) => command.run(shell).await,
            Self::Mirror(command) => command.run(shell).await,
            Self::Hold(command) => command.run(shell).await,
            Self::Unhold(command) => command.run(shell).await,
            Self::Status(command) => command.run(shell).await,
            Self::Verify(command) => command.run(shell).await,
            Self::Audit(command) => command.run(shell),
            Self::Bundle(command) => command.run(shell).await,
            Self::Explain(command) => command.run(shell),
            Self::Demo(command) => command.run(shell).await,
            Self::Config(command) => command.run(shell),
            Self::Generate(command) => command.run(shell),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn no_two_options_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn global_options_may_stand_behind_the_command() {
        let args = Args::parse_from(["tidecast", "status", "--json", "--state", "/x"]);
        assert!(args.global.json);
        assert_eq!(args.global.state, Some("/x".into()));
    }
}
