//! Feeds and releases: what is made, and what is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::Value;

use crate::command::{Place, names};

#[test]
fn a_feed_is_made_once_and_its_keys_are_kept_apart() {
    let place = Place::new();
    let init = ["feed", "init", "--feed", "clamav", "--json"];
    let made = place.run("master", &init).object();
    assert_eq!(made["feed"], "clamav");
    assert_eq!(made["fingerprint"].as_str().unwrap().len(), 64);
    assert_eq!(made["words"].as_str().unwrap().split(' ').count(), 24);
    let keys = |folder: &str| -> Vec<String> {
        let keys = names(&place.path(folder)).into_iter();
        keys.filter(|path| path.extension().is_some_and(|end| end == "key"))
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(keys("master"), ["head.key", "node.key"]);
    assert_eq!(keys("master-keys"), ["release.key", "root.key"]);

    let before = names(&place.path("master"));
    let again = place.run("master", &["feed", "init", "--feed", "other"]);
    again.refused(73, &["already holds a feed", "nothing was changed"]);
    assert_eq!(names(&place.path("master")), before);
}

#[test]
fn a_feeds_name_must_be_safe() {
    let place = Place::new();
    let ran = place.run("master", &["feed", "init", "--feed", "../x"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("\"../x\""), "{ran:?}");
    assert!(!place.path("master").exists());
}

#[test]
fn publishing_counts_what_changed() {
    let place = Place::with_feed();
    let tree = place.tree("tree", &["a.hdb", "b.hdb"]);
    let publish = ["publish", &place.text("tree"), "--json"];
    let first = place.run("master", &publish).object();
    let of = |object: &Value, field: &str| object[field].as_u64().unwrap();
    for (field, count) in [("release", 1), ("files", 2), ("changed", 2), ("removed", 0)] {
        assert_eq!(of(&first, field), count, "{field}");
    }
    assert!(of(&first, "new_bytes") > 0 && first["seconds"].is_number());
    assert_eq!(first["announced"], false);

    assert_eq!(place.run("master", &publish).object()["created"], false);
    fs::remove_file(tree.join("b.hdb")).unwrap();
    fs::write(tree.join("a.hdb"), "other").unwrap();
    let second = place.run("master", &publish).object();
    for (field, count) in [("release", 2), ("files", 1), ("changed", 1), ("removed", 1)] {
        assert_eq!(of(&second, field), count, "{field}");
    }
}

#[test]
fn a_tree_with_anything_but_plain_files_under_safe_names_is_refused_by_name() {
    let place = Place::with_feed();
    let tree = place.tree("tree", &["a.hdb", "local_x", "ä.hdb"]);
    symlink("/etc/passwd", tree.join("link")).unwrap();
    let before = names(&place.path("master"));
    place
        .publish("tree")
        .refused(65, &["link: ", "local_x: ", "publish again"]);
    let status = place.run("master", &["status", "--json"]).judged();
    assert!(status["newest"].is_null());
    let added: Vec<PathBuf> = names(&place.path("master"))
        .into_iter()
        .filter(|path| !before.contains(path) && path.extension().is_some_and(|e| e == "release"))
        .collect();
    assert!(added.is_empty(), "{added:?}");
}

#[test]
fn an_empty_tree_is_never_meant() {
    let place = Place::with_feed();
    place.tree("tree", &[]);
    place.publish("tree").refused(66, &["holds no files"]);
    place
        .publish("nowhere")
        .refused(66, &["there is no folder", "nowhere", "check the path"]);
}

#[test]
fn publishing_without_the_release_key_says_which_file_is_missing() {
    let place = Place::with_feed();
    place.tree("tree", &["a.hdb"]);
    let keys = place.text("elsewhere");
    let ran = place.run("master", &["publish", &place.text("tree"), "--keys", &keys]);
    ran.refused(66, &["elsewhere/release.key", "--keys"]);
}

#[test]
fn a_single_file_is_no_release() {
    let place = Place::with_feed();
    place.tree("tree", &["a.hdb"]);
    place
        .publish("tree/a.hdb")
        .refused(66, &["tree/a.hdb is not a folder", "name the folder"]);
}

#[test]
fn a_key_that_others_may_read_signs_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_feed();
    place.tree("tree", &["a.hdb"]);
    let key = place.path("master-keys/release.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    place
        .publish("tree")
        .refused(77, &["release.key is open to others", "0644", "chmod 600"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(place.publish("tree").code, 0);
}
