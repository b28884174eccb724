//! A feed with its master and its mirrors, every one a process of its own on loopback.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::SystemTime;

use serde_json::Value;
use tempfile::TempDir;

use super::command::{self, Ran, tidecast};
use super::process::{Running, eventually};

/// A daemon that has said where it listens.
#[derive(Debug)]
pub(crate) struct Daemon {
    running: Running,
    /// Its first line: addresses, keys, process id.
    pub(crate) started: Value,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`, its log going to the file `log`, and waits for its first line.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let errors = File::options().append(true).create(true).open(log).unwrap();
        let mut running = Running::start(command.stdout(Stdio::piped()).stderr(errors));
        let mut line = String::new();
        let out = running.take_stdout().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let started = serde_json::from_str(&line).unwrap_or_else(|_| {
            let said = fs::read_to_string(log);
            panic!("{command:?} did not start: {line:?} {said:?}")
        });
        Self {
            running,
            started,
            log: log.to_owned(),
        }
    }

    /// The port of the address in field `field` of its first line.
    pub(crate) fn port(&self, field: &str) -> u16 {
        let address = self.started[field].as_str().unwrap();
        let address: std::net::SocketAddr = address.parse().unwrap();
        address.port()
    }

    /// Everything it has logged so far, also before a restart.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.running.id()
    }

    /// Ends it without a warning, as a power cut would.
    pub(crate) fn kill(&mut self) {
        if self.running.ended().is_some() {
            return;
        }
        self.running.signal("KILL");
        assert!(eventually(|| self.running.ended().is_some()));
    }

    /// Asks it to end.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.running.stop()
    }
}

/// A feed, and its master once it is started.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) fingerprint: String,
    master: Option<Daemon>,
    // Last, so that the daemon ends before its files go.
    folder: TempDir,
}

impl World {
    /// With a feed whose databases are checked by `policy`; its master does not run yet.
    pub(crate) fn new(policy: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("master");
        let made = command::run(
            &state,
            &["feed", "init", "--feed", "t", "--verify", policy, "--json"],
        );
        let fingerprint = made.object()["fingerprint"].as_str().unwrap().to_owned();
        Self {
            fingerprint,
            master: None,
            folder,
        }
    }

    /// With a running master.
    pub(crate) fn running(policy: &str) -> Self {
        let mut world = Self::new(policy);
        world.start_master();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command on the master's state.
    pub(crate) fn on_master(&self, arguments: &[&str]) -> Ran {
        command::run(&self.path("master"), arguments)
    }

    pub(crate) fn start_master(&mut self) {
        self.master = Some(self.master_on("127.0.0.1:0"));
    }

    /// Ends the master without a warning and starts it again at the same address.
    pub(crate) fn restart_master(&mut self) {
        let upstream = self.upstream();
        self.stop_master();
        self.master = Some(self.master_on(&upstream));
    }

    /// Ends the master without a warning.
    pub(crate) fn stop_master(&mut self) {
        self.master().kill();
    }

    pub(crate) fn master(&mut self) -> &mut Daemon {
        self.master.as_mut().unwrap()
    }

    fn master_on(&self, listen: &str) -> Daemon {
        let mut command = tidecast(&self.path("master"));
        command.args(["master", "--json", "--listen", listen]);
        Daemon::start(&mut command, &self.path("master.log"))
    }

    /// Where mirrors reach the master.
    pub(crate) fn upstream(&self) -> String {
        format!("127.0.0.1:{}", self.master.as_ref().unwrap().port("listen"))
    }

    /// The folder that [`Self::publish`] publishes; made when it is not there.
    pub(crate) fn tree(&self) -> PathBuf {
        let tree = self.path("tree");
        fs::create_dir_all(&tree).unwrap();
        tree
    }

    /// Makes [`Self::tree`] hold exactly these files, names possibly in folders.
    pub(crate) fn lay_out(&self, files: &[(&str, &[u8])]) {
        let tree = self.tree();
        fs::remove_dir_all(&tree).unwrap();
        fs::create_dir(&tree).unwrap();
        for (name, bytes) in files {
            let path = tree.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// Publishes [`Self::tree`] with more options.
    pub(crate) fn publish_with(&self, options: &[&str]) -> Ran {
        let tree = self.tree();
        let mut arguments = vec!["publish", tree.to_str().unwrap(), "--json"];
        arguments.extend(options);
        self.on_master(&arguments)
    }

    /// Publishes exactly these files and gives the release's number.
    #[track_caller]
    pub(crate) fn publish(&self, files: &[(&str, &[u8])]) -> u64 {
        self.lay_out(files);
        self.publish_with(&[]).object()["release"].as_u64().unwrap()
    }

    /// A mirror that has joined, not yet admitted. Other names may lie in its docroot already.
    pub(crate) fn mirror(&self, name: &str) -> Mirror {
        let upstream = match &self.master {
            Some(_) => self.upstream(),
            None => "127.0.0.1:9".to_owned(),
        };
        self.mirror_of(name, &upstream)
    }

    /// The same with an upstream of the caller's choice.
    pub(crate) fn mirror_of(&self, name: &str, upstream: &str) -> Mirror {
        let state = self.path(name);
        let docroot = self.path(&format!("{name}-docroot"));
        let joined = command::run(
            &state,
            &[
                "join",
                upstream,
                "--fingerprint",
                &self.fingerprint,
                "--docroot",
                docroot.to_str().unwrap(),
                "--name",
                name,
                "--contact",
                "admin@example.org",
                "--yes",
                "--json",
            ],
        )
        .object();
        Mirror {
            key: joined["node_key"].as_str().unwrap().to_owned(),
            joined,
            state,
            docroot,
            daemon: None,
        }
    }

    /// A mirror that may fetch.
    pub(crate) fn admitted(&self, name: &str) -> Mirror {
        let mirror = self.mirror(name);
        self.admit(&mirror);
        mirror
    }

    /// A mirror that runs and serves HTTP, not necessarily a release yet.
    pub(crate) fn serving(&self, name: &str) -> Mirror {
        let mut mirror = self.admitted(name);
        mirror.start();
        mirror
    }

    pub(crate) fn admit(&self, mirror: &Mirror) {
        let decided = self.on_master(&["node", "admit", &mirror.key, "--json"]);
        assert_eq!(decided.object()["state"], "admitted");
    }

    /// What the master knows of a node.
    pub(crate) fn node(&self, mirror: &Mirror) -> Value {
        let list = self.on_master(&["node", "list", "--json"]).object();
        let nodes = list["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["node_key"] == *mirror.key);
        node.cloned().unwrap_or_default()
    }
}

/// A mirror's state, docroot and, once started, its daemon.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) key: String,
    /// What `join` said.
    pub(crate) joined: Value,
    pub(crate) state: PathBuf,
    pub(crate) docroot: PathBuf,
    daemon: Option<Daemon>,
}

impl Mirror {
    /// Runs a command on the mirror's state.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        command::run(&self.state, arguments)
    }

    /// Starts the daemon with HTTP on a port of its own.
    pub(crate) fn start(&mut self) {
        self.start_as(|_| {});
    }

    /// The same with the command prepared by the caller.
    pub(crate) fn start_as(&mut self, prepare: impl FnOnce(&mut Command)) {
        let mut command = tidecast(&self.state);
        command.args(["mirror", "--json", "--http", "127.0.0.1:0"]);
        prepare(&mut command);
        let log = self.state.with_extension("log");
        self.daemon = Some(Daemon::start(&mut command, &log));
    }

    pub(crate) fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        self.daemon.as_ref().unwrap().log()
    }

    /// Where it serves clients.
    pub(crate) fn http(&self) -> u16 {
        self.daemon.as_ref().unwrap().port("http")
    }

    pub(crate) fn status(&self) -> Value {
        self.run(&["status", "--json"]).judged()
    }

    /// The release its docroot serves; 0 for none.
    pub(crate) fn release(&self) -> u64 {
        let live = fs::read_link(self.docroot.join(".tidecast/current"));
        let name = live.unwrap_or_default();
        let number = name.to_str().and_then(|name| name.strip_prefix('r'));
        number.map_or(0, |number| number.parse().unwrap())
    }

    /// Waits until the docroot serves `release` and clients are told so.
    #[track_caller]
    pub(crate) fn reaches(&self, release: u64) {
        let served = || self.release() == release && self.web_release() == Some(release);
        assert!(
            eventually(served),
            "release {} instead of {release}:\n{}",
            self.release(),
            self.log()
        );
    }

    fn web_release(&self) -> Option<u64> {
        let health = super::http::get(self.http(), "/healthz", &[]);
        let text = String::from_utf8(health.body).unwrap();
        text.strip_prefix("ok release ")?.trim_end().parse().ok()
    }

    /// Waits until the time a file shows is past.
    ///
    /// A switch is stamped a moment ahead, so that nobody holds an older file with a later time. Who
    /// asks before that moment may be told "not modified" by Apache, which takes no time of the
    /// future for true, or fetches once more later.
    pub(crate) fn wait_for_the_stamp(&self, name: &str) {
        let found = fs::metadata(self.docroot.join(name)).unwrap();
        let stamp = found.modified().unwrap();
        assert!(eventually(|| SystemTime::now() >= stamp));
    }

    /// What a name in the docroot holds.
    pub(crate) fn file(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.docroot.join(name)).ok()
    }
}

/// Every name below a folder with what identifies its content: length for files, target for links.
pub(crate) fn listing(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let found = path.symlink_metadata().unwrap();
        let what = if found.is_symlink() {
            format!("link to {}", fs::read_link(&path).unwrap().display())
        } else if found.is_dir() {
            all.extend(listing(&path));
            "folder".to_owned()
        } else {
            format!("{} bytes, {:?}", found.len(), found.modified().unwrap())
        };
        all.push((path, what));
    }
    all.sort();
    all
}

/// Bytes that do not compress, the same for one seed.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut noise);
    noise
}
