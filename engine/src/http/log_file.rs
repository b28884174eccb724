//! An access log in a file, for logrotate and log analysers.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::access_log::{AccessLog, AccessRecord};

/// Longest a line waits in memory, so that `tail -f` and a crash lose a second at most.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes that are written without waiting for the interval.
const FLUSH_BYTES: usize = 64 * 1024;

/// Bytes kept while the disk is slow. Past it lines are dropped and counted: a log must not hold up
/// downloads, nor fill the memory. Some 20,000 ordinary lines.
const BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Appends whole lines to a file from a thread of its own.
///
/// Dropping it writes what is buffered. A disk error is reported as a `tracing` warning and costs
/// the lines it hit, never a request.
#[derive(Debug)]
pub struct FileAccessLog {
    path: PathBuf,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something for the writer to do.
    work: Condvar,
    /// A round of the writer ended.
    round_ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// Taken over after the lines before it are written.
    next_file: Option<File>,
    lines_dropped: u64,
    flush: bool,
    closing: bool,
    writing: bool,
    rounds: u64,
}

impl FileAccessLog {
    /// Opens `path` for appending, creating it if needed, and starts the writer.
    ///
    /// # Errors
    /// The file cannot be opened or no thread started; nothing is left behind but perhaps an empty
    /// file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open_append(path)?;
        let shared = Arc::new(Shared::default());
        let of_writer = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || Writer::new(file).run(&of_writer))?;
        Ok(Self {
            path: path.to_owned(),
            shared,
            writer: Some(writer),
        })
    }

    /// Opens the path again, as logrotate wants after it renamed the file. Lines taken before go to
    /// the old file.
    ///
    /// # Errors
    /// The new file cannot be opened; the old one stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        let file = open_append(&self.path)?;
        self.shared.lock().next_file = Some(file);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Waits until every line taken so far was handed to the kernel. Blocks.
    pub fn flush(&self) {
        let mut state = self.shared.lock();
        // A round under way took its lines before this call.
        let wanted = state.rounds + 1 + u64::from(state.writing);
        while state.rounds < wanted {
            state.flush = true;
            self.shared.work.notify_one();
            state = wait(&self.shared.round_ended, state);
        }
    }

    /// Lines lost because the disk was too slow or failed.
    #[must_use]
    pub fn lines_dropped(&self) -> u64 {
        self.shared.lock().lines_dropped
    }
}

impl AccessLog for FileAccessLog {
    fn line(&self, record: &AccessRecord) {
        let mut state = self.shared.lock();
        if state.lines.len() >= BUFFER_BYTES_MAX {
            state.lines_dropped += 1;
            return;
        }
        let was_empty = state.lines.is_empty();
        record.write_combined(&mut state.lines);
        if was_empty || state.lines.len() >= FLUSH_BYTES {
            self.shared.work.notify_one();
        }
    }
}

impl Drop for FileAccessLog {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        if let Some(writer) = self.writer.take() {
            // The writer does not panic; if it did there is nothing left to save.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a>(condvar: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    condvar.wait(state).unwrap_or_else(PoisonError::into_inner)
}

struct Writer {
    file: File,
    /// The file ends in the middle of a line, after an error.
    torn: bool,
    /// The last round failed; said once, not once a second.
    failing: bool,
}

impl Writer {
    fn new(file: File) -> Self {
        Self {
            file,
            torn: false,
            failing: false,
        }
    }

    fn run(mut self, shared: &Shared) {
        let mut state = shared.lock();
        loop {
            state = wait_for_work(shared, state);
            let lines = std::mem::take(&mut state.lines);
            let next_file = state.next_file.take();
            let last = state.closing;
            state.flush = false;
            state.writing = true;
            drop(state);
            let lost = self.write(&lines);
            if let Some(file) = next_file {
                self.file = file;
                self.torn = false;
            }
            state = shared.lock();
            state.lines_dropped += lost;
            state.writing = false;
            state.rounds += 1;
            shared.round_ended.notify_all();
            if last {
                return;
            }
        }
    }

    /// Writes whole lines; says how many were lost.
    fn write(&mut self, lines: &[u8]) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        let mut done = 0;
        match self.try_write(lines, &mut done) {
            Ok(()) => {
                self.failing = false;
                0
            }
            Err(error) => {
                if !self.failing {
                    tracing::warn!(%error, "access log cannot be written; lines are lost");
                }
                self.failing = true;
                lines[done..].iter().filter(|&&byte| byte == b'\n').count() as u64
            }
        }
    }

    fn try_write(&mut self, lines: &[u8], done: &mut usize) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        while *done < lines.len() {
            match self.file.write(&lines[*done..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    *done += count;
                    self.torn = lines[*done - 1] != b'\n';
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns when a line has waited for the interval, enough bytes are there, or something is asked.
fn wait_for_work<'a>(
    shared: &'a Shared,
    mut state: MutexGuard<'a, State>,
) -> MutexGuard<'a, State> {
    let mut deadline: Option<Instant> = None;
    loop {
        let asked = state.flush || state.closing || state.next_file.is_some();
        if asked || state.lines.len() >= FLUSH_BYTES {
            return state;
        }
        if state.lines.is_empty() {
            state = wait(&shared.work, state);
            continue;
        }
        let now = Instant::now();
        let until = *deadline.get_or_insert(now + FLUSH_INTERVAL);
        if now >= until {
            return state;
        }
        state = shared
            .work
            .wait_timeout(state, until - now)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(request: &str) -> AccessRecord {
        AccessRecord {
            request: request.to_owned(),
            ..AccessRecord::sample()
        }
    }

    fn requests(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines()
            .map(|line| line.split('"').nth(1).unwrap().to_owned())
            .collect()
    }

    #[test]
    fn lines_from_many_threads_stay_whole() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("access.log");
        let log = FileAccessLog::open(&path).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    for line in 0..500 {
                        log.line(&record(&format!("{thread} {line}")));
                    }
                });
            }
        });
        log.flush();
        let mut seen = requests(&path);
        assert_eq!(seen.len(), 2000);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 2000);
        assert_eq!(log.lines_dropped(), 0);
    }

    #[test]
    fn reopening_moves_later_lines_to_a_new_file() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("access.log");
        let rotated = temp.path().join("access.log.1");
        let log = FileAccessLog::open(&path).unwrap();
        log.line(&record("before"));
        std::fs::rename(&path, &rotated).unwrap();
        log.reopen().unwrap();
        log.flush();
        log.line(&record("after"));
        log.flush();
        assert_eq!(requests(&rotated), ["before"]);
        assert_eq!(requests(&path), ["after"]);
    }

    #[test]
    fn a_path_that_cannot_be_opened_again_keeps_the_old_file() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("log");
        let moved = temp.path().join("moved");
        std::fs::create_dir(&folder).unwrap();
        let log = FileAccessLog::open(&folder.join("access.log")).unwrap();
        std::fs::rename(&folder, &moved).unwrap();
        assert!(log.reopen().is_err());
        log.line(&record("kept"));
        log.flush();
        assert_eq!(requests(&moved.join("access.log")), ["kept"]);
    }

    #[test]
    fn dropping_writes_what_is_buffered_and_appends_to_what_is_there() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("access.log");
        for request in ["first", "second"] {
            FileAccessLog::open(&path).unwrap().line(&record(request));
        }
        assert_eq!(requests(&path), ["first", "second"]);
    }

    /// `/dev/full` fails every write with ENOSPC.
    #[test]
    fn a_full_disk_loses_lines_and_counts_them() {
        let log = FileAccessLog::open(Path::new("/dev/full")).unwrap();
        log.line(&record("a"));
        log.line(&record("b"));
        log.flush();
        assert_eq!(log.lines_dropped(), 2);
    }
}
