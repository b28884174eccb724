//! Keys and roots as their holders make them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::command::Place;

/// A file for one person alone.
fn secret(place: &Place, name: &str, text: &str) -> String {
    let path = place.path(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    place.text(name)
}

/// A key of `role` in the file `name`, and its public half.
fn key(place: &Place, role: &str, name: &str) -> String {
    let out = place.text(name);
    let made = place.run("nobody", &["--json", "key", "new", role, "--out", &out]);
    made.object()["public_key"].as_str().unwrap().to_owned()
}

/// Keys of everybody and an unsigned first root in the file `root`.
fn draft(place: &Place) -> Value {
    for (role, name) in [
        ("root", "a"),
        ("root", "b"),
        ("root", "c"),
        ("release", "release"),
        ("head", "master/head.key"),
        ("node", "master/node.key"),
    ] {
        key(place, role, name);
    }
    let at = |name: &str| place.text(name);
    let master = format!("north={}@master.example.org", at("master/node.key"));
    let (a, b, c) = (at("a"), at("b"), at("c"));
    let (release, head, out) = (at("release"), at("master/head.key"), at("root"));
    place
        .run(
            "nobody",
            &[
                "--json",
                "root",
                "new",
                "--feed",
                "t",
                "--root-key",
                &a,
                "--root-key",
                &b,
                "--root-key",
                &c,
                "--release-key",
                &release,
                "--head-key",
                &head,
                "--master",
                &master,
                "--out",
                &out,
            ],
        )
        .object()
}

#[test]
fn a_key_is_made_once_shown_and_never_replaced() {
    let place = Place::new();
    let public = key(&place, "root", "root.key");
    let file = place.text("root.key");
    let shown = place
        .run("nobody", &["--json", "key", "show", &file])
        .object();
    assert_eq!(shown["public_key"], public.as_str());
    assert_eq!(
        (&shown["encrypted"], &shown["private"]),
        (&false.into(), &true.into())
    );
    assert_eq!(shown["roles"], serde_json::json!([]));
    place
        .run("nobody", &["key", "new", "root", "--out", &file])
        .refused(73, &["root.key exists", "nothing was changed"]);
    let hex = place.run("nobody", &["key", "show", "--hex", &file]);
    assert_eq!(hex.out.trim(), public);
    let pem = place.run("nobody", &["key", "show", "--pem", &file]).out;
    fs::write(place.path("root.pub"), pem).unwrap();
    let shown = place
        .run(
            "nobody",
            &["--json", "key", "show", &place.text("root.pub")],
        )
        .object();
    assert_eq!(shown["public_key"], public.as_str());
    assert_eq!(shown["private"], false);
}

#[test]
fn a_key_under_a_passphrase_opens_with_it_and_with_nothing_else() {
    let place = Place::new();
    let file = place.text("root.key");
    let right = secret(&place, "right", "käse & wein\n");
    let wrong = secret(&place, "wrong", "käse\n");
    let empty = secret(&place, "empty", "\n");
    let new = ["key", "new", "root", "--out", &file, "--passphrase-file"];
    place
        .run("nobody", &[&new[..], &[&empty]].concat())
        .refused(65, &["the passphrase is empty"]);
    let made = place.run("nobody", &[&["--json"], &new[..], &[&right]].concat());
    let public = made.object()["public_key"].clone();
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .contains("ENCRYPTED PRIVATE KEY")
    );
    let show = ["key", "show", "--json", &file];
    let shown = place
        .run(
            "nobody",
            &[&show[..], &["--passphrase-file", &right]].concat(),
        )
        .object();
    assert_eq!(
        (&shown["public_key"], &shown["encrypted"]),
        (&public, &true.into())
    );
    let refused = place.run(
        "nobody",
        &["key", "show", &file, "--passphrase-file", &wrong],
    );
    refused.refused(77, &["wrong passphrase", "root.key"]);
    place
        .run("nobody", &["key", "show", &file])
        .refused(66, &["no terminal", "--passphrase-file"]);
    fs::set_permissions(place.path("right"), fs::Permissions::from_mode(0o644)).unwrap();
    place
        .run(
            "nobody",
            &["key", "show", &file, "--passphrase-file", &right],
        )
        .refused(77, &["right is open to others"]);
}

#[test]
fn a_daemons_key_is_never_put_under_a_passphrase() {
    let place = Place::new();
    let passphrase = secret(&place, "passphrase", "x\n");
    for role in ["head", "node"] {
        let arguments = ["key", "new", role, "--passphrase-file", &passphrase];
        place
            .run("master", &arguments)
            .refused(2, &[role, "nobody there to type it"]);
    }
    assert!(!place.path("master").exists());
    let next = place.run("master", &["key", "new", "release", "--next"]);
    next.refused(2, &["--next"]);
}

#[test]
fn publishing_opens_a_release_key_that_is_under_a_passphrase() {
    let place = Place::new();
    draft(&place);
    let passphrase = secret(&place, "passphrase", "x\n");
    fs::create_dir(place.path("keys")).unwrap();
    let out = place.text("keys/release.key");
    let new = [
        "key",
        "new",
        "release",
        "--out",
        &out,
        "--passphrase-file",
        &passphrase,
    ];
    assert_eq!(place.run("nobody", &new).code, 0);
    let at = |name: &str| place.text(name);
    let master = format!("north={}", at("master/node.key"));
    let (a, head, root) = (at("a"), at("master/head.key"), at("other"));
    let drafted = place.run(
        "nobody",
        &[
            "root",
            "new",
            "--feed",
            "t",
            "--root-key",
            &a,
            "--release-key",
            &out,
            "--head-key",
            &head,
            "--master",
            &master,
            "--out",
            &root,
            "--passphrase-file",
            &passphrase,
        ],
    );
    assert_eq!(drafted.code, 0, "{drafted:?}");
    assert_eq!(
        place
            .run("nobody", &["root", "sign", &root, "--key", &a, "--yes"])
            .code,
        0
    );
    let init = ["feed", "init", "--root", &root, "--verify", "none"];
    assert_eq!(place.run("master", &init).code, 0);
    place.tree("tree", &["a.hdb"]);
    let (tree, keys) = (at("tree"), at("keys"));
    let publish = ["publish", &tree, "--keys", &keys];
    place.run("master", &publish).refused(66, &["no terminal"]);
    let with = [&publish[..], &["--passphrase-file", &passphrase]].concat();
    place.run("master", &with).says("release 1");
}

#[test]
fn a_first_root_needs_most_of_its_keys_and_makes_a_master_of_the_machine_it_names() {
    let place = Place::new();
    let drafted = draft(&place);
    assert_eq!(drafted["root_threshold"], 2);
    assert_eq!(drafted["complete"], false);
    assert_eq!(drafted["signed_by_own"]["missing"], 2);
    let root = place.text("root");
    let init = ["feed", "init", "--root", &root, "--verify", "none"];
    place
        .run("master", &init)
        .refused(65, &["0 of 2 needed signatures"]);
    let (a, b, release) = (place.text("a"), place.text("b"), place.text("release"));
    place
        .run("nobody", &["root", "sign", &root, "--key", &a])
        .refused(1, &["2 of 3 must sign", "nothing was signed", "--yes"]);
    place
        .run(
            "nobody",
            &["root", "sign", &root, "--key", &release, "--yes"],
        )
        .refused(77, &["root key neither of this root", "nothing was signed"]);
    let copy = place.text("copy");
    fs::copy(&root, &copy).unwrap();
    for (file, key) in [(&root, &a), (&copy, &b)] {
        let signed = place.run(
            "nobody",
            &["--json", "root", "sign", file, "--key", key, "--yes"],
        );
        assert_eq!(signed.object()["complete"], false);
    }
    let whole = place
        .run(
            "nobody",
            &["--json", "root", "sign", &root, "--from", &copy],
        )
        .object();
    assert_eq!(whole["complete"], true);
    assert_eq!(whole["fingerprint"], drafted["fingerprint"]);
    let made = place
        .run("master", &[&["--json"], &init[..]].concat())
        .object();
    assert_eq!(made["fingerprint"], drafted["fingerprint"]);
    let shown = place.run(
        "master",
        &["--json", "key", "show", &place.text("master/head.key")],
    );
    assert_eq!(shown.object()["roles"], serde_json::json!(["head"]));
    place
        .run("master", &init)
        .refused(73, &["already holds a feed"]);

    // The state of another machine has no part in it.
    key(&place, "head", "stranger/head.key");
    key(&place, "node", "stranger/node.key");
    place
        .run("stranger", &init)
        .refused(65, &["does not name this master's head key"]);
}

#[test]
fn the_next_root_shows_what_it_changes_and_is_refused_until_the_old_set_has_signed() {
    let place = Place::new();
    draft(&place);
    let at = |name: &str| place.text(name);
    let (root, next) = (at("root"), at("next"));
    let (a, b, c) = (at("a"), at("b"), at("c"));
    let sign = |file: &str, key: &str| {
        let ran = place.run(
            "master",
            &["--json", "root", "sign", file, "--key", key, "--yes"],
        );
        ran.object()["complete"].as_bool().unwrap()
    };
    assert!(!sign(&root, &a));
    assert!(sign(&root, &b));
    let init = ["feed", "init", "--root", &root, "--verify", "none"];
    assert_eq!(place.run("master", &init).code, 0);

    let d = key(&place, "root", "d");
    let rotate = [
        "root",
        "rotate",
        "--out",
        &next,
        "--remove-root-key",
        &c,
        "--add-root-key",
        &d,
    ];
    let drafted = place
        .run("master", &[&["--json"], &rotate[..]].concat())
        .object();
    let changes = drafted["changes"].as_array().unwrap();
    assert!(
        changes
            .iter()
            .any(|change| change == &format!("+ root key {d}")),
        "{changes:?}"
    );
    assert_eq!(drafted["previous"], 1);
    place.run("master", &rotate).refused(73, &["next exists"]);
    place
        .run("master", &["root", "install", &next])
        .refused(65, &["root 2", "0 of 2 needed signatures"]);
    assert!(!sign(&next, &a));
    // Its own set has enough with the new key; the old set has not.
    assert!(!sign(&next, &at("d")));
    place
        .run("master", &["root", "install", &next])
        .refused(65, &["root 2", "1 of 2 needed signatures"]);
    assert!(sign(&next, &b));
    let installed = place
        .run("master", &["--json", "root", "install", &next])
        .object();
    assert_eq!(
        (&installed["from"], &installed["to"]),
        (&1.into(), &2.into())
    );
    assert_eq!(installed["told"], false);
    place
        .run("master", &["root", "install", &next])
        .says("installed already");
    let newest = place.run("master", &["root", "show", "--json"]).object();
    assert_eq!(
        (&newest["version"], &newest["complete"]),
        (&2.into(), &true.into())
    );
    place
        .run("master", &["root", "show", "1"])
        .says("fingerprint");
    place
        .run("master", &["root", "show", "3"])
        .refused(66, &["no root 3"]);
    place
        .run(
            "master",
            &[
                "root",
                "rotate",
                "--out",
                &at("bad"),
                "--root-threshold",
                "9",
            ],
        )
        .refused(2, &["root_keys", "threshold"]);
}

#[test]
fn a_masters_node_key_is_not_rotated_by_the_master_alone() {
    let place = Place::with_feed();
    place
        .run("master", &["node", "rotate"])
        .refused(1, &["new root", "root rotate --master-key"]);
}
