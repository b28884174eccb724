//! Claims about the docroot as a whole, on real temporary folders.

mod adopting;
mod building;
mod failing;
mod full_disk;
mod mending;
mod recovering;
mod rotting;
mod switching;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidecast_proto::chunker::{Chunker, Chunking};
use tidecast_proto::id::{ChunkId, Epoch, FeedId, FileHash, ListId, ReleaseNumber, Timestamp};
use tidecast_proto::key::SecretKey;
use tidecast_proto::list::{Entry, List};
use tidecast_proto::manifest::{Database, File, Flags, Manifest, ManifestBody, SignedManifest};
use tidecast_proto::name::ReleasePath;

use super::*;

/// 2026-11-21 18:35:37 UTC.
const START: Timestamp = Timestamp(1_795_286_137_000);
const HOUR_MS: u64 = 3_600_000;

#[derive(Debug)]
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

impl TestClock {
    fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

/// Bytes without structure, different for each `seed`.
fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(seed.as_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn chunker() -> Chunker {
    Chunker::new(Chunking::default())
}

fn feed() -> FeedId {
    FeedId::of(b"the feed")
}

/// A release and everything a master would answer about it.
struct Release {
    manifest: Arc<Manifest>,
    lists: HashMap<ListId, List>,
    chunks: HashMap<ChunkId, Vec<u8>>,
}

impl Release {
    fn new(number: u64, files: &[(&str, Vec<u8>)]) -> Self {
        Self::with_flags(number, files, Flags::default())
    }

    fn with_flags(number: u64, files: &[(&str, Vec<u8>)], flags: Flags) -> Self {
        let (mut lists, mut chunks) = (HashMap::new(), HashMap::new());
        let mut files: Vec<File> = files
            .iter()
            .map(|(path, content)| {
                let mut entries = Vec::new();
                for chunk in chunker().chunks(content) {
                    let id = ChunkId::of(chunk);
                    let len = u32::try_from(chunk.len()).unwrap();
                    chunks.insert(id, chunk.to_vec());
                    entries.push(Entry { id, len });
                }
                let list = (entries.len() > 1).then(|| {
                    let list = List::new(entries).unwrap();
                    let id = list.id();
                    lists.insert(id, list);
                    id
                });
                File {
                    path: ReleasePath::new(*path).unwrap(),
                    size: content.len() as u64,
                    executable: path.ends_with(".sh"),
                    mtime_s: 1,
                    hash: FileHash::of(content),
                    list,
                    recipe: None,
                    database: path.ends_with(".cvd").then(|| Database {
                        name: "daily".into(),
                        version: number,
                        build_time_s: 1_700_000_000 + u64::from(content[0]),
                    }),
                }
            })
            .collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let body = ManifestBody {
            feed: feed(),
            epoch_min: Epoch(0),
            release: ReleaseNumber(number),
            previous: None,
            anchor: None,
            created: Timestamp(0),
            notes: String::new(),
            files,
            flags,
            extensions: Vec::new(),
        };
        let signed = SignedManifest::sign(&body, &[&SecretKey::from_seed(&[1; 32])]).unwrap();
        let id = signed.id();
        Self {
            manifest: Arc::new(signed.reopen(&id).unwrap()),
            lists,
            chunks,
        }
    }

    /// Adds the lists a build lacks and starts it.
    fn start(&self, build: &mut Build) {
        for (id, _) in build.missing_lists().unwrap() {
            build.add_list(id, self.lists[&id].clone()).unwrap();
        }
        build.start(&chunker()).unwrap();
    }

    /// Plays the master: hands over what is missing, returns how many chunks that were.
    fn fetch(&self, build: &mut Build) -> usize {
        let missing: Vec<Entry> = build.missing().collect();
        for entry in &missing {
            let outcome = build.put(&entry.id, &self.chunks[&entry.id]).unwrap();
            assert!(outcome.places > 0);
        }
        missing.len()
    }

    fn build(&self, docroot: &mut Docroot) -> (Build, usize) {
        let mut build = docroot.begin(self.manifest.clone()).unwrap();
        build.link_unchanged().unwrap();
        self.start(&mut build);
        let fetched = self.fetch(&mut build);
        assert_eq!(build.needed_bytes(), 0);
        (build, fetched)
    }

    fn install(&self, docroot: &mut Docroot) -> SwitchReport {
        let prepared = self.build(docroot).0.finish().unwrap();
        docroot.switch(prepared).unwrap()
    }
}

/// A docroot in a temporary folder.
struct Site {
    _folder: tempfile::TempDir,
    path: PathBuf,
    clock: Arc<TestClock>,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docroot");
        std::fs::create_dir(&path).unwrap();
        Self {
            path,
            _folder: folder,
            clock: Arc::new(TestClock(AtomicU64::new(START.0))),
        }
    }

    fn try_open(&self) -> Result<(Docroot, Recovery), DocrootError> {
        Docroot::open(&self.path, feed(), Options::default(), self.clock.clone())
    }

    fn open(&self) -> (Docroot, Recovery) {
        self.try_open().unwrap()
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn has(&self, name: &str) -> bool {
        self.path.join(name).symlink_metadata().is_ok()
    }

    fn verify(&self) -> VerifyReport {
        verify_readonly(&self.path, &feed(), &mut |_| {}).unwrap()
    }

    /// Top-level names that lead nowhere.
    fn dangling(&self) -> Vec<PathBuf> {
        dangling(&self.path)
    }

    /// Whether every file of `release`, and no other name of ours, is served.
    fn serves(&self, release: &[(&str, Vec<u8>)]) -> bool {
        release.iter().all(|(path, content)| {
            std::fs::read(self.path.join(path)).is_ok_and(|got| got == *content)
        })
    }
}

fn dangling(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.exists())
        .collect()
}

#[test]
fn a_second_instance_is_refused_by_name_of_the_first() {
    let site = Site::new();
    let (_docroot, _) = site.open();
    let error = site.try_open().unwrap_err();
    assert!(matches!(error, DocrootError::InUse { .. }));
    let pid = std::process::id();
    assert!(
        error.to_string().contains(&format!("process {pid}")),
        "{error}"
    );
}

#[test]
fn the_docroot_of_another_feed_is_refused_by_both_names() {
    let site = Site::new();
    // Only a release makes a claim: before one, the docroot is still free for whoever was meant.
    Release::new(1, &[("a", b"1".to_vec())]).install(&mut site.open().0);
    let other = FeedId::of(b"another feed");
    for error in [
        Docroot::open(&site.path, other, Options::default(), site.clock.clone()).unwrap_err(),
        Docroot::survey(&site.path, &other).unwrap_err(),
        verify_readonly(&site.path, &other, &mut |_| {}).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(matches!(error, DocrootError::OtherFeed { .. }), "{text}");
        assert!(text.contains(&feed().to_string()) && text.contains(&other.to_string()));
    }
    assert!(Docroot::survey(&site.path, &feed()).unwrap().joined);
}

#[test]
fn a_docroot_that_is_a_file_or_missing_is_refused_and_made_only_when_asked() {
    let site = Site::new();
    let open = |path: PathBuf, create| {
        let options = Options {
            create,
            ..Options::default()
        };
        Docroot::open(&path, feed(), options, site.clock.clone())
    };
    site.write("file", b"x");
    let error = open(site.path.join("file"), true).unwrap_err();
    assert!(matches!(error, DocrootError::NotAFolder { .. }), "{error}");
    let error = open(site.path.join("missing"), false).unwrap_err();
    assert!(matches!(error, DocrootError::Missing { .. }), "{error}");
    assert!(error.advice().is_some());
    assert!(open(site.path.join("missing"), true).is_ok());
}

#[test]
fn a_docroot_that_cannot_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() {
        crate::skip::skip(
            "a_docroot_that_cannot_be_written_is_refused",
            "root may write everywhere",
        );
        return;
    }
    let site = Site::new();
    std::fs::set_permissions(&site.path, std::fs::Permissions::from_mode(0o555)).unwrap();
    let error = site.try_open().unwrap_err();
    assert!(matches!(error, DocrootError::NotWritable { .. }), "{error}");
    let error = Docroot::survey(&site.path, &feed()).unwrap_err();
    assert!(matches!(error, DocrootError::NotWritable { .. }), "{error}");
    std::fs::set_permissions(&site.path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_docroot_or_lock_that_was_replaced_is_noticed_before_anything_is_done() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    docroot.check_still_ours().unwrap();
    std::fs::remove_file(site.path.join(".tidecast/lock")).unwrap();
    std::fs::write(site.path.join(".tidecast/lock"), b"").unwrap();
    let error = docroot.mend().unwrap_err();
    assert!(matches!(error, DocrootError::Replaced { .. }), "{error}");

    let site = Site::new();
    let (mut docroot, _) = site.open();
    std::fs::rename(&site.path, site.path.with_extension("aside")).unwrap();
    std::fs::create_dir(&site.path).unwrap();
    let release = Release::new(1, &[("a", b"1".to_vec())]);
    let error = docroot.begin(release.manifest).unwrap_err();
    assert!(matches!(error, DocrootError::Replaced { .. }), "{error}");
    assert!(!site.has(".tidecast"));
}

#[test]
fn the_timestamp_is_a_number_then_the_head_and_replaces_an_old_mirrors_file_in_one_instant() {
    let site = Site::new();
    site.write("timestamp", b"old\n");
    let (docroot, _) = site.open();
    docroot.write_timestamp(1_795_286_137, &[0xab; 33]).unwrap();
    let text = String::from_utf8(site.read("timestamp")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, ["1795286137", &"ab".repeat(32), "ab"]);
    assert_eq!(
        site.read(".tidecast/removed/2026-11-21/timestamp"),
        b"old\n"
    );
}
