//! Opening what is served: always below a held directory, never a name from `/`.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::beneath::{self, Links};

/// Why a file is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// Nothing to serve under this name, or nothing this process may serve.
    #[error("{name}: not there")]
    Absent { name: String },
    /// The file on disk is not the one the signed manifest names.
    #[error("{name}: {found} bytes on disk, {wanted} in the signed manifest")]
    WrongSize {
        name: String,
        found: u64,
        wanted: u64,
    },
    /// The release has this file and the disk does not give it.
    #[error("{name}: cannot be opened")]
    Disk {
        name: String,
        #[source]
        source: io::Error,
    },
}

/// Opens a file of the release and compares its size with the manifest's.
pub(super) fn open_released(tree: &OwnedFd, name: &str, wanted: u64) -> Result<File, OpenError> {
    // Trees hold no links; one that is there now was not put there by us.
    let disk = |source| OpenError::Disk {
        name: name.to_owned(),
        source,
    };
    let file = open_below(tree, name, Links::Refuse).map_err(|errno| disk(errno.into()))?;
    let facts = file.metadata().map_err(disk)?;
    if !facts.is_file() || facts.size() != wanted {
        return Err(OpenError::WrongSize {
            name: name.to_owned(),
            found: facts.size(),
            wanted,
        });
    }
    Ok(file)
}

/// Opens a file of the operator's. Their links are followed as long as they stay in the docroot.
pub(super) fn open_local(docroot: &OwnedFd, name: &str) -> Result<(File, Metadata), OpenError> {
    let absent = || OpenError::Absent {
        name: name.to_owned(),
    };
    let disk = |source| OpenError::Disk {
        name: name.to_owned(),
        source,
    };
    let file = match open_below(docroot, name, Links::Inside) {
        Ok(file) => file,
        // Unreadable is answered like absent: a 403 would silence freshclam for a day.
        Err(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::XDEV
            | Errno::ACCESS
            | Errno::PERM
            | Errno::NAMETOOLONG
            | Errno::NXIO,
        ) => return Err(absent()),
        Err(errno) => return Err(disk(errno.into())),
    };
    let facts = file.metadata().map_err(disk)?;
    if !facts.is_file() {
        return Err(absent());
    }
    Ok((file, facts))
}

fn open_below(dir: &OwnedFd, name: &str, links: Links) -> Result<File, Errno> {
    // NONBLOCK so that a FIFO an operator left there cannot hold a thread for ever.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    beneath::open(dir, name, flags, links).map(File::from)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn dir(path: &Path) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    #[test]
    fn a_released_file_must_be_a_plain_file_of_the_right_size() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("a"), b"12345").unwrap();
        symlink("a", temp.path().join("link")).unwrap();
        std::fs::create_dir(temp.path().join("d")).unwrap();
        let tree = dir(temp.path());
        assert!(open_released(&tree, "a", 5).is_ok());
        let short = open_released(&tree, "a", 6).unwrap_err();
        assert_eq!(
            short.to_string(),
            "a: 5 bytes on disk, 6 in the signed manifest"
        );
        for name in ["link", "missing", "a/b", "../x"] {
            let error = open_released(&tree, name, 5).unwrap_err();
            assert!(matches!(error, OpenError::Disk { .. }), "{name}: {error:?}");
        }
        let size = std::fs::metadata(temp.path().join("d")).unwrap().size();
        assert!(matches!(
            open_released(&tree, "d", size),
            Err(OpenError::WrongSize { .. })
        ));
    }

    #[test]
    fn local_links_are_followed_inside_the_docroot_only() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("docroot");
        std::fs::create_dir_all(root.join("local_dir")).unwrap();
        std::fs::write(temp.path().join("secret"), b"x").unwrap();
        std::fs::write(root.join("local_dir/a"), b"x").unwrap();
        symlink("local_dir/a", root.join("local_in")).unwrap();
        symlink("../secret", root.join("local_out")).unwrap();
        symlink("/etc/passwd", root.join("local_abs")).unwrap();
        symlink("gone", root.join("local_dangling")).unwrap();
        let docroot = dir(&root);
        assert!(open_local(&docroot, "local_in").is_ok());
        assert!(open_local(&docroot, "local_dir/a").is_ok());
        for name in [
            "local_out",
            "local_abs",
            "local_dangling",
            "local_dir",
            "local_dir/a/b",
        ] {
            let error = open_local(&docroot, name).unwrap_err();
            assert!(
                matches!(error, OpenError::Absent { .. }),
                "{name}: {error:?}"
            );
        }
    }

    #[test]
    fn a_local_fifo_is_absent_and_holds_nobody() {
        let temp = tempfile::tempdir().unwrap();
        let docroot = dir(temp.path());
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(&docroot, "local_fifo", rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(
            open_local(&docroot, "local_fifo"),
            Err(OpenError::Absent { .. })
        ));
    }
}
