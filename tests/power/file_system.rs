//! The file systems on a disk of ours, with their ordinary settings.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::server::DiskProcess;
use crate::support;

/// What a disk writes whole, and these file systems take for granted: a superblock of ext4 or btrfs that is torn inside 4096
/// bytes is not mounted any more. Disks have had physical sectors of this size since 2011 ("Advanced Format").
pub(crate) const SECTOR_BYTES: u64 = 4096;

/// A kind of file system, made and mounted with the defaults of its tools and of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `data=ordered`, delayed allocation, `auto_da_alloc`.
    Ext4,
    Xfs,
    Btrfs,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Ext4 => "e2fsprogs",
            Self::Xfs => "xfsprogs",
            Self::Btrfs => "btrfs-progs",
        }
    }

    /// Somewhat above the least that its tools accept.
    fn bytes(self) -> u64 {
        match self {
            Self::Xfs => 320 << 20,
            Self::Ext4 | Self::Btrfs => 256 << 20,
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            // Blocks as on any larger disk. And the tool makes all of it: otherwise a thread of the kernel goes on for
            // minutes.
            Self::Ext4 => &[
                "-q",
                "-F",
                "-b",
                "4096",
                "-E",
                "lazy_itable_init=0,lazy_journal_init=0",
            ],
            Self::Xfs => &["-q", "-f"],
            Self::Btrfs => &["-q", "-f"],
        }
    }
}

/// A disk with a file system, mounted or not.
#[derive(Debug)]
pub(crate) struct FileSystem {
    pub(crate) kind: Kind,
    pub(crate) disk: Arc<DiskProcess>,
    point: PathBuf,
    is_mounted: bool,
}

impl FileSystem {
    /// A disk of zeros, to be mounted at `point` once there is a file system on it.
    ///
    /// # Errors
    /// What the system has against it.
    pub(crate) fn blank(kind: Kind, file: &Path, point: &Path) -> Result<Self, String> {
        let disk = DiskProcess::start(file, kind.bytes())?;
        std::fs::create_dir_all(point).unwrap();
        Ok(Self {
            kind,
            disk: Arc::new(disk),
            point: point.to_owned(),
            is_mounted: false,
        })
    }

    /// A fresh one, not mounted yet; it will be at `point`. `None`, after `skip`, where it cannot be made here.
    pub(crate) fn make(test: &str, kind: Kind, file: &Path, point: &Path) -> Option<Self> {
        let name = kind.name();
        let mkfs = support::program(test, &format!("mkfs.{name}"), kind.package())?;
        let made = Self::blank(kind, file, point).and_then(|mut made| {
            run(Command::new(mkfs)
                .args(kind.options())
                .arg(made.disk.file()))?;
            made.mount()
                .map_err(|why| format!("no loop device, or no {name} in this kernel: {why}"))?;
            made.unmount();
            Ok(made)
        });
        made.map_err(|why| support::skip(test, &why)).ok()
    }

    /// Mounts what the disk holds now; what a journal kept is replayed. The loop device goes when it is unmounted, by
    /// whomever.
    ///
    /// # Errors
    /// The file system cannot be mounted.
    pub(crate) fn mount(&mut self) -> Result<(), String> {
        let mut mount = Command::new("mount");
        mount.args(["-t", self.kind.name(), "-o", "loop"]);
        run(mount.arg(self.disk.file()).arg(&self.point))?;
        self.is_mounted = true;
        Ok(())
    }

    /// Whatever it writes now is lost with the next cut. When this returns nothing writes any more.
    pub(crate) fn unmount(&mut self) {
        /// A program that was killed may still be going.
        const PATIENCE: Duration = Duration::from_secs(20);
        if !std::mem::take(&mut self.is_mounted) {
            return;
        }
        let begun = Instant::now();
        while let Err(why) = run(Command::new("umount").arg(&self.point)) {
            if begun.elapsed() > PATIENCE {
                eprintln!("{why}");
                let _ = run(Command::new("umount").arg("--lazy").arg(&self.point));
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Somebody else could have it mounted as well: a copy of the whole mount table is quickly made.
        while self.is_in_use() {
            if begun.elapsed() > PATIENCE {
                // Also called while a test fails already.
                assert!(std::thread::panicking(), "the disk is still in use");
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether there is a loop device over the disk.
    fn is_in_use(&self) -> bool {
        let devices = std::fs::read_dir("/sys/block").into_iter().flatten();
        devices.flatten().any(|device| {
            let backing = std::fs::read_to_string(device.path().join("loop/backing_file"));
            backing.is_ok_and(|backing| Path::new(backing.trim_end()) == self.disk.file())
        })
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// What it printed, or what it complained of.
fn run(command: &mut Command) -> Result<String, String> {
    let ran = command.stdin(Stdio::null()).output();
    let ran = ran.map_err(|error| format!("{command:?}: {error}"))?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        return Err(format!("{command:?}: {}", said.trim_end()));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}
