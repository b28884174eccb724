//! What may be seen in a docroot, whatever happens around it.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::feed::SimFeed;

/// Files of the operator's: never touched.
const LOCAL: [(&str, &[u8]); 2] = [
    ("local_notes.txt", b"the operator's own"),
    ("local_dir/motd", b"welcome"),
];

/// A docroot under observation.
#[derive(Debug)]
pub(crate) struct Docroot {
    path: PathBuf,
    /// What was live when it was looked at last, 0 for nothing.
    pub(crate) release: u64,
    /// How often that changed.
    pub(crate) switches: u64,
}

impl Docroot {
    /// A new docroot, with files of its operator's.
    pub(crate) fn new(path: PathBuf) -> Self {
        for (name, content) in LOCAL {
            let path = path.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Self {
            path,
            release: 0,
            switches: 0,
        }
    }

    /// Looks which release is live; at every file when that changed, or when `whole` is asked for.
    pub(crate) fn look(&mut self, feed: &SimFeed, whole: bool) -> Result<(), String> {
        let live = self.live()?;
        if live < self.release {
            return Err(format!("went back from release {} to {live}", self.release));
        }
        let changed = live != self.release;
        self.switches += u64::from(changed);
        self.release = live;
        if changed || whole {
            self.check(feed)?;
        }
        Ok(())
    }

    fn live(&self) -> Result<u64, String> {
        match fs::read_link(self.path.join(".tidecast/current")) {
            Ok(target) => target
                .to_str()
                .and_then(|target| target.strip_prefix('r')?.parse().ok())
                .ok_or_else(|| format!("`current` leads to {}", target.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(format!("`current`: {error}")),
        }
    }

    /// Everything that is visible is the operator's or belongs, byte for byte, to the live release, and nothing is missing.
    fn check(&self, feed: &SimFeed) -> Result<(), String> {
        for (name, content) in LOCAL {
            self.holds(name, content)?;
        }
        let nothing = Default::default();
        let files = match self.release {
            0 => &nothing,
            number => {
                let release = feed.release(number);
                &release
                    .ok_or_else(|| format!("release {number}, which nobody signed, is live"))?
                    .files
            }
        };
        for (name, content) in files {
            self.holds(name, content)?;
        }
        let tops: BTreeSet<_> = files
            .keys()
            .filter_map(|path| path.split('/').next())
            .collect();
        for name in names(&self.path)? {
            let known = name.starts_with("local_")
                || matches!(&*name, ".tidecast" | "timestamp")
                || tops.contains(&*name);
            if !known {
                return Err(format!("{name} is in no release"));
            }
        }
        if self.release > 0 {
            let tree = self.path.join(format!(".tidecast/r{}", self.release));
            let mut found = Vec::new();
            walk(&tree, "", &mut found)?;
            if let Some(name) = found.iter().find(|name| !files.contains_key(*name)) {
                return Err(format!("{name} is not in release {}", self.release));
            }
        }
        Ok(())
    }

    fn holds(&self, name: &str, content: &[u8]) -> Result<(), String> {
        match fs::read(self.path.join(name)) {
            Ok(found) if found == content => Ok(()),
            Ok(found) => Err(format!(
                "{name} of release {}: other bytes than were signed ({} instead of {})",
                self.release,
                found.len(),
                content.len()
            )),
            Err(error) => Err(format!("{name} of release {}: {error}", self.release)),
        }
    }
}

fn names(folder: &Path) -> Result<Vec<String>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| {
            Ok(entry
                .map_err(failed)?
                .file_name()
                .to_string_lossy()
                .into_owned())
        })
        .collect()
}

/// Paths of everything below `folder` that is no folder.
fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) -> Result<(), String> {
    for name in names(folder)? {
        let path = folder.join(&name);
        let full = format!("{prefix}{name}");
        if path.symlink_metadata().map_err(|e| e.to_string())?.is_dir() {
            walk(&path, &format!("{full}/"), found)?;
        } else {
            found.push(full);
        }
    }
    Ok(())
}

/// Every path of a folder in which nothing may change, with its content.
pub(crate) fn inventory(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    walk(folder, "", &mut found).unwrap();
    found.sort();
    let content = |name: &String| fs::read(folder.join(name)).unwrap_or_default();
    found
        .into_iter()
        .map(|name| (name.clone(), content(&name)))
        .collect()
}

/// Names that lie directly in a folder, sorted.
pub(crate) fn listing(folder: &Path) -> Vec<String> {
    let mut found = names(folder).unwrap();
    found.sort();
    found
}

/// The observer must see what it is there for.
#[test]
fn an_observer_sees_every_way_a_docroot_can_be_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let feed = {
        let now = tidecast_proto::id::Timestamp(crate::clock::EPOCH_MS);
        let mut feed = SimFeed::new(folder.path(), 1, now);
        feed.publish(now);
        feed.publish(now);
        feed
    };
    let path = folder.path().join("docroot");
    let lay = |number: u64| {
        let state = path.join(".tidecast");
        for (name, content) in &feed.release(number).unwrap().files {
            let file = state.join(format!("r{number}")).join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
            let top = name.split('/').next().unwrap();
            let _ = std::os::unix::fs::symlink(format!(".tidecast/current/{top}"), path.join(top));
        }
        let _ = fs::remove_file(state.join("current"));
        std::os::unix::fs::symlink(format!("r{number}"), state.join("current")).unwrap();
    };
    let wrong = |what: &str, spoil: &dyn Fn(&Path)| {
        let _ = fs::remove_dir_all(&path);
        let mut docroot = Docroot::new(path.clone());
        lay(1);
        docroot.look(&feed, true).unwrap();
        spoil(&path);
        let seen = docroot.look(&feed, true);
        assert!(
            seen.as_ref().is_err_and(|why| why.contains(what)),
            "{what}: {seen:?}"
        );
    };
    let main = feed.release(1).unwrap().files["main.ndb"].clone();
    wrong("other bytes", &|path| {
        fs::write(path.join("main.ndb"), &main[1..]).unwrap();
    });
    wrong("No such file", &|path| {
        fs::remove_file(path.join("big.bin")).unwrap();
    });
    wrong("in no release", &|path| {
        fs::write(path.join("foreign"), b"").unwrap();
    });
    wrong("not in release", &|path| {
        fs::write(path.join(".tidecast/r1/sub/more"), b"").unwrap();
    });
    wrong("local_notes.txt", &|path| {
        fs::write(path.join("local_notes.txt"), b"").unwrap();
    });
    wrong("nobody signed", &|path| {
        let current = path.join(".tidecast/current");
        fs::remove_file(&current).unwrap();
        std::os::unix::fs::symlink("r9", current).unwrap();
    });
    let _ = fs::remove_dir_all(&path);
    let mut docroot = Docroot::new(path.clone());
    lay(1);
    lay(2);
    docroot.release = 2;
    lay(1);
    assert!(
        docroot
            .look(&feed, false)
            .unwrap_err()
            .contains("went back")
    );
}
