//! A mirror that is killed again and again.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::feed;
use super::tally::Random;
use crate::support::command::tidecast;
use crate::support::process::{Running, eventually};
use crate::support::promise::{Promise, Release};
use crate::support::world::Mirror;

/// Longest time from a start to a kill, in ms, when the moment is any: several releases.
const ANY_MS: u64 = 2_000;

/// The same when the kill is to fall into start-up.
const START_UP_MS: u64 = 300;

/// Longest time from a step of the way to a switch to a kill, in µs: a step takes less, a whole switch on a busy disk more.
const AFTER_STEP_US: u64 = 30_000;

/// How long a step is waited for; a mirror that has just started has to dial first.
const STEP: Duration = Duration::from_secs(5);

/// What a dead mirror left, which says what it was about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Amid {
    Building,
    /// The new tree has its name, and nothing leads there yet.
    Prepared,
    /// The decision is on the disk, the old release is served.
    BeforeTheSwitch,
    /// The new release is served, and not everything is in its place.
    AfterTheSwitch,
    NoSync,
}

impl Amid {
    const ALL: [Self; 5] = [
        Self::Building,
        Self::Prepared,
        Self::BeforeTheSwitch,
        Self::AfterTheSwitch,
        Self::NoSync,
    ];
}

/// The mirror, its web server always on the same port.
#[derive(Debug)]
pub(crate) struct Killed {
    state: PathBuf,
    docroot: PathBuf,
    port: u16,
    running: Option<Running>,
    amid: BTreeMap<Amid, u64>,
    /// Releases that were published, the first as number 1.
    published: Vec<Release>,
}

impl Killed {
    pub(crate) fn new(mirror: &Mirror, port: u16) -> Self {
        Self {
            state: mirror.state.clone(),
            docroot: mirror.docroot.clone(),
            port,
            running: None,
            amid: BTreeMap::new(),
            published: Vec::new(),
        }
    }

    /// Starts it and does not wait until it is up: kills fall into that, too.
    pub(crate) fn start(&mut self) {
        let log = File::options().append(true).create(true).open(self.path());
        let mut command: Command = tidecast(&self.state);
        command.args(["mirror", "--json", "--http"]);
        command.arg(format!("127.0.0.1:{}", self.port));
        command.stdout(Stdio::null()).stderr(log.unwrap());
        self.running = Some(Running::start(&mut command));
    }

    fn path(&self) -> PathBuf {
        self.state.with_extension("log")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// Kills it at a moment of its start, at any moment, or shortly after a step of the next switch.
    pub(crate) fn kill_sometime(&mut self, random: &mut Random, live: impl Fn() -> u64) {
        let sleep_us = match random.below(8) {
            0 => random.below(START_UP_MS * 1_000),
            1 | 2 => random.below(ANY_MS * 1_000),
            _ => {
                self.wait_for_a_step(random, live());
                random.below(AFTER_STEP_US)
            }
        };
        std::thread::sleep(Duration::from_micros(sleep_us));
        let mut running = self.running.take().unwrap();
        assert!(running.ended().is_none(), "it ended: {}", self.log());
        running.signal("KILL");
        assert!(eventually(|| running.ended().is_some()));
        *self.amid.entry(self.amid()).or_default() += 1;
    }

    /// Any of the things that appear on the disk on the way from release `live` to the next.
    fn wait_for_a_step(&self, random: &mut Random, live: u64) {
        let ours = self.docroot.join(".tidecast");
        let next = format!("r{}", live + 1);
        let step = random.below(5);
        let begun = Instant::now();
        while begun.elapsed() < STEP {
            let reached = match step {
                0 => ours.join("new").exists(),
                1 => ours.join(&next).exists(),
                2 => ours.join("intent").exists(),
                3 => self
                    .docroot
                    .join(feed::passing(live + 1))
                    .symlink_metadata()
                    .is_ok(),
                _ => fs::read_link(ours.join("current"))
                    .is_ok_and(|to| to.as_os_str() != &*format!("r{live}")),
            };
            if reached {
                return;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn amid(&self) -> Amid {
        let ours = self.docroot.join(".tidecast");
        let live = fs::read_link(ours.join("current")).unwrap();
        let intent = fs::read_to_string(ours.join("intent")).ok();
        if let Some(release) = intent.as_deref().and_then(|text| text.lines().next()) {
            return match live.as_os_str() == &*format!("r{release}") {
                true => Amid::AfterTheSwitch,
                false => Amid::BeforeTheSwitch,
            };
        }
        let live: u64 = live.to_str().unwrap()[1..].parse().unwrap();
        let mut names = fs::read_dir(&ours).unwrap().map(|entry| {
            let name = entry.unwrap().file_name();
            name.to_str().unwrap().to_owned()
        });
        if ours.join("new").exists() {
            return Amid::Building;
        }
        let newer = |name: String| {
            let number = name.strip_prefix('r').and_then(|text| text.parse().ok());
            number.is_some_and(|number: u64| number > live)
        };
        match names.any(newer) {
            true => Amid::Prepared,
            false => Amid::NoSync,
        }
    }

    /// Looks at the whole docroot; releases up to `newest` may be visible.
    pub(crate) fn check(&mut self, newest: u64) -> Result<(), String> {
        for number in self.published.len() as u64 + 1..=newest {
            self.published.push(feed::promised(number));
        }
        let live = fs::read_link(self.docroot.join(".tidecast/current")).unwrap();
        let live: usize = live.to_str().unwrap()[1..].parse().unwrap();
        let may_be_seen = self.published[live - 1..].to_vec();
        let seen = Promise::of(may_be_seen).check(&self.docroot);
        match seen {
            Ok(seen) if seen.release == live as u64 && seen.foreign.is_empty() => Ok(()),
            Ok(seen) => Err(format!("r{live} is live, and {seen:?}")),
            Err(violation) => Err(violation.to_string()),
        }
    }

    /// Kills that fall on few steps prove little.
    #[track_caller]
    pub(crate) fn fell_everywhere(&self) {
        for amid in Amid::ALL {
            assert!(self.amid.contains_key(&amid), "never {amid:?}: {self}");
        }
    }
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (amid, count)) in self.amid.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{amid:?} {count}")?;
        }
        Ok(())
    }
}
