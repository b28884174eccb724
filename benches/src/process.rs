//! Whole processes and what they cost: wall time, processor time, anonymous memory.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often memory is looked at while something runs.
const MEMORY_SAMPLE: Duration = Duration::from_millis(10);
/// Units of `/proc/<pid>/stat` per second; fixed by Linux's interface, whatever the kernel's own.
const TICKS_PER_S: f64 = 100.0;
/// How long a daemon gets to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) wall_s: f64,
    /// User and system time of the process and the children it waited for.
    pub(crate) cpu_s: f64,
    /// Highest `RssAnon` seen, 0 when too short-lived to be looked at.
    pub(crate) peak_anon_kib: u64,
}

impl Finished {
    /// Itself when the command succeeded.
    pub(crate) fn success(self, command: &Command) -> Result<Self> {
        if !self.status.success() {
            bail!(
                "{command:?} ended with {}: {}",
                self.status,
                self.stderr.trim()
            );
        }
        Ok(self)
    }
}

/// Runs `command` to its end and fails when it does.
pub(crate) fn run(command: &mut Command) -> Result<Finished> {
    finish(command)?.success(command)
}

/// Runs `command` to its end, whatever that is.
pub(crate) fn finish(command: &mut Command) -> Result<Finished> {
    // Files, not pipes: nobody has to read while the clock runs.
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?);
    let start = Instant::now();
    let child = command
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let (status, cpu_s, peak_anon_kib, wall_s) = {
        let peak = AtomicU64::new(0);
        let ended = AtomicBool::new(false);
        let id = child.id();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    peak.fetch_max(anon_kib(id).unwrap_or(0), Ordering::Relaxed);
                    std::thread::park_timeout(MEMORY_SAMPLE);
                }
            });
            let waited = wait(&child);
            let wall_s = start.elapsed().as_secs_f64();
            ended.store(true, Ordering::Relaxed);
            waited.map(|(status, cpu)| (status, cpu, peak.load(Ordering::Relaxed), wall_s))
        })?
    };
    Ok(Finished {
        status,
        stdout: contents(&mut stdout)?,
        stderr: contents(&mut stderr)?,
        wall_s,
        cpu_s,
        peak_anon_kib,
    })
}

/// Waits for a child and says what it used; `Child::wait` keeps that to itself.
#[expect(unsafe_code, reason = "std has no wait4")]
fn wait(child: &Child) -> io::Result<(ExitStatus, f64)> {
    let id = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are valid for writing, and a zeroed `rusage` is a valid one. The child
    // is ours and nobody else waits for it, so its number cannot have been given away.
    let (waited, usage) = unsafe {
        let waited = libc::wait4(id, &raw mut status, 0, usage.as_mut_ptr());
        (waited, usage.assume_init())
    };
    if waited != id {
        return Err(io::Error::last_os_error());
    }
    let seconds = |time: libc::timeval| {
        let micros = u32::try_from(time.tv_usec).unwrap_or(0);
        let whole = u32::try_from(time.tv_sec).unwrap_or(0);
        f64::from(whole) + f64::from(micros) / 1e6
    };
    let cpu_s = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    Ok((ExitStatus::from_raw(status), cpu_s))
}

fn contents(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A program that serves until it is dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts `command`; what it says goes to `log`.
    pub(crate) fn start(command: &mut Command, log: File) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        Ok(Self { child })
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Processor seconds so far, those of children it has waited for included; to 0.01 s.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        let id = self.child.id();
        // A forked worker counts only once it has been waited for.
        let start = Instant::now();
        let children = format!("/proc/{id}/task/{id}/children");
        while start.elapsed() < PATIENCE
            && !std::fs::read_to_string(&children)
                .unwrap_or_default()
                .trim()
                .is_empty()
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The program's name, in parentheses, may hold blanks; fields are counted from behind it.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u32 = fields
            .split_whitespace()
            .skip(11)
            .take(4)
            .filter_map(|field| field.parse::<u32>().ok())
            .sum();
        Ok(f64::from(ticks) / TICKS_PER_S)
    }

    /// Anonymous memory now.
    pub(crate) fn anon_kib(&self) -> Result<u64> {
        anon_kib(self.child.id()).context("the daemon is gone")
    }

    /// Runs `work` and says the highest anonymous memory seen meanwhile.
    pub(crate) fn peak_anon_kib<T>(&self, work: impl FnOnce() -> T) -> (T, u64) {
        let peak = AtomicU64::new(0);
        let done = AtomicBool::new(false);
        let id = self.child.id();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    peak.fetch_max(anon_kib(id).unwrap_or(0), Ordering::Relaxed);
                    std::thread::sleep(MEMORY_SAMPLE);
                }
            });
            let result = work();
            done.store(true, Ordering::Relaxed);
            (result, peak.load(Ordering::Relaxed))
        })
    }
}

#[expect(unsafe_code, reason = "std sends no SIGTERM")]
impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(id) = libc::pid_t::try_from(self.child.id())
            && self.is_running()
        {
            // SAFETY: sends a signal to our own child, which has not been waited for.
            unsafe { libc::kill(id, libc::SIGTERM) };
        }
        let start = Instant::now();
        while self.is_running() {
            if start.elapsed() > PATIENCE {
                // Nothing more can be done about one that will not go.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn anon_kib(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_command_has_its_output_status_and_time() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let finished = finish(&mut command).unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(
            (finished.stdout.as_str(), finished.stderr.as_str()),
            ("out\n", "err\n")
        );
        assert!(finished.wall_s > 0.0 && finished.cpu_s >= 0.0);
        assert!(finished.success(&command).is_err());
    }

    #[test]
    fn processor_time_is_that_of_the_child_not_the_wall() {
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"]);
        let finished = run(&mut command).unwrap();
        assert!(finished.cpu_s > 0.001, "{finished:?}");
        assert!(
            finished.cpu_s <= finished.wall_s * 1.5 + 0.01,
            "{finished:?}"
        );
    }
}
