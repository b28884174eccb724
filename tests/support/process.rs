//! Child processes that end with the test, with everything they started.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a program gets to start or to end; generous, because test machines are busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running program in a process group of its own, ended on drop.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts `command`.
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        let child = child.unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        Self { child }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its output, when that was piped and nobody took it before.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends a signal (`"TERM"`, `"KILL"`, `"HUP"`) to the program and its children.
    pub(crate) fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        let status = Command::new("kill")
            .args(["-s", name, "--", &group])
            .status();
        assert!(status.is_ok(), "kill could not be run: {status:?}");
    }

    /// Asks it to end and waits until it has; ends it by force when it will not.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        if let Some(status) = self.ended() {
            return status;
        }
        self.signal("TERM");
        if !eventually(|| self.ended().is_some()) {
            self.signal("KILL");
        }
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks `done` until it says yes; `false` when patience ran out.
pub(crate) fn eventually(done: impl FnMut() -> bool) -> bool {
    within(PATIENCE, done)
}

/// The same with another patience.
pub(crate) fn within(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// A TCP port on 127.0.0.1 that nobody listens on right now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Whether somebody accepts connections on `port` before patience runs out.
pub(crate) fn answers(port: u16) -> bool {
    eventually(|| TcpStream::connect(("127.0.0.1", port)).is_ok())
}
