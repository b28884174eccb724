//! One process per docroot. SPEC §8.5.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::error::DocrootError;
use super::files;
use super::layout::{Folders, LOCK, STATE};

/// Held as long as the docroot is in use; the system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, or says who holds it.
    pub(super) fn take(folders: &Folders) -> Result<Self, DocrootError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&folders.state, LOCK, flags, Mode::from_raw_mode(0o644))
            .map(File::from)
            .map_err(folders.fault("open", LOCK))?;
        let found = files::look_at(&file).map_err(folders.fault("look at", LOCK))?;
        if found.kind != files::Kind::File || found.links != 1 {
            // It is not ours to write to.
            return Err(DocrootError::Replaced {
                path: folders.path.clone(),
                what: ".tidecast/lock",
            });
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(DocrootError::InUse {
                    path: folders.path.clone(),
                    holder: holder(&file),
                });
            }
            Err(error) => return Err(folders.fault("lock", LOCK)(error)),
        }
        // Only for the message to a second instance: a full disk must not keep a mirror from serving.
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0));
        let lock = Self { file };
        // Somebody may have removed the file between our open and our lock.
        lock.check(folders)?;
        Ok(lock)
    }

    /// Checks that docroot, our folder and the lock's path are still the ones we hold.
    pub(super) fn check(&self, folders: &Folders) -> Result<(), DocrootError> {
        let identity = |found: files::Found| (found.device, found.record.inode);
        let replaced = |what| DocrootError::Replaced {
            path: folders.path.clone(),
            what,
        };
        let by_path = files::look_through(&folders.path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => replaced("the folder"),
            _ => DocrootError::at("look at", &folders.path)(error),
        })?;
        let docroot =
            files::look_at(&folders.docroot).map_err(DocrootError::at("look at", &folders.path))?;
        if identity(by_path) != identity(docroot) {
            return Err(replaced("the folder"));
        }
        let state = files::look_at(&folders.state).map_err(folders.fault("look at", "."))?;
        let state_by_name =
            files::look(&folders.docroot, STATE).map_err(folders.fault("look at", "."))?;
        if state_by_name.map(identity) != Some(identity(state)) {
            return Err(replaced(".tidecast"));
        }
        let lock = files::look_at(&self.file).map_err(folders.fault("look at", LOCK))?;
        let lock_by_name =
            files::look(&folders.state, LOCK).map_err(folders.fault("look at", LOCK))?;
        if lock_by_name.map(identity) != Some(identity(lock)) {
            return Err(replaced(".tidecast/lock"));
        }
        Ok(())
    }
}

fn holder(file: &File) -> String {
    let mut bytes = [0; 20];
    let count = file.read_at(&mut bytes, 0).unwrap_or(0);
    let text: String = bytes[..count]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .map(|byte| char::from(*byte))
        .collect();
    if text.is_empty() {
        "process unknown".to_owned()
    } else {
        format!("process {text}")
    }
}
