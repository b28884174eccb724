//! What the program says of itself, its settings and its errors.

use std::fs;

use serde_json::Value;

use crate::command::{Place, STRANGE_FINGERPRINT};

#[test]
fn a_typo_in_the_configuration_is_shown_with_line_column_and_what_was_meant() {
    let place = Place::new();
    place.join("docroot", &["--json"]).object();
    let path = place.path("mirror/mirror.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("docroot =", "docrot =")).unwrap();
    for command in [
        &["status"][..],
        &["sync"],
        &["verify"],
        &["config", "check"],
    ] {
        place.run("mirror", command).refused(
            78,
            &["mirror.toml", "line 4, column 1", "did you mean `docroot`?"],
        );
    }
}

#[test]
fn a_state_that_is_nobodys_says_how_to_begin() {
    let place = Place::new();
    let begin = ["neither a master nor a mirror", "feed init", "join"];
    place.run("nothing", &["status"]).refused(78, &begin);
    place
        .run("nothing", &["config", "check"])
        .refused(78, &begin);
    place
        .run("nothing", &["master"])
        .refused(78, &["master.toml"]);
    place
        .run("nothing", &["mirror"])
        .refused(78, &["mirror.toml"]);
}

#[test]
fn a_status_without_a_daemon_says_so_and_names_the_next_command() {
    let place = Place::with_feed();
    let publish = place.run("master", &["status", "--json"]).judged();
    assert_eq!(publish["daemon"], false);
    let next = |status: &Value| status["diagnosis"]["next"].as_str().unwrap().to_owned();
    assert!(next(&publish).ends_with("publish TREE"));
    place.tree("tree", &["a.hdb"]);
    assert_eq!(place.publish("tree").code, 0);
    let master = place.run("master", &["status", "--json"]).judged();
    assert_eq!(master["newest"]["release"], 1);
    assert!(next(&master).ends_with("master"));

    place.join("docroot", &["--json"]).object();
    let mirror = place.run("mirror", &["status", "--json"]).judged();
    assert_eq!(
        (&mirror["role"], &mirror["daemon"]),
        (&"mirror".into(), &false.into())
    );
    assert!(next(&mirror).ends_with("mirror"));
}

#[test]
fn errors_are_one_json_object_on_stderr_when_asked_for() {
    let place = Place::new();
    for (arguments, code) in [
        (&["status", "--json"][..], 78),
        (&["status", "--json", "--no-such-option"], 2),
        (
            &[
                "join",
                "",
                "--fingerprint",
                STRANGE_FINGERPRINT,
                "--docroot",
                "x",
                "--json",
            ],
            2,
        ),
    ] {
        let ran = place.run("nothing", arguments);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.out.is_empty(), "{ran:?}");
        let object: Value = serde_json::from_str(&ran.err).unwrap();
        assert_eq!(object["exit_code"], code);
        assert!(
            object["error"].is_string() && object["hint"].is_string(),
            "{object}"
        );
    }
}

#[test]
fn the_readme_shows_the_server_settings_that_are_tested() {
    let readme = include_str!("../../README.md");
    for snippet in [
        include_str!("../support/apache.conf.snippet"),
        include_str!("../support/nginx.conf.snippet"),
    ] {
        assert!(readme.contains(snippet.trim_end()), "{snippet}");
    }
    assert!(readme.lines().count() <= 200);
}

#[test]
fn manual_pages_and_completions_can_be_made() {
    let place = Place::new();
    let folder = place.tree("man", &[]);
    let made = place.run("none", &["generate", "man", folder.to_str().unwrap()]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(folder.join("tidecast-join.1").exists());
    place
        .run("none", &["generate", "completions", "bash"])
        .says("_tidecast()");
}
