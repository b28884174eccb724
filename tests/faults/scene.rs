//! Docroots with everything in them that a switch has to deal with, brought back before each fault.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::command::{Ran, tidecast};
use super::support::promise::{Live, Promise, Release};
use super::support::world::{Mirror, World, noise};
use super::traced::Tracer;

/// The thread that all steps on the docroot run on.
pub(crate) const DISK: &str = "tidecast-disk";
/// The thread that writes a file which is rebuilt.
pub(crate) const PRESS: &str = "tidecast-press";

/// A mirror with work to do, and the state it begins with.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    world: World,
    mirror: Mirror,
    /// Copies of state and docroot.
    seed: PathBuf,
    promise: Promise,
    /// The release a sync ends with.
    newest: u64,
    /// What is the operator's and may be moved away, but not lost.
    kept: Vec<Vec<u8>>,
    /// What a sync that nothing befalls receives, in bytes, once one has been measured.
    undisturbed_bytes: Cell<Option<u64>>,
}

/// What two syncs may differ by, in bytes: packets sent twice, acknowledgements.
const NOISE_BYTES: u64 = 32 * 1024;

/// The files of release `number`: some stay, some change, some come and go.
fn files(number: u64) -> Vec<(String, Vec<u8>)> {
    let lines = (0..6_000_u64).map(|line| {
        let day = if line % 97 == 0 { number } else { 0 };
        format!("Trojan.Agent-{line}:{:x}:{day}\n", line * line * 7919)
    });
    let text: String = lines.collect();
    vec![
        ("kept.txt".to_owned(), b"kept".to_vec()),
        ("sub/kept.bin".to_owned(), noise(99, 100_000)),
        ("sub/change.bin".to_owned(), noise(number, 300_000)),
        (
            "small.txt".to_owned(),
            format!("release {number}").into_bytes(),
        ),
        ("opened.gz".to_owned(), gzip(text.as_bytes())),
        (format!("only{number}.txt"), b"only here".to_vec()),
        (format!("box{number}/inside"), vec![b'i'; 10]),
    ]
}

/// As stock zlib makes it, so that a master opens it.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn publish(world: &World, number: u64) {
    let files = files(number);
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
        .collect();
    assert_eq!(world.publish(&files), number);
}

fn release(number: u64) -> Release {
    let files = files(number);
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
        .collect();
    Release::of_files(number, &files)
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

impl Scene {
    /// A mirror that was killed in the middle of its switch to release 3, just before the rename, while 4 is out: its next
    /// sync carries out the one switch, deletes the oldest tree, builds release 4 and switches again.
    pub(crate) fn crashed(tracer: &Tracer) -> Self {
        let world = World::running("none");
        publish(&world, 1);
        let mirror = world.admitted("mirror");
        let settings = mirror.state.join("mirror.toml");
        let text = fs::read_to_string(&settings).unwrap();
        fs::write(&settings, text.replace("grace_s = 600", "grace_s = 0")).unwrap();
        mirror.run(&["sync", "--json"]).object();
        publish(&world, 2);
        let docroot = mirror.docroot.clone();
        write(&docroot, "local_logo.png", b"logo");
        write(&docroot, "local_stats/today.log", b"log");
        mirror.run(&["sync", "--json"]).object();
        publish(&world, 3);
        let seed = world.path("seed");
        let scene = Self {
            name: "crashed",
            promise: Promise::of([2, 3, 4].map(release)),
            newest: 4,
            kept: vec![b"stray".to_vec(), b"swapped".to_vec(), b"mine".to_vec()],
            undisturbed_bytes: Cell::new(None),
            world,
            mirror,
            seed,
        };
        scene.save();
        let whole = tracer.run(
            &mut scene.sync(),
            DISK,
            &["-e", "trace=renameat,renameat2,rename"],
        );
        assert!(whole.status.success(), "{whole:?}");
        let at = whole
            .calls
            .iter()
            .position(|line| line.contains("\"current.tmp\""))
            .unwrap();
        let call = super::traced::name_of(&whole.calls[at]).to_owned();
        let before = whole.calls[..=at].iter();
        let nth = before
            .filter(|line| super::traced::name_of(line) == call)
            .count();
        scene.reset();
        let inject = format!("inject={call}:signal=KILL:when={nth}");
        let cut = tracer.run(&mut scene.sync(), DISK, &["-e", &inject]);
        assert!(cut.killed(), "{cut:?}");
        let docroot = &scene.mirror.docroot;
        assert!(docroot.join(".tidecast/intent").exists());
        // And what other crashes may have left.
        write(docroot, ".tidecast/trash/r0/old", b"half deleted");
        write(docroot, ".tidecast/timestamp.tmp", b"17");
        write(docroot, ".tidecast/swap/swapped.txt", b"swapped");
        write(docroot, "stray.txt", b"stray");
        write(docroot, "only4.txt", b"mine");
        publish(&scene.world, 4);
        scene.save();
        scene
    }

    /// A docroot that an older mirror script left, with some of the release in it, before the first sync.
    pub(crate) fn adopting() -> Self {
        let world = World::running("none");
        publish(&world, 1);
        let docroot = world.path("mirror-docroot");
        let old = files(1);
        for (name, bytes) in &old[..2] {
            write(&docroot, name, bytes);
        }
        write(&docroot, "small.txt", b"older");
        write(&docroot, "old-only.txt", b"stray");
        write(&docroot, "sub/local_notes", b"inside");
        write(&docroot, "timestamp", b"1700000000\n");
        write(&docroot, "local_logo.png", b"logo");
        write(&docroot, "local_stats/today.log", b"log");
        let mirror = world.admitted("mirror");
        let scene = Self {
            name: "adopting",
            promise: Promise::of([release(1)]).or_what_is_there(&docroot),
            newest: 1,
            kept: vec![b"older".to_vec(), b"stray".to_vec(), b"inside".to_vec()],
            undisturbed_bytes: Cell::new(None),
            seed: world.path("seed"),
            world,
            mirror,
        };
        scene.save();
        scene
    }

    pub(crate) fn docroot(&self) -> &Path {
        &self.mirror.docroot
    }

    pub(crate) fn state(&self) -> &Path {
        &self.mirror.state
    }

    /// `tidecast sync`, to be run; as a user whose new files are nobody else's to read, for what is served has to be
    /// everybody's all the same.
    pub(crate) fn sync(&self) -> Command {
        let program = tidecast(&self.mirror.state);
        let mut command = Command::new("sh");
        command
            .args(["-c", "umask 077; exec \"$@\"", "sh"])
            .arg(program.get_program())
            .args(program.get_args())
            .args(["sync", "--json"])
            .stdin(Stdio::null())
            .env_remove("TIDECAST_LOG")
            .env_remove("TIDECAST_STATE");
        command
    }

    fn save(&self) {
        let _ = fs::remove_dir_all(&self.seed);
        copy(&self.mirror.state, &self.seed.join("state"));
        copy(&self.mirror.docroot, &self.seed.join("docroot"));
    }

    /// Brings everything back to how it was.
    pub(crate) fn reset(&self) {
        for folder in [&self.mirror.state, &self.mirror.docroot] {
            fs::remove_dir_all(folder).unwrap();
        }
        copy(&self.seed.join("state"), &self.mirror.state);
        copy(&self.seed.join("docroot"), &self.mirror.docroot);
    }

    /// What the docroot promises after [`Self::reset`].
    pub(crate) fn promise(&self) -> Promise {
        self.promise.clone().keeping_operators(self.docroot())
    }

    /// Looks at the docroot as it was left.
    pub(crate) fn check(&self, promise: &Promise) -> Result<Live, String> {
        let live = promise.check(self.docroot()).map_err(|e| e.to_string())?;
        for content in &self.kept {
            if !holds(self.docroot(), content) {
                let content = String::from_utf8_lossy(content);
                return Err(format!("{content:?} of the operator's is lost"));
            }
        }
        Ok(live)
    }

    /// Syncs without a fault, and looks whether everything is as if there had never been one.
    pub(crate) fn comes_back(&self, promise: &Promise) -> Result<(), String> {
        let before = self.check(promise)?;
        let synced = Ran::of(self.sync().output().unwrap());
        if synced.code != 0 {
            return Err(format!("the next sync failed: {}", synced.err));
        }
        // Going on costs no more than starting over.
        let received = received_bytes(&synced.out);
        let most = self
            .undisturbed_bytes
            .get()
            .unwrap_or(u64::MAX - NOISE_BYTES);
        if received > most + NOISE_BYTES {
            return Err(format!(
                "received {received} bytes after the fault, {most} without"
            ));
        }
        let live = self.check(promise)?;
        if live.release != self.newest || before.release > live.release {
            return Err(format!("release {} after {}", live.release, before.release));
        }
        if !live.foreign.is_empty() || live.timestamp_s.is_none() {
            return Err(format!("{live:?}"));
        }
        let verified = self.mirror.run(&["verify", "--json"]);
        if verified.code != 0 || verified.object()["clean"] != true {
            return Err(format!("not clean: {}", verified.out));
        }
        let left = self.leftovers();
        if !left.is_empty() {
            return Err(format!("left over: {left:?}"));
        }
        Ok(())
    }

    /// Notes what a sync received that nothing befell.
    pub(crate) fn was_undisturbed(&self, report: &str) {
        self.undisturbed_bytes.set(Some(received_bytes(report)));
    }

    /// Names of ours that should not be there between two syncs.
    fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for entry in fs::read_dir(self.docroot().join(".tidecast")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let expected = match name.as_str() {
                "current" | "feed" | "lock" | "timestamp" | "lists" | "recipes" | "removed" => true,
                // Until its grace is over, which no sync after the switch has looked at.
                "r0" => true,
                "swap" => fs::read_dir(entry.path()).unwrap().next().is_none(),
                name => name
                    .trim_end_matches(".manifest")
                    .trim_end_matches(".index")
                    .strip_prefix('r')
                    .is_some_and(|number| number.parse().is_ok_and(|n: u64| n <= self.newest)),
            };
            if !expected {
                left.push(name);
            }
        }
        left
    }
}

fn received_bytes(report: &str) -> u64 {
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    report["received_bytes"].as_u64().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Whether a file of this content is anywhere in the docroot.
fn holds(folder: &Path, content: &[u8]) -> bool {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| {
            let path = entry.path();
            let found = path.symlink_metadata().unwrap();
            if found.is_dir() {
                return holds(&path, content);
            }
            found.is_file()
                && found.len() == content.len() as u64
                && fs::read(&path).unwrap() == content
        })
}
