//! The disk as a process of its own, told what to do line by line.
//!
//! It is apart from the tests because whoever waits for a disk cannot be ended: were the disk served by the process
//! that also looks into its file system, an interrupted test would hang for good. For the same reason it is in another mount
//! namespace than the file system on it: the last process of a namespace unmounts what is there. This way the disk ends with
//! the test, and whatever is still on it fails at once.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{Cut, Disk};
use super::fuse::{self, Device};
use crate::support::process::eventually;

/// Where the process is told what to do, and how long the disk is.
const SOCKET: &str = "TIDECAST_POWER_SOCKET";
const BYTES: &str = "TIDECAST_POWER_BYTES";
/// The test that is the process.
const PROCESS: &str = "the_disk";

/// A disk that the test talks to; its file is there until this is dropped.
#[derive(Debug)]
pub(crate) struct DiskProcess {
    child: Child,
    talk: Mutex<BufReader<UnixStream>>,
    point: PathBuf,
}

impl DiskProcess {
    /// Starts it with zeros.
    ///
    /// # Errors
    /// What the system has against it.
    pub(crate) fn start(point: &Path, bytes: u64) -> Result<Self, String> {
        std::fs::write(point, b"").unwrap();
        let socket = point.with_extension("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let kernel = fuse::mount(point).map_err(|error| format!("cannot mount FUSE: {error}"))?;
        let child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", PROCESS])
            .env(SOCKET, &socket)
            .env(BYTES, bytes.to_string())
            // Held by it alone, so that it ends with it.
            .stdin(Stdio::from(kernel))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut connected = None;
        assert!(
            eventually(|| {
                connected = listener.accept().ok();
                connected.is_some()
            }),
            "the disk does not answer"
        );
        let (stream, _) = connected.unwrap();
        stream.set_nonblocking(false).unwrap();
        Ok(Self {
            child,
            talk: Mutex::new(BufReader::new(stream)),
            point: point.to_owned(),
        })
    }

    /// The disk, as a file.
    pub(crate) fn file(&self) -> &Path {
        &self.point
    }

    /// Entries of the story so far.
    pub(crate) fn story_len(&self) -> usize {
        self.answer_to("length").parse().unwrap()
    }

    /// As [`Disk::cut_story`]: where in the story, and everything about it.
    pub(crate) fn cut_story(&self, span: Range<usize>, sector: u64, seed: u64) -> (usize, String) {
        let answer = self.answer_to(&format!("cut {} {} {sector} {seed}", span.start, span.end));
        let at = answer.split(' ').next().unwrap();
        (at.parse().unwrap(), answer)
    }

    /// As [`Disk::cut_again`].
    pub(crate) fn cut_again(&self, sector: u64, seed: u64) -> String {
        self.answer_to(&format!("again {sector} {seed}"))
    }

    /// Writes the story into a file.
    pub(crate) fn save(&self, path: &Path) {
        self.answer_to(&format!("save {}", path.display()));
    }

    /// From now on the disk that [`Self::save`] wrote there.
    pub(crate) fn load(&self, path: &Path) {
        self.answer_to(&format!("load {}", path.display()));
    }

    fn answer_to(&self, question: &str) -> String {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(talk.get_mut(), "{question}").unwrap();
        let mut line = String::new();
        assert!(talk.read_line(&mut line).unwrap() > 0, "the disk is gone");
        line.trim_end().to_owned()
    }
}

impl Drop for DiskProcess {
    fn drop(&mut self) {
        fuse::unmount(&self.point);
        let talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        // The end of what it is told is the end of the process.
        let _ = talk.get_ref().shutdown(std::net::Shutdown::Both);
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

/// The process: serves the disk until nobody tells it anything any more.
pub(crate) fn run() {
    let Some(socket) = std::env::var_os(SOCKET) else {
        eprintln!("this is the disk of the tests beside it, which start it");
        return;
    };
    let mut talk = UnixStream::connect(socket).unwrap();
    let shared = Shared {
        disk: Arc::new(Mutex::new(Disk::new())),
        len_bytes: std::env::var(BYTES).unwrap().parse().unwrap(),
    };
    let device = shared.clone();
    let kernel = File::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
    // Not waited for: it ends with the process, in the middle of whatever the kernel asks.
    std::thread::spawn(move || fuse::serve(kernel, &device).unwrap());
    for line in BufReader::new(talk.try_clone().unwrap()).lines() {
        let Ok(line) = line else {
            break;
        };
        let answer = shared.obey(&line);
        if writeln!(talk, "{answer}").is_err() {
            break;
        }
    }
    // Not by returning: libtest would wait.
    std::process::exit(0);
}

impl Shared {
    fn obey(&self, line: &str) -> String {
        if let Some(path) = line.strip_prefix("save ") {
            let mut out = BufWriter::new(File::create(path).unwrap());
            self.with(|disk| disk.save(&mut out)).unwrap();
            out.flush().unwrap();
            return "saved".to_owned();
        }
        if let Some(path) = line.strip_prefix("load ") {
            let mut saved = BufReader::new(File::open(path).unwrap());
            let loaded = Disk::load(&mut saved).unwrap();
            self.with(|disk| *disk = loaded);
            return "loaded".to_owned();
        }
        let mut words = line.split(' ');
        let what = words.next();
        let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
        let index = |number: u64| usize::try_from(number).unwrap();
        let cut: Cut = match (what, &numbers[..]) {
            (Some("length"), []) => return self.with(|disk| disk.story_len()).to_string(),
            (Some("cut"), &[from, to, sector, seed]) => {
                self.with(|disk| disk.cut_story(index(from), index(to), sector, seed))
            }
            (Some("again"), &[sector, seed]) => self.with(|disk| disk.cut_again(sector, seed)),
            _ => panic!("{line:?}"),
        };
        cut.to_string()
    }
}
