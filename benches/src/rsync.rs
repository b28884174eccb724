//! The peer: an rsync daemon on loopback and its client.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Daemon, Finished, run};

/// A daemon that serves one folder.
#[derive(Debug)]
pub(crate) struct Rsync {
    program: PathBuf,
    port: u16,
    daemon: Daemon,
}

/// One run of the client.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) finished: Finished,
    /// Both ways, without the headers of TCP and IP, as rsync counts them.
    pub(crate) bytes: f64,
    /// Processor seconds the daemon spent on it.
    pub(crate) daemon_cpu_s: f64,
}

/// First line of `rsync --version`, or how to get rsync.
pub(crate) fn version(program: &Path) -> Result<String> {
    let finished = run(Command::new(program).arg("--version"))
        .context("rsync is what tidecast is measured against; as root: apt-get install rsync")?;
    let line = finished.stdout.lines().next();
    Ok(line.unwrap_or_default().to_owned())
}

impl Rsync {
    /// Serves `tree`; configuration and log go to `folder`.
    pub(crate) fn serve(program: &Path, tree: &Path, folder: &Path) -> Result<Self> {
        let config = folder.join("rsyncd.conf");
        // Without chroot and as who we are: the tree may lie in a private folder. Root would
        // otherwise become nobody.
        let mut text =
            String::from("use chroot = no\nreverse lookup = no\nmax connections = 100\n");
        if is_root(folder)? {
            text.push_str("uid = root\ngid = root\n");
        }
        text.push_str(&format!(
            "[feed]\npath = {}\nread only = yes\n",
            tree.display()
        ));
        std::fs::write(&config, text)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command
            .args(["--daemon", "--no-detach", "--address=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--config={}", config.display()));
        let daemon = Daemon::start(&mut command, File::create(folder.join("rsyncd.log"))?)?;
        let mut rsync = Self {
            program: program.to_owned(),
            port,
            daemon,
        };
        rsync.wait_until_it_listens()?;
        Ok(rsync)
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if !self.daemon.is_running() || start.elapsed() > Duration::from_secs(10) {
                bail!("the rsync daemon does not listen on port {}", self.port);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Brings `destination` up to date as a mirror's cron job would, synced to disk.
    pub(crate) fn copy(&self, destination: &Path) -> Result<Copy> {
        self.copy_with(&[], destination)
    }

    /// The same with further options.
    pub(crate) fn copy_with(&self, options: &[&str], destination: &Path) -> Result<Copy> {
        let before = self.daemon.cpu_s()?;
        let finished = run(Command::new(&self.program)
            .args([
                "-a",
                "--delete",
                "--fsync",
                "--stats",
                "--no-human-readable",
            ])
            .args(options)
            .arg(format!("rsync://127.0.0.1:{}/feed/", self.port))
            .arg(destination))?;
        let daemon_cpu_s = self.daemon.cpu_s()? - before;
        let stated = |label: &str| -> Result<f64> {
            let mut lines = finished.stdout.lines();
            let value = lines.find_map(|line| line.strip_prefix(label));
            let value = value.with_context(|| format!("rsync --stats lacks {label:?}"))?;
            Ok(value.trim().replace(',', "").parse()?)
        };
        let bytes = stated("Total bytes sent:")? + stated("Total bytes received:")?;
        Ok(Copy {
            finished,
            bytes,
            daemon_cpu_s,
        })
    }
}

fn is_root(folder: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(folder.metadata()?.uid() == 0)
}
