//! Running the operator's command after a switch, so that nothing it does can harm the mirror. SPEC §8.15.
//!
//! Blocks until it has ended: for a thread of its own.

use std::io::{self, PipeReader, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::config::HookConfig;

/// Between two looks at whether it has ended or said something.
const LOOK: Duration = Duration::from_millis(20);

/// From the request to end to the end by force.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// How long what it left running may go on talking once it has ended: its last words are in the pipe by then.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Lines of its output that are passed on; a broken command must not fill the log.
const LINES_MAX: usize = 200;

/// Bytes of a line that are passed on.
const LINE_BYTES_MAX: usize = 1000;

/// What of our own environment it gets; the rest may hold what is meant for us only.
const ENVIRONMENT: [&str; 8] = [
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR",
];

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    Itself(ExitStatus),
    /// It took too long, and its process group was ended.
    TooLong,
    /// The mirror stopped, and its process group was ended.
    Stopped,
}

/// Runs the command to its end, which comes soon after its timeout or after `stop` is set. `line` is called with each line
/// of what it says, on stdout or stderr.
///
/// # Errors
/// It could not be started, or what the system said while it ran; nothing of it runs on then.
pub(super) fn run(
    hook: &HookConfig,
    environment: &[(&str, String)],
    stop: &AtomicBool,
    line: &mut dyn FnMut(&str),
) -> io::Result<Ended> {
    let (mut child, mut output) = start(hook, environment)?;
    let mut lines = Lines::new(line);
    let timeout = Duration::from_secs(hook.timeout_s);
    let ended = watch(&mut child, &mut output, &mut lines, timeout, stop);
    if !matches!(ended, Ok(Ended::Itself(_))) {
        // It was not waited for yet, so its number is nobody else's.
        end_group(&child, Signal::KILL);
        child.wait()?;
        lines.take(&mut output)?;
    }
    lines.end();
    ended
}

fn start(hook: &HookConfig, environment: &[(&str, String)]) -> io::Result<(Child, PipeReader)> {
    let (program, arguments) = hook
        .command
        .split_first()
        .ok_or(io::ErrorKind::InvalidInput)?;
    inherit_nothing();
    let (output, input) = io::pipe()?;
    rustix::fs::fcntl_setfl(&output, OFlags::NONBLOCK)?;
    let kept = ENVIRONMENT
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    // Dropped with its ends of the pipe, so that the other one sees when everybody has closed it.
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(kept)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .process_group(0)
        .spawn()?;
    Ok((child, output))
}

/// Closes, for whatever is started from now on, descriptors that were open before this program began: what we open
/// ourselves is closed on exec already.
fn inherit_nothing() {
    for entry in std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
    {
        let number: Option<i32> = entry.file_name().to_str().and_then(|n| n.parse().ok());
        if let Some(number) = number.filter(|number| *number > 2) {
            close_on_exec(number);
        }
    }
}

#[expect(
    unsafe_code,
    reason = "descriptors that are nobody's here have no owner to borrow from"
)]
fn close_on_exec(number: i32) {
    // SAFETY: used for this one call, which neither closes nor moves anything: where the number was closed meanwhile the
    // system refuses, and where it was given out anew it sets what is set already.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let _ = rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC);
}

fn watch(
    child: &mut Child,
    output: &mut PipeReader,
    lines: &mut Lines<'_>,
    timeout: Duration,
    stop: &AtomicBool,
) -> io::Result<Ended> {
    let begun = Instant::now();
    loop {
        lines.take(output)?;
        if has_ended(child)? {
            let begun = Instant::now();
            while lines.take(output)? == Pipe::Open && begun.elapsed() < LAST_WORDS {
                std::thread::sleep(LOOK);
            }
            return Ok(Ended::Itself(child.wait()?));
        }
        let why = match () {
            () if stop.load(Ordering::Relaxed) => Ended::Stopped,
            () if begun.elapsed() >= timeout => Ended::TooLong,
            () => {
                std::thread::sleep(LOOK);
                continue;
            }
        };
        end_group(child, Signal::TERM);
        let begun = Instant::now();
        while !has_ended(child)? && begun.elapsed() < TERM_GRACE {
            lines.take(output)?;
            std::thread::sleep(LOOK);
        }
        return Ok(why);
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Whether it has ended, leaving it to be waited for.
fn has_ended(child: &Child) -> io::Result<bool> {
    let Some(pid) = pid(child) else {
        return Ok(true);
    };
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    Ok(rustix::process::waitid(WaitId::Pid(pid), look)?.is_some())
}

/// Sends a signal to it and to all it has started that did not leave its group.
fn end_group(child: &Child, signal: Signal) {
    if let Some(pid) = pid(child) {
        // Nobody may be left.
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pipe {
    Open,
    /// Nobody can write to it any more.
    Closed,
}

/// Cuts output into lines, within bounds.
struct Lines<'a> {
    pass_on: &'a mut dyn FnMut(&str),
    line: Vec<u8>,
    /// Of the present line, bytes that were left out.
    cut_bytes: usize,
    passed: usize,
    dropped: usize,
}

impl<'a> Lines<'a> {
    fn new(pass_on: &'a mut dyn FnMut(&str)) -> Self {
        Self {
            pass_on,
            line: Vec::new(),
            cut_bytes: 0,
            passed: 0,
            dropped: 0,
        }
    }

    /// Takes what is there, but not more at once than a pipe holds: whoever never stops talking must not keep us from the
    /// clock.
    fn take(&mut self, output: &mut PipeReader) -> io::Result<Pipe> {
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            match output.read(&mut buffer) {
                Ok(0) => return Ok(Pipe::Closed),
                Ok(count) => self.add(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Pipe::Open)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                _ if self.line.len() < LINE_BYTES_MAX => self.line.push(*byte),
                _ => self.cut_bytes += 1,
            }
        }
    }

    fn end_line(&mut self) {
        if self.passed == LINES_MAX {
            self.dropped += 1;
        } else {
            self.passed += 1;
            let mut text = plain(&self.line);
            if self.cut_bytes > 0 {
                text.push_str(&format!(" ... and {} bytes more", self.cut_bytes));
            }
            (self.pass_on)(&text);
        }
        self.line.clear();
        self.cut_bytes = 0;
    }

    fn end(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
        if self.dropped > 0 {
            (self.pass_on)(&format!("... and {} lines more", self.dropped));
        }
    }
}

/// As text in which nothing can be taken for an order to a terminal.
pub(super) fn plain(bytes: &[u8]) -> String {
    let mut text = String::new();
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '\t' => text.push(' '),
            // Characters that turn the direction of writing round.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                text.extend(character.escape_unicode());
            }
            _ if character.is_control() => text.extend(character.escape_default()),
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests;
