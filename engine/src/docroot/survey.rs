//! A look at a docroot before anything is changed in it. SPEC §8.10.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags};
use tidecast_proto::id::FeedId;

use super::error::DocrootError;
use super::files::{self, Kind};
use super::layout::{self, Folders};

/// Foreign names that are listed one by one; a home folder given by mistake must not flood a terminal.
const FOREIGN_LISTED_MAX: usize = 1000;
/// Entries counted below a foreign folder; enough to tell its size to a person.
const ENTRIES_COUNTED_MAX: u64 = 100_000;
/// More foreign names than this that look nothing like databases are somebody's web site.
const STRANGE_NAMES_MAX: usize = 5;
/// How deep a foreign folder is counted.
const DEPTH_COUNTED_MAX: usize = 16;

/// What is in a folder that is to become a docroot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The folder is there. When it is not, its parent is there and writable.
    pub exists: bool,
    /// It is this feed's docroot already.
    pub joined: bool,
    /// What would be moved to `.tidecast/removed` by the first switch unless the release has it, by name; at most 1,000.
    pub foreign: Vec<Foreign>,
    /// How many foreign names there are.
    pub foreign_count: usize,
    /// Reasons to ask a person before going on.
    pub concerns: Vec<Concern>,
}

/// A name that is neither the operator's (`local_*`), nor hidden, nor ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The name, with anything that is no text replaced.
    pub name: String,
    /// Bytes of the file, or of everything below the folder.
    pub bytes: u64,
    /// A folder, a link or a file.
    pub kind: ForeignKind,
}

/// What a foreign name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignKind {
    /// A regular file.
    File,
    /// A folder with everything in it.
    Folder,
    /// A symbolic link, wherever it points.
    Link,
    /// A device, socket or pipe.
    Other,
}

/// Why a person should be asked. Each is a refusal without `--yes`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Concern {
    /// Files that web sites have and database mirrors do not.
    #[error("{} looks like a living web site: it holds {}", path.display(), signs.join(", "))]
    WebSite {
        /// The folder.
        path: PathBuf,
        /// The names that say so.
        signs: Vec<String>,
    },
    /// The web server's default folder, which other sites and packages use as well.
    #[error("{} is the web server's default folder", .0.display())]
    DefaultFolder(PathBuf),
    /// A folder of the system itself.
    #[error("{} is a folder of the system", .0.display())]
    SystemFolder(PathBuf),
}

/// Looks at `path` for `feed` without changing anything.
pub(super) fn survey(path: &Path, feed: &FeedId) -> Result<Survey, DocrootError> {
    let mut survey = Survey::default();
    let docroot = match layout::open_docroot(path) {
        Ok(docroot) => docroot,
        Err(DocrootError::Missing { .. }) => {
            // A dangling link is neither there nor to be made.
            if path.is_symlink() {
                return Err(DocrootError::NotAFolder {
                    path: path.to_owned(),
                });
            }
            check_parent(path)?;
            survey.concerns = concerns_of_path(path);
            return Ok(survey);
        }
        Err(error) => return Err(error),
    };
    survey.exists = true;
    check_writable(&docroot, path)?;
    if let Some(folders) = Folders::open(path)? {
        survey.joined = super::check_feed(&folders, feed)?;
    }
    survey.concerns = concerns_of_path(path);
    let mut names = files::names(&docroot).map_err(DocrootError::at("read", path))?;
    names.sort_unstable();
    let mut signs = Vec::new();
    let mut strange = Vec::new();
    for name in &names {
        if is_web_site_sign(name.as_bytes()) {
            signs.push(name.to_string_lossy().into_owned());
        }
        if !layout::may_touch(name) || name == layout::TIMESTAMP {
            continue;
        }
        let Some(found) = files::look(&docroot, name.as_os_str())
            .map_err(DocrootError::at("look at", &path.join(name)))?
        else {
            continue;
        };
        if found.kind == Kind::Link
            && files::link_target(&docroot, name.as_os_str())
                .map_err(DocrootError::at("read", &path.join(name)))?
                .is_some_and(|target| layout::is_our_target(&target))
        {
            continue;
        }
        survey.foreign_count += 1;
        if found.kind == Kind::File && !is_database_like(name.as_bytes()) {
            strange.push(name.to_string_lossy().into_owned());
        }
        if survey.foreign.len() < FOREIGN_LISTED_MAX {
            survey.foreign.push(describe(&docroot, name, found));
        }
    }
    if signs.is_empty() && strange.len() > STRANGE_NAMES_MAX {
        strange.truncate(STRANGE_NAMES_MAX);
        signs = strange;
    }
    if !signs.is_empty() && !survey.joined {
        survey.concerns.push(Concern::WebSite {
            path: path.to_owned(),
            signs,
        });
    }
    Ok(survey)
}

fn describe(docroot: impl AsFd, name: &OsStr, found: files::Found) -> Foreign {
    let (kind, bytes) = match found.kind {
        Kind::File => (ForeignKind::File, found.record.size),
        Kind::Folder => {
            let mut entries = 0;
            (
                ForeignKind::Folder,
                bytes_below(docroot, name, 0, &mut entries),
            )
        }
        Kind::Link => (ForeignKind::Link, 0),
        Kind::Other => (ForeignKind::Other, 0),
    };
    Foreign {
        name: name.to_string_lossy().into_owned(),
        bytes,
        kind,
    }
}

/// Bytes below a folder, as far as it can be read: this is for people, not for decisions.
fn bytes_below(at: impl AsFd, name: &OsStr, depth: usize, entries: &mut u64) -> u64 {
    let Ok(folder) = files::open_folder(at, name) else {
        return 0;
    };
    let Ok(names) = files::names(&folder) else {
        return 0;
    };
    let mut bytes = 0_u64;
    for name in names {
        *entries += 1;
        if *entries > ENTRIES_COUNTED_MAX {
            break;
        }
        if let Ok(Some(found)) = files::look(&folder, name.as_os_str()) {
            bytes = bytes.saturating_add(match found.kind {
                Kind::File => found.record.size,
                Kind::Folder if depth < DEPTH_COUNTED_MAX => {
                    bytes_below(&folder, &name, depth + 1, entries)
                }
                _ => 0,
            });
        }
    }
    bytes
}

fn check_parent(path: &Path) -> Result<(), DocrootError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = layout::open_docroot(parent)?;
    check_writable(&folder, parent)
}

fn check_writable(folder: impl AsFd, path: &Path) -> Result<(), DocrootError> {
    rustix::fs::accessat(
        folder,
        ".",
        Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::EACCESS,
    )
    .map_err(|error| DocrootError::NotWritable {
        path: path.to_owned(),
        source: error.into(),
    })
}

fn concerns_of_path(path: &Path) -> Vec<Concern> {
    const DEFAULT: &[&str] = &[
        "/var/www",
        "/var/www/html",
        "/srv/www",
        "/srv/www/htdocs",
        "/srv/http",
        "/usr/share/nginx/html",
        "/usr/local/www",
    ];
    const SYSTEM: &[&str] = &[
        "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/media", "/mnt", "/opt", "/proc",
        "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib",
    ];
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let is_one_of = |list: &[&str]| list.iter().any(|known| real == Path::new(known));
    if is_one_of(DEFAULT) {
        vec![Concern::DefaultFolder(real)]
    } else if is_one_of(SYSTEM) {
        vec![Concern::SystemFolder(real)]
    } else {
        Vec::new()
    }
}

/// Names found at the top of web sites of all kinds, and never at the top of a database mirror.
fn is_web_site_sign(name: &[u8]) -> bool {
    const NAMES: &[&[u8]] = &[
        b".htaccess",
        b".git",
        b".svn",
        b"web.config",
        b"composer.json",
        b"package.json",
        b"wp-admin",
        b"wp-content",
        b"wp-includes",
        b"cgi-bin",
        b"favicon.ico",
        b"robots.txt",
        b"sitemap.xml",
    ];
    const ENDINGS: &[&[u8]] = &[
        b".php", b".html", b".htm", b".xhtml", b".asp", b".aspx", b".jsp", b".cgi",
    ];
    let lower = name.to_ascii_lowercase();
    !name.starts_with(b"local_")
        && (NAMES.contains(&lower.as_slice())
            || ENDINGS.iter().any(|ending| lower.ends_with(ending)))
}

/// Endings of what antivirus database mirrors hold (ClamAV's libclamav/readdb.h lists the databases').
fn is_database_like(name: &[u8]) -> bool {
    const ENDINGS: &[&str] = &[
        "cvd", "cld", "cud", "cdiff", "script", "sign", "sig", "asc", "md5", "sha256", "db", "hdb",
        "hdu", "hsb", "hsu", "mdb", "mdu", "msb", "msu", "ndb", "ndu", "ldb", "ldu", "idb", "fp",
        "sfp", "pdb", "gdb", "wdb", "cbc", "ftm", "cdb", "crb", "cat", "info", "ign", "ign2",
        "imp", "cfg", "pwdb", "yar", "yara", "ioc", "zmd", "rmd", "txt", "dat", "diff", "gz",
    ];
    let ending = name.rsplit(|byte| *byte == b'.').next().unwrap_or(name);
    ENDINGS.iter().any(|known| known.as_bytes() == ending)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn feed() -> FeedId {
        FeedId::of(b"feed")
    }

    #[test]
    fn an_old_mirror_is_listed_without_concern_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("daily.cvd"), b"12345").unwrap();
        fs::write(folder.path().join("local_logo.png"), b"logo").unwrap();
        fs::write(folder.path().join(".hidden"), b"x").unwrap();
        fs::create_dir(folder.path().join("old")).unwrap();
        fs::write(folder.path().join("old/main.cvd"), b"123").unwrap();
        let survey = survey(folder.path(), &feed()).unwrap();
        assert!(survey.exists && !survey.joined && survey.concerns.is_empty());
        let listed: Vec<_> = survey
            .foreign
            .iter()
            .map(|f| (f.name.as_str(), f.bytes, f.kind))
            .collect();
        assert_eq!(
            listed,
            [
                ("daily.cvd", 5, ForeignKind::File),
                ("old", 3, ForeignKind::Folder)
            ]
        );
        assert!(!folder.path().join(".tidecast").exists());
    }

    #[test]
    fn a_living_web_site_is_a_concern() {
        for sign in ["index.html", "index.php", ".htaccess", "wp-content"] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(sign), b"x").unwrap();
            let survey = survey(folder.path(), &feed()).unwrap();
            assert!(
                matches!(&survey.concerns[..], [Concern::WebSite { signs, .. }] if signs == &[sign]),
                "{sign}: {:?}",
                survey.concerns
            );
        }
        let folder = tempfile::tempdir().unwrap();
        for number in 0..6 {
            fs::write(folder.path().join(format!("{number}.jpg")), b"x").unwrap();
        }
        assert_eq!(survey(folder.path(), &feed()).unwrap().concerns.len(), 1);
    }

    #[test]
    fn the_web_servers_default_folder_is_a_concern_even_when_it_is_missing_or_empty() {
        assert_eq!(
            concerns_of_path(Path::new("/var/www/html")),
            [Concern::DefaultFolder("/var/www/html".into())]
        );
        assert_eq!(
            concerns_of_path(Path::new("/")),
            [Concern::SystemFolder("/".into())]
        );
    }

    #[test]
    fn a_file_a_dangling_link_and_a_missing_parent_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = survey(&file, &feed()).unwrap_err();
        assert!(matches!(error, DocrootError::NotAFolder { .. }), "{error}");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let error = survey(&link, &feed()).unwrap_err();
        assert!(matches!(error, DocrootError::NotAFolder { .. }), "{error}");
        let error = survey(&folder.path().join("no/docroot"), &feed()).unwrap_err();
        assert!(matches!(error, DocrootError::Missing { .. }), "{error}");
        let fresh = survey(&folder.path().join("docroot"), &feed()).unwrap();
        assert!(!fresh.exists);
    }
}
