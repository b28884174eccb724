//! Two of three sigmakers sign releases, one suffices for ClamAV's own databases: from the proposal to the docroot.

mod support;

use std::path::{Path, PathBuf};

use support::{RunningMaster, World};
use tidecast_engine::keyfile;
use tidecast_engine::master::{self, Feed, ROOT_KEY};
use tidecast_engine::mirror::{ImportError, Mirror, SyncError, SyncFailure, Unproved, plan};
use tidecast_engine::proposal::{
    self, Accepted, Folder, ProposalError, ProposeRequest, Proposed, What,
};
use tidecast_engine::roots;
use tidecast_engine::store::{Collection, Fate, KeptFor, Store, StoreWriter};
use tidecast_proto::database::OtherScript;
use tidecast_proto::id::ReleaseNumber;
use tidecast_proto::key::SecretKey;
use tidecast_proto::limits;
use tidecast_proto::manifest::{Anchor, Flags, ManifestBody, ManifestError, SignedManifest};
use tidecast_proto::root::{RootBody, SignedRoot};
use tidecast_proto::trust::Trust;

fn sigmaker(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// A feed of three sigmakers: two sign releases, one an addition.
fn three_sigmakers() -> World {
    let world = World::new();
    let feed = Feed::load(&world.master_state()).unwrap();
    let mut keys: Vec<_> = [1, 2, 3].map(|seed| sigmaker(seed).public()).into();
    keys.sort_unstable();
    let mut body = RootBody::clone(&feed.root);
    body.version.0 += 1;
    body.release_keys = keys;
    (body.release_threshold, body.added_threshold) = (2, 1);
    let key = keyfile::load(&world.path("keys").join(ROOT_KEY)).unwrap();
    let root = SignedRoot::sign(&body, &[&key]).unwrap();
    roots::store(&world.master_state().join("roots"), body.version, &root).unwrap();
    world
}

fn writer(world: &World) -> (Feed, StoreWriter) {
    let feed = Feed::load(&world.master_state()).unwrap();
    let writer = StoreWriter::open(&feed.store_folder()).unwrap();
    (feed, writer)
}

/// Proposes these files; how many signatures it needs comes back as well.
fn propose(world: &World, files: &[(&str, &[u8])]) -> (PathBuf, usize) {
    let proposed = propose_above(world, files, 0);
    let root = Feed::load(&world.master_state()).unwrap().root;
    (proposed.path, proposed.proposal.tally(&root).needed)
}

/// Proposes these files as a release whose number is above `above`.
fn propose_above(world: &World, files: &[(&str, &[u8])], above: u64) -> Proposed {
    let tree = world.path("tree");
    let _ = std::fs::remove_dir_all(&tree);
    for (path, content) in files {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let (feed, mut writer) = writer(world);
    let request = ProposeRequest {
        what: What::Tree(&tree),
        root: &feed.root,
        feed: feed.id,
        verify: feed.verify,
        notes: String::new(),
        flags: Flags::default(),
        cache: &feed.publish_cache(),
        now: world.now(),
        above: ReleaseNumber(above),
        even_if_unchanged: above > 0,
    };
    proposal::propose(&mut writer, request, &mut |_| {}).unwrap()
}

/// Has these sigmakers sign it, and makes it the newest release.
fn release(world: &World, path: &Path, seeds: &[u8]) -> Result<Accepted, ProposalError> {
    let (feed, mut writer) = writer(world);
    let mut open = Folder::of(writer.store())
        .find(path.file_name().unwrap().to_str().unwrap())
        .unwrap();
    for seed in seeds {
        open.proposal.sign(&sigmaker(*seed), &feed.root).unwrap();
    }
    proposal::accept(&mut writer, &feed.root, &feed.id, &open, world.now())
}

/// A thief with one release key and the master's own keys: the proposal's content, under an anchor all the same.
fn force_as_addition(world: &World, path: &Path, change: impl FnOnce(&mut ManifestBody)) {
    let (feed, mut writer) = writer(world);
    let mut body = proposal::Proposal::read(path).unwrap().body().clone();
    let anchor = newest_whole(writer.store());
    body.anchor = Some(anchor);
    change(&mut body);
    let signed = SignedManifest::sign(&body, &[&sigmaker(3)]).unwrap();
    assert_eq!(signed.signed_by(&feed.root).len(), 1);
    writer.add_release(body.release, &signed).unwrap();
}

fn newest_whole(store: &Store) -> Anchor {
    let releases = store.releases();
    let whole = releases.iter().rev().find(|stored| {
        let signed = store.manifest(stored.release).unwrap().unwrap();
        signed.claims().unwrap().anchor.is_none()
    });
    let whole = whole.unwrap();
    Anchor {
        release: whole.release,
        manifest: whole.manifest,
    }
}

/// A container that reads like a database and that nobody signed.
fn made_up(version: u32) -> Vec<u8> {
    let mut header = format!(
        "ClamAV-VDB:22 Jun 2021 21-34 -0400:{version}:1:81:{}:X:nobody:1624412045",
        "0".repeat(32)
    )
    .into_bytes();
    header.resize(512, b' ');
    header.extend_from_slice(&version.to_le_bytes().repeat(25));
    header
}

/// A mirror of a running master, at release 1.
async fn follower(world: &World) -> (RunningMaster, std::sync::Arc<Mirror>) {
    let master = RunningMaster::start(world);
    let mirror = world.admitted_mirror("m", &master.upstream());
    master.master.reload().unwrap();
    mirror.sync_once().await.unwrap();
    (master, mirror)
}

fn refused(failure: SyncFailure) -> SyncError {
    match failure {
        SyncFailure::Sync(error) => error,
        SyncFailure::Unreachable { mut tried } => tried.remove(0).1,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_of_anything_waits_for_the_second_signature() {
    let world = three_sigmakers();
    let (path, needed) = propose(&world, &[("f", b"one")]);
    assert_eq!(needed, 2);
    assert!(matches!(
        release(&world, &path, &[1]),
        Err(ProposalError::Manifest(ManifestError::Signed(_)))
    ));
    let accepted = release(&world, &path, &[1, 2]).unwrap();
    assert_eq!(accepted.release, ReleaseNumber(1));
    assert!(!path.exists());
    let (_master, _mirror) = follower(&world).await;
    assert_eq!(world.served("m", "f").unwrap(), b"one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_clamav_did_not_sign_is_refused_before_the_switch() {
    let world = three_sigmakers();
    let files = |version| [("daily.cvd", made_up(version)), ("f", b"one".to_vec())];
    let put = |version: u32| {
        let files = files(version);
        let files: Vec<_> = files.iter().map(|(n, c)| (*n, c.as_slice())).collect();
        propose(&world, &files)
    };
    let (path, _) = put(5);
    release(&world, &path, &[1, 2]).unwrap();
    let (master, mirror) = follower(&world).await;

    // Whoever proposes it honestly is told that it takes two.
    let (path, needed) = put(6);
    assert_eq!(needed, 2);
    force_as_addition(&world, &path, |_| ());
    master.master.reload().unwrap();
    let error = refused(mirror.sync_once().await.unwrap_err());
    assert!(
        matches!(&error, SyncError::NotGenuine(Unproved::Fault { path, .. }) if path.as_str() == "daily.cvd"),
        "{error:?}"
    );
    assert_eq!(error.whose(), "feed");
    assert_eq!(world.served("m", "daily.cvd").unwrap(), made_up(5));
    assert_eq!(mirror.status().release, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_announces_no_addition_that_is_none() {
    let world = three_sigmakers();
    let (path, _) = propose(&world, &[("daily.cvd", &made_up(5)), ("f", b"one")]);
    release(&world, &path, &[1, 2]).unwrap();
    let (master, mirror) = follower(&world).await;
    let (path, _) = propose(&world, &[("daily.cvd", &made_up(6))]);
    force_as_addition(&world, &path, |_| ());
    let error = master.master.reload().unwrap_err();
    assert!(error.to_string().contains("removes f"), "{error}");
    assert_eq!(mirror.sync_once().await.unwrap().reason, "current");
}

#[test]
fn a_proposal_is_stale_once_another_release_was_made_and_one_key_counts_once() {
    let world = three_sigmakers();
    let (first, _) = propose(&world, &[("f", b"one")]);
    let (second, _) = propose(&world, &[("f", b"two")]);
    let (feed, _) = writer(&world);
    let mut twice = proposal::Proposal::read(&first).unwrap();
    twice.sign(&sigmaker(1), &feed.root).unwrap();
    assert!(matches!(
        twice.sign(&sigmaker(1), &feed.root),
        Err(ProposalError::SignedAlready(_))
    ));
    assert!(matches!(
        twice.sign(&sigmaker(9), &feed.root),
        Err(ProposalError::NotAReleaseKey(_))
    ));
    release(&world, &second, &[1, 3]).unwrap();
    assert!(matches!(
        release(&world, &first, &[1, 3]),
        Err(ProposalError::Stale {
            newest: ReleaseNumber(1),
            ..
        })
    ));
    assert!(first.exists());
}

#[test]
fn what_a_proposal_needs_outlives_a_collection() {
    let world = three_sigmakers();
    let (path, _) = propose(&world, &[("f", &support::noise(1, 500_000))]);
    let (feed, mut writer) = writer(&world);
    let mut retention = feed.retention;
    retention.pack_grace_ms = 0;
    let now = world.now().plus(365 * 24 * 3_600_000);
    let plan = writer.store().plan_gc(&retention, now).unwrap();
    assert_eq!(plan.dead_packs.count, 0, "{plan:?}");
    let mut collection = Collection::begin(&mut writer, &retention, now).unwrap();
    while collection.advance().unwrap() {}
    assert!(collection.finish().releases.is_empty());
    drop(writer);
    release(&world, &path, &[1, 2]).unwrap();
}

#[test]
fn a_release_that_others_add_to_outlives_its_time() {
    let world = three_sigmakers();
    for version in 5..8 {
        let (path, _) = propose(&world, &[("daily.cvd", &made_up(version))]);
        if version == 5 {
            release(&world, &path, &[1, 2]).unwrap();
        } else {
            force_as_addition(&world, &path, |_| ());
        }
    }
    let (feed, mut writer) = writer(&world);
    let mut retention = feed.retention;
    (retention.releases_min, retention.whole_releases) = (1, 1);
    (retention.age_ms, retention.hold_ms) = (0, 0);
    let now = world.now().plus(3_600_000);
    assert!(writer.store().gc_is_due(&retention, now).unwrap());
    let plan = writer.store().plan_gc(&retention, now).unwrap();
    let kept = plan.releases.iter().filter(|verdict| !verdict.is_expired());
    let kept: Vec<_> = kept.map(|verdict| verdict.fate).collect();
    assert!(matches!(
        kept[..],
        [
            Fate::Kept {
                why: KeptFor::Anchor,
                whole: false
            },
            Fate::Kept {
                why: KeptFor::Newest,
                ..
            }
        ]
    ));
    let mut collection = Collection::begin(&mut writer, &retention, now).unwrap();
    while collection.advance().unwrap() {}
    assert_eq!(collection.finish().releases, [ReleaseNumber(2)]);
    let left: Vec<u64> = writer
        .store()
        .releases()
        .iter()
        .map(|r| r.release.0)
        .collect();
    assert_eq!(left, [1, 3]);
}

/// An addition that adds nothing, so that nothing of it needs ClamAV's signature.
fn add_nothing(world: &World, seen: u32) {
    let (path, _) = propose(world, &[("daily.cvd", &made_up(seen)), ("f", b"one")]);
    let (_, writer) = writer(world);
    let first = writer.store().manifest(ReleaseNumber(1)).unwrap().unwrap();
    drop(writer);
    force_as_addition(world, &path, |body| {
        body.files = first.claims().unwrap().files;
    });
}

/// A mirror that has an addition to release 1, which all three signed.
async fn at_an_addition(world: &World) -> (RunningMaster, std::sync::Arc<Mirror>) {
    let (path, _) = propose(world, &[("daily.cvd", &made_up(5)), ("f", b"one")]);
    release(world, &path, &[1, 2, 3]).unwrap();
    let (master, mirror) = follower(world).await;
    add_nothing(world, 6);
    master.master.reload().unwrap();
    assert_eq!(mirror.sync_once().await.unwrap().to, 2);
    (master, mirror)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_anchor_that_lost_a_signer_is_asked_for_again() {
    let world = three_sigmakers();
    let (master, mirror) = at_an_addition(&world).await;
    let kept = world.path("m.state/anchor.manifest");
    let whole = SignedManifest::from_bytes(&std::fs::read(&kept).unwrap()).unwrap();
    let two = [1, 2].map(|seed| sigmaker(seed).public());
    let fewer = whole.with_good_signatures(&two, &[]);
    std::fs::write(&kept, fewer.to_bytes()).unwrap();

    add_nothing(&world, 7);
    let feed = Feed::load(&world.master_state()).unwrap();
    let mut body = RootBody::clone(&feed.root);
    body.version.0 += 1;
    body.release_keys.retain(|key| *key != sigmaker(1).public());
    let key = keyfile::load(&world.path("keys").join(ROOT_KEY)).unwrap();
    let root = SignedRoot::sign(&body, &[&key]).unwrap();
    roots::store(&world.master_state().join("roots"), body.version, &root).unwrap();
    master.master.reload().unwrap();
    let report = mirror.sync_once().await.unwrap();
    assert_eq!((report.to, report.switched), (3, true));
    let better = SignedManifest::from_bytes(&std::fs::read(&kept).unwrap()).unwrap();
    let root = Feed::load(&world.master_state()).unwrap().root;
    assert_eq!(root.version, body.version);
    assert_eq!(better.signed_by(&root).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_too_far_above_its_anchor_takes_the_whole_threshold() {
    let world = three_sigmakers();
    let _running = at_an_addition(&world).await;
    let files: [(&str, &[u8]); 2] = [("daily.cvd", &made_up(5)), ("f", b"one")];
    let last = limits::ADDITIONS_PER_ANCHOR as u64;
    let near = propose_above(&world, &files, last);
    assert_eq!(near.not_an_addition, None);
    let far = propose_above(&world, &files, last + 1);
    let root = Feed::load(&world.master_state()).unwrap().root;
    assert_eq!(far.proposal.tally(&root).needed, 2);
    let why = far.not_an_addition.unwrap();
    assert!(why.contains("number 4098 is more than 4096 above"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_addition_that_is_found_live_raises_the_release_and_nothing_that_binds_others() {
    let world = three_sigmakers();
    let (master, mirror) = at_an_addition(&world).await;
    let installed = || {
        let state = world.path("m.state");
        let roots = roots::load(&state.join("roots")).unwrap();
        let counters = std::fs::read(state.join("counters")).unwrap();
        let trust = Trust::resume(&world.feed, roots, Some(&counters)).unwrap();
        let installed = trust.unwrap().installed().unwrap();
        (installed.release.0, installed.anchored.0)
    };
    assert_eq!(installed(), (2, 1));
    drop(mirror);
    std::fs::remove_file(world.path("m.state/counters")).unwrap();
    let _again = world.mirror("m", &master.upstream());
    assert_eq!(installed(), (2, 0));
}

/// ClamAV's own test databases.
fn genuine(test: &str) -> Option<impl Fn(&str) -> Vec<u8>> {
    let folder = std::env::var_os("TIDECAST_TESTDATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cache/testdata"),
        PathBuf::from,
    );
    if !folder.join("test-6.cvd").is_file() {
        let line = format!("SKIPPED {test}: no genuine databases; run tests/genuine-data");
        eprintln!("{line}");
        if let Some(path) = std::env::var_os("TIDECAST_SKIPS") {
            use std::io::Write as _;
            let file = std::fs::File::options()
                .append(true)
                .create(true)
                .open(path);
            let _ = file.and_then(|mut file| writeln!(file, "{line}"));
        }
        return None;
    }
    Some(move |name: &str| std::fs::read(folder.join(name)).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_signature_brings_a_genuine_database_and_its_cdiff_over_the_network_and_by_hand() {
    let test = "one_signature_brings_a_genuine_database_and_its_cdiff_over_the_network_and_by_hand";
    let Some(file) = genuine(test) else { return };
    let world = three_sigmakers();
    let (path, needed) = propose(&world, &[("test.cvd", &file("test-4.cvd")), ("f", b"one")]);
    assert_eq!(needed, 2);
    release(&world, &path, &[1, 2]).unwrap();
    let (master, mirror) = follower(&world).await;

    let (path, needed) = propose(
        &world,
        &[
            ("test.cvd", &file("test-5.cvd")),
            ("test-5.cdiff", &file("test-5.cdiff")),
            ("f", b"one"),
        ],
    );
    assert_eq!(needed, 1);
    release(&world, &path, &[3]).unwrap();
    master.master.reload().unwrap();
    let config = mirror.config().clone();
    let (state, clock) = (
        world.path("m.state"),
        std::sync::Arc::new(world.clock.clone()),
    );
    let planned = plan(&state, &config, clock);
    assert_eq!(planned.await.unwrap().to, 2);
    assert!(!world.path("m.state/anchor.manifest").exists());
    let report = mirror.sync_once().await.unwrap();
    assert_eq!((report.to, report.switched), (2, true));
    assert_eq!(world.served("m", "test.cvd").unwrap(), file("test-5.cvd"));
    assert_eq!(
        world.served("m", "test-5.cdiff").unwrap(),
        file("test-5.cdiff")
    );
    assert!(world.path("m.state/anchor.manifest").exists());

    // A fresh mirror asks for the anchor.
    let fresh = world.admitted_mirror("fresh", &master.upstream());
    master.master.reload().unwrap();
    assert_eq!(fresh.sync_once().await.unwrap().to, 2);

    // The next one, added to the same anchor, comes in a file.
    let (path, needed) = propose(
        &world,
        &[
            ("test.cvd", &file("test-6.cvd")),
            ("test-5.cdiff", &file("test-5.cdiff")),
            ("test-6.cdiff", &file("test-6.cdiff")),
            ("f", b"one"),
        ],
    );
    assert_eq!(needed, 1);
    release(&world, &path, &[2]).unwrap();
    master.master.reload().unwrap();
    let (feed, writer) = writer(&world);
    let head = master::newest_head(&world.master_state()).unwrap().unwrap();
    let bundle = world.path("b.bundle");
    let from = ReleaseNumber(2);
    master::export(&feed, writer.store(), &head, from, &bundle, world.now()).unwrap();
    drop(writer);
    std::fs::rename(
        world.path("m.state/anchor.manifest"),
        world.path("away.manifest"),
    )
    .unwrap();
    let error = mirror.import(&bundle, None).await.unwrap_err();
    assert!(
        matches!(
            error,
            ImportError::Sync(SyncError::NoAnchor(ReleaseNumber(1)))
        ),
        "{error}"
    );
    assert_eq!(world.served("m", "test.cvd").unwrap(), file("test-5.cvd"));
    std::fs::rename(
        world.path("away.manifest"),
        world.path("m.state/anchor.manifest"),
    )
    .unwrap();
    let counters = world.path("m.state/counters");
    let before = std::fs::read(&counters).unwrap();
    assert_eq!(mirror.import(&bundle, None).await.unwrap().to, 3);
    assert_eq!(world.served("m", "test.cvd").unwrap(), file("test-6.cvd"));

    // A state folder from a backup: the counter rises with the docroot's addition, which was checked before.
    drop(mirror);
    std::fs::write(&counters, &before).unwrap();
    let _again = world.mirror("m", &master.upstream());
    assert_ne!(std::fs::read(&counters).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_genuine_database_in_anothers_place_or_with_a_false_time_is_refused() {
    let test = "a_genuine_database_in_anothers_place_or_with_a_false_time_is_refused";
    let Some(file) = genuine(test) else { return };
    let world = three_sigmakers();
    let of = |version: u8| {
        let test = file(&format!("test-{version}.cvd"));
        [("main.cvd", test.clone()), ("test.cvd", test)]
    };
    let put = |version: u8| {
        let files = of(version);
        let files: Vec<_> = files.iter().map(|(n, c)| (*n, c.as_slice())).collect();
        propose(&world, &files)
    };
    let (path, _) = put(4);
    release(&world, &path, &[1, 2]).unwrap();
    let (master, mirror) = follower(&world).await;
    let (path, needed) = put(5);
    // Clients would take it for main: it is genuine, but it is another database.
    assert_eq!(needed, 2);
    force_as_addition(&world, &path, |_| ());
    master.master.reload().unwrap();
    let error = refused(mirror.sync_once().await.unwrap_err());
    assert!(
        matches!(&error, SyncError::NotGenuine(Unproved::OtherName { path, name })
            if path.as_str() == "main.cvd" && name == "test"),
        "{error:?}"
    );

    let world = three_sigmakers();
    let (path, _) = propose(&world, &[("test.cvd", &file("test-4.cvd"))]);
    release(&world, &path, &[1, 2]).unwrap();
    let (master, mirror) = follower(&world).await;
    let (path, needed) = propose(&world, &[("test.cvd", &file("test-6.cvd"))]);
    assert_eq!(needed, 1);
    force_as_addition(&world, &path, |body| {
        body.files[0].database.as_mut().unwrap().build_time_s = 4_000_000_000;
    });
    master.master.reload().unwrap();
    let error = refused(mirror.sync_once().await.unwrap_err());
    assert!(
        matches!(
            &error,
            SyncError::NotGenuine(Unproved::Misstated {
                field: "build time",
                ..
            })
        ),
        "{error:?}"
    );
    assert_eq!(world.served("m", "test.cvd").unwrap(), file("test-4.cvd"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_genuine_cdiff_in_anothers_place_is_refused() {
    let test = "a_genuine_cdiff_in_anothers_place_is_refused";
    let Some(file) = genuine(test) else { return };
    let world = three_sigmakers();
    let main = |version: u32| ("main.cvd", made_up(version));
    let put = |files: &[(&str, Vec<u8>)]| {
        let files: Vec<_> = files.iter().map(|(n, c)| (*n, c.as_slice())).collect();
        propose(&world, &files)
    };
    let (path, _) = put(&[main(5)]);
    release(&world, &path, &[1, 2]).unwrap();
    let (master, mirror) = follower(&world).await;
    // ClamAV signed it and its version fits; it is the script of `test`.
    let (path, needed) = put(&[main(6), ("main-6.cdiff", file("test-6.cdiff"))]);
    assert_eq!(needed, 2);
    force_as_addition(&world, &path, |_| ());
    master.master.reload().unwrap();
    let error = refused(mirror.sync_once().await.unwrap_err());
    assert!(
        matches!(&error, SyncError::NotGenuine(Unproved::OtherScript { path, why: OtherScript::OtherDatabase(name) })
            if path.as_str() == "main-6.cdiff" && name == "test"),
        "{error:?}"
    );
    assert_eq!(world.served("m", "main.cvd").unwrap(), made_up(5));
}
