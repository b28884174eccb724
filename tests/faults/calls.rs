//! Calls to the system by what they can do, and what an operator has to be told when one fails.

use std::path::{Path, PathBuf};

use super::traced::{Traced, name_of};

/// Calls that can change something on disk, or decide what is on it after a power cut; those that open with some flags only.
pub(crate) const CHANGING: &[&str] = &[
    "copy_file_range",
    "fallocate",
    "fchmod",
    "fchmodat",
    "fdatasync",
    "fsync",
    "ftruncate",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "open",
    "openat",
    "openat2",
    "pwrite64",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "symlink",
    "symlinkat",
    "sync_file_range",
    "syncfs",
    "unlink",
    "unlinkat",
    "utimensat",
    "write",
    "writev",
];

/// Calls that only look.
pub(crate) const LOOKING: &[&str] = &[
    "close",
    "dup",
    "epoll_ctl",
    "fadvise64",
    "fcntl",
    "flock",
    "fstat",
    "fstatfs",
    "getdents64",
    "ioctl",
    "lseek",
    "mmap",
    "newfstatat",
    "poll",
    "ppoll",
    "pread64",
    "read",
    "readlink",
    "readlinkat",
    "statfs",
    "statx",
];

/// Calls that read, and fail where a disk does.
pub(crate) const READING: &[&str] = &[
    "getdents64",
    "open",
    "openat",
    "openat2",
    "pread64",
    "read",
    "readlinkat",
    "statx",
];

/// Calls that make a descriptor.
pub(crate) const OPENING: &[&str] = &["dup", "open", "openat", "openat2"];

/// Whether this call, as a line of a trace, is one that changes something.
pub(crate) fn changes_something(line: &str) -> bool {
    match name_of(line) {
        "open" | "openat" | "openat2" => {
            line.contains("O_CREAT") || line.contains("O_TRUNC") || line.contains("O_TMPFILE")
        }
        name => CHANGING.contains(&name),
    }
}

/// What the message must say beside the file, and the exit codes that fit.
fn words(fault: &str) -> &'static [&'static str] {
    match fault {
        "ENOSPC" | "EDQUOT" => &["no space", "bytes needed", " free"],
        "EIO" => &["disk reports an error", "input/output error"],
        "EROFS" => &["read-only"],
        "EACCES" => &["permission denied", "not writable"],
        "EMFILE" => &["open files"],
        other => panic!("{other}"),
    }
}

/// Whether a failed run names the cause and the file.
pub(crate) fn explained(
    fault: &str,
    hit: &str,
    ran: &Traced,
    folders: [&Path; 2],
) -> Result<(), String> {
    let said = ran.err.to_lowercase();
    let words = words(fault);
    let right = match fault {
        "EACCES" | "EIO" => words.iter().any(|word| said.contains(word)),
        _ => words.iter().all(|word| said.contains(word)),
    };
    if !right {
        return Err(format!("the message does not say {words:?}"));
    }
    let names_folder = folders
        .iter()
        .any(|folder| ran.err.contains(&*folder.to_string_lossy()));
    if !names_folder {
        return Err("the message names no file".to_owned());
    }
    let named = names_in(hit);
    if !named.is_empty() && !named.iter().any(|name| ran.err.contains(name.as_str())) {
        return Err(format!("the message names none of {named:?}"));
    }
    if !matches!(ran.status.code(), Some(74 | 77)) {
        return Err(format!("exit status {:?}", ran.status.code()));
    }
    Ok(())
}

/// The file or folder of a release that is not live yet, where this was a failed attempt to bring it to the disk: it must
/// be gone, for what is read of it later may never have been written.
pub(crate) fn unsynced(hit: &str) -> Option<PathBuf> {
    if !matches!(name_of(hit), "fsync" | "fdatasync" | "syncfs") {
        return None;
    }
    let path = hit.split('<').nth(1)?.split('>').next()?;
    let (_, inside) = path.split_once("/.tidecast/")?;
    // A tree that has its name already may be led into: there only times are synced, and they are set anew.
    (inside.split('/').next() == Some("new")).then(|| PathBuf::from(path))
}

/// The last components of the paths in a line of a trace, or all below our folder, without what is added to temporary names.
fn names_in(line: &str) -> Vec<String> {
    // What is written is no name.
    let has_names = !matches!(name_of(line), "write" | "writev" | "pwrite64");
    let quoted = line.split('"').skip(1).step_by(2).filter(|_| has_names);
    let descriptors = line
        .split('<')
        .skip(1)
        .filter_map(|part| part.split('>').next());
    let paths = quoted.chain(descriptors.filter(|path| path.starts_with('/')));
    // A step that goes through a folder of ours is told by that folder's name.
    let names = paths.flat_map(|path| match path.split_once("/.tidecast/") {
        Some((_, inside)) => inside.split('/').collect::<Vec<_>>(),
        // Who may not make or open that folder is told of the docroot.
        None if path.ends_with("/.tidecast") => path.rsplit('/').take(2).collect(),
        None => path.rsplit('/').take(1).collect(),
    });
    let whole = |name: &str| {
        let name = name.trim_end_matches(" (deleted)");
        let name = name.strip_suffix(".tmp").unwrap_or(name);
        // Files of the state folder have the writer's process id in theirs.
        match name.rsplit_once('.') {
            Some((stem, pid)) if pid.parse::<u32>().is_ok() => stem.to_owned(),
            _ => name.to_owned(),
        }
    };
    names.map(whole).filter(|name| !name.is_empty()).collect()
}
