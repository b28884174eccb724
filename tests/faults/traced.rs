//! The program with strace on one of its threads, from that thread's first call on: `when=N` then counts the calls of
//! that thread and of no other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::support::program;

/// How long a program may take to start its thread, and the tracer to take hold of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it takes to trace one thread.
pub(crate) struct Tracer {
    strace: PathBuf,
    /// Where the library that holds the thread lies, and traces.
    folder: TempDir,
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
    /// One line for each call, as strace writes them.
    pub(crate) calls: Vec<String>,
}

impl Traced {
    /// The call that was tampered with, or at which the program was killed.
    pub(crate) fn hit(&self) -> Option<&str> {
        let injected = |line: &&String| line.ends_with("(INJECTED)") || line.ends_with("= ?");
        self.calls.iter().find(injected).map(String::as_str)
    }

    /// Whether it was killed.
    pub(crate) fn killed(&self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        self.status.signal() == Some(9)
    }
}

/// The name of the call in a line of a trace.
pub(crate) fn name_of(line: &str) -> &str {
    line.split('(').next().unwrap_or(line)
}

/// Ended with the test, however that ends.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Tracer {
    /// `None`, after saying so, where a program is missing that this takes or tracing is not allowed.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let strace = program(test, "strace", "strace")?;
        let compiler = program(test, "cc", "gcc libc6-dev")?;
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/faults/hold.c");
        let built = Command::new(compiler)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("hold.so"))
            .arg(source)
            .arg("-ldl")
            .status();
        assert!(built.unwrap().success(), "hold.c does not compile");
        let allowed = Command::new(&strace)
            .args(["-o", "/dev/null", "true"])
            .stderr(Stdio::null())
            .status();
        if !allowed.unwrap().success() {
            super::support::skip(test, "strace may not trace here (ptrace is not allowed)");
            return None;
        }
        Some(Self { strace, folder })
    }

    /// Runs `command` with strace, given `options`, on its thread `thread`. A program that ends without such a thread
    /// is simply not traced.
    pub(crate) fn run(&self, command: &mut Command, thread: &str, options: &[&str]) -> Traced {
        let mut child = command
            .env("LD_PRELOAD", self.folder.path().join("hold.so"))
            .env("TIDECAST_HELD_THREAD", thread)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map(Owned)
            .unwrap();
        let trace = self.folder.path().join(format!("{}.trace", child.0.id()));
        let mut strace = None;
        if let Some(held) = held(&mut child.0, thread) {
            let mut tracing = Command::new(&self.strace)
                .args(["-q", "-y", "-s", "256", "-o"])
                .arg(&trace)
                .args(options)
                .args(["-p", &held.to_string()])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map(Owned)
                .unwrap();
            let status = format!("/proc/{}/task/{held}/status", child.0.id());
            until(|| {
                let ended = tracing.0.try_wait().unwrap();
                assert!(
                    ended.is_none(),
                    "strace ended at once: {ended:?} {options:?}"
                );
                let status = fs::read_to_string(&status).unwrap_or_default();
                let tracer = status.lines().find_map(|l| l.strip_prefix("TracerPid:\t"));
                tracer.is_some_and(|pid| pid != "0")
            });
            let pid = child.0.id().to_string();
            let sent = Command::new("kill").args(["-s", "CONT", &pid]).status();
            assert!(sent.unwrap().success());
            strace = Some(tracing);
        }
        let (mut out, mut err) = (String::new(), String::new());
        std::thread::scope(|scope| {
            use std::io::Read;
            let (mut stderr, err) = (child.0.stderr.take().unwrap(), &mut err);
            scope.spawn(move || stderr.read_to_string(err).unwrap());
            child
                .0
                .stdout
                .take()
                .unwrap()
                .read_to_string(&mut out)
                .unwrap();
        });
        let status = child.0.wait().unwrap();
        if let Some(mut strace) = strace {
            strace.0.wait().unwrap();
        }
        let calls = fs::read_to_string(&trace).unwrap_or_default();
        let _ = fs::remove_file(&trace);
        Traced {
            status,
            out,
            err,
            calls: calls.lines().map(str::to_owned).collect(),
        }
    }
}

/// The id of the stopped thread `name`; `None` when the program ended without it.
fn held(child: &mut Child, name: &str) -> Option<u32> {
    let tasks = format!("/proc/{}/task", child.id());
    let mut found = None;
    until(|| {
        let entries = fs::read_dir(&tasks).into_iter().flatten().flatten();
        found = entries
            .filter(|task| {
                let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
                // Its third field is the state; the second is the name, in brackets.
                let stopped = read("stat")
                    .rsplit_once(") ")
                    .is_some_and(|(_, s)| s.starts_with('T'));
                stopped && read("comm").trim_end() == name
            })
            .find_map(|task| task.file_name().to_str()?.parse().ok());
        found.is_some() || child.try_wait().unwrap().is_some()
    });
    found
}

fn until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "a traced program hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Tracer {
    /// Runs `command` with strace on all its threads; each call with the name of the thread that made it.
    pub(crate) fn all_threads(&self, command: &mut Command) -> Vec<(String, String)> {
        let folder = self.folder.path().join("threads");
        fs::create_dir_all(&folder).unwrap();
        let mut traced = Command::new(&self.strace);
        traced
            .args([
                "-ff",
                "-q",
                "-y",
                "-s",
                "256",
                "-e",
                "trace=%file,%desc,prctl",
                "-o",
            ])
            .arg(folder.join("trace"))
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => traced.env(name, value),
                None => traced.env_remove(name),
            };
        }
        let ran = traced.stdin(Stdio::null()).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let mut all = Vec::new();
        for entry in fs::read_dir(&folder).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            let name = text
                .lines()
                .find_map(|line| line.strip_prefix("prctl(PR_SET_NAME, \""));
            let name = name
                .and_then(|rest| rest.split('"').next())
                .unwrap_or("main");
            all.extend(text.lines().map(|line| (name.to_owned(), line.to_owned())));
        }
        fs::remove_dir_all(&folder).unwrap();
        all
    }
}
