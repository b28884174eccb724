//! Joining a feed: what is looked at, asked and left alone.

use crate::command::{Place, STRANGE_FINGERPRINT, names};

#[test]
fn a_fingerprint_that_was_mistyped_is_refused_before_anything_is_written() {
    let place = Place::new();
    for (fingerprint, why) in [
        ("0123", "64 hex digits or 24 words"),
        (&STRANGE_FINGERPRINT[1..], "64 hex digits or 24 words"),
        (
            &["abandon"; 24].join(" ").replacen("abandon", "tidecast", 1),
            "word 1",
        ),
        (&["abandon"; 24].join(" "), "checksum"),
    ] {
        let ran = place.join("docroot", &["--fingerprint", fingerprint]);
        ran.refused(2, &["--fingerprint", why]);
    }
    assert!(names(place.0.path()).is_empty());
}

#[test]
fn joining_writes_configuration_and_key_and_leaves_the_docroot_alone() {
    let place = Place::new();
    let docroot = place.tree("docroot", &["local_logo.png"]);
    let joined = place
        .join("docroot", &["--json", "--contact", "me@example.org"])
        .object();
    assert_eq!(joined["node_key"].as_str().unwrap().len(), 64);
    assert_eq!(joined["docroot"], place.text("docroot"));
    assert_eq!(joined["foreign"], serde_json::json!([]));
    assert_eq!(names(&docroot), [docroot.join("local_logo.png")]);
    assert!(place.path("mirror/mirror.toml").exists());
    place
        .run("mirror", &["config", "check"])
        .says("usable mirror's");

    place
        .join("docroot", &[])
        .refused(73, &["holds a mirror already"]);
    place
        .run("mirror", &["verify"])
        .refused(66, &["no release is served"]);
}

#[test]
fn a_docroot_that_is_a_file_or_whose_parent_is_missing_is_refused() {
    let place = Place::new();
    place.tree(".", &["file"]);
    place
        .join("file", &[])
        .refused(73, &["/file is not a folder"]);
    place
        .join("no/docroot", &[])
        .refused(66, &["does not exist"]);
    assert!(!place.path("mirror").exists());
}

#[test]
fn a_living_web_site_is_taken_over_only_with_a_yes() {
    let place = Place::new();
    let docroot = place.tree("html", &["index.html", ".htaccess"]);
    let before = names(&docroot);
    let ran = place.join("html", &[]);
    ran.refused(
        1,
        &[
            "living web site",
            "index.html",
            "nothing was changed",
            "--yes",
        ],
    );
    assert!(!place.path("mirror").exists());
    let joined = place.join("html", &["--yes", "--json"]).object();
    assert_eq!(joined["foreign"][0]["name"], "index.html");
    assert_eq!(names(&docroot), before);
}

#[test]
fn foreign_files_are_listed_and_need_a_yes() {
    let place = Place::new();
    place.tree("docroot", &["daily.cvd", "local_index.html", "main.cvd"]);
    let ran = place.join("docroot", &[]);
    ran.refused(
        1,
        &[
            "2 names",
            "daily.cvd",
            "main.cvd",
            ".tidecast/removed",
            "--yes",
        ],
    );
    assert!(!ran.err.contains("local_index.html"), "{ran:?}");
}
