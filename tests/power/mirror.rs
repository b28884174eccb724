//! The mirror whose disk loses its power, and what stands fast about it at any moment of its story.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidecast_engine::roots;
use tidecast_proto::id::FeedId;
use tidecast_proto::trust::Trust;

use super::releases;
use crate::support::command::{Ran, tidecast};
use crate::support::promise::Promise;
use crate::support::world::{Daemon, World};

/// Whether the mirror's program brings to the disk what it wants there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fsyncs {
    Real,
    /// `strace` answers them in the kernel's place, without doing anything.
    Pretended,
}

/// Paths and identity of a mirror that has joined.
#[derive(Debug)]
pub(crate) struct PoweredMirror {
    feed: FeedId,
    state: PathBuf,
    pub(crate) docroot: PathBuf,
    /// Not on the disk.
    log: PathBuf,
    promise: Promise,
    fsyncs: Fsyncs,
}

impl PoweredMirror {
    /// The one of a feed whose state and docroot are below `mounted`.
    pub(crate) fn below(mounted: &Path, fingerprint: &str, fsyncs: Fsyncs) -> Self {
        // Of a docroot that nothing was in before, but for what is the operator's.
        let nothing = tempfile::tempdir().unwrap();
        let all = (1..=releases::LAST).map(releases::release);
        Self {
            feed: fingerprint.parse().unwrap(),
            state: mounted.join("state"),
            docroot: mounted.join("docroot"),
            log: mounted.with_extension("log"),
            promise: Promise::of(all).or_what_is_there(nothing.path()),
            fsyncs,
        }
    }

    /// Makes the docroot below `mounted`, with something of the operator's in it, and joins.
    pub(crate) fn join(world: &World, mounted: &Path, fsyncs: Fsyncs) -> Self {
        let mirror = Self::below(mounted, &world.fingerprint, fsyncs);
        fs::create_dir_all(mirror.docroot.join("local_folder")).unwrap();
        write_synced(&mirror.docroot.join("local_folder/notes"), NOTES);
        let docroot = mirror.docroot.to_str().unwrap();
        let joined = mirror.run(&[
            "join",
            &world.upstream(),
            "--fingerprint",
            &world.fingerprint,
            "--docroot",
            docroot,
            "--yes",
            "--json",
        ]);
        let key = joined.object()["node_key"].as_str().unwrap().to_owned();
        world.on_master(&["node", "admit", &key, "--json"]).object();
        // So that old trees go within the story.
        let path = mirror.state.join("mirror.toml");
        let config = fs::read_to_string(&path).unwrap();
        let soon = config.replace("grace_s = 600", "grace_s = 1");
        assert_ne!(soon, config);
        write_synced(&path, soon.as_bytes());
        mirror
    }

    /// From now on with real ones.
    pub(crate) fn fsync_again(&mut self) {
        self.fsyncs = Fsyncs::Real;
    }

    fn command(&self) -> Command {
        let program = tidecast(&self.state);
        if self.fsyncs == Fsyncs::Real {
            return program;
        }
        const CALLS: &str = "fsync,fdatasync,syncfs";
        let mut traced = Command::new("strace");
        traced
            .args(["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"])
            .args(["-e", &format!("trace={CALLS}")])
            .args(["-e", &format!("inject={CALLS}:retval=0")])
            .arg(program.get_program())
            .args(program.get_args())
            .env_remove("TIDECAST_LOG")
            .env_remove("TIDECAST_STATE");
        traced
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command().args(arguments).output().unwrap())
    }

    /// The daemon with HTTP.
    pub(crate) fn start(&self) -> Daemon {
        let mut command = self.command();
        command.args(["mirror", "--json", "--http", "127.0.0.1:0"]);
        Daemon::start(&mut command, &self.log)
    }

    /// Which release the docroot shows, as a web server sees it.
    ///
    /// # Errors
    /// The promise is broken.
    pub(crate) fn shown(&self) -> Result<u64, String> {
        let live = self.promise.check(&self.docroot);
        let live = live.map_err(|violation| violation.to_string())?;
        Ok(live.release)
    }

    /// What it believes.
    ///
    /// # Errors
    /// It cannot be read: damaged, or parts are missing.
    pub(crate) fn beliefs(&self) -> Result<Beliefs, String> {
        let roots = roots::load(&self.state.join("roots")).map_err(|error| error.to_string())?;
        let counters = fs::read(self.state.join("counters")).ok();
        let trust = Trust::resume(&self.feed, roots, counters.as_deref());
        let trust = trust.map_err(|error| format!("counters: {error}"))?;
        Ok(trust.map_or_else(Beliefs::default, |trust| Beliefs {
            root: trust.root().version.0,
            installed: trust.installed_release().0,
            seqs: trust
                .seqs()
                .into_iter()
                .map(|(key, seq)| (key.to_string(), seq.0))
                .collect(),
        }))
    }

    /// Whether everything the operator had brought to the disk is where it was, or was moved away whole.
    ///
    /// # Errors
    /// What is not.
    pub(crate) fn operators(&self, files: &[&OperatorsFile]) -> Result<(), String> {
        let notes = fs::read(self.docroot.join("local_folder/notes"));
        if notes.as_deref().ok() != Some(NOTES) {
            return Err(format!("local_folder/notes: {notes:?}"));
        }
        for OperatorsFile { name, begins_with } in files {
            let mut found = vec![self.docroot.join(name)];
            if !name.starts_with("local_") {
                found.push(self.docroot.join(".tidecast/swap").join(name));
                found.extend(entries(&self.docroot.join(".tidecast/swap")));
                for day in entries(&self.docroot.join(".tidecast/removed")) {
                    found.push(day.join(name));
                }
            }
            let holds = |path: &PathBuf| {
                fs::read(path).is_ok_and(|bytes| bytes.starts_with(begins_with.as_bytes()))
            };
            if !found.iter().any(holds) {
                return Err(format!("{name} of the operator's is gone or was changed"));
            }
        }
        Ok(())
    }

    /// Whether the record of what it believed had to be begun anew.
    pub(crate) fn damaged_log(&self) -> bool {
        self.state.join("trust.log.damaged.1").exists()
    }

    /// Whether nothing of it points to a state that it never had.
    ///
    /// # Errors
    /// What `audit` says.
    pub(crate) fn audited(&self) -> Result<(), String> {
        let audited = self.run(&["audit"]);
        match audited.code {
            0 => Ok(()),
            _ => Err(format!("audit: {audited:?}")),
        }
    }
}

const NOTES: &[u8] = b"the operator's, from before the first release";

/// A file of the operator's and how far it was brought to the disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OperatorsFile {
    pub(crate) name: String,
    pub(crate) begins_with: String,
}

/// Counters that may only rise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beliefs {
    root: u64,
    installed: u64,
    /// By head key.
    seqs: BTreeMap<String, u64>,
}

impl Beliefs {
    /// Which of them is lower than it was.
    ///
    /// # Errors
    /// That one.
    pub(crate) fn not_below(&self, before: &Self) -> Result<(), String> {
        if self.root < before.root {
            return Err(format!("root {} after {}", self.root, before.root));
        }
        if self.installed < before.installed {
            return Err(format!(
                "installed {} after {}",
                self.installed, before.installed
            ));
        }
        for (key, seq) in &before.seqs {
            let now = self.seqs.get(key);
            if now < Some(seq) {
                return Err(format!("number {now:?} of {key} after {seq}"));
            }
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

pub(crate) fn write_synced(path: &Path, bytes: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
    let folder = File::open(path.parent().unwrap()).unwrap();
    folder.sync_all().unwrap();
}

/// Polls `done` without rest; what is looked for is the very first moment.
pub(crate) fn at_once(what: &str, mut done: impl FnMut() -> bool) {
    const PATIENCE: Duration = Duration::from_secs(60);
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
