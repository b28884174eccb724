//! The same update by an rsync daemon on loopback.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::stage::{Stage, free_tcp_port};
use crate::exit::Exit;
use crate::failure::Failure;

/// The daemon listens after a few milliseconds; were it not there by then, it never would be.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// What rsync counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RsyncRun {
    /// Bytes of its protocol that the mirror's side received.
    pub(super) received_bytes: u64,
    /// Bytes it sent.
    pub(super) sent_bytes: u64,
    /// Wall time of the client.
    pub(super) seconds: f64,
}

/// A mirror by rsync that holds release 1.
pub(super) struct RsyncMirror {
    source: String,
    copy: PathBuf,
}

/// Whether rsync is installed.
pub(super) fn installed() -> bool {
    Command::new("rsync")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl RsyncMirror {
    /// Starts a daemon that serves the tree, and makes a first copy of it.
    pub(super) fn start(stage: &mut Stage) -> Result<Self, Failure> {
        let tree = stage.path("tree");
        let owner = std::fs::metadata(&tree)
            .map_err(|error| Failure::file("look at", &tree, &error))?
            .uid();
        let config = stage.path("rsyncd.conf");
        // Started by root it would serve as nobody, who may not look into this folder.
        let identity = match owner {
            0 => "uid = 0\ngid = 0\n",
            _ => "",
        };
        let text = format!(
            "use chroot = no\n{identity}pid file = {}\n[feed]\npath = {}\nread only = yes\n",
            stage.path("rsyncd.pid").display(),
            tree.display()
        );
        std::fs::write(&config, text).map_err(|error| Failure::file("write", &config, &error))?;
        let port = free_tcp_port()?;
        let mut daemon = Command::new("rsync");
        daemon
            .args(["--daemon", "--no-detach", "--address=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--config={}", config.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        stage.start("rsyncd", &mut daemon)?;
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            stage.all_run()?;
            if begun.elapsed() > START_TIMEOUT {
                return Err(Failure::new(
                    Exit::Temporary,
                    "the rsync daemon does not answer",
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let mirror = Self {
            source: format!("rsync://127.0.0.1:{port}/feed/"),
            copy: stage.path("rsync-copy"),
        };
        mirror.run()?;
        Ok(mirror)
    }

    /// Brings the copy up to date, as mirrors did.
    pub(super) fn run(&self) -> Result<RsyncRun, Failure> {
        let begun = Instant::now();
        let output = Command::new("rsync")
            .args(["--archive", "--delete", "--stats", "--no-human-readable"])
            .arg(&self.source)
            .arg(&self.copy)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()?;
        let seconds = begun.elapsed().as_secs_f64();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(
                Exit::Internal,
                format!("rsync: {}", said.trim()),
            ));
        }
        let stats = String::from_utf8_lossy(&output.stdout);
        match (
            stat(&stats, "Total bytes received: "),
            stat(&stats, "Total bytes sent: "),
        ) {
            (Some(received_bytes), Some(sent_bytes)) => Ok(RsyncRun {
                received_bytes,
                sent_bytes,
                seconds,
            }),
            _ => Err(Failure::new(Exit::Internal, "rsync printed no statistics")),
        }
    }
}

fn stat(stats: &str, label: &str) -> Option<u64> {
    let number = stats.lines().find_map(|line| line.strip_prefix(label))?;
    number.trim().replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsyncs_numbers_are_read_with_and_without_commas() {
        let stats = "File list size: 0\nTotal bytes sent: 1,234\nTotal bytes received: 47560500\n";
        assert_eq!(stat(stats, "Total bytes sent: "), Some(1_234));
        assert_eq!(stat(stats, "Total bytes received: "), Some(47_560_500));
        assert_eq!(stat(stats, "Total size: "), None);
    }
}
