//! The one way files are written: temporary beside the target, sync, rename, sync the folder.
//!
//! After any crash the target holds its old bytes or its new ones, whole.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file operation that failed, with the file's name.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {source}", path.display())]
pub struct FileError {
    /// What was being done: "write", "sync" and so on.
    pub action: &'static str,
    /// To what.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// For use with `map_err`.
    pub fn at<'a, E: Into<io::Error>>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(E) -> Self + 'a {
        move |source| Self {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// Who may read a written file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Mode 0644.
    Everyone,
    /// Mode 0600: keys and what names people.
    OwnerOnly,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Everyone => 0o644,
            Self::OwnerOnly => 0o600,
        }
    }
}

/// Puts `bytes` under `path`, whole and on disk when this returns.
///
/// # Errors
/// [`FileError`]; the disk or its permissions are at fault, `path` holds what it held before.
pub fn write(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let temporary = temporary_beside(path);
    let written = write_and_sync(&temporary, bytes, access)
        .and_then(|()| std::fs::rename(&temporary, path).map_err(FileError::at("rename to", path)));
    if written.is_err() {
        // The error that matters is the first one; a leftover is overwritten by the next try.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    sync_folder_of(path)
}

/// Like [`write()`], but refuses to replace a file that is there.
///
/// # Errors
/// [`FileError`] of kind [`io::ErrorKind::AlreadyExists`] when `path` exists; otherwise as [`write()`].
pub fn create(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let temporary = temporary_beside(path);
    let written = write_and_sync(&temporary, bytes, access).and_then(|()| {
        // A hard link, unlike a rename, never replaces.
        std::fs::hard_link(&temporary, path).map_err(FileError::at("create", path))
    });
    let _ = std::fs::remove_file(&temporary);
    written?;
    sync_folder_of(path)
}

/// Gives a file a second name, in place of whatever had that name.
///
/// # Errors
/// [`FileError`]; whatever had that name may be gone.
pub(crate) fn second_name(file: &Path, name: &Path) -> Result<(), FileError> {
    for (found, tolerated) in [
        (std::fs::remove_file(name), name),
        (std::fs::hard_link(file, name), file),
    ] {
        match found {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FileError::at("keep", tolerated)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes sure that names created, renamed or removed in the folder of `path` survive a power cut.
///
/// # Errors
/// [`FileError`].
pub fn sync_folder_of(path: &Path) -> Result<(), FileError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(FileError::at("sync folder", folder))
}

fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

fn write_and_sync(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let open = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(access.mode())
            .open(path)
    };
    let mut file = match open() {
        // A leftover, or a link that somebody planted: neither is written to.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(path).map_err(FileError::at("remove", path))?;
            open()
        }
        other => other,
    }
    .map_err(FileError::at("create", path))?;
    file.write_all(bytes)
        .map_err(FileError::at("write", path))?;
    file.sync_all().map_err(FileError::at("sync", path))
}

/// Reads a whole file of at most `limit` bytes; `None` when there is none.
///
/// # Errors
/// [`FileError`]; of kind [`io::ErrorKind::FileTooLarge`] when it is longer.
pub fn read_optional(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, FileError> {
    use std::io::Read;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::at("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(FileError::at("read", path))?;
    if bytes.len() > limit {
        return Err(FileError::at("read", path)(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("longer than {limit} bytes"),
        )));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_write_replaces_whole_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counters");
        write(&path, b"old", Access::Everyone).unwrap();
        write(&path, b"new", Access::OwnerOnly).unwrap();
        assert_eq!(read_optional(&path, 3).unwrap().unwrap(), b"new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn create_never_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path, b"first", Access::OwnerOnly).unwrap();
        let error = create(&path, b"second", Access::OwnerOnly).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn reading_is_bounded_and_absence_is_not_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        assert!(read_optional(&path, 1).unwrap().is_none());
        std::fs::write(&path, b"12").unwrap();
        assert!(read_optional(&path, 1).is_err());
    }
}
