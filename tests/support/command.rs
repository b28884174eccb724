//! Runs of the real program.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// What a finished process left behind.
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The one object on stdout of a run that ended well.
    #[track_caller]
    pub(crate) fn object(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        self.objects().remove(0)
    }

    /// The objects on stdout, one a line, at least one.
    #[track_caller]
    pub(crate) fn objects(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{self:?}"));
        let objects: Vec<Value> = self.out.lines().map(parse).collect();
        assert!(objects.iter().all(Value::is_object), "{self:?}");
        assert!(!objects.is_empty(), "{self:?}");
        objects
    }

    /// The failure: exit code, an `error:` line, a hint, and every one of `parts` in them.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.starts_with("error: "), "{self:?}");
        assert!(self.err.contains("\nhint: "), "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in {self:?}");
        }
    }
}

/// The program on the state folder `state`, away from the caller's own settings.
pub(crate) fn tidecast(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidecast"));
    command
        .arg("--state")
        .arg(state)
        .stdin(Stdio::null())
        .env_remove("TIDECAST_LOG")
        .env_remove("TIDECAST_STATE");
    command
}

/// Runs it to its end.
pub(crate) fn run<A: AsRef<OsStr>>(state: &Path, arguments: &[A]) -> Ran {
    Ran::of(tidecast(state).args(arguments).output().unwrap())
}
