//! The ceremony: three sigmakers, two of whom sign, each on a machine of his own; a master, and a mirror.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::command::{Ran, run};
use support::world::World;
use tidecast_engine::keyfile;
use tidecast_engine::master::Feed;
use tidecast_engine::proposal::{Proposal, ProposalError};
use tidecast_engine::roots;
use tidecast_proto::id::Timestamp;
use tidecast_proto::key::SecretKey;
use tidecast_proto::root::{RootBody, SignedRoot};

/// Replaces the feed's release keys by three, of which two must sign; before its master starts.
fn three_sigmakers(world: &World) {
    let keys: Vec<SecretKey> = ["s1.key", "s2.key", "s3.key"]
        .map(|name| keyfile::generate_at(&world.path(name)).unwrap())
        .into();
    next_root(world, |root| {
        root.release_keys = keys.iter().map(SecretKey::public).collect();
        root.release_keys.sort_unstable();
        root.release_threshold = 2;
    });
}

fn next_root(world: &World, change: impl FnOnce(&mut RootBody)) {
    let folder = world.path("master/roots");
    let mut chain = roots::load(&folder).unwrap().into_iter();
    let first = chain.next().unwrap();
    let feed = tidecast_proto::id::FeedId(first.id().0);
    let mut root = first.verify_first(&feed).unwrap();
    for next in chain {
        root = next.verify_next(&root).unwrap();
    }
    let mut body = RootBody::clone(&root);
    body.version.0 += 1;
    change(&mut body);
    let key = keyfile::load(&world.path("master-keys/root.key")).unwrap();
    let signed = SignedRoot::sign(&body, &[&key]).unwrap();
    roots::store(&folder, body.version, &signed).unwrap();
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A machine that has a key, a copy of the contents and the roots, and no store.
struct Sigmaker<'a> {
    world: &'a World,
    key: String,
}

impl<'a> Sigmaker<'a> {
    fn new(world: &'a World, key: &str) -> Self {
        Self {
            world,
            key: text(&world.path(key)),
        }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let roots = text(&self.world.path("master/roots"));
        let mut arguments = arguments.to_vec();
        arguments.extend(["--root", &roots]);
        run(&self.world.path("sigmaker"), &arguments)
    }

    fn sign(&self, file: &Path, more: &[&str]) -> Ran {
        let file = text(file);
        let mut arguments = vec!["release", "sign", &file, "--key", &self.key];
        arguments.extend(more);
        self.run(&arguments)
    }
}

fn propose(world: &World, files: &[(&str, &[u8])]) -> (PathBuf, Value) {
    world.lay_out(files);
    let tree = text(&world.tree());
    let proposed = world
        .on_master(&["release", "propose", &tree, "--json"])
        .object();
    (proposed["file"].as_str().unwrap().into(), proposed)
}

fn newest(world: &World) -> u64 {
    let listed = world.on_master(&["release", "list", "--json"]).object();
    let newest = listed["releases"].as_array().unwrap().last().cloned();
    newest.map_or(0, |newest| newest["release"].as_u64().unwrap())
}

#[test]
fn two_of_three_sign_on_machines_of_their_own_and_a_mirror_has_it_within_a_second() {
    let mut world = World::new("none");
    three_sigmakers(&world);
    world.start_master();
    let mirror = world.serving("m");
    let (file, proposed) = propose(&world, &[("a.hdb", b"one"), ("b.hdb", b"two")]);
    assert_eq!(
        (&proposed["needed"], &proposed["state"]),
        (&2.into(), &"open".into())
    );
    let tree = text(&world.tree());
    world.on_master(&["publish", &tree]).refused(
        77,
        &["2 release keys this feed needs", "release propose TREE"],
    );

    // A copy travels to each of them.
    let copy = |name: &str| {
        let to = world.path(name);
        fs::create_dir(&to).unwrap();
        let to = to.join(file.file_name().unwrap());
        fs::copy(&file, &to).unwrap();
        to
    };
    let (first, second) = (copy("one"), copy("two"));
    let (s1, s2) = (
        Sigmaker::new(&world, "s1.key"),
        Sigmaker::new(&world, "s2.key"),
    );
    let shown = s1.run(&["release", "show", first.to_str().unwrap()]);
    shown.says("+ a.hdb");
    shown.says("0 of 2 needed signatures");
    s1.sign(&first, &["--tree", &tree])
        .says("1 of 2 needed signatures");
    let signed = s2.sign(&second, &["--tree", &tree, "--json"]).object();
    assert_eq!(signed["contents_checked"], true);

    let add = |file: &Path| {
        world
            .on_master(&["release", "add", file.to_str().unwrap(), "--json"])
            .object()
    };
    let added = add(&first);
    assert_eq!(
        (&added["new_signatures"], &added["released"]),
        (&1.into(), &false.into())
    );
    assert_eq!(add(&first)["new_signatures"], 0);
    assert_eq!(newest(&world), 0);
    let added = add(&second);
    assert_eq!(
        (&added["released"], &added["announced"]),
        (&true.into(), &true.into())
    );
    mirror.reaches(1);
    assert_eq!(mirror.file("a.hdb").unwrap(), b"one");
    world
        .on_master(&["release", "add", second.to_str().unwrap()])
        .refused(1, &["release 1", "announced already"]);
}

#[test]
fn a_signer_whose_copy_differs_signs_nothing_and_one_without_a_copy_must_say_so() {
    let world = World::new("none");
    three_sigmakers(&world);
    let (file, _) = propose(&world, &[("a.hdb", b"one"), ("b.hdb", b"two"), ("c", b"3")]);
    let before = fs::read(&file).unwrap();
    let s1 = Sigmaker::new(&world, "s1.key");
    let tree = text(&world.tree());
    world.lay_out(&[("a.hdb", b"six"), ("c", b"33"), ("d", b"")]);
    s1.sign(&file, &["--tree", &tree]).refused(
        65,
        &[
            "not signed: 4 files are not as in",
            "a.hdb has another content",
            "b.hdb is not in your copy",
            "c has 2 bytes in your copy, 1 in the proposal",
            "d is only in your copy",
        ],
    );
    let unasked = s1.sign(&file, &[]);
    assert_eq!(unasked.code, 1, "{unasked:?}");
    assert!(unasked.err.contains("CONTENTS NOT CHECKED"), "{unasked:?}");
    assert_eq!(fs::read(&file).unwrap(), before);
    let signed = s1.sign(&file, &["--yes"]);
    signed.says("CONTENTS NOT CHECKED");
    s1.sign(&file, &["--yes"])
        .refused(1, &["has signed it already"]);
    let stranger = text(&world.path("master-keys/release.key"));
    s1.run(&["release", "sign", &text(&file), "--key", &stranger, "--yes"])
        .refused(77, &["no release key of this feed"]);
}

#[test]
fn what_was_tampered_with_is_of_another_feed_or_too_late_is_refused_with_a_reason() {
    let world = World::new("none");
    three_sigmakers(&world);
    let (file, _) = propose(&world, &[("a.hdb", b"one")]);
    let s1 = Sigmaker::new(&world, "s1.key");

    // One byte of what is signed: the name no longer fits.
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(5).position(|w| w == b"a.hdb").unwrap();
    bytes[at] = b'b';
    let changed = world.path(file.file_name().unwrap().to_str().unwrap());
    fs::write(&changed, &bytes).unwrap();
    s1.sign(&changed, &["--yes"])
        .refused(65, &["was changed since it was proposed"]);
    world
        .on_master(&["release", "add", changed.to_str().unwrap()])
        .refused(65, &["was changed since it was proposed"]);

    let other = World::new("none");
    let roots = text(&other.path("master/roots"));
    let key = text(&world.path("s1.key"));
    let ran = run(
        &world.path("sigmaker"),
        &[
            "release",
            "sign",
            &text(&file),
            "--key",
            &key,
            "--yes",
            "--root",
            &roots,
        ],
    );
    ran.refused(78, &["is for feed"]);
    let ran = run(
        &world.path("sigmaker"),
        &["release", "sign", &text(&file), "--key", &key],
    );
    ran.refused(66, &["root is not at hand", "--root"]);

    // Two at once: the second is stale when the first is released.
    let (late, _) = propose(&world, &[("a.hdb", b"two")]);
    for key in ["s1.key", "s2.key"] {
        let key = text(&world.path(key));
        let id = file.file_name().unwrap().to_str().unwrap();
        let ran = world.on_master(&["release", "sign", id, "--key", &key, "--yes", "--json"]);
        ran.object();
    }
    assert_eq!(newest(&world), 1);
    let key = text(&world.path("s1.key"));
    world
        .on_master(&["release", "sign", &text(&late), "--key", &key, "--yes"])
        .refused(1, &["is stale", "the newest release is 1"]);
    world
        .on_master(&["release", "show", &text(&late)])
        .says("STALE");
    let name = late.file_name().unwrap().to_str().unwrap();
    world
        .on_master(&["release", "drop", name])
        .says("is dropped");
    assert!(!late.exists());

    next_root(&world, |root| root.expires = Timestamp(1));
    let tree = text(&world.tree());
    world
        .on_master(&["release", "propose", &tree])
        .refused(65, &["root has expired", "root rotate"]);
}

#[test]
fn whoever_adds_a_detached_signature_is_told_why_that_takes_everybody_and_what_does_not() {
    let world = World::new("none");
    three_sigmakers(&world);
    let (file, _) = propose(&world, &[("a.hdb", b"one")]);
    let path = text(&file);
    for key in ["s1.key", "s2.key"] {
        let key = text(&world.path(key));
        world
            .on_master(&["release", "sign", &path, "--key", &key, "--yes"])
            .says("signed release 1");
    }
    assert_eq!(newest(&world), 1);
    world.lay_out(&[
        ("a.hdb", b"one"),
        ("daily-27000.cvd.sign", b"#clamsign-1.0"),
    ]);
    let tree = text(&world.tree());
    let why = "more than an addition: daily-27000.cvd.sign is new, and what a .sign file says only clients can check; \
        publish the databases and cdiffs without it first, and every .sign with the next release that is signed whole";
    let proposed = world.on_master(&["release", "propose", &tree]);
    proposed.says("it needs 2 signatures, because");
    proposed.says(why);
    let (file, proposed) = propose(
        &world,
        &[
            ("a.hdb", b"one"),
            ("daily-27000.cvd.sign", b"#clamsign-1.0 "),
        ],
    );
    assert!(why.ends_with(proposed["not_an_addition"].as_str().unwrap()));
    let path = text(&file);
    let shown = world.on_master(&["release", "show", &path]);
    shown.says("0 of 2 needed signatures");
    shown.says(why);
    let key = text(&world.path("s3.key"));
    let signed = world.on_master(&["release", "sign", &path, "--key", &key, "--yes"]);
    signed.says("1 of 2 needed signatures");
    signed.says(why);
}

#[test]
fn single_files_are_added_and_removed_without_the_tree() {
    let world = World::new("none");
    world.publish(&[("a.hdb", b"one"), ("b.hdb", b"two"), ("c", b"3")]);
    let file = world.path("own.hdb");
    fs::write(&file, "new").unwrap();
    let file = text(&file);
    let moved = format!("sub/x.hdb={file}");
    let proposed = world.on_master(&[
        "release", "propose", "--add", &file, &moved, "--remove", "c", "--json",
    ]);
    let proposed = proposed.object();
    let changes: Vec<_> = proposed["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            (
                change["path"].as_str().unwrap(),
                change["kind"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        changes,
        [
            ("c", "removed"),
            ("own.hdb", "added"),
            ("sub/x.hdb", "added")
        ]
    );
    assert_eq!(proposed["files"], 4);
    world
        .on_master(&["release", "propose", "--remove", "nowhere"])
        .refused(66, &["nowhere is not in the newest release"]);
    // One signature is enough here.
    let id = proposed["manifest"].as_str().unwrap().get(..12).unwrap();
    let signed = world
        .on_master(&["release", "sign", id, "--yes", "--json"])
        .object();
    assert_eq!((&signed["released"], newest(&world)), (&true.into(), 2));
}

#[test]
fn a_release_is_withdrawn_by_a_newer_one_and_what_came_later_stays() {
    let mut world = World::running("none");
    let mirror = world.serving("m");
    world.publish(&[("a", b"1"), ("b", b"1"), ("c", b"1"), ("gone", b"1")]);
    world.publish(&[("a", b"2"), ("b", b"2"), ("c", b"1"), ("new", b"2")]);
    world.publish(&[("a", b"2"), ("b", b"3"), ("c", b"3"), ("new", b"2")]);
    mirror.reaches(3);
    let shown = world
        .on_master(&["release", "withdraw", "2", "-n", "--json"])
        .object();
    assert_eq!(shown["kept"], serde_json::json!(["b"]));
    assert_eq!(shown["done"], false);
    let asked = world.on_master(&["release", "withdraw", "2"]);
    assert_eq!(asked.code, 1, "{asked:?}");
    assert!(asked.out.contains("--revoke-manifest"), "{asked:?}");
    assert_eq!(newest(&world), 3);

    let done = world
        .on_master(&["release", "withdraw", "2", "--yes", "--json"])
        .object();
    assert_eq!((&done["done"], &done["release"]), (&true.into(), &4.into()));
    assert_eq!(done["allow_database_rollback"], false);
    mirror.reaches(4);
    let file = |name: &str| {
        mirror
            .file(name)
            .map(|bytes| String::from_utf8(bytes).unwrap())
    };
    assert_eq!(file("a").as_deref(), Some("1"));
    assert_eq!(file("b").as_deref(), Some("3"));
    assert_eq!(file("c").as_deref(), Some("3"));
    assert_eq!(file("gone").as_deref(), Some("1"));
    assert_eq!(file("new"), None);
    world
        .on_master(&["release", "withdraw", "2", "--yes"])
        .refused(1, &["nothing that release 2 did is left"]);
    world
        .on_master(&["release", "withdraw", "1", "--yes"])
        .refused(65, &["the release before 1 is not in the store"]);
    world
        .on_master(&["release", "withdraw", "9", "--yes"])
        .refused(66, &["release 9 is not in the store"]);
    world.stop_master();
}

#[test]
fn a_database_that_would_go_back_is_told_with_the_version_that_cures_it() {
    let world = World::new("none");
    three_sigmakers(&world);
    let sign = |file: &Path| {
        for key in ["s1.key", "s3.key"] {
            let key = text(&world.path(key));
            world
                .on_master(&[
                    "release",
                    "sign",
                    &text(file),
                    "--key",
                    &key,
                    "--yes",
                    "--json",
                ])
                .object();
        }
    };
    let container = |version: u32| {
        let mut header = format!(
            "ClamAV-VDB:22 Jun 2021 21-34 -0400:{version}:1:81:{}:X:nobody:1624412045",
            "0".repeat(32)
        );
        header.push_str(&" ".repeat(512 - header.len()));
        header
    };
    for version in [7, 9] {
        let (file, _) = propose(&world, &[("own.cvd", container(version).as_bytes())]);
        sign(&file);
    }
    let shown = world.on_master(&["release", "withdraw", "2", "-n"]);
    shown.says("own.cvd goes back from version 9 to 7");
    shown.says("version 10 or higher");
    let made = world
        .on_master(&["release", "withdraw", "2", "--yes", "--json"])
        .object();
    assert_eq!(made["allow_database_rollback"], true);
    assert_eq!(made["databases"][0]["rebuild_as"], 10);
    assert_eq!((&made["done"], newest(&world)), (&false.into(), 2));
    sign(Path::new(made["proposal"].as_str().unwrap()));
    assert_eq!(newest(&world), 3);
    let shown = world
        .on_master(&["release", "show", "3", "--json"])
        .object();
    assert_eq!(shown["changes"][0]["new_version"], 7);
    assert_eq!(shown["signers"].as_array().unwrap().len(), 2);
}

#[test]
fn a_proposal_whose_number_was_announced_meanwhile_is_not_released() {
    let mut world = World::running("none");
    world.publish(&[("a", b"1")]);
    let (file, _) = propose(&world, &[("a", b"2")]);
    let kept = fs::read(&file).unwrap();
    assert_eq!(world.publish(&[("a", b"3")]), 2);
    world.stop_master();
    // The store comes back from an old backup, with the proposal.
    fs::remove_file(world.path("master/store/releases/2.manifest")).unwrap();
    fs::write(&file, kept).unwrap();
    let file = text(&file);
    let why = &["has announced release 2", "propose it anew"];
    let signed = world.on_master(&["release", "sign", &file, "--yes"]);
    assert_eq!(signed.code, 1, "{signed:?}");
    assert!(why.iter().all(|why| signed.err.contains(why)), "{signed:?}");
    world.on_master(&["release", "add", &file]).refused(1, why);
    assert_eq!(newest(&world), 1);
}

#[test]
fn signatures_that_come_meanwhile_stay_and_a_proposal_that_is_gone_stays_gone() {
    let world = World::new("none");
    three_sigmakers(&world);
    let (file, _) = propose(&world, &[("a.hdb", b"one")]);
    let root = Feed::load(&world.path("master")).unwrap().root;
    let key = |name: &str| keyfile::load(&world.path(name)).unwrap();
    // Both have read it before either has signed it.
    let mut first = Proposal::read(&file).unwrap();
    let mut second = first.clone();
    let mut third = first.clone();
    first
        .amend(&file, |there| there.sign(&key("s1.key"), &root))
        .unwrap();
    second
        .amend(&file, |there| there.sign(&key("s2.key"), &root))
        .unwrap();
    assert!(second.tally(&root).is_enough());
    let there = Proposal::read(&file).unwrap();
    assert_eq!(there.tally(&root).signers.len(), 2);

    fs::remove_file(&file).unwrap();
    let gone = third.amend(&file, |there| there.sign(&key("s3.key"), &root));
    assert!(matches!(gone, Err(ProposalError::NotThere { .. })));
    assert!(!file.exists());
}

#[test]
fn whoever_installs_a_root_that_revokes_what_the_newest_release_adds_to_is_told() {
    let world = World::new("none");
    three_sigmakers(&world);
    next_root(&world, |root| root.added_threshold = 1);
    let (file, _) = propose(&world, &[("a.hdb", b"one")]);
    let sign = |file: &str, key: &str| {
        let key = text(&world.path(key));
        let sign = ["release", "sign", file, "--key", &key, "--yes", "--json"];
        world.on_master(&sign).object()
    };
    sign(&text(&file), "s1.key");
    let anchor = Proposal::read(&file).unwrap().id();
    assert_eq!(sign(&text(&file), "s2.key")["released"], true);
    let tree = text(&world.tree());
    let again = ["release", "propose", &tree, "--force", "--json"];
    let again = world.on_master(&again).object();
    let signed = sign(again["file"].as_str().unwrap(), "s3.key");
    assert_eq!((&signed["released"], newest(&world)), (&true.into(), 2));
    let install = |version: u64| {
        let root = text(&world.path(&format!("master/roots/{version}.root")));
        let install = ["root", "install", &root, "--json"];
        world.on_master(&install).object()["warnings"].to_string()
    };
    assert_eq!(install(3), "[]");
    next_root(&world, |root| root.revoked_manifests.push(anchor));
    let warnings = install(4);
    assert!(
        warnings.contains("release 2 cannot be announced under root 4"),
        "{warnings}"
    );
}
