//! Readers of the docroot's files, as a web server opens them: by name, through the links.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::feed::{self, ALWAYS, BIG, SAME, SOMETIMES};
use super::tally::{Random, Tally, Wrong};

/// Looks at a name that is being put in its place right now; each takes microseconds.
const LOOKS_MAX: usize = 1_000;

/// Between two looks, so that readers leave the releases a share of a small machine: there are still thousands a second.
const BREATH: Duration = Duration::from_micros(200);

/// What a name in the docroot is.
#[derive(Debug)]
enum Seen {
    /// The whole file of this release.
    Whole(u64),
    Absent,
}

/// Reads `name` once; whatever is not as it may be goes to the tally.
fn look(docroot: &Path, name: &str, tally: &Tally) -> Option<Seen> {
    let path = docroot.join(name);
    let link = docroot.join(name.split('/').next().unwrap());
    // The link itself: its inode and its time say whether it is still the same one.
    let standing = || {
        let found = link.symlink_metadata().ok()?;
        Some((found.ino(), found.ctime(), found.ctime_nsec()))
    };
    for _ in 0..LOOKS_MAX {
        let before = standing();
        match fs::read(&path) {
            Ok(bytes) => match feed::release_of(name, &bytes) {
                Ok(release) => return Some(Seen::Whole(release)),
                Err(why) => {
                    tally.wrong(Wrong::Torn, why);
                    return None;
                }
            },
            Err(error) if error.kind() == ErrorKind::NotFound => match (before, standing()) {
                (None, None) => return Some(Seen::Absent),
                (before, after) if before == after => {
                    tally.wrong(Wrong::Dangling, name);
                    return None;
                }
                // It came or went meanwhile.
                _ => {}
            },
            Err(error) => {
                tally.wrong(Wrong::Missing, format!("{name}: {error}"));
                return None;
            }
        }
    }
    tally.wrong(Wrong::Missing, format!("{name} never stands still"));
    None
}

/// The release that a name which is always there is of.
fn look_at_kept(docroot: &Path, name: &str, tally: &Tally) -> Option<u64> {
    match look(docroot, name, tally)? {
        Seen::Whole(release) => Some(release),
        Seen::Absent => {
            tally.wrong(Wrong::Missing, name);
            None
        }
    }
}

/// Opens A, B and A again: when both A are of one release, so is B.
pub(crate) fn pairs(docroot: &Path, tally: &Tally, seed: u64) {
    let mut random = Random::new(seed);
    let mut newest = 0;
    while !tally.is_over() {
        std::thread::sleep(BREATH);
        let (a, b) = (*random.one_of(&ALWAYS), *random.one_of(&ALWAYS));
        let seen = [a, b, a].map(|name| look_at_kept(docroot, name, tally));
        let [Some(first), Some(between), Some(last)] = seen else {
            continue;
        };
        tally.look("files: A, B, A");
        if first == last && between != first {
            let what = format!("{a} of {first}, {b} of {between}, {a} of {last}");
            tally.wrong(Wrong::Mixed, what);
        }
        if first != last {
            tally.look("files: A, B, A across a switch");
        }
        if !(newest <= first && first <= between && between <= last) {
            let what = format!("{newest} before, {a} of {first}, {b} of {between}, {a} of {last}");
            tally.wrong(Wrong::Older, what);
        }
        newest = last;
        if last > tally.begun() {
            tally.wrong(
                Wrong::Mixed,
                format!("{a} of {last}, which is not published"),
            );
        }
    }
}

/// Opens names that come and go: whole and of a release that has them, or not there at all.
pub(crate) fn comings(docroot: &Path, tally: &Tally, seed: u64) {
    let mut random = Random::new(seed);
    while !tally.is_over() {
        std::thread::sleep(BREATH);
        let passing = feed::passing(tally.begun().saturating_sub(random.below(6)).max(1));
        let name = match random.below(4) {
            0 => passing.as_str(),
            1 => SAME,
            _ => random.one_of(&SOMETIMES),
        };
        match look(docroot, name, tally) {
            Some(Seen::Whole(release)) => {
                tally.look("files: a name that comes and goes, there");
                if name != SAME && !feed::has(release, name) {
                    tally.wrong(Wrong::Mixed, format!("{name} of {release}"));
                }
            }
            Some(Seen::Absent) if name == SAME => tally.wrong(Wrong::Missing, name),
            Some(Seen::Absent) => tally.look("files: a name that comes and goes, not there"),
            None => {}
        }
    }
}

/// Opens a file, reads half of it, and the rest when other releases have come: what is open stays whole.
pub(crate) fn dawdling(docroot: &Path, tally: &Tally, seed: u64) {
    let mut random = Random::new(seed);
    while !tally.is_over() {
        let Ok(mut file) = File::open(docroot.join(BIG)) else {
            tally.wrong(Wrong::Missing, BIG);
            continue;
        };
        let half = file.metadata().unwrap().len() / 2;
        let mut bytes = Vec::new();
        file.by_ref().take(half).read_to_end(&mut bytes).unwrap();
        std::thread::sleep(Duration::from_millis(random.below(2_500)));
        file.read_to_end(&mut bytes).unwrap();
        tally.look("files: one read slowly");
        if let Err(why) = feed::release_of(BIG, &bytes) {
            tally.wrong(Wrong::Torn, why);
        }
    }
}

/// Lays out what is the operator's: a file and a folder.
pub(crate) fn lay_out_local(docroot: &Path) {
    fs::create_dir_all(docroot.join("local_site/deep")).unwrap();
    fs::write(docroot.join("local_note"), "ours alone\n").unwrap();
    fs::write(docroot.join("local_site/page.html"), "<p>welcome\n").unwrap();
    fs::write(docroot.join("local_site/deep/log"), "one line\n").unwrap();
}

/// Inode, time of the last change, content; or why it cannot be had.
type Local = Result<(u64, i64, i64, Vec<u8>), String>;

/// What identifies everything below `local_*`.
fn local(docroot: &Path) -> BTreeMap<PathBuf, Local> {
    let paths = [
        "local_note",
        "local_site",
        "local_site/page.html",
        "local_site/deep",
        "local_site/deep/log",
    ];
    let look = |path: &Path| {
        let found = path.symlink_metadata()?;
        let bytes = match found.is_dir() {
            true => Vec::new(),
            false => fs::read(path)?,
        };
        Ok((found.ino(), found.ctime(), found.ctime_nsec(), bytes))
    };
    let paths = paths.map(|name| docroot.join(name));
    paths
        .map(|path| {
            let seen = look(&path).map_err(|error: std::io::Error| error.to_string());
            (path, seen)
        })
        .into()
}

/// What is the operator's stays: content, inode, time. `timestamp` always says when.
pub(crate) fn locals(docroot: &Path, tally: &Tally) {
    let were = local(docroot);
    let mut latest_s = 0;
    while !tally.is_over() {
        for (path, seen) in local(docroot) {
            if seen != were[&path] {
                tally.wrong(Wrong::Touched, format!("{}: {seen:?}", path.display()));
            }
        }
        tally.look("files: all of local_*");
        let text = fs::read_to_string(docroot.join("timestamp"));
        let seconds = text.as_ref().ok().and_then(|text| {
            let line = text.strip_suffix('\n')?.lines().next()?;
            line.parse::<u64>().ok()
        });
        match seconds {
            Some(seconds) if seconds >= latest_s => latest_s = seconds,
            Some(seconds) => tally.wrong(
                Wrong::Older,
                format!("timestamp {seconds} after {latest_s}"),
            ),
            None => tally.wrong(Wrong::Missing, format!("timestamp: {text:?}")),
        }
        tally.look("files: timestamp");
        // Nothing here lasts for less than a release; the others need the processor for what lasts microseconds.
        std::thread::sleep(Duration::from_millis(1));
    }
}
