mod support;

use tidecast_proto::bundle::{Form, PartKind, Side};
use tidecast_proto::id::{ListId, ReleaseNumber};
use tidecast_proto::manifest::Manifest;
use tidecast_proto::recipe::Recipe;
use tidecast_proto::wire::FetchRuns;

use super::*;
use crate::sample::{Day, Feed, Scale};
use crate::store::{Store, StoredRelease};
use support::{Receiver, Shelf, parts};

/// Builds the core, has a receiver read it, and says where its bytes went.
fn carried(store: &Store, old: &Manifest, new: &Manifest) -> BundleReport {
    let mut core = Vec::new();
    let report = build(store, old, new, &mut core).unwrap();
    assert_eq!(report.bytes, core.len() as u64);
    let (got, sections) = Receiver::new(store, old).apply(&core);
    assert_eq!((got.id(), sections), (new.id(), report.files.len()));
    report
}

const CACHE_BYTES: u64 = 1 << 30;

fn stored(manifest: &Manifest) -> StoredRelease {
    StoredRelease {
        release: manifest.release,
        manifest: manifest.id(),
    }
}

fn share<'a>(report: &'a BundleReport, path: &str) -> &'a FileShare {
    let found = report.files.iter().find(|file| file.path == path);
    found.unwrap_or_else(|| panic!("{path} has no section"))
}

/// Two releases of a sample feed with `days` between them.
fn days(shelf: &mut Shelf, days: &[Day]) -> (Manifest, Manifest) {
    let tree = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(1, Scale::DEMO);
    feed.advance(Day::Ordinary).unwrap();
    feed.write(tree.path()).unwrap();
    let old = shelf.release_of(tree.path());
    for day in days {
        feed.advance(*day).unwrap();
    }
    feed.write(tree.path()).unwrap();
    (old, shelf.release_of(tree.path()))
}

#[test]
fn an_ordinary_day_costs_its_cdiff_and_little_more() {
    let mut shelf = Shelf::new();
    let (old, new) = days(&mut shelf, &[Day::Ordinary]);
    let report = carried(shelf.store(), &old, &new);
    let paths: Vec<&str> = report.files.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["daily-27902.cdiff", "daily.cvd"]);
    let cdiff = share(&report, "daily-27902.cdiff");
    let daily = share(&report, "daily.cvd");
    assert_eq!((cdiff.form, daily.form), (Form::Opened, Form::Opened));
    // The old database and the new script, which has all of its new lines.
    assert_eq!(daily.bases.len(), 2);
    assert_eq!(
        (daily.bases[0].side, daily.bases[1].side),
        (Side::Old, Side::New)
    );
    let packed = new.file("daily-27902.cdiff").unwrap().size;
    assert!(cdiff.bytes() < packed + 200, "{cdiff:?}, packed {packed}");
    assert!(daily.run_bytes < 1_500, "{daily:?}");
    assert!(report.bytes < packed + 4_000, "{report:?}");
}

#[test]
fn a_busy_day_costs_its_cdiff_and_little_more() {
    let mut shelf = Shelf::new();
    let (old, new) = days(&mut shelf, &[Day::Busy]);
    let report = carried(shelf.store(), &old, &new);
    let packed = new.file("daily-27902.cdiff").unwrap().size;
    assert!(report.bytes < packed + 12_000, "{report:?}");
}

#[test]
fn many_days_at_once_cost_less_than_one_after_the_other() {
    let mut shelf = Shelf::new();
    let tree = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(1, Scale::DEMO);
    feed.write(tree.path()).unwrap();
    let mut releases = vec![shelf.release_of(tree.path())];
    for _ in 0..6 {
        feed.advance(Day::Ordinary).unwrap();
        feed.write_update(tree.path()).unwrap();
        releases.push(shelf.release_of(tree.path()));
    }
    let single = releases
        .windows(2)
        .map(|pair| carried(shelf.store(), &pair[0], &pair[1]).bytes);
    let single: u64 = single.sum();
    let at_once = carried(shelf.store(), &releases[0], releases.last().unwrap());
    assert!(at_once.bytes <= single, "{} > {single}", at_once.bytes);
}

#[test]
fn what_moves_from_one_database_to_another_is_not_sent_again() {
    let mut shelf = Shelf::new();
    let tree = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(1, Scale::packed_mb(12));
    feed.write(tree.path()).unwrap();
    let old = shelf.release_of(tree.path());
    feed.rebuild_main();
    feed.write(tree.path()).unwrap();
    let new = shelf.release_of(tree.path());
    let report = carried(shelf.store(), &old, &new);
    let main = share(&report, "main.cvd");
    assert_eq!(main.bases.len(), 2, "{main:?}");
    let whole = new.file("main.cvd").unwrap().size + new.file("daily.cvd").unwrap().size;
    assert!(report.bytes * 10 <= whole, "{} of {whole}", report.bytes);
}

#[test]
fn the_same_release_again_and_files_without_gzip_are_carried_too() {
    let mut shelf = Shelf::new();
    let noise = |seed: u8, bytes: usize| {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new()
            .update(&[seed])
            .finalize_xof()
            .fill(&mut noise);
        noise
    };
    let (long, small) = (noise(1, 900_000), noise(2, 300));
    let old = shelf.release(&[("long.bin", &long), ("small", &small), ("gone", b"x")]);
    let report = carried(shelf.store(), &old, &old);
    assert_eq!(
        (report.files.len(), report.bytes < 300),
        (0, true),
        "{report:?}"
    );

    let mut longer = long.clone();
    longer.splice(400_000..400_000, *b"in the middle");
    let new = shelf.release(&[
        ("long.bin", &longer),
        ("small", &small[..299]),
        ("empty", b""),
        ("row-2.sign", &noise(3, 5000)),
    ]);
    let report = carried(shelf.store(), &old, &new);
    // Only what is new: 5,000 bytes of noise.
    assert!(report.bytes < 6_500, "{report:?}");

    // The next of a row builds on the one before.
    let mut next = noise(3, 5000);
    next[77] ^= 1;
    let newer = shelf.release(&[("row-3.sign", &next)]);
    let report = carried(shelf.store(), &new, &newer);
    assert!(share(&report, "row-3.sign").run_bytes < 60, "{report:?}");
}

#[test]
fn without_the_new_content_there_is_no_bundle_and_without_the_old_one_a_dearer_one() {
    let mut shelf = Shelf::new();
    let (old, new) = days(&mut shelf, &[Day::Ordinary]);
    let mut other = Shelf::new();
    other.release(&[("x", b"y")]);
    let missing = build(other.store(), &old, &new, &mut Vec::new());
    assert!(
        matches!(missing, Err(BundleBuildError::Gone { .. })),
        "{missing:?}"
    );
    // Retention has taken all of the old release but its manifest.
    let (_, same) = days(&mut other, &[Day::Ordinary]);
    let before = shelf.release(&[("unknown.cvd.sign", b"z")]);
    let report = carried(other.store(), &before, &same);
    assert_eq!(report.files.len(), same.files.len());
    let old_bases = |file: &FileShare| file.bases.iter().any(|base| base.side == Side::Old);
    assert!(!report.files.iter().any(old_bases), "{report:?}");
    let daily = share(&report, "daily.cvd");
    assert_eq!((daily.form, daily.reason), (Form::Stored, "no_base"));
}

#[test]
fn a_bundle_is_the_same_bytes_each_time() {
    let mut shelf = Shelf::new();
    let (old, new) = days(&mut shelf, &[Day::Ordinary]);
    let core = || {
        let mut core = Vec::new();
        build(shelf.store(), &old, &new, &mut core).unwrap();
        core
    };
    assert_eq!(core(), core());
}

#[test]
fn the_cache_keeps_cores_until_they_are_of_no_use() {
    let mut shelf = Shelf::new();
    let (old, new) = days(&mut shelf, &[Day::Ordinary]);
    let cache = BundleCache::new(shelf.folder.path(), CACHE_BYTES);
    assert!(cache.open(stored(&old), stored(&new)).is_none());
    let report = cache.build(shelf.store(), &old, &new).unwrap();
    let core = cache.open(stored(&old), stored(&new)).unwrap();
    assert_eq!(core.len() as u64, report.bytes);
    Receiver::new(shelf.store(), &old).apply(&core);

    assert_eq!(cache.sweep(new.release).unwrap(), 0);
    let next = ReleaseNumber(new.release.0 + 1);
    assert_eq!(cache.sweep(next).unwrap(), report.bytes + 32);
    assert!(cache.open(stored(&old), stored(&new)).is_none());
    assert_eq!(
        parts(&core).last().unwrap().0,
        PartKind::END,
        "still readable"
    );
}

#[test]
fn a_damaged_core_is_never_given_out() {
    let mut shelf = Shelf::new();
    let old = shelf.release(&[("a", b"1")]);
    let new = shelf.release(&[("a", b"2")]);
    let cache = BundleCache::new(shelf.folder.path(), CACHE_BYTES);
    cache.build(shelf.store(), &old, &new).unwrap();
    let folder = shelf.folder.path().join(BUNDLES);
    let path = std::fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 4;
        // Replaced, never written over: it may be mapped.
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, bad).unwrap();
        assert!(
            cache.open(stored(&old), stored(&new)).is_none(),
            "byte {at}"
        );
    }
}

#[test]
fn the_oldest_cores_go_when_there_are_too_many() {
    let mut shelf = Shelf::new();
    let olds: Vec<Manifest> = (0..4_u8).map(|n| shelf.release(&[("a", &[n])])).collect();
    let new = shelf.release(&[("a", b"new")]);
    let built: Vec<u64> = olds
        .iter()
        .map(|old| {
            let cache = BundleCache::new(shelf.folder.path(), CACHE_BYTES);
            cache.build(shelf.store(), old, &new).unwrap().bytes + 32
        })
        .collect();
    let folder = shelf.folder.path().join(BUNDLES);
    for (age, old) in olds.iter().rev().enumerate() {
        let path = folder.join(format!("{}-{}.bundle", old.release, new.release));
        let when = std::time::SystemTime::now() - std::time::Duration::from_secs(age as u64 * 60);
        std::fs::File::options()
            .append(true)
            .open(path)
            .unwrap()
            .set_modified(when)
            .unwrap();
    }
    let cache = BundleCache::new(shelf.folder.path(), built[2] + built[3]);
    assert_eq!(cache.sweep(new.release).unwrap(), built[0] + built[1]);
    let left: Vec<bool> = olds
        .iter()
        .map(|old| cache.open(stored(old), stored(&new)).is_some())
        .collect();
    assert_eq!(left, [false, false, true, true]);
    // The newest stays, however large.
    BundleCache::new(shelf.folder.path(), 0)
        .sweep(new.release)
        .unwrap();
    assert!(cache.open(stored(&olds[3]), stored(&new)).is_some());
}

#[test]
fn runs_are_made_for_lists_too() {
    let mut shelf = Shelf::new();
    let (old, new) = days(&mut shelf, &[Day::Ordinary]);
    let list = |manifest: &Manifest, path: &str| -> ListId {
        let file = manifest.file(path).unwrap();
        let recipe = file.recipe.unwrap();
        let bytes = shelf.store().recipe(&recipe).unwrap().open().unwrap();
        Recipe::decode(&bytes, recipe, file.size).unwrap().opened()
    };
    let fetch = FetchRuns {
        list: list(&new, "daily.cvd"),
        bases: vec![list(&old, "daily.cvd"), list(&new, "daily-27902.cdiff")],
    };
    let made = runs(shelf.store(), &fetch).unwrap();
    assert!(made.len() < 1_600, "{} bytes", made.len());
    let kinds: Vec<PartKind> = parts(&made).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds.last(), Some(&PartKind::END));
    assert!(
        kinds[..kinds.len() - 1]
            .iter()
            .all(|kind| *kind == PartKind::RUN)
    );
    let unknown = FetchRuns {
        bases: vec![ListId::of(b"unknown")],
        ..fetch
    };
    let refused = runs(shelf.store(), &unknown);
    assert!(matches!(refused, Err(BundleBuildError::Gone { .. })));
}
