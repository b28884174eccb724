//! A mirror's life on a disk that is watched, and what had been reported at each moment of it.

use std::fs::{self, File};
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::file_system::{FileSystem, Kind};
use super::mirror::{Beliefs, Fsyncs, OperatorsFile, PoweredMirror, at_once, write_synced};
use super::releases::{self, LAST, TAKEN};
use crate::support::http::get;
use crate::support::world::World;

/// Something was said to be on the disk when its log had `at` entries.
#[derive(Debug, Serialize, Deserialize)]
struct Mark<T> {
    at: usize,
    what: T,
}

/// All that was said by some moment.
#[derive(Debug, Default)]
pub(crate) struct Reported<'a> {
    pub(crate) release: u64,
    pub(crate) beliefs: Option<&'a Beliefs>,
    pub(crate) files: Vec<&'a OperatorsFile>,
}

/// What there is to know of a story beside the disk's log.
#[derive(Debug, Serialize, Deserialize)]
struct Notes {
    kind: String,
    fingerprint: String,
    mounted: PathBuf,
    from: usize,
    to: usize,
    releases: Vec<Mark<(u64, Beliefs)>>,
    files: Vec<Mark<OperatorsFile>>,
}

/// The story, told to its end: the disk can be cut anywhere in it.
#[derive(Debug)]
pub(crate) struct Story {
    // Before the folders in which it is mounted.
    pub(crate) disk: FileSystem,
    pub(crate) mirror: PoweredMirror,
    notes: Notes,
    /// Not of a story that was kept: its master is no more.
    pub(crate) world: Option<World>,
    _kept: Option<(TempDir, Gone)>,
}

/// A folder that is made again for a story that was kept, and goes with it.
#[derive(Debug)]
struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The operator's log, and how often a line of it is brought to the disk.
const LOG: &str = "local_log";
const LINE_BYTES: usize = 100;
const BETWEEN_LINES: Duration = Duration::from_millis(20);

fn line(number: usize) -> String {
    format!("{number:099}\n")
}

/// Ends the thread beside it, also when something panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Story {
    /// Tells it. `None`, after `skip`, where that cannot be done.
    pub(crate) fn tell(test: &str, kind: Kind, fsyncs: Fsyncs) -> Option<Self> {
        let world = World::running("none");
        let mounted = world.path("mounted");
        let mut disk = FileSystem::make(test, kind, &world.path("disk"), &mounted)?;
        disk.mount().unwrap();
        let mirror = PoweredMirror::join(&world, &mounted, fsyncs);
        // What is there before the story is there for good.
        disk.unmount();
        disk.mount().unwrap();
        let from = disk.disk.story_len();
        let mut story = Self {
            notes: Notes {
                kind: kind.name().to_owned(),
                fingerprint: world.fingerprint.clone(),
                mounted,
                from,
                to: from,
                releases: Vec::new(),
                files: Vec::new(),
            },
            disk,
            mirror,
            world: Some(world),
            _kept: None,
        };
        story.by_commands();
        story.by_the_daemon();
        story.notes.to = story.now();
        story.disk.unmount();
        story.mirror.fsync_again();
        if let Some(world) = &mut story.world {
            world.stop_master();
        }
        Some(story)
    }

    /// Writes it down as the files `path` and, beside it, the disk's log.
    pub(crate) fn keep(&self, path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, serde_json::to_vec(&self.notes).unwrap()).unwrap();
        self.disk.disk.save(&path.with_extension("disk"));
    }

    /// A story that was kept.
    ///
    /// # Errors
    /// What the system has against it.
    pub(crate) fn kept(path: &Path) -> Result<Self, String> {
        let notes: Notes = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == notes.kind);
        let folder = tempfile::tempdir().unwrap();
        let gone = Gone(notes.mounted.parent().unwrap().to_owned());
        assert!(!gone.0.exists(), "{} is in use", gone.0.display());
        // Where it was, for the mirror's configuration names its docroot.
        let disk = FileSystem::blank(kind.unwrap(), &folder.path().join("disk"), &notes.mounted)?;
        disk.disk.load(&path.with_extension("disk"));
        Ok(Self {
            mirror: PoweredMirror::below(&notes.mounted, &notes.fingerprint, Fsyncs::Real),
            disk,
            notes,
            world: None,
            _kept: Some((folder, gone)),
        })
    }

    /// What can be cut.
    pub(crate) fn span(&self) -> Range<usize> {
        self.notes.from..self.notes.to
    }

    fn now(&self) -> usize {
        self.disk.disk.story_len()
    }

    /// Everything reported when the power failed at `at`.
    pub(crate) fn reported(&self, at: usize) -> Reported<'_> {
        let mut reported = Reported::default();
        for mark in self.notes.releases.iter().take_while(|mark| mark.at <= at) {
            reported.release = mark.what.0;
            reported.beliefs = Some(&mark.what.1);
        }
        for mark in self.notes.files.iter().filter(|mark| mark.at <= at) {
            reported.files.retain(|file| file.name != mark.what.name);
            reported.files.push(&mark.what);
        }
        reported
    }

    /// A release was said to be live when the disk's log had `at` entries, and with it what is believed.
    fn report(&mut self, at: usize, release: u64) {
        let beliefs = self.mirror.beliefs().unwrap();
        self.notes.releases.push(Mark {
            at,
            what: (release, beliefs),
        });
    }

    fn operator_writes(&mut self, name: &str, text: &str) {
        write_synced(&self.mirror.docroot.join(name), text.as_bytes());
        self.notes.files.push(Mark {
            at: self.now(),
            what: OperatorsFile {
                name: name.to_owned(),
                begins_with: text.to_owned(),
            },
        });
    }

    /// While `what` happens, the operator's program brings each line of its log to the disk: with it come pieces of
    /// what others have written, in an order of the file system's own.
    fn beside_a_log(&mut self, what: impl FnOnce(&mut Self)) {
        let path = self.mirror.docroot.join(LOG);
        let disk = self.disk.disk.clone();
        let begun = fs::read(&path).map_or(0, |bytes| bytes.len() / LINE_BYTES);
        let over = AtomicBool::new(false);
        let marks = std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let mut log = File::options()
                    .append(true)
                    .create(true)
                    .open(&path)
                    .unwrap();
                File::open(path.parent().unwrap())
                    .unwrap()
                    .sync_all()
                    .unwrap();
                let mut marks = Vec::new();
                for number in begun.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    log.write_all(line(number).as_bytes()).unwrap();
                    log.sync_all().unwrap();
                    marks.push((disk.story_len(), number + 1));
                    std::thread::sleep(BETWEEN_LINES);
                }
                marks
            });
            // Also when it panics: the scope waits for the thread.
            let _over = SetOnDrop(&over);
            what(self);
            drop(_over);
            writing.join().unwrap()
        });
        for (at, lines) in marks {
            self.notes.files.push(Mark {
                at,
                what: OperatorsFile {
                    name: LOG.to_owned(),
                    begins_with: (0..lines).map(line).collect(),
                },
            });
        }
    }

    fn by_commands(&mut self) {
        for number in 1..=3 {
            publish(self.world.as_ref().unwrap(), number);
            self.beside_a_log(|story| story.sync(number));
            if number == 1 {
                self.operator_writes("foreign", "put there by hand");
            }
        }
    }

    fn sync(&mut self, number: u64) {
        let report = self.mirror.run(&["sync", "--json"]).object();
        assert_eq!(report["to"], number, "{report}");
        self.report(self.now(), number);
    }

    fn by_the_daemon(&mut self) {
        let mut daemon = self.mirror.start();
        for number in 4..=LAST {
            if number == 7 {
                daemon.kill();
                daemon = self.mirror.start();
            }
            if number == 5 {
                self.operator_writes(TAKEN, "the operator's own");
            }
            let follow = |story: &mut Self| {
                let live = format!("ok release {number}\n");
                let port = daemon.port("http");
                let Self { world, disk, .. } = &*story;
                let world = world.as_ref().unwrap();
                let at = std::thread::scope(|scope| {
                    scope.spawn(|| publish(world, number));
                    at_once(&live, || get(port, "/healthz", &[]).body == live.as_bytes());
                    disk.disk.story_len()
                });
                story.report(at, number);
            };
            if number % 2 == 1 {
                self.beside_a_log(follow);
            } else {
                follow(self);
            }
        }
        daemon.kill();
    }
}

fn publish(world: &World, number: u64) {
    let files = releases::files(number);
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
        .collect();
    assert_eq!(world.publish(&files), number);
}
