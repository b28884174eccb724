//! The disk as a process of its own, told what to do line by line.
//!
//! It is apart from the tests because whoever waits for a disk cannot be ended: were the disk served by the process
//! that also looks into its file system, an interrupted test would hang for good. This way the disk ends with the
//! test, and everything on it fails at once.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{Cut, Disk};
use super::fuse::{self, Device, Mounted};

/// Where the process mounts the disk, and how long the disk is.
const POINT: &str = "TIDECAST_POWER_POINT";
const BYTES: &str = "TIDECAST_POWER_BYTES";
/// Begins each answer: a test's own output comes the same way.
const ANSWER: &str = "disk: ";
/// The test that is the process.
const PROCESS: &str = "the_disk";

/// A disk that the test talks to; its file is there until this is dropped.
#[derive(Debug)]
pub(crate) struct DiskProcess {
    child: Child,
    talk: Mutex<(Option<ChildStdin>, BufReader<ChildStdout>)>,
    point: PathBuf,
}

impl DiskProcess {
    /// Starts it with zeros.
    ///
    /// # Errors
    /// What the system has against it.
    pub(crate) fn start(point: &Path, bytes: u64) -> Result<Self, String> {
        std::fs::write(point, b"").unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", PROCESS])
            .env(POINT, point)
            .env(BYTES, bytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let disk = Self {
            child,
            talk: Mutex::new((input, output)),
            point: point.to_owned(),
        };
        match disk.answer_to(None) {
            answer if answer == "ready" => Ok(disk),
            answer => Err(answer),
        }
    }

    /// The disk, as a file.
    pub(crate) fn file(&self) -> &Path {
        &self.point
    }

    /// Entries of the story so far.
    pub(crate) fn story_len(&self) -> usize {
        self.answer_to(Some("length")).parse().unwrap()
    }

    /// As [`Disk::cut_story`]: where in the story, and everything about it.
    pub(crate) fn cut_story(&self, span: Range<usize>, sector: u64, seed: u64) -> (usize, String) {
        let answer = self.answer_to(Some(&format!(
            "cut {} {} {sector} {seed}",
            span.start, span.end
        )));
        let at = answer.split(' ').next().unwrap();
        (at.parse().unwrap(), answer)
    }

    /// As [`Disk::cut_again`].
    pub(crate) fn cut_again(&self, sector: u64, seed: u64) -> String {
        self.answer_to(Some(&format!("again {sector} {seed}")))
    }

    /// Writes the story into a file.
    pub(crate) fn save(&self, path: &Path) {
        self.answer_to(Some(&format!("save {}", path.display())));
    }

    /// From now on the disk that [`Self::save`] wrote there.
    pub(crate) fn load(&self, path: &Path) {
        self.answer_to(Some(&format!("load {}", path.display())));
    }

    fn answer_to(&self, question: Option<&str>) -> String {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(question), Some(input)) = (question, &mut talk.0) {
            writeln!(input, "{question}").unwrap();
        }
        let mut line = String::new();
        loop {
            line.clear();
            assert!(talk.1.read_line(&mut line).unwrap() > 0, "the disk is gone");
            // libtest says which test begins on the same line.
            if let Some((_, answer)) = line.split_once(ANSWER) {
                return answer.trim_end().to_owned();
            }
        }
    }
}

impl Drop for DiskProcess {
    fn drop(&mut self) {
        fuse::unmount(&self.point);
        // The end of its input is the end of the process.
        self.talk.lock().unwrap_or_else(PoisonError::into_inner).0 = None;
        let _ = self.child.wait();
    }
}

/// The disk as its kernel's side and its test's side see it.
#[derive(Debug, Clone)]
struct Shared {
    disk: Arc<Mutex<Disk>>,
    len_bytes: u64,
}

impl Shared {
    fn with<T>(&self, what: impl FnOnce(&mut Disk) -> T) -> T {
        what(&mut self.disk.lock().unwrap())
    }
}

impl Device for Shared {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read(&self, at: u64, into: &mut [u8]) {
        self.with(|disk| disk.read(at, into));
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.with(|disk| disk.write(at, bytes));
    }

    fn flush(&self) {
        self.with(Disk::flush);
    }

    fn zero(&self, at: u64, len: u64) {
        self.with(|disk| disk.zero(at, len));
    }
}

/// The process: serves the disk until its input ends.
pub(crate) fn run() {
    let say = |what: &dyn std::fmt::Display| {
        let mut out = io::stdout().lock();
        writeln!(out, "{ANSWER}{what}").and_then(|()| out.flush())
    };
    let Some(point) = std::env::var_os(POINT).map(PathBuf::from) else {
        eprintln!("this is the disk of the tests beside it, which start it");
        return;
    };
    let len_bytes = std::env::var(BYTES).unwrap().parse().unwrap();
    let mounted = match Mounted::over(&point) {
        Ok(mounted) => mounted,
        Err(error) => return say(&format!("cannot mount FUSE: {error}")).unwrap(),
    };
    let shared = Shared {
        disk: Arc::new(Mutex::new(Disk::new())),
        len_bytes,
    };
    let device = shared.clone();
    // Not waited for: it ends with the process, in the middle of whatever the kernel asks.
    std::thread::spawn(move || mounted.serve(&device).unwrap());
    say(&"ready").unwrap();
    for line in io::stdin().lines() {
        let line = line.unwrap();
        if let Some(path) = line.strip_prefix("save ") {
            let mut out = BufWriter::new(File::create(path).unwrap());
            shared.with(|disk| disk.save(&mut out)).unwrap();
            out.flush().unwrap();
            say(&"saved").unwrap();
            continue;
        }
        if let Some(path) = line.strip_prefix("load ") {
            let mut saved = BufReader::new(File::open(path).unwrap());
            let loaded = Disk::load(&mut saved).unwrap();
            shared.with(|disk| *disk = loaded);
            say(&"loaded").unwrap();
            continue;
        }
        let mut words = line.split(' ');
        let what = words.next();
        let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
        let index = |number: u64| usize::try_from(number).unwrap();
        let cut: Cut = match (what, &numbers[..]) {
            (Some("length"), []) => {
                say(&shared.with(|disk| disk.story_len())).unwrap();
                continue;
            }
            (Some("cut"), &[from, to, sector, seed]) => {
                shared.with(|disk| disk.cut_story(index(from), index(to), sector, seed))
            }
            (Some("again"), &[sector, seed]) => shared.with(|disk| disk.cut_again(sector, seed)),
            _ => panic!("{line:?}"),
        };
        say(&cut).unwrap();
    }
    fuse::unmount(&point);
    // Not by returning: the thread above may be in the middle of a request that nobody will answer.
    std::process::exit(0);
}
