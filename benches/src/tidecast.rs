//! tidecast driven as an operator drives it: by its commands.

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::process::{Daemon, Finished, finish, run};

/// A feed with its keys and its master.
#[derive(Debug)]
pub(crate) struct Site {
    program: PathBuf,
    folder: PathBuf,
    /// Feed fingerprint, 64 hex digits.
    pub(crate) fingerprint: String,
    /// Where the master listens.
    pub(crate) address: SocketAddr,
}

/// A mirror that has joined and is admitted.
#[derive(Debug)]
pub(crate) struct Mirror {
    program: PathBuf,
    folder: PathBuf,
    /// As the master names it.
    pub(crate) node_key: String,
}

/// What `sync --json` says, as far as it is of use here.
#[derive(Debug, Deserialize)]
struct SyncReport {
    received_bytes: u64,
    sent_bytes: u64,
    switched: bool,
}

/// One `sync`.
#[derive(Debug)]
pub(crate) struct Synced {
    pub(crate) finished: Finished,
    /// UDP payload, both ways.
    pub(crate) bytes: f64,
    pub(crate) switched: bool,
}

/// One `publish`.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) finished: Finished,
    /// The release's number.
    pub(crate) release: Option<u64>,
}

/// `tidecast --version`, or how to build it.
pub(crate) fn version(program: &Path) -> Result<String> {
    let finished = run(Command::new(program).arg("--version"))
        .context("build it with `cargo build --release`, or name another with --tidecast")?;
    Ok(finished.stdout.trim().to_owned())
}

impl Site {
    /// Makes a feed in `folder` whose databases are not verified: made-up ones are not signed.
    pub(crate) fn create(program: &Path, folder: &Path) -> Result<Self> {
        // Free now; between this and the master's start nobody on a quiet machine takes it.
        let address = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(program);
        command
            .args([
                "feed", "init", "--feed", "bench", "--verify", "none", "--json",
            ])
            .arg("--state")
            .arg(folder.join("master"))
            .arg("--keys")
            .arg(folder.join("keys"));
        let made = json(&run(&mut command)?)?;
        let fingerprint = text(&made, "fingerprint")?;
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            fingerprint,
            address,
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .arg("--json")
            .arg("--state")
            .arg(self.folder.join("master"));
        command
    }

    /// Makes a release of `tree`.
    pub(crate) fn publish(&self, tree: &Path) -> Result<Published> {
        let mut command = self.command(&["publish"]);
        command
            .arg(tree)
            .arg("--keys")
            .arg(self.folder.join("keys"));
        let finished = run(&mut command)?;
        let release = json(&finished)?.get("release").and_then(Value::as_u64);
        Ok(Published { finished, release })
    }

    /// Starts the master and waits until it answers.
    pub(crate) fn master(&self) -> Result<Daemon> {
        let mut command = Command::new(&self.program);
        command
            .args(["master", "--listen", &self.address.to_string(), "--state"])
            .arg(self.folder.join("master"));
        let log = self.folder.join("master.log");
        let mut daemon = Daemon::start(&mut command, File::create(&log)?)?;
        let start = Instant::now();
        while self.status().is_err() {
            if !daemon.is_running() || start.elapsed() > Duration::from_secs(20) {
                bail!(
                    "the master does not answer; it said: {}",
                    std::fs::read_to_string(log)?
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// Where the master is asked how it is.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("master")
    }

    /// What the running master says about itself.
    pub(crate) fn status(&self) -> Result<Value> {
        // Its exit code says how the master is, which may be nothing published yet.
        let status = json(&finish(&mut self.command(&["status"]))?)?;
        // Without a daemon the command may still describe what is on disk.
        if !self.folder.join("master/control.sock").exists() {
            bail!("the master is not up yet");
        }
        Ok(status)
    }

    /// Lets a node in.
    pub(crate) fn admit(&self, node_key: &str) -> Result<()> {
        run(&mut self.command(&["node", "admit", node_key])).map(drop)
    }

    /// Sets a mirror up and admits it. Nothing is fetched.
    pub(crate) fn join(&self, name: &str) -> Result<Mirror> {
        self.join_through(self.address, name)
    }

    /// The same for a mirror that dials `upstream`, which passes on to the master.
    pub(crate) fn join_through(&self, upstream: SocketAddr, name: &str) -> Result<Mirror> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(folder.join("docroot"))?;
        let mut command = Command::new(&self.program);
        command
            .args(["join", &upstream.to_string(), "--yes", "--json"])
            .args(["--fingerprint", &self.fingerprint])
            .arg("--docroot")
            .arg(folder.join("docroot"))
            .arg("--state")
            .arg(folder.join("state"));
        let joined = json(&run(&mut command)?)?;
        let node_key = text(&joined, "node_key")?;
        self.admit(&node_key)?;
        Ok(Mirror {
            program: self.program.clone(),
            folder,
            node_key,
        })
    }
}

impl Mirror {
    /// Brings the docroot to the newest release, once.
    pub(crate) fn sync(&self) -> Result<Synced> {
        let mut command = Command::new(&self.program);
        command
            .args(["sync", "--json", "--state"])
            .arg(self.folder.join("state"));
        let finished = run(&mut command)?;
        let report: SyncReport = serde_json::from_value(json(&finished)?)
            .with_context(|| format!("sync --json said {}", finished.stdout.trim()))?;
        Ok(Synced {
            bytes: lossless(report.received_bytes + report.sent_bytes),
            switched: report.switched,
            finished,
        })
    }

    /// Starts the daemon, which holds a connection and serves nobody.
    pub(crate) fn daemon(&self) -> Result<Daemon> {
        let mut command = Command::new(&self.program);
        command
            .args(["mirror", "--state"])
            .arg(self.folder.join("state"));
        Daemon::start(&mut command, File::create(self.folder.join("mirror.log"))?)
    }

    /// A file as clients see it.
    pub(crate) fn served(&self, name: &str) -> PathBuf {
        self.folder.join("docroot").join(name)
    }

    /// Removes it from the disk.
    pub(crate) fn remove(self) -> Result<()> {
        Ok(std::fs::remove_dir_all(&self.folder)?)
    }
}

/// Counts here stay far below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "bytes and milliseconds of a benchmark"
)]
pub(crate) fn lossless(count: u64) -> f64 {
    count as f64
}

/// The last line of a command's output, as JSON.
fn json(finished: &Finished) -> Result<Value> {
    let line = finished
        .stdout
        .lines()
        .rfind(|line| !line.trim().is_empty());
    serde_json::from_str(line.unwrap_or_default())
        .or_else(|_| serde_json::from_str(&finished.stdout))
        .with_context(|| format!("not JSON: {}", finished.stdout.trim()))
}

fn text(value: &Value, field: &str) -> Result<String> {
    let found = value.get(field).and_then(Value::as_str);
    Ok(found
        .with_context(|| format!("no {field:?} in {value}"))?
        .to_owned())
}
