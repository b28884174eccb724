//! `tidecast generate`, hidden: manual pages and completions, for packagers.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::Shell as CompletionShell;

use crate::args::Args;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::manual;
use crate::shell::Shell;

/// Make files for packages out of the command line's own description.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Generate {
    /// Write manual pages into a folder: of section 1 for every command, and of section 7 for every message.
    Man {
        /// The folder, which must exist.
        folder: PathBuf,
    },
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: CompletionShell,
    },
}

impl Generate {
    pub(crate) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let mut command = Args::command();
        match self {
            Self::Man { folder } => {
                let messages = folder.join(manual::MESSAGES_PAGE);
                clap_mangen::generate_to(command, &folder)
                    .and_then(|()| std::fs::write(messages, manual::messages_page()))
                    .map_err(|error| Failure::file("write manual pages into", &folder, &error))?;
            }
            Self::Completions { shell: which } => {
                let mut script = Vec::new();
                clap_complete::generate(which, &mut command, "tidecast", &mut script);
                shell.print(&String::from_utf8_lossy(&script))?;
            }
        }
        Ok(Exit::Ok)
    }
}
