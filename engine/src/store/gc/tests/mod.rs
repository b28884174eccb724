//! What collecting promises, on real folders.

mod trouble;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidecast_proto::{
    id::{ChunkId, Epoch, FeedId, FileHash, ObjectId, RecipeId, ReleaseNumber, Timestamp},
    key::SecretKey,
    list::{Entry, List},
    manifest::{File, Flags, ManifestBody, SignedManifest},
    name::ReleasePath,
    recipe::{Recipe, RecipeBody, Segment},
};

use super::*;
use crate::store::explain::{self, Explanation};
use crate::store::open_pack::full_disk;
use crate::store::{Kind, StoreWriter};

/// A release appears each second; what is older than three is gone, the newest two are whole.
const RETENTION: Retention = Retention {
    age_ms: 3_000,
    releases_min: 1,
    releases_max: 100,
    whole_releases: 2,
    hold_ms: 0,
    pack_grace_ms: 0,
    bundle_cache_bytes: 0,
};

/// Deterministic bytes without structure.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn when(release: u64) -> Timestamp {
    Timestamp(1_000_000 + release * 1_000)
}

fn appear(path: &Path, at: Timestamp) {
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_millis(at.0))
        .unwrap();
}

/// Stores a file of these chunks.
fn file(writer: &mut StoreWriter, path: &str, chunks: &[Vec<u8>]) -> File {
    let list = list(writer, chunks);
    let content = chunks.concat();
    let list = (chunks.len() > 1).then(|| writer.put_list(&list).unwrap().0);
    File {
        path: ReleasePath::new(path).unwrap(),
        size: content.len() as u64,
        executable: false,
        mtime_s: 0,
        hash: FileHash::of(&content),
        list,
        recipe: None,
        database: None,
    }
}

fn list(writer: &mut StoreWriter, chunks: &[Vec<u8>]) -> List {
    let entries = chunks.iter().map(|chunk| {
        let id = ChunkId::of(chunk);
        writer.put_chunk(&id, chunk).unwrap();
        let len = u32::try_from(chunk.len()).unwrap();
        Entry { id, len }
    });
    List::new(entries.collect()).unwrap()
}

/// Gives a file a recipe over this opened content, as long as that is shorter than the file.
fn with_recipe(writer: &mut StoreWriter, mut file: File, opened: &[Vec<u8>]) -> File {
    let list = list(writer, opened);
    let bytes = list.total_bytes();
    let literal = vec![7; usize::try_from(file.size - bytes).unwrap()];
    let body = RecipeBody {
        opened: writer.put_list(&list).unwrap().0,
        segments: vec![Segment::Literal(literal), Segment::Plain { bytes }],
    };
    let recipe = Recipe::new(body).unwrap();
    file.recipe = Some(writer.put_recipe(&recipe).unwrap().0);
    file
}

fn release(writer: &mut StoreWriter, number: u64, mut files: Vec<File>) {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let body = ManifestBody {
        feed: FeedId([1; 32]),
        epoch_min: Epoch(0),
        release: ReleaseNumber(number),
        previous: None,
        anchor: None,
        created: Timestamp(0),
        notes: String::new(),
        files,
        flags: Flags::default(),
        extensions: Vec::new(),
    };
    let signed = SignedManifest::sign(&body, &[&SecretKey::from_seed(&[1; 32])]).unwrap();
    writer.add_release(body.release, &signed).unwrap();
    let path = writer.store().folder().join("releases");
    appear(&path.join(format!("{number}.manifest")), when(number));
}

/// Content that only this release has, four times as much as what it leaves to the next ones.
fn own(number: u64) -> Vec<Vec<u8>> {
    (0..4).map(|n| noise(number * 100 + n, 400)).collect()
}

/// Content that every release has had since this one.
fn lasting(number: u64) -> Vec<u8> {
    noise(number * 100 + 99, 400)
}

/// Ten releases, each with a file of its own and one that grows.
fn ten_releases(folder: &Path) -> StoreWriter {
    let mut writer = StoreWriter::open(folder).unwrap();
    for number in 1..=10 {
        let log: Vec<Vec<u8>> = (1..=number).map(lasting).collect();
        let files = vec![
            file(&mut writer, "log", &log),
            file(&mut writer, "own", &own(number)),
        ];
        release(&mut writer, number, files);
    }
    writer
}

fn numbers(store: &Store) -> Vec<u64> {
    store.releases().iter().map(|r| r.release.0).collect()
}

fn has(store: &Store, chunk: &[u8]) -> bool {
    let stored = store.chunk(&ChunkId::of(chunk));
    stored.is_some_and(|stored| stored.open().unwrap() == chunk)
}

#[track_caller]
fn good(store: &Store) {
    let report = store.verify();
    assert!(report.is_good(), "{:?}", report.problems);
}

fn collect(writer: &mut StoreWriter, now: Timestamp) -> Result<GcReport, StoreError> {
    let mut collection = Collection::begin(writer, &RETENTION, now)?;
    while collection.advance()? {}
    Ok(collection.finish())
}

fn packs(folder: &Path) -> Vec<PathBuf> {
    let packs = fs::read_dir(folder.join("packs")).unwrap();
    let mut packs: Vec<PathBuf> = packs.map(|entry| entry.unwrap().path()).collect();
    packs.sort();
    packs
}

fn bytes_in(folder: &Path) -> u64 {
    let packs = packs(folder).into_iter();
    let releases = fs::read_dir(folder.join("releases")).unwrap();
    let releases = releases.map(|entry| entry.unwrap().path());
    packs
        .chain(releases)
        .map(|path| fs::metadata(path).unwrap().len())
        .sum()
}

#[test]
fn what_no_kept_release_needs_is_gone_and_the_rest_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ten_releases(folder.path());
    let reader = Store::open(folder.path()).unwrap();
    let before = bytes_in(folder.path());
    // Release 7 was replaced at 8 and is three seconds old.
    let plan = reader.plan_gc(&RETENTION, when(11)).unwrap();
    let explained = |release| explain::load(folder.path(), ReleaseNumber(release)).unwrap();
    for release in 1..=10 {
        explain::save(
            folder.path(),
            ReleaseNumber(release),
            &Explanation::default(),
        )
        .unwrap();
    }
    let report = collect(&mut writer, when(11)).unwrap();
    assert!((1..=7).all(|release| explained(release).is_none()));
    assert!((8..=10).all(|release| explained(release).is_some()));

    let gone: Vec<u64> = report.releases.iter().map(|release| release.0).collect();
    assert_eq!(gone, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(numbers(writer.store()), [8, 9, 10]);
    good(writer.store());
    for number in 1..=10 {
        assert!(has(writer.store(), &lasting(number)), "{number}");
        let kept = number >= 8;
        assert_eq!(has(writer.store(), &own(number)[0]), kept, "{number}");
    }
    assert_eq!(
        (
            plan.expired.count,
            plan.sparse_packs.count,
            report.rewritten_packs
        ),
        (7, 7, 7)
    );
    let freed = before - bytes_in(folder.path());
    assert_eq!(report.freed_bytes(), freed, "{report:?}");
    assert!(
        plan.freed_bytes().abs_diff(freed) < 1_000,
        "{plan:?} {freed}"
    );
    assert!(report.problems.is_empty());

    // Who has not refreshed yet still reads everything.
    assert_eq!(numbers(&reader).len(), 10);
    good(&reader);
    reader.refresh().unwrap();
    assert_eq!(numbers(&reader), [8, 9, 10]);
    good(&reader);
    let again = reader.plan_gc(&RETENTION, when(11)).unwrap();
    assert!(again.is_empty(), "{again:?}");
    assert_eq!(collect(&mut writer, when(11)).unwrap(), GcReport::default());
}

#[test]
fn a_plan_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    drop(ten_releases(folder.path()));
    let before = packs(folder.path());
    let store = Store::open(folder.path()).unwrap();
    assert!(!store.plan_gc(&RETENTION, when(30)).unwrap().is_empty());
    assert_eq!(packs(folder.path()), before);
    assert_eq!(numbers(&Store::open(folder.path()).unwrap()).len(), 10);
}

/// Five releases of a database that opens, and one file that does not.
fn with_recipes(folder: &Path) -> (StoreWriter, Vec<RecipeId>) {
    let mut writer = StoreWriter::open(folder).unwrap();
    let mut recipes = Vec::new();
    for number in 1..=5 {
        let whole = file(&mut writer, "daily.cvd", &own(number));
        let opened = [lasting(1), lasting(number)];
        let daily = with_recipe(&mut writer, whole, &opened);
        recipes.extend(daily.recipe);
        let plain = file(&mut writer, "plain", &[noise(number, 100), noise(99, 100)]);
        release(&mut writer, number, vec![daily, plain]);
    }
    (writer, recipes)
}

#[test]
fn of_old_releases_what_opens_is_kept_opened_only_and_the_rest_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, recipes) = with_recipes(folder.path());
    // Nothing is older than three seconds.
    collect(&mut writer, when(4)).unwrap();
    let store = writer.store();
    assert_eq!(numbers(store), [1, 2, 3, 4, 5]);
    good(store);
    for number in 1..=5 {
        let whole = number >= 4;
        for chunk in own(number) {
            assert_eq!(has(store, &chunk), whole, "{number}");
        }
        assert!(has(store, &lasting(number)) && has(store, &noise(number, 100)));
        let recipe = &recipes[usize::try_from(number).unwrap() - 1];
        assert!(store.recipe(recipe).is_some());
        let manifest = store.manifest(ReleaseNumber(number)).unwrap().unwrap();
        let manifest = manifest.clone().reopen(&manifest.id()).unwrap();
        for file in &manifest.files {
            assert!(store.list(&file.list.unwrap()).is_some(), "{number}");
        }
    }
}

#[test]
fn a_lost_recipe_stops_the_collection() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, recipes) = with_recipes(folder.path());
    let snapshot = writer.store().shared.current.load_full();
    let mut places = snapshot.places(Kind::Recipe, &recipes[1].0);
    let (pack, _) = places.next().unwrap();
    fs::remove_file(snapshot.packs()[pack].path()).unwrap();
    let error = collect(&mut writer, when(4)).unwrap_err();
    assert!(
        error.to_string().contains("release 2, daily.cvd: recipe"),
        "{error}"
    );
    assert_eq!(numbers(writer.store()).len(), 5);
}

#[test]
fn content_that_a_crash_left_in_two_packs_is_not_copied_again() {
    let folder = tempfile::tempdir().unwrap();
    let before = {
        let mut writer = ten_releases(folder.path());
        let before: Vec<(PathBuf, Vec<u8>)> = packs(folder.path())
            .into_iter()
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        collect(&mut writer, when(11)).unwrap();
        before
    };
    let after = packs(folder.path());
    // A power cut after the copies were sealed and before any removal reached the disk.
    for (path, bytes) in &before {
        fs::write(path, bytes).unwrap();
    }
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    let report = collect(&mut writer, when(11)).unwrap();
    assert_eq!((report.rewritten_packs, report.written_bytes), (7, 0));
    assert_eq!(packs(folder.path()), after);
    good(writer.store());
}

#[test]
fn what_was_stored_a_moment_ago_waits_for_its_release() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    let chunk = noise(1, 500);
    writer.put_chunk(&ChunkId::of(&chunk), &chunk).unwrap();
    writer.seal().unwrap();
    let [pack] = packs(folder.path()).try_into().unwrap();
    let retention = Retention {
        pack_grace_ms: 1_000,
        ..RETENTION
    };
    appear(&pack, Timestamp(10_000));
    let store = writer.store();
    let new = store.plan_gc(&retention, Timestamp(10_999)).unwrap();
    assert_eq!((new.new_packs.count, new.dead_packs.count), (1, 0));
    let old = store.plan_gc(&retention, Timestamp(11_000)).unwrap();
    assert_eq!((old.new_packs.count, old.dead_packs.count), (0, 1));
}

#[test]
fn collecting_is_due_when_a_release_has_expired_and_not_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ten_releases(folder.path());
    let due = |writer: &StoreWriter, now| writer.store().gc_is_due(&RETENTION, now).unwrap();
    assert!(due(&writer, when(11)));
    collect(&mut writer, when(11)).unwrap();
    assert!(!due(&writer, when(11)));
    assert!(!due(&writer, Timestamp(when(12).0 - 1)));
    assert!(due(&writer, when(12)));
    // What was remembered is only a help.
    fs::write(folder.path().join("collected"), "nonsense").unwrap();
    assert!(due(&writer, when(11)));
}

#[test]
fn bundles_go_with_the_release_they_start_from() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ten_releases(folder.path());
    let bundles = folder.path().join("bundles");
    fs::create_dir(&bundles).unwrap();
    for name in ["7-10.bundle", "9-10.bundle"] {
        fs::write(bundles.join(name), [0; 100]).unwrap();
    }
    let roomy = Retention {
        bundle_cache_bytes: 100,
        ..RETENTION
    };
    let mut collection = Collection::begin(&mut writer, &roomy, when(11)).unwrap();
    assert_eq!(collection.plan().bundles.bytes, 100);
    while collection.advance().unwrap() {}
    assert!(!bundles.join("7-10.bundle").exists() && bundles.join("9-10.bundle").exists());
}

#[test]
fn a_reader_that_refreshes_while_packs_are_replaced_never_misses_anything() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ten_releases(folder.path());
    let reader = Store::open(folder.path()).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut looks = 0;
            while looks == 0 || !over.load(std::sync::atomic::Ordering::SeqCst) {
                // A fresh look each time: nothing is mapped already.
                let fresh = Store::open(folder.path()).unwrap();
                reader.refresh().unwrap();
                good(&fresh);
                good(&reader);
                looks += 1;
            }
        });
        for round in 11..40 {
            // Of each round's pack, little is needed when the next release is there.
            let log: Vec<Vec<u8>> = (1..=round).map(lasting).collect();
            let files = vec![
                file(&mut writer, "log", &log),
                file(&mut writer, "own", &own(round)),
            ];
            release(&mut writer, round, files);
            let report = collect(&mut writer, when(round + 3)).unwrap();
            assert!(report.rewritten_packs > 0, "{report:?}");
            if looking.is_finished() {
                break;
            }
        }
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        looking.join().unwrap();
    });
    good(writer.store());
}

#[test]
fn the_moment_of_appearance_is_that_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = StoreWriter::open(folder.path()).unwrap();
    let log = file(&mut writer, "log", &[lasting(1)]);
    release(&mut writer, 1, vec![log]);
    let snapshot = writer.store().shared.current.load_full();
    assert_eq!(
        plan::appeared(&snapshot).unwrap(),
        [(ReleaseNumber(1), when(1))]
    );
    assert!(SystemTime::now() > UNIX_EPOCH + Duration::from_millis(when(1).0));
}
