//! The program run as an operator or a script runs it, in a temporary folder.

#![allow(dead_code, reason = "each test file uses a part of this module")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// 64 hex digits that are nobody's fingerprint.
pub(crate) const STRANGE_FINGERPRINT: &str =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

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
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The one object on stdout of a run that ended well.
    #[track_caller]
    pub(crate) fn object(&self) -> Value {
        self.object_and(0)
    }

    /// The one object on stdout of a run that ended with `code`.
    #[track_caller]
    pub(crate) fn object_and(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.out.lines().count(), 1, "{self:?}");
        let object: Value = serde_json::from_str(&self.out).unwrap();
        assert!(object.is_object(), "{self:?}");
        object
    }

    /// The object that `status` prints, whichever end says how things are.
    #[track_caller]
    pub(crate) fn judged(&self) -> Value {
        assert!([0, 1, 69, 75].contains(&self.code), "{self:?}");
        let object = self.object_and(self.code);
        if object["diagnosis"]["well"] == true {
            assert_eq!(self.code, 0, "{self:?}");
        }
        object
    }

    /// A good end whose text holds `part`.
    pub(crate) fn says(&self, part: &str) {
        assert_eq!(self.code, 0, "{self:?}");
        assert!(self.out.contains(part), "{self:?}");
    }

    /// The failure: exit code, an `error:` line that holds every one of `parts`, and a hint.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.out.is_empty(), "{self:?}");
        // Before it may stand what was found and put right at the start.
        let error = |line: &str| line.starts_with("error: ");
        assert!(self.err.lines().any(error), "{self:?}");
        assert!(self.err.contains("\nhint: "), "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in {self:?}");
        }
    }
}

/// The program on the state folder `state`, away from the caller's own settings.
pub(crate) fn tidecast(state: &Path) -> Command {
    tidecast_at(Path::new(env!("CARGO_BIN_EXE_tidecast")), state)
}

/// The same from another place.
pub(crate) fn tidecast_at(program: &Path, state: &Path) -> Command {
    let mut command = Command::new(program);
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

/// A temporary folder with a master's and a mirror's state in it.
pub(crate) struct Place(pub(crate) TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With a feed in `master` whose databases are not checked.
    pub(crate) fn with_feed() -> Self {
        let place = Self::new();
        let made = place.run(
            "master",
            &["feed", "init", "--feed", "t", "--verify", "none", "--json"],
        );
        made.object();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A folder with files of these names.
    pub(crate) fn tree(&self, name: &str, files: &[&str]) -> PathBuf {
        let tree = self.path(name);
        fs::create_dir_all(&tree).unwrap();
        for file in files {
            fs::write(tree.join(file), format!("content of {file}")).unwrap();
        }
        tree
    }

    /// Runs the program on the state `state`.
    pub(crate) fn run(&self, state: &str, arguments: &[&str]) -> Ran {
        run(&self.path(state), arguments)
    }

    pub(crate) fn publish(&self, tree: &str) -> Ran {
        self.run("master", &["publish", &self.text(tree)])
    }

    pub(crate) fn join(&self, docroot: &str, more: &[&str]) -> Ran {
        let docroot = self.text(docroot);
        let mut arguments = vec!["join", "127.0.0.1:9", "--docroot", &docroot];
        if !more.contains(&"--fingerprint") {
            arguments.extend(["--fingerprint", STRANGE_FINGERPRINT]);
        }
        arguments.extend(more);
        self.run("mirror", &arguments)
    }
}

/// Every name below a folder.
pub(crate) fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            names.extend(self::names(&path));
        }
        names.push(path);
    }
    names.sort();
    names
}

/// A master on the state `master` of a place, ended with the test.
pub(crate) struct Master(pub(crate) Child);

impl Master {
    /// Starts it on a port of the system's choice; also returns what it says when it is up. It tells the
    /// socket `notify` what a daemon tells systemd.
    pub(crate) fn start(place: &Place, more: &[&str]) -> (Self, Value) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidecast"))
            .args(["--json", "--state", &place.text("master"), "master"])
            .args(if more.contains(&"--listen") {
                &[][..]
            } else {
                &["--listen", "127.0.0.1:0"]
            })
            .args(more)
            .env("NOTIFY_SOCKET", place.path("notify"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let master = Self(child);
        out.read_line(&mut line).unwrap();
        (master, serde_json::from_str(&line).unwrap())
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(sent.unwrap().success());
}
