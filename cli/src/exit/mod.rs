//! Exit codes, and which error ends in which: the one place that knows. SPEC §10.5.
//!
//! Codes are those of BSD's `sysexits.h`.

mod keys;
mod log;
mod master;
mod mirror;
mod store;

use std::io;

use tidecast_engine::config::ConfigError;
use tidecast_engine::control::ControlError;
use tidecast_engine::durable::FileError;

use crate::suggestion;
pub(crate) use mirror::unanswered;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// What was asked for is done, or was done already.
    Ok = 0,
    /// A person has to decide something first, or no other code fits.
    General = 1,
    /// The command line is wrong.
    Usage = 2,
    /// What was read is not acceptable: a tree, a signed object, a damaged file.
    Data = 65,
    /// Something that should be there is not.
    NoInput = 66,
    /// Nobody answers.
    Unavailable = 69,
    /// A bug.
    Internal = 70,
    /// Something that should not be there is, or a place cannot be used.
    CannotCreate = 73,
    /// The disk.
    Io = 74,
    /// Try again later.
    Temporary = 75,
    /// A key or a user may not.
    NoPermission = 77,
    /// A configuration is wrong or missing.
    Config = 78,
}

impl Exit {
    /// The number the shell sees.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// What an error means to the person at the terminal.
pub(crate) trait Diagnose: std::error::Error {
    /// The process's end.
    fn exit(&self) -> Exit;
    /// What to do about it.
    fn hint(&self) -> Option<String> {
        None
    }
}

impl Diagnose for io::Error {
    fn exit(&self) -> Exit {
        match self.kind() {
            io::ErrorKind::PermissionDenied => Exit::NoPermission,
            io::ErrorKind::NotFound => Exit::NoInput,
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => Exit::CannotCreate,
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => Exit::Unavailable,
            _ => Exit::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self.kind() {
            io::ErrorKind::PermissionDenied => "run it as the user these files belong to",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on that disk",
            io::ErrorKind::AddrInUse => "another program listens there; name another address",
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
            _ => return None,
        };
        Some(text.into())
    }
}

impl Diagnose for FileError {
    fn exit(&self) -> Exit {
        self.source.exit()
    }

    fn hint(&self) -> Option<String> {
        self.source.hint()
    }
}

impl Diagnose for ConfigError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            _ => Exit::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Missing { .. } => Some(
                "name the state folder with --state; or make a feed with `tidecast feed init`, or a mirror with `tidecast join`"
                    .into(),
            ),
            Self::Syntax { source, .. } => Some(
                suggestion::for_unknown_field(source.message())
                    .unwrap_or_else(|| "correct that line".into()),
            ),
            _ => Some("correct that line; `tidecast config check` tells when it is right".into()),
        }
    }
}

impl Diagnose for ControlError {
    fn exit(&self) -> Exit {
        match self {
            Self::NotRunning { .. } => Exit::Unavailable,
            Self::Io { source, .. } => source.exit(),
            _ => Exit::General,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } => source.hint(),
            Self::NotRunning { .. } => Some(
                "start it with `tidecast mirror` or `tidecast master`; if it runs, name its state folder with --state"
                    .into(),
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_file_nobody_may_read_is_a_matter_of_permission_and_a_full_disk_of_the_disk() {
        let at = |kind: io::ErrorKind| {
            FileError::at("open", Path::new("/x"))(io::Error::from(kind)).exit()
        };
        assert_eq!(at(io::ErrorKind::PermissionDenied), Exit::NoPermission);
        assert_eq!(at(io::ErrorKind::StorageFull), Exit::Io);
        assert_eq!(at(io::ErrorKind::NotFound), Exit::NoInput);
    }

    #[test]
    fn codes_are_those_of_sysexits() {
        let codes = [
            Exit::Data,
            Exit::NoInput,
            Exit::Unavailable,
            Exit::Internal,
            Exit::CannotCreate,
            Exit::Io,
            Exit::Temporary,
            Exit::NoPermission,
            Exit::Config,
        ];
        assert_eq!(codes.map(Exit::code), [65, 66, 69, 70, 73, 74, 75, 77, 78]);
    }
}
