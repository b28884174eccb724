//! The temporary folder and the processes in it. Dropping the stage ends and removes all of it.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::MirrorResult;
use crate::exit::Exit;
use crate::failure::Failure;

/// Daemons that were asked to end get this long together.
const FAREWELL: Duration = Duration::from_secs(3);

/// Last lines of a log that are shown when a process fails.
const LOG_LINES: usize = 8;

/// Everything the demo made.
pub(super) struct Stage {
    processes: Vec<Process>,
    folder: TempDir,
    program: PathBuf,
}

/// A daemon of ours, or rsync's.
struct Process {
    name: String,
    child: Child,
}

impl Process {
    fn ask_to_end(&self) {
        // An exited child keeps its pid until it is waited for, so the signal cannot meet another process.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    /// Waits until `deadline`, and ends it by force then.
    fn end(&mut self, deadline: Instant) {
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                _ => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Mirrors first: they say goodbye to a master that is still there.
        for process in self.processes.iter().rev() {
            process.ask_to_end();
        }
        let deadline = Instant::now() + FAREWELL;
        for process in &mut self.processes {
            process.end(deadline);
        }
        // The folder goes when its field is dropped, after this.
    }
}

impl Stage {
    /// An empty folder.
    pub(super) fn new() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("tidecast-demo-")
            .tempdir()
            .map_err(|error| Failure::file("make a folder in", &std::env::temp_dir(), &error))?;
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(Exit::Internal, format!("cannot find this program: {error}"))
        })?;
        Ok(Self {
            processes: Vec::new(),
            folder,
            program,
        })
    }

    /// A path in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Our own program on the state `name`.
    fn tidecast(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--json", "--state"])
            .arg(self.path(name))
            .env_remove("TIDECAST_LOG")
            .stdin(Stdio::null());
        command
    }

    /// Runs one command to its end and returns the object it printed.
    pub(super) fn command(&self, state: &str, arguments: &[&str]) -> Result<Value, Failure> {
        let ran = self.tidecast(state).args(arguments).output();
        let output = ran.map_err(|error| Failure::file("run", &self.program, &error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(
                Exit::Internal,
                format!("`tidecast {}`: {}", arguments.join(" "), said.trim()),
            ));
        }
        parse(&output.stdout, arguments)
    }

    /// Starts a daemon and returns what it printed once it was up. It runs until the stage is dropped.
    pub(super) fn daemon(&mut self, state: &str, arguments: &[&str]) -> Result<Value, Failure> {
        let mut command = self.tidecast(state);
        command.args(arguments).stdout(Stdio::piped());
        let stdout = self.start(state, &mut command)?.stdout.take();
        let mut line = Vec::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout)
                .read_until(b'\n', &mut line)
                .map_err(|error| Failure::file("hear from", &self.program, &error))?;
        }
        if line.is_empty() {
            return Err(self.died(state));
        }
        parse(&line, arguments)
    }

    /// Starts any program in the background; its log is `<name>.log`.
    pub(super) fn start(
        &mut self,
        name: &str,
        command: &mut Command,
    ) -> Result<&mut Child, Failure> {
        use std::os::unix::process::CommandExt as _;
        let path = self.path(&format!("{name}.log"));
        let log =
            std::fs::File::create(&path).map_err(|error| Failure::file("create", &path, &error))?;
        // In a group of its own: Ctrl-C is for us, and we end it when we are done with it.
        let child = command
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::file("run", Path::new(command.get_program()), &error))?;
        self.processes.push(Process {
            name: name.into(),
            child,
        });
        // Pushed just now.
        match self.processes.last_mut() {
            Some(process) => Ok(&mut process.child),
            None => Err(Failure::new(Exit::Internal, "a process was lost")),
        }
    }

    /// Fails when a daemon has ended that should run.
    pub(super) fn all_run(&mut self) -> Result<(), Failure> {
        let ended = self.processes.iter_mut().find_map(|process| {
            let over = !matches!(process.child.try_wait(), Ok(None));
            over.then(|| process.name.clone())
        });
        match ended {
            Some(name) => Err(self.died(&name)),
            None => Ok(()),
        }
    }

    fn died(&self, name: &str) -> Failure {
        let log = std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        let mut what = format!("{name} ended; its last words:");
        for line in last {
            let _ = write!(what, "\n  {line}");
        }
        Failure::new(Exit::Internal, what)
    }

    /// Where everything is, for somebody who wants to look.
    pub(super) fn places(&self, results: &[MirrorResult]) -> String {
        let mut text = format!(
            "\neverything runs in {} until you press Ctrl-C\n",
            self.folder.path().display()
        );
        for process in &self.processes {
            let url = results.iter().find(|result| result.mirror == process.name);
            let url = url.map(|result| result.url.as_str()).unwrap_or_default();
            let _ = writeln!(
                text,
                "  {:8} pid {:7}  {url}",
                process.name,
                process.child.id()
            );
        }
        let _ = write!(
            text,
            "try: {} --state {} status\n     curl -I {}daily.cvd",
            self.program.display(),
            self.path("master").display(),
            results
                .first()
                .map(|result| result.url.as_str())
                .unwrap_or_default()
        );
        text
    }
}

fn parse(printed: &[u8], arguments: &[&str]) -> Result<Value, Failure> {
    serde_json::from_slice(printed).map_err(|error| {
        Failure::new(
            Exit::Internal,
            format!("what `tidecast {}` printed: {error}", arguments.join(" ")),
        )
    })
}

/// A UDP port nobody uses right now.
pub(super) fn free_udp_port() -> Result<u16, Failure> {
    let bound = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    Ok(bound?.port())
}

/// A TCP port nobody uses right now.
pub(super) fn free_tcp_port() -> Result<u16, Failure> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    Ok(bound?.port())
}
