//! A mirror's life on a disk that is watched, and what had been reported at each moment of it.

use std::fs::{self, File};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::file_system::{FileSystem, Kind};
use super::mirror::{Beliefs, Fsyncs, OperatorsFile, PoweredMirror, at_once, write_synced};
use super::releases::{self, LAST, TAKEN};
use crate::support::http::get;
use crate::support::world::World;

/// Something was said to be on the disk when its log had `at` entries.
#[derive(Debug)]
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

/// The story, told to its end: the disk can be cut anywhere in it.
#[derive(Debug)]
pub(crate) struct Story {
    // Before the world, in whose folder it is mounted.
    pub(crate) disk: FileSystem,
    pub(crate) mirror: PoweredMirror,
    pub(crate) world: World,
    pub(crate) from: usize,
    pub(crate) to: usize,
    releases: Vec<Mark<(u64, Beliefs)>>,
    files: Vec<Mark<OperatorsFile>>,
}

/// The operator's log, and how often a line of it is brought to the disk.
const LOG: &str = "local_log";
const LINE_BYTES: usize = 100;
const BETWEEN_LINES: Duration = Duration::from_millis(20);

fn line(number: usize) -> String {
    format!("{number:099}\n")
}

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
            disk,
            mirror,
            world,
            from,
            to: from,
            releases: Vec::new(),
            files: Vec::new(),
        };
        story.by_commands();
        story.by_the_daemon();
        story.to = story.now();
        story.disk.unmount();
        story.mirror.fsync_again();
        story.world.stop_master();
        Some(story)
    }

    fn now(&self) -> usize {
        self.disk.disk.story_len()
    }

    /// Everything reported when the power failed at `at`.
    pub(crate) fn reported(&self, at: usize) -> Reported<'_> {
        let mut reported = Reported::default();
        for mark in self.releases.iter().take_while(|mark| mark.at <= at) {
            reported.release = mark.what.0;
            reported.beliefs = Some(&mark.what.1);
        }
        for mark in self.files.iter().filter(|mark| mark.at <= at) {
            reported.files.retain(|file| file.name != mark.what.name);
            reported.files.push(&mark.what);
        }
        reported
    }

    /// A release was said to be live when the disk's log had `at` entries, and with it what is believed.
    fn report(&mut self, at: usize, release: u64) {
        let beliefs = self.mirror.beliefs().unwrap();
        self.releases.push(Mark {
            at,
            what: (release, beliefs),
        });
    }

    fn operator_writes(&mut self, name: &'static str, bytes: &[u8]) {
        write_synced(&self.mirror.docroot.join(name), bytes);
        self.files.push(Mark {
            at: self.now(),
            what: OperatorsFile {
                name,
                begins_with: bytes.to_vec(),
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
            let begins_with: String = (0..lines).map(line).collect();
            let begins_with = begins_with.into_bytes();
            self.files.push(Mark {
                at,
                what: OperatorsFile {
                    name: LOG,
                    begins_with,
                },
            });
        }
    }

    fn by_commands(&mut self) {
        for number in 1..=3 {
            publish(&self.world, number);
            self.beside_a_log(|story| story.sync(number));
            if number == 1 {
                self.operator_writes("foreign", b"put there by hand");
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
            if number == 5 {
                self.operator_writes(TAKEN, b"the operator's own");
            }
            let follow = |story: &mut Self| {
                let live = format!("ok release {number}\n");
                let port = daemon.port("http");
                let Self { world, disk, .. } = &*story;
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
