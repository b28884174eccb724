//! The promise of SPEC §8, checked on a docroot from outside, as a web server in front of it sees it: every file of a
//! release that is visible belongs whole to one signed release; a new name may be there and a dropped one gone moments
//! before the switch; no name dangles; `local_*` is as it was; `timestamp` can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tidecast_proto::id::FileHash;
use tidecast_proto::manifest::{Manifest, ManifestBody};

/// Looks at a docroot that keeps changing before what was seen counts: two opens may straddle one switch in any design.
const LOOKS_MAX: usize = 20;

/// A release that a docroot may show.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    pub(crate) number: u64,
    /// By path.
    files: BTreeMap<String, Facts>,
}

/// What identifies a file's content, and who may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    hash: FileHash,
    size: u64,
    mode: u32,
}

impl Release {
    /// What these files, names possibly in folders, were published as.
    pub(crate) fn of_files(number: u64, files: &[(&str, &[u8])]) -> Self {
        let facts = |bytes: &[u8]| Facts {
            hash: FileHash::of(bytes),
            size: bytes.len() as u64,
            mode: 0o644,
        };
        let files = files.iter();
        Self {
            number,
            files: files
                .map(|(path, bytes)| ((*path).to_owned(), facts(bytes)))
                .collect(),
        }
    }

    fn tops(&self) -> BTreeSet<&str> {
        self.files.keys().map(|path| top(path)).collect()
    }
}

impl From<&ManifestBody> for Release {
    fn from(manifest: &ManifestBody) -> Self {
        let files = manifest.files.iter();
        Self {
            number: manifest.release.0,
            files: files
                .map(|file| {
                    let facts = Facts {
                        hash: file.hash,
                        size: file.size,
                        mode: if file.executable { 0o755 } else { 0o644 },
                    };
                    (file.path.to_string(), facts)
                })
                .collect(),
        }
    }
}

impl From<&Manifest> for Release {
    fn from(manifest: &Manifest) -> Self {
        Self::from(&**manifest)
    }
}

fn top(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// The releases that a docroot may show, and what in it belongs to its operator.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    /// Ascending.
    releases: Vec<Release>,
    /// What lay there before the first release, if anything may still be served of it. As release 0.
    before: Option<Release>,
    /// Everything under `local_*`.
    operators: Option<BTreeMap<PathBuf, String>>,
}

/// What a docroot that keeps the promise shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Live {
    /// The release that is served, 0 for what lay there before.
    pub(crate) release: u64,
    /// The first line of `timestamp`, if there is such a file.
    pub(crate) timestamp_s: Option<u64>,
    /// Names in the docroot that are nobody's: of no release, and not the operator's.
    pub(crate) foreign: Vec<String>,
}

/// How a docroot breaks the promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A name that leads nowhere: web servers answer 403 to it.
    Dangling(String),
    /// What is visible is no release; for each, what speaks against it.
    Mixed(Vec<(u64, String)>),
    /// Something of the operator's is gone, new, or was changed.
    Operators(PathBuf),
    /// `timestamp` is there and does not begin with a number, or goes on with something else than a head.
    Timestamp(String),
    /// Something cannot be read at all.
    Unreadable(PathBuf, String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dangling(name) => write!(f, "{name} leads nowhere"),
            Self::Mixed(against) => {
                f.write_str("what is visible is no release:")?;
                for (release, why) in against {
                    write!(f, " not {release}, for {why};")?;
                }
                Ok(())
            }
            Self::Operators(path) => write!(f, "{} was touched", path.display()),
            Self::Timestamp(text) => write!(f, "timestamp holds {text:?}"),
            Self::Unreadable(path, why) => write!(f, "{}: {why}", path.display()),
        }
    }
}

/// What is visible under one top-level name.
#[derive(Debug, Default)]
struct Shown {
    files: BTreeMap<String, Facts>,
    /// Whether the name is a link of ours, and no file of somebody else's.
    ours: bool,
    /// A folder that not everybody may look into.
    closed: Option<String>,
}

impl Promise {
    /// These releases and no other may be visible.
    pub(crate) fn of<R: Into<Release>>(releases: impl IntoIterator<Item = R>) -> Self {
        let mut releases: Vec<Release> = releases.into_iter().map(Into::into).collect();
        releases.sort_by_key(|release| release.number);
        Self {
            releases,
            before: None,
            operators: None,
        }
    }

    /// Everything under `local_*` has to stay as it is now.
    pub(crate) fn keeping_operators(mut self, docroot: &Path) -> Self {
        self.operators = Some(operators(docroot));
        self
    }

    /// What `docroot` holds now may still be visible, too, but whole: what an older mirror script left.
    pub(crate) fn or_what_is_there(mut self, docroot: &Path) -> Self {
        let mut files = BTreeMap::new();
        for (_, shown) in self.shown(docroot).unwrap() {
            files.extend(shown.files);
        }
        self.before = Some(Release { number: 0, files });
        self
    }

    /// Looks at all of `docroot`, reading every file, and says which release it serves. May be called while switches
    /// happen: where something moved meanwhile, it looks again.
    pub(crate) fn check(&self, docroot: &Path) -> Result<Live, Violation> {
        let mut looked = 1;
        loop {
            let before = names_and_targets(docroot);
            let result = self.look(docroot);
            let moved = before != names_and_targets(docroot);
            if result.is_ok() && !moved || looked == LOOKS_MAX {
                return result;
            }
            if result.is_err() && !moved {
                return result;
            }
            looked += 1;
        }
    }

    fn look(&self, docroot: &Path) -> Result<Live, Violation> {
        let shown = self.shown(docroot)?;
        let all = self.before.iter().chain(&self.releases);
        let mut against = Vec::new();
        let mut live = None;
        for candidate in all {
            match self.speaks_against(candidate, &shown) {
                None => live = Some(candidate.number),
                Some(why) => against.push((candidate.number, why)),
            }
        }
        let release = match live {
            Some(release) => release,
            // Nothing at all is what a fresh docroot shows.
            None if self.before.is_none() && self.known_tops(&shown).is_empty() => 0,
            None => return Err(Violation::Mixed(against)),
        };
        if release > 0 {
            for ours in [".tidecast", ".tidecast/current/."] {
                let folder = docroot.join(ours);
                // A first release can be seen whole a moment before there is a `current`.
                if ours != ".tidecast" && !docroot.join(".tidecast/current").is_symlink() {
                    continue;
                }
                let found = fs::metadata(&folder)
                    .map_err(|error| Violation::Unreadable(folder.clone(), error.to_string()))?;
                if !is_open(&found) {
                    return Err(Violation::Unreadable(folder, "it is closed".to_owned()));
                }
            }
        }
        if let Some(were) = &self.operators {
            let are = operators(docroot);
            let differ = were
                .iter()
                .find(|(path, what)| are.get(*path) != Some(what))
                .or_else(|| are.iter().find(|(path, _)| !were.contains_key(*path)));
            if let Some((path, _)) = differ {
                return Err(Violation::Operators(path.clone()));
            }
        }
        let known = self.known_tops(&shown);
        Ok(Live {
            release,
            timestamp_s: timestamp(docroot)?,
            foreign: shown
                .keys()
                .filter(|name| !known.contains(name.as_str()))
                .cloned()
                .collect(),
        })
    }

    /// Names that a release has and the docroot shows.
    fn known_tops<'s>(&self, shown: &'s BTreeMap<String, Shown>) -> BTreeSet<&'s str> {
        let tops: BTreeSet<&str> = self.releases.iter().flat_map(Release::tops).collect();
        let names = shown.keys().map(String::as_str);
        names
            .filter(|name| tops.contains(name) || shown[*name].ours)
            .collect()
    }

    /// Why what is visible is not `candidate`, be it in the moments before the switch to a newer one.
    fn speaks_against(
        &self,
        candidate: &Release,
        shown: &BTreeMap<String, Shown>,
    ) -> Option<String> {
        let later = || {
            let releases = self.releases.iter();
            releases.filter(|release| release.number > candidate.number)
        };
        let tops = candidate.tops();
        for top in &tops {
            let wanted = below(&candidate.files, top);
            match shown.get(*top) {
                Some(Shown {
                    closed: Some(folder),
                    ..
                }) if candidate.number > 0 => return Some(format!("{folder} is closed")),
                Some(shown) if same(&shown.files, &wanted, candidate.number) => {}
                Some(shown) => return Some(difference(&shown.files, &wanted)),
                // It may go moments earlier, if a newer release has no such name.
                None if later().any(|release| !release.tops().contains(top)) => {}
                None => return Some(format!("{top} is missing")),
            }
        }
        for (name, shown) in shown {
            // An operator's file under a name that only a newer release has stays until that is switched to.
            if tops.contains(name.as_str()) || !shown.ours {
                continue;
            }
            let owners: Vec<&Release> = self
                .releases
                .iter()
                .filter(|release| release.tops().contains(name.as_str()))
                .collect();
            // It may come moments earlier, whole.
            let early = later().any(|release| {
                release.tops().contains(name.as_str())
                    && same(&shown.files, &below(&release.files, name), candidate.number)
            });
            if !owners.is_empty() && !early {
                return Some(format!("{name} is there"));
            }
        }
        None
    }

    /// Everything visible, by top-level name, without what is the operator's or hidden.
    fn shown(&self, docroot: &Path) -> Result<BTreeMap<String, Shown>, Violation> {
        let mut all = BTreeMap::new();
        for entry in read_dir(docroot)? {
            let name = entry.to_string_lossy().into_owned();
            if is_apart(&name) {
                continue;
            }
            let path = docroot.join(&entry);
            let mut shown = Shown {
                ours: fs::read_link(&path).is_ok_and(|to| to.starts_with(".tidecast")),
                ..Shown::default()
            };
            match walk(&path, &name, &mut shown) {
                Ok(()) => {}
                // It went between the look at the folder and the look at it.
                Err(_) if path.symlink_metadata().is_err() => continue,
                Err(violation) => return Err(violation),
            }
            all.insert(name, shown);
        }
        Ok(all)
    }
}

/// Names that are nobody's business here.
fn is_apart(name: &str) -> bool {
    name.starts_with('.')
        || name.starts_with("local_")
        || name == "timestamp"
        || name == "lost+found"
}

fn read_dir(folder: &Path) -> Result<Vec<std::ffi::OsString>, Violation> {
    let unreadable =
        |error: std::io::Error| Violation::Unreadable(folder.to_owned(), error.to_string());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        names.push(entry.map_err(unreadable)?.file_name());
    }
    names.sort();
    Ok(names)
}

/// Follows links as a web server does.
fn walk(path: &Path, name: &str, shown: &mut Shown) -> Result<(), Violation> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Violation::Dangling(name.to_owned()));
        }
        Err(error) => return Err(Violation::Unreadable(path.to_owned(), error.to_string())),
    };
    if found.is_dir() {
        if !is_open(&found) {
            shown.closed = Some(name.to_owned());
        }
        for entry in read_dir(path)? {
            let name = format!("{name}/{}", entry.to_string_lossy());
            walk(&path.join(entry), &name, shown)?;
        }
        return Ok(());
    }
    let bytes = fs::read(path)
        .map_err(|error| Violation::Unreadable(path.to_owned(), error.to_string()))?;
    let facts = Facts {
        hash: FileHash::of(&bytes),
        size: bytes.len() as u64,
        mode: found.permissions().mode() & 0o777,
    };
    shown.files.insert(name.to_owned(), facts);
    Ok(())
}

/// Whether every user may pass and look: a web server is another one than tidecast.
fn is_open(folder: &fs::Metadata) -> bool {
    folder.permissions().mode() & 0o555 == 0o555
}

fn below(files: &BTreeMap<String, Facts>, name: &str) -> BTreeMap<String, Facts> {
    let files = files.iter().filter(|(path, _)| top(path) == name);
    files.map(|(path, facts)| (path.clone(), *facts)).collect()
}

/// Whether these are the files of a release. Who may read what lay there before is not ours to say.
fn same(shown: &BTreeMap<String, Facts>, wanted: &BTreeMap<String, Facts>, candidate: u64) -> bool {
    if candidate > 0 {
        return shown == wanted;
    }
    let content = |files: &BTreeMap<String, Facts>| -> Vec<(String, FileHash)> {
        files.iter().map(|(p, f)| (p.clone(), f.hash)).collect()
    };
    content(shown) == content(wanted)
}

fn difference(shown: &BTreeMap<String, Facts>, wanted: &BTreeMap<String, Facts>) -> String {
    for (path, facts) in wanted {
        match shown.get(path) {
            None => return format!("{path} is missing"),
            Some(other) if other.hash != facts.hash => {
                return format!("{path} holds something else ({} bytes)", other.size);
            }
            Some(other) if other != facts => return format!("{path} has mode {:o}", other.mode),
            Some(_) => {}
        }
    }
    let more = shown.keys().find(|path| !wanted.contains_key(*path));
    format!("{} is there", more.map_or("nothing", String::as_str))
}

/// What changes with every step of a switch.
fn names_and_targets(docroot: &Path) -> Vec<(std::ffi::OsString, Option<PathBuf>)> {
    let mut all = vec![(
        "current".into(),
        fs::read_link(docroot.join(".tidecast/current")).ok(),
    )];
    for name in read_dir(docroot).unwrap_or_default() {
        let target = fs::read_link(docroot.join(&name)).ok();
        all.push((name, target));
    }
    all
}

/// Everything under `local_*`, with what would show that somebody touched it.
fn operators(docroot: &Path) -> BTreeMap<PathBuf, String> {
    fn note(path: &Path, all: &mut BTreeMap<PathBuf, String>) {
        let Ok(found) = path.symlink_metadata() else {
            return;
        };
        let content = if found.is_symlink() {
            fs::read_link(path).unwrap().display().to_string()
        } else if found.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                note(&entry.unwrap().path(), all);
            }
            "folder".to_owned()
        } else {
            FileHash::of(&fs::read(path).unwrap()).to_string()
        };
        let what = format!(
            "{content}, inode {}, mode {:o}, {} links, changed {}.{:09}",
            found.ino(),
            found.mode(),
            found.nlink(),
            found.mtime(),
            found.mtime_nsec(),
        );
        all.insert(path.to_owned(), what);
    }
    let mut all = BTreeMap::new();
    for name in read_dir(docroot).unwrap_or_default() {
        if name.as_bytes().starts_with(b"local_") {
            note(&docroot.join(name), &mut all);
        }
    }
    all
}

/// The second that `timestamp` names. A file of an operator's is no business of ours.
fn timestamp(docroot: &Path) -> Result<Option<u64>, Violation> {
    let path = docroot.join("timestamp");
    if !path.is_symlink() {
        return Ok(None);
    }
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Violation::Dangling("timestamp".to_owned()));
        }
        Err(error) => return Err(Violation::Unreadable(path, error.to_string())),
    };
    let wrong = || Violation::Timestamp(text.clone());
    let mut lines = text.lines();
    let seconds = lines.next().and_then(|line| line.parse().ok());
    let seconds = seconds.ok_or_else(wrong)?;
    let mut head = lines
        .skip_while(|line| line.starts_with("stale "))
        .peekable();
    if head.peek().is_none()
        || !text.ends_with('\n')
        || !head.all(|line| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(wrong());
    }
    Ok(Some(seconds))
}
