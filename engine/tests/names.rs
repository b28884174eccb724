//! Names that lead elsewhere: refused where a tree is published, and where a validly signed manifest holds them.

#[path = "names/hostile.rs"]
mod hostile;
mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use support::{RunningMaster, World};
use tidecast_engine::keyfile;
use tidecast_engine::master::{self, Feed};
use tidecast_engine::mirror::SyncFailure;
use tidecast_engine::publish::{PublishError, PublishRequest, publish};
use tidecast_engine::quic::{self, Bind, read_frame};
use tidecast_engine::store::{Store, StoreWriter};
use tidecast_proto::codec;
use tidecast_proto::head::{HeadBody, Phase, SignedHead};
use tidecast_proto::id::{ObjectId, ReleaseNumber, RootVersion, Seq, Timestamp};
use tidecast_proto::key::SecretKey;
use tidecast_proto::manifest::{Flags, SignedManifest};
use tidecast_proto::name::ReleasePath;
use tidecast_proto::wire::{
    Encoding, FrameType, ObjectHeader, ObjectName, PROTOCOL, Request, Welcome, frame,
};

/// Everything below a folder: what it is, what it holds, when it changed.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let found = path.symlink_metadata().unwrap();
            let what = if found.is_dir() {
                folders.push(path.clone());
                "folder".to_owned()
            } else if found.is_symlink() {
                format!("link to {}", std::fs::read_link(&path).unwrap().display())
            } else {
                let hash = blake3::hash(&std::fs::read(&path).unwrap());
                format!(
                    "{hash} {:?} {:?}",
                    found.modified().unwrap(),
                    found.permissions()
                )
            };
            all.insert(path, what);
        }
    }
    all
}

/// Whether a file of this name can be made on Linux.
fn can_exist(path: &[u8]) -> bool {
    let fits = |part: &[u8]| {
        !matches!(part, b"" | b"." | b"..") && part.len() <= 255 && !part.contains(&0)
    };
    path.len() < 3000 && path.split(|byte| *byte == b'/').all(fits)
}

#[test]
fn a_tree_that_holds_a_hostile_name_is_not_published() {
    let world = World::new();
    let feed = Feed::load(&world.master_state()).unwrap();
    let key = keyfile::load(&world.path("keys").join(master::RELEASE_KEY)).unwrap();
    let mut writer = StoreWriter::open(&feed.store_folder()).unwrap();
    let tree = world.path("hostile");
    let names = hostile::all();
    assert!(names.len() >= 200, "{} names", names.len());
    let (mut made, mut cannot) = (0, 0);
    for name in &names {
        if !can_exist(name) {
            cannot += 1;
            continue;
        }
        let path = tree.join(OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(tree.join("good"), b"good").unwrap();
        std::fs::write(&path, b"hostile").unwrap_or_else(|e| panic!("{name:?}: {e}"));
        let refused = publish(
            &mut writer,
            &PublishRequest {
                tree: &tree,
                root: &feed.root,
                feed: feed.id,
                keys: std::slice::from_ref(&key),
                verify: feed.verify,
                notes: String::new(),
                flags: Flags::default(),
                cache: &feed.publish_cache(),
                now: world.now(),
                even_if_unchanged: false,
                above: ReleaseNumber(0),
            },
            &mut |_| {},
        );
        let name = String::from_utf8_lossy(name);
        assert!(
            matches!(refused, Err(PublishError::Tree { .. })),
            "{name:?}: {refused:?}"
        );
        std::fs::remove_dir_all(&tree).unwrap();
        made += 1;
    }
    println!(
        "{} hostile names: {made} in trees, {cannot} that no file system holds",
        names.len()
    );
    assert!(writer.store().newest().is_none());
    assert!(made >= 150);
}

/// What an upstream that has every key shows next.
#[derive(Default)]
struct Shown {
    head: Vec<u8>,
    manifest: Vec<u8>,
    /// How often the manifest was asked for.
    asked: usize,
}

/// An upstream of the feed that shows `shown`.
fn upstream(feed: &Feed, shown: &Arc<Mutex<Shown>>) -> quinn::Endpoint {
    let bind = Bind::udp(([127, 0, 0, 1], 0).into()).unwrap();
    let endpoint = quic::server(bind, &feed.node_key().unwrap()).unwrap();
    let shown = shown.clone();
    support::upstream::serve(endpoint.clone(), move |_, mut send, mut receive| {
        let shown = shown.clone();
        async move {
            let Ok(Some((kind, body))) = read_frame(&mut receive).await else {
                return;
            };
            let answer = answer(&shown, &Request::decode(kind, &body).unwrap());
            let _ = send.write_all(&answer).await;
            let _ = send.finish();
        }
    });
    endpoint
}

fn answer(shown: &Mutex<Shown>, request: &Request) -> Vec<u8> {
    let mut shown = shown.lock().unwrap();
    match request {
        Request::Hello(_) => Welcome {
            protocol: PROTOCOL,
            root_version: RootVersion(1),
            head: Some(shown.head.clone()),
            extensions: Vec::new(),
        }
        .to_frame(),
        Request::Object(ObjectName::Manifest(_)) => {
            shown.asked += 1;
            let length = shown.manifest.len() as u64;
            let header = ObjectHeader {
                encoding: Encoding::PLAIN,
                opened_bytes: length,
                packed_bytes: length,
            };
            [header.to_frame(), frame(FrameType::PART, &shown.manifest)].concat()
        }
        _ => frame(FrameType::ABSENT, &[]),
    }
}

/// A manifest's body with another path in the place of `stand_in`, encoded by hand: no type of ours would.
fn with_path(body: &[u8], stand_in: &str, path: &[u8]) -> Vec<u8> {
    let needle = stand_in.as_bytes();
    let at = body
        .windows(needle.len())
        .position(|bytes| bytes == needle)
        .unwrap();
    let length = (path.len() as u64).to_le_bytes();
    [&body[..at - 8], &length, path, &body[at + needle.len()..]].concat()
}

/// A manifest as a release key signs it.
fn signed(body: &[u8], key: &SecretKey) -> Vec<u8> {
    use ed25519_dalek::Signer;
    let message = [b"tidecast/manifest/v1\0", body].concat();
    let signature = key.as_dalek().sign(&message).to_bytes();
    let mut bytes = (body.len() as u64).to_le_bytes().to_vec();
    bytes.extend(body);
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend(key.public().as_bytes());
    bytes.extend(signature);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_manifest_that_holds_a_hostile_name_changes_nothing_at_a_mirror() {
    let world = World::new();
    let outside = world.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("passwd"), b"root").unwrap();
    world.publish(&[("good", b"one"), ("stand-in", b"hostile")]);
    let feed = Feed::load(&world.master_state()).unwrap();
    let shown = Arc::new(Mutex::new(Shown::default()));
    let endpoint = upstream(&feed, &shown);
    let address = endpoint.local_addr().unwrap().to_string();
    let mirror = {
        let master = RunningMaster::start(&world);
        let first = world.admitted_mirror("m", &master.upstream());
        master.master.reload().unwrap();
        first.sync_once().await.unwrap();
        let config = tidecast_engine::config::MirrorConfig {
            upstreams: vec![address],
            ..first.config().clone()
        };
        drop(first);
        support::reopen(&world, &world.path("m.state"), config).await
    };
    std::fs::write(world.docroot("m").join("local_notes"), b"mine").unwrap();

    let release_key = keyfile::load(&world.path("keys").join(master::RELEASE_KEY)).unwrap();
    let head_key = feed.head_key().unwrap();
    let store = Store::open(&feed.store_folder()).unwrap();
    let first = store.manifest(ReleaseNumber(1)).unwrap().unwrap();
    let first = first.verify_stored(&feed.root, &feed.id).unwrap();
    let mut body = (*first).clone();
    body.release = ReleaseNumber(2);
    body.previous = Some(first.id());
    let body = codec::encode(&body);
    let mut seq = world.now().0 + 1_000_000;
    let mut show = |body: &[u8], release: u64| {
        seq += 1;
        let head = HeadBody {
            feed: feed.id,
            epoch: feed.root.epoch,
            seq: Seq(seq),
            issued: world.now(),
            expires: Timestamp(world.now().0 + 3_600_000),
            release: ReleaseNumber(release),
            manifest: ObjectId::of(body),
            manifest_bytes: body.len() as u64,
            root_version: RootVersion(1),
            phase: Phase::LIVE,
            extensions: Vec::new(),
        };
        *shown.lock().unwrap() = Shown {
            head: SignedHead::sign(&head, &[&head_key]).unwrap().to_bytes(),
            manifest: signed(body, &release_key),
            asked: 0,
        };
    };
    // What is made by hand is what a release key would sign: a good name passes.
    let good = with_path(&body, "stand-in", b"stand-in");
    assert_eq!(good, body);
    let manifest = SignedManifest::from_bytes(&signed(&good, &release_key)).unwrap();
    assert_eq!(manifest.id(), ObjectId::of(&good));
    show(&good, 2);
    let missing = mirror.sync_once().await;
    assert!(missing.is_ok(), "{missing:?}");

    // Each is a sync of its own: half of them, unless there is time.
    let long = std::env::var_os("TIDECAST_LONG").is_some();
    let names = hostile::all();
    let names: Vec<_> = names.iter().step_by(if long { 1 } else { 2 }).collect();
    let mut body = (*first).clone();
    body.release = ReleaseNumber(3);
    let body = codec::encode(&body);
    let before = (snapshot(&world.docroot("m")), snapshot(&outside));
    for name in &names {
        let text = String::from_utf8_lossy(name);
        assert!(
            std::str::from_utf8(name).is_err() || ReleasePath::new(&*text).is_err(),
            "{text:?}"
        );
        show(&with_path(&body, "stand-in", name), 3);
        let refused = mirror.sync_once().await.unwrap_err();
        assert!(
            matches!(
                refused,
                SyncFailure::Sync(_) | SyncFailure::Unreachable { .. }
            ),
            "{text:?}: {refused}"
        );
        assert!(
            refused.to_string().contains("manifest"),
            "{text:?}: {refused}"
        );
        assert_eq!(shown.lock().unwrap().asked, 1, "{text:?}");
        assert_eq!(
            (snapshot(&world.docroot("m")), snapshot(&outside)),
            before,
            "{text:?}"
        );
    }
    println!(
        "{} hostile names in signed manifests, none accepted",
        names.len()
    );
    assert!(names.len() >= 200);
}
