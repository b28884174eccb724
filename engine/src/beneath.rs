//! Opening what lies below a held folder, and nothing else.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// Tries at one open. The kernel says EAGAIN when a rename elsewhere races with a walk below a folder; each further
/// try that fails needs another rename in the same microseconds.
const OPEN_TRIES: usize = 8;

/// What is done about symbolic links on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// None is followed, neither on the way nor at its end.
    Refuse,
    /// They are followed as long as they stay below the folder. Where the system has no `openat2`, none is.
    Inside,
}

/// Opens `path` below `at`.
///
/// # Errors
/// What the system said; a path that leads out is [`Errno::XDEV`], a link that is not followed [`Errno::LOOP`] or
/// [`Errno::NOTDIR`].
pub(crate) fn open(
    at: impl AsFd,
    path: &str,
    flags: OFlags,
    links: Links,
) -> Result<OwnedFd, Errno> {
    let (flags, resolve) = match links {
        Links::Refuse => (flags | OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS),
        Links::Inside => (flags, ResolveFlags::empty()),
    };
    let flags = flags | OFlags::CLOEXEC;
    let resolve = resolve | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..OPEN_TRIES {
        match openat2(&at, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Sandboxes that do not know the call hide it, the older ones as forbidden.
            Err(Errno::NOSYS | Errno::PERM) => return open_stepwise(at, path, flags),
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// The same one component at a time, without following any link.
fn open_stepwise(at: impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let (folders, name) = match path.rsplit_once('/') {
        Some((folders, name)) => (Some(folders), name),
        None => (None, path),
    };
    let mut folder = None::<OwnedFd>;
    for component in folders.into_iter().flat_map(|folders| folders.split('/')) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = folder.as_ref().map_or(at.as_fd(), AsFd::as_fd);
        folder = Some(openat(below, inside(component)?, flags, Mode::empty())?);
    }
    let below = folder.as_ref().map_or(at.as_fd(), AsFd::as_fd);
    openat(
        below,
        inside(name)?,
        flags | OFlags::NOFOLLOW,
        Mode::empty(),
    )
}

/// The component, if it does not lead out.
fn inside(component: &str) -> Result<&str, Errno> {
    match component {
        "" | ".." => Err(Errno::XDEV),
        _ => Ok(component),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::symlink;

    #[test]
    fn either_way_finds_files_below_and_neither_follows_a_link_nor_leaves() {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path().join("top");
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::write(top.join("a/b/file"), b"x").unwrap();
        std::fs::write(temp.path().join("secret"), b"x").unwrap();
        symlink("a/b/file", top.join("link")).unwrap();
        symlink("a", top.join("folder_link")).unwrap();
        symlink("..", top.join("a/up")).unwrap();
        let at = File::open(&top).unwrap();
        let read = OFlags::RDONLY;
        let by_system = |path: &str| open(&at, path, read, Links::Refuse).map(drop);
        let by_steps = |path: &str| open_stepwise(&at, path, read | OFlags::CLOEXEC).map(drop);
        for (path, found) in [
            ("a/b/file", true),
            ("a/b", true),
            ("a/b/gone", false),
            ("a/b/file/x", false),
            ("link", false),
            ("folder_link/b/file", false),
            ("a/up/link", false),
            ("../secret", false),
            ("a/../../secret", false),
            ("/etc/passwd", false),
            ("", false),
        ] {
            assert_eq!(by_system(path).is_ok(), found, "{path}");
            assert_eq!(by_steps(path).is_ok(), found, "{path} by steps");
        }
    }
}
