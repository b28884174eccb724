//! Disks that are soon full.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file system of its own, unmounted when dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// One of `size`, as tmpfs takes it (`3m`), at `path`; `None`, after [`super::skip`], where mounting is not allowed.
    pub(crate) fn mount(test: &str, path: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            super::skip(test, "may not mount a small disk here");
            return None;
        }
        Some(Self(path.to_owned()))
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    }

    /// Fills what is free, but for `left` bytes, with the file `name`.
    pub(crate) fn fill(&self, name: &str, left: u64) {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let mut file = fs::File::create(self.0.join(name)).unwrap();
        let block = [1; 4096];
        for _ in 0..free.saturating_sub(left) / 4096 {
            file.write_all(&block).unwrap();
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
