//! An audit finds every step that nobody was entitled to, and nothing else.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{RunningMaster, World};
use tidecast_engine::audit::{AuditReport, audit};
use tidecast_engine::chain_log::{ChainLog, Format, RecordKind};
use tidecast_engine::keyfile;
use tidecast_engine::master::{Feed, RELEASE_KEY, ROOT_KEY};
use tidecast_engine::publish::{PublishRequest, publish};
use tidecast_engine::store::{Store, StoreWriter};
use tidecast_proto::codec;
use tidecast_proto::head::{HeadBody, SignedHead};
use tidecast_proto::id::{ObjectId, ReleaseNumber, RootVersion, Seq};
use tidecast_proto::key::SecretKey;
use tidecast_proto::limits;
use tidecast_proto::manifest::{Flags, SignedManifest};
use tidecast_proto::root::{Root, RootBody, SignedRoot};

/// As SPEC §7.5 has it.
const HEADS: Format = Format {
    domain: "tidecast heads.log v1",
    body_bytes_max: 2_048,
};

/// As SPEC §8.13 has it.
const TRUST: Format = Format {
    domain: "tidecast trust.log v1",
    body_bytes_max: 3 * limits::SMALL_OBJECT_BYTES,
};

/// A master with two roots and three releases, and a mirror that has installed all of them.
async fn history() -> World {
    let (world, master, mirror) = support::small_feed();
    mirror.sync_once().await.unwrap();
    world.clock.advance_ms(2 * 3_600_000);
    let state = world.master_state();
    let root = Feed::load(&state).unwrap().root;
    let body = RootBody {
        version: RootVersion(2),
        ..RootBody::clone(&root)
    };
    let key = keyfile::load(&world.path("keys").join(ROOT_KEY)).unwrap();
    let next = SignedRoot::sign(&body, &[&key]).unwrap();
    tidecast_engine::master::install(&state, vec![next]).unwrap();
    for content in [b"two", b"thr"] {
        world.publish(&[("f", content)]);
        master.master.reload().unwrap();
        world.clock.advance_ms(60_000);
        mirror.sync_once().await.unwrap();
    }
    world
}

fn audited(world: &World, state: &str) -> AuditReport {
    audit(&world.path(state), world.now()).unwrap()
}

#[track_caller]
fn finds(world: &World, state: &str, what: &str) {
    let report = audited(world, state);
    let found = format!("{:?}", report.findings);
    assert!(
        !report.is_authorised() && found.contains(what),
        "{what}: {found}"
    );
}

#[track_caller]
fn is_good(world: &World, state: &str) -> AuditReport {
    let report = audited(world, state);
    assert!(report.is_authorised(), "{:?}", report.findings);
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_history_is_authorised_and_counted() {
    let world = history().await;
    let master = is_good(&world, "master");
    assert_eq!((master.roots, master.releases), (2, 3));
    assert!(master.heads >= 3, "{master:?}");
    let mirror = is_good(&world, "m.state");
    assert_eq!((mirror.roots, mirror.installs), (2, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_in_any_file_is_found() {
    let world = history().await;
    let files: [(&str, PathBuf, usize); 7] = [
        ("master", world.path("master/roots/1.root"), 0),
        ("master", world.path("master/roots/2.root"), 0),
        ("master", world.path("master/heads.log"), 0),
        ("master", world.path("master/store/releases/2.manifest"), 0),
        ("m.state", world.path("m.state/trust.log"), 0),
        ("m.state", world.path("m.state/roots/2.root"), 0),
        // The floor for the clock may lie minutes below the last head: its lowest bytes, of the last eight.
        ("m.state", world.path("m.state/counters"), 8),
    ];
    let mut flipped = 0;
    for (state, path, spare) in files {
        let whole = fs::read(&path).unwrap();
        let step = whole.len() / 40 + 1;
        for at in (0..whole.len() - spare)
            .step_by(step)
            .chain([whole.len() - spare - 1])
        {
            for bit in [0, 3, 7] {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                fs::write(&path, changed).unwrap();
                let report = audited(&world, state);
                assert!(
                    !report.is_authorised(),
                    "{}, byte {at}, bit {bit}",
                    path.display()
                );
                flipped += 1;
            }
        }
        fs::write(&path, whole).unwrap();
        is_good(&world, state);
    }
    // The upper bytes of the floor.
    let path = world.path("m.state/counters");
    let whole = fs::read(&path).unwrap();
    for at in whole.len() - 5..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(
            !audited(&world, "m.state").is_authorised(),
            "floor, byte {at}"
        );
    }
    fs::write(&path, whole).unwrap();
    println!("{flipped} flipped bits, all found");
}

/// The whole records of a chained log.
fn records(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut records = Vec::new();
    while !rest.is_empty() {
        let body = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        let (record, later) = rest.split_at(4 + 1 + 32 + 4 + body + 32);
        records.push(record.to_vec());
        rest = later;
    }
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_taken_out_or_moved_is_found() {
    let world = history().await;
    for (state, name) in [("master", "heads.log"), ("m.state", "trust.log")] {
        let path = world.path(state).join(name);
        let whole = fs::read(&path).unwrap();
        let records = records(&path);
        assert!(records.len() >= 3, "{name}");
        for at in 0..records.len() - 1 {
            let mut without = records.clone();
            without.remove(at);
            fs::write(&path, without.concat()).unwrap();
            finds(&world, state, "does not follow");
            let mut swapped = records.clone();
            swapped.swap(at, at + 1);
            fs::write(&path, swapped.concat()).unwrap();
            finds(&world, state, "does not follow");
        }
        fs::write(&path, whole).unwrap();
    }
    // The last record of a mirror's log: its counters know better.
    let path = world.path("m.state/trust.log");
    let mut cut = records(&path);
    cut.truncate(cut.len() - 2);
    fs::write(&path, cut.concat()).unwrap();
    finds(&world, "m.state", "by the log it is");
    finds(&world, "m.state", "is served, which the log does not know");
    // The whole log.
    fs::remove_file(&path).unwrap();
    finds(&world, "m.state", "no record");
}

/// As the log's owner does, so that the chain is whole.
fn append_to(log: &Path, format: &'static Format, kind: RecordKind, body: Vec<u8>) {
    let mut log = ChainLog::open(log, format, &mut |_| {}).unwrap();
    let turn = log.begin(&mut |_| {}).unwrap();
    turn.append(&[(kind, body)]).unwrap();
}

fn append(world: &World, head: Vec<u8>) {
    append_to(&world.path("master/heads.log"), &HEADS, RecordKind(1), head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_nobody_was_entitled_to_is_found_although_the_chain_is_whole() {
    let world = history().await;
    let path = world.path("master/heads.log");
    let whole = fs::read(&path).unwrap();
    let feed = Feed::load(&world.master_state()).unwrap();
    let key = feed.head_key().unwrap();
    let newest = tidecast_engine::master::newest_head(&world.master_state()).unwrap();
    let good = SignedHead::from_bytes(&newest.unwrap())
        .unwrap()
        .claims()
        .unwrap();
    type Change<'a> = &'a dyn Fn(&mut HeadBody);
    let next = |change: Change<'_>| {
        let mut body = good.clone();
        body.seq = Seq(body.seq.0 + 1);
        change(&mut body);
        body
    };
    let unknown = SecretKey::from_seed(&[9; 32]);
    let cases: [(Change<'_>, &SecretKey, &str); 8] = [
        (&|_| {}, &unknown, "0 of 1 needed signatures"),
        (&|h| h.seq = Seq(h.seq.0 - 1), &key, "after number"),
        (
            &|h| h.release = ReleaseNumber(1),
            &key,
            "announced after release",
        ),
        (&|h| h.manifest.0[0] ^= 1, &key, "is announced as release"),
        (
            &|h| h.release = ReleaseNumber(9),
            &key,
            "release 9 was announced",
        ),
        (
            &|h| h.root_version = RootVersion(3),
            &key,
            "which is not there",
        ),
        (
            &|h| h.root_version = RootVersion(1),
            &key,
            "after one made under root 2",
        ),
        (&|h| h.expires = h.expires.plus(1), &key, "the root allows"),
    ];
    for (change, key, what) in cases {
        let signed = SignedHead::sign(&next(change), &[key]).unwrap();
        append(&world, signed.to_bytes());
        finds(&world, "master", what);
        fs::write(&path, &whole).unwrap();
    }
    append(
        &world,
        SignedHead::sign(&next(&|_| {}), &[&key])
            .unwrap()
            .to_bytes(),
    );
    is_good(&world, "master");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_root_or_a_manifest_that_too_few_signed_is_found() {
    let world = history().await;
    let state = world.master_state();
    let feed = Feed::load(&state).unwrap();
    // A root 2 of somebody else's making, signed by his own key.
    let path = world.path("master/roots/2.root");
    let whole = fs::read(&path).unwrap();
    let forger = SecretKey::from_seed(&[9; 32]);
    let body = RootBody {
        root_keys: vec![forger.public()],
        ..RootBody::clone(&feed.root)
    };
    let forged = SignedRoot::sign(&body, &[&forger]).unwrap().to_bytes();
    fs::write(&path, &forged).unwrap();
    finds(&world, "master", "needed signatures");
    fs::write(&path, whole).unwrap();
    let path = world.path("m.state/roots/2.root");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &forged).unwrap();
    finds(&world, "m.state", "needed signatures");
    fs::write(&path, &whole).unwrap();
    fs::remove_file(&path).unwrap();
    finds(&world, "m.state", "root 2 was accepted, but is not there");
    fs::write(&path, &whole).unwrap();

    // Release 2 without its signatures, and with one of nobody's.
    let path = state.join("store/releases/2.manifest");
    let whole = fs::read(&path).unwrap();
    let store = Store::open(&state.join("store")).unwrap();
    let signed = store.manifest(ReleaseNumber(2)).unwrap().unwrap();
    let body = signed.body();
    let bare = [
        &(body.len() as u64).to_le_bytes()[..],
        body,
        &0_u64.to_le_bytes(),
    ]
    .concat();
    let mut by_forger = SignedManifest::from_bytes(&bare).unwrap();
    by_forger.add_signature(&forger);
    for manifest in [bare, by_forger.to_bytes()] {
        // A record of kind 2, not packed (SPEC §7.6).
        let length = u32::try_from(manifest.len()).unwrap().to_le_bytes();
        let file = [
            &[2, 0, 0, 0],
            &length[..],
            &length,
            &signed.id().0,
            &manifest,
        ]
        .concat();
        fs::write(&path, file).unwrap();
        finds(&world, "master", "needed signatures");
    }
    fs::write(&path, whole).unwrap();
    is_good(&world, "master");
}

/// The log is written before the root, the root before the counters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_that_only_the_log_knows_is_what_a_power_cut_leaves() {
    let world = history().await;
    let path = world.path("m.state/trust.log");
    let whole = fs::read(&path).unwrap();
    // Where the log begins, and the first root (SPEC §7.14).
    let mut end = 0;
    for _ in 0..2 {
        let length = u32::from_le_bytes(whole[end..end + 4].try_into().unwrap());
        end += 73 + length as usize;
    }
    fs::write(&path, &whole[..end]).unwrap();
    fs::remove_dir_all(world.path("m.state/roots")).unwrap();
    let counters = world.path("m.state/counters");
    finds(&world, "m.state", "root 1 was accepted, but is not there");
    fs::remove_file(&counters).unwrap();
    is_good(&world, "m.state");
    // Whatever follows from a root says that it was there.
    fs::write(&path, &whole).unwrap();
    finds(&world, "m.state", "unknown then");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_against_a_key_that_another_key_signed_is_found() {
    let world = history().await;
    let path = world.path("m.state/trust.log");
    let whole = fs::read(&path).unwrap();
    let signer = Feed::load(&world.master_state())
        .unwrap()
        .head_key()
        .unwrap();
    let newest = tidecast_engine::master::newest_head(&world.master_state()).unwrap();
    let newest = SignedHead::from_bytes(&newest.unwrap()).unwrap();
    let claims = newest.claims().unwrap();
    let evidence = |accused: &SecretKey, change: fn(&mut HeadBody)| {
        let mut body = claims.clone();
        change(&mut body);
        let head = SignedHead::sign(&body, &[&signer]).unwrap().to_bytes();
        let at = (world.now(), accused.public(), claims.release);
        codec::encode(&(at.0, at.1, at.2, claims.manifest, head))
    };
    let append = |body| append_to(&path, &TRUST, RecordKind(5), body);
    let innocent = SecretKey::from_seed(&[9; 32]);
    // Also where something else is wrong with the head.
    let changes: [fn(&mut HeadBody); 3] = [
        |head| head.manifest.0[0] ^= 1,
        |head| head.epoch.0 += 1,
        |head| head.expires = head.expires.plus(1),
    ];
    for change in changes {
        append(evidence(&innocent, change));
        finds(&world, "m.state", "that it did not sign");
        fs::write(&path, &whole).unwrap();
        append(evidence(&signer, change));
        is_good(&world, "m.state");
        fs::write(&path, &whole).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_a_mirror_was_not_entitled_to_is_found_although_the_chain_is_whole() {
    let world = history().await;
    let path = world.path("m.state/trust.log");
    let whole = fs::read(&path).unwrap();
    let key = Feed::load(&world.master_state())
        .unwrap()
        .head_key()
        .unwrap();
    let newest = tidecast_engine::master::newest_head(&world.master_state()).unwrap();
    let newest = newest.unwrap();
    let claims = SignedHead::from_bytes(&newest).unwrap().claims().unwrap();
    let head = |key: &SecretKey, change: fn(&mut HeadBody)| {
        let mut body = claims.clone();
        (body.release, body.manifest) = (ReleaseNumber(4), OTHER);
        change(&mut body);
        Some(SignedHead::sign(&body, &[key]).unwrap().to_bytes())
    };
    let at = world.now();
    let root = |version, id: ObjectId| {
        let body = codec::encode(&(at, RootVersion(version), id));
        (RecordKind(2), body)
    };
    let installed = |release, anchored, head: Option<Vec<u8>>| {
        let installed = (ReleaseNumber(release), OTHER, ReleaseNumber(anchored));
        (RecordKind(3), codec::encode(&(at, installed, head)))
    };
    let unknown = SecretKey::from_seed(&[9; 32]);
    let again = (
        at,
        world.feed,
        RootVersion(2),
        None::<(ReleaseNumber, ObjectId, ReleaseNumber)>,
    );
    let cases: [((RecordKind, Vec<u8>), &str); 11] = [
        (
            (RecordKind(1), codec::encode(&again)),
            "begins a second time",
        ),
        (root(2, OTHER), "root 2 was accepted as"),
        (installed(2, 2, None), "was installed after release 3"),
        (installed(3, 3, None), "was installed after release 3"),
        (installed(4, 2, None), "goes back to release 2"),
        (installed(4, 5, None), "goes back to 5"),
        (
            installed(4, 4, Some(newest.clone())),
            "for a head that names release 3",
        ),
        (
            installed(4, 4, head(&key, |head| head.manifest.0[0] ^= 1)),
            "for a head that names release 4",
        ),
        (
            installed(4, 4, head(&unknown, |_| ())),
            "0 of 1 needed signatures",
        ),
        (
            installed(4, 4, head(&key, |head| head.root_version = RootVersion(3))),
            "for a head of root 3, unknown then",
        ),
        (
            installed(4, 4, head(&key, |head| head.epoch.0 += 1)),
            "epoch",
        ),
    ];
    for ((kind, body), what) in cases {
        append_to(&path, &TRUST, kind, body);
        finds(&world, "m.state", what);
        fs::write(&path, &whole).unwrap();
    }
    // Such a step by itself is none of these; that nothing else followed it is told.
    let (kind, body) = installed(4, 4, head(&key, |_| ()));
    append_to(&path, &TRUST, kind, body);
    let found = audited(&world, "m.state").findings;
    assert!(
        found.is_empty() || found.iter().all(|found| found.place.ends_with("counters")),
        "{found:?}"
    );
    fs::write(&path, &whole).unwrap();

    // Nothing is served where something was installed.
    let current = world.docroot("m").join(".tidecast/current");
    let to = fs::read_link(&current).unwrap();
    fs::remove_file(&current).unwrap();
    finds(&world, "m.state", "nothing is served, but release 3 was");
    std::os::unix::fs::symlink(to, &current).unwrap();
    is_good(&world, "m.state");
}

/// A manifest that nobody has.
const OTHER: ObjectId = ObjectId([7; 32]);

/// A release of one file, signed by `key` and made as if `root` were the newest.
fn publish_as(world: &World, root: &Root, key: &SecretKey, content: &[u8]) {
    let feed = Feed::load(&world.master_state()).unwrap();
    let tree = world.path("tree");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("f"), content).unwrap();
    let mut writer = StoreWriter::open(&feed.store_folder()).unwrap();
    let request = PublishRequest {
        tree: &tree,
        root,
        feed: feed.id,
        keys: std::slice::from_ref(key),
        verify: feed.verify,
        notes: String::new(),
        flags: Flags::default(),
        cache: &feed.publish_cache(),
        now: world.now(),
        even_if_unchanged: true,
        above: ReleaseNumber(0),
    };
    publish(&mut writer, &request, &mut |_| {}).unwrap();
}

/// Root 2, which gives the release key's part to another.
fn replace_release_key(world: &World) -> SecretKey {
    let state = world.master_state();
    let key = SecretKey::from_seed(&[7; 32]);
    let root = Feed::load(&state).unwrap().root;
    let body = RootBody {
        version: RootVersion(2),
        release_keys: vec![key.public()],
        ..RootBody::clone(&root)
    };
    let root_key = keyfile::load(&world.path("keys").join(ROOT_KEY)).unwrap();
    let next = SignedRoot::sign(&body, &[&root_key]).unwrap();
    tidecast_engine::master::install(&state, vec![next]).unwrap();
    key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_in_the_store_is_judged_by_a_root_that_was_the_newest_when_it_was_made() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let first = Feed::load(&world.master_state()).unwrap().root;
    let old = keyfile::load(&world.path("keys").join(RELEASE_KEY)).unwrap();
    let master = RunningMaster::start(&world);
    let new = replace_release_key(&world);
    let second = Feed::load(&world.master_state()).unwrap().root;
    publish_as(&world, &second, &new, b"two");
    master.master.reload().unwrap();
    drop(master);
    let report = is_good(&world, "master");
    for step in [
        "release 1: signed by enough release keys, by root 1",
        "release 2: signed by enough release keys, by root 2",
    ] {
        assert!(report.steps.iter().any(|had| had == step), "{report:?}");
    }
    // Nobody announced it, and root 1 would allow it; but the one below was announced under root 2.
    publish_as(&world, &first, &old, b"thr");
    finds(&world, "master", "release 3: ");
    finds(&world, "master", "(under root 2)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_mirror_serves_is_judged_by_the_root_that_was_the_newest_when_it_was_installed() {
    let world = World::new();
    world.publish(&[("f", b"one")]);
    let master = RunningMaster::start(&world);
    let mirror = world.admitted_mirror("m", &master.upstream());
    master.master.reload().unwrap();
    mirror.sync_once().await.unwrap();
    let new = replace_release_key(&world);
    let second = Feed::load(&world.master_state()).unwrap().root;
    publish_as(&world, &second, &new, b"two");
    master.master.reload().unwrap();
    mirror.sync_once().await.unwrap();
    let report = is_good(&world, "m.state");
    let said = "release 2 is served: signed by enough release keys of root 2, the newest when it was installed";
    assert!(report.steps.iter().any(|had| had == said), "{report:?}");

    // As if release 2, which only root 2 allows, had been installed before that came.
    let path = world.path("m.state/trust.log");
    let mut kept = Vec::new();
    ChainLog::open(&path, &TRUST, &mut |record| {
        kept.push((record.kind, record.body.clone()));
    })
    .unwrap();
    let root_2 = kept.iter().rposition(|(kind, _)| *kind == RecordKind(2));
    let root_2 = kept.remove(root_2.unwrap());
    let last = kept.last_mut().unwrap();
    assert_eq!(last.0, RecordKind(3));
    // Without the head, which speaks of root 2 and is found out by itself: the time, three fields, no head.
    last.1.truncate(8 + 8 + 32 + 8);
    last.1.push(0);
    kept.push(root_2);
    fs::remove_file(&path).unwrap();
    let mut log = ChainLog::open(&path, &TRUST, &mut |_| {}).unwrap();
    log.begin(&mut |_| {}).unwrap().append(&kept).unwrap();
    finds(
        &world,
        "m.state",
        "(under root 1, the newest when it was installed)",
    );
}
