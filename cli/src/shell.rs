//! What every command is given: where the state lies, how results are printed.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tidecast_engine::master::MASTER_CONFIG;
use tidecast_engine::mirror::MIRROR_CONFIG;

use crate::exit::Exit;
use crate::failure::Failure;

/// The surroundings of a command.
pub(crate) struct Shell<'a> {
    /// The state folder.
    pub(crate) state: PathBuf,
    /// Whether it was named rather than guessed: then the commands we suggest name it, too.
    pub(crate) state_named: bool,
    /// Results as JSON, one object per line.
    pub(crate) json: bool,
    /// Nothing but results and errors.
    pub(crate) quiet: bool,
    /// More than the usual.
    pub(crate) verbose: bool,
    /// Where results go.
    pub(crate) out: &'a mut dyn Write,
}

/// Whose state a folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Master,
    Mirror,
}

impl Shell<'_> {
    /// Prints a result: `object` for programs, `text` for people.
    pub(crate) fn result(&mut self, object: &impl Serialize, text: &str) -> Result<(), Failure> {
        if self.json {
            let line = serde_json::to_string(object)
                .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
            self.print(&format!("{line}\n"))
        } else {
            self.print(text)
        }
    }

    /// Prints `text` as it is.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Failure> {
        let printed = self
            .out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush());
        match printed {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Failure::new(
                Exit::Io,
                format!("cannot write the result: {error}"),
            )),
            Ok(()) => Ok(()),
        }
    }

    /// Says something that is not the result, on stderr.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Whether a progress bar would be seen.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && !self.json && std::io::stderr().is_terminal()
    }

    /// A command line of ours that works on this state, for hints.
    pub(crate) fn command(&self, rest: &str) -> String {
        if self.state_named {
            format!("tidecast --state {} {rest}", self.state.display())
        } else {
            format!("tidecast {rest}")
        }
    }

    /// Whose state this is.
    ///
    /// # Errors
    /// [`Exit::Config`]: nobody's.
    pub(crate) fn role(&self) -> Result<Role, Failure> {
        if self.state.join(MASTER_CONFIG).exists() {
            Ok(Role::Master)
        } else if self.state.join(MIRROR_CONFIG).exists() {
            Ok(Role::Mirror)
        } else {
            let what = format!(
                "{} holds neither a master nor a mirror",
                self.state.display()
            );
            Err(Failure::new(Exit::Config, what).hint(
                "name the state folder with --state; or make a feed with `tidecast feed init`, or a mirror with `tidecast join`",
            ))
        }
    }
}

/// Where the state lies when nobody says: the system's place for root, the user's own for everybody else.
pub(crate) fn default_state() -> PathBuf {
    user_folder("/var/lib/tidecast", "XDG_STATE_HOME", ".local/state")
}

/// Where root and release keys go when nobody says. Beside a state folder that was named, because two feeds must
/// not share keys by accident; never inside it, because the master does not need them.
pub(crate) fn default_keys(shell: &Shell<'_>) -> PathBuf {
    if shell.state_named {
        let mut path = shell.state.clone().into_os_string();
        path.push("-keys");
        path.into()
    } else {
        user_folder("/etc/tidecast", "XDG_CONFIG_HOME", ".config").join("keys")
    }
}

fn user_folder(of_root: &str, variable: &str, below_home: &str) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return of_root.into();
    }
    let folder = |variable| std::env::var_os(variable).filter(|path| !path.is_empty());
    folder(variable)
        .map(PathBuf::from)
        .or_else(|| folder("HOME").map(|home| Path::new(&home).join(below_home)))
        .unwrap_or_else(|| PathBuf::from("."))
        .join("tidecast")
}

/// Makes a folder that only its owner can look into.
pub(crate) fn private_folder(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Failure::file("create the folder", path, &error))
}

/// Now, in Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    use tidecast_engine::clock::Clock as _;
    tidecast_engine::clock::SystemClock.now().0
}
