//! What is refused, and that nothing comes of it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, Mode};
use tidecast_proto::{id::ReleaseNumber, manifest::ManifestError, name::NameError};

use super::*;
use crate::publish::{OFFENCES_LISTED, Offence, Rule};
use crate::store::full_disk;

/// The offences a publish comes back with.
fn offences(feed: &Feed) -> Vec<Offence> {
    match feed.publish() {
        Err(PublishError::Tree { offences, .. }) => offences.listed().to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_a_tree_may_not_hold_is_named_at_once() {
    let feed = Feed::new();
    let tree = feed.tree();
    feed.write("good", b"x");
    feed.write(".git/config", b"x");
    feed.write("a/.htaccess", b"x");
    feed.write("a/local_stats.cgi", b"x");
    feed.write("timestamp", b"x");
    feed.write("two words", b"x");
    feed.write(&format!("{}f", "d/".repeat(16)), b"x");
    fs::write(
        tree.join(std::ffi::OsStr::from_bytes(b"not-\xff-text")),
        "x",
    )
    .unwrap();
    symlink("good", tree.join("link")).unwrap();
    symlink("/etc", tree.join("linked-folder")).unwrap();
    rustix::fs::mkfifoat(CWD, tree.join("pipe"), Mode::from(0o644)).unwrap();
    let _socket = UnixListener::bind(tree.join("socket")).unwrap();

    let found: Vec<(String, Rule)> = offences(&feed)
        .into_iter()
        .map(|offence| (offence.path, offence.rule))
        .collect();
    let mut deep = "d/".repeat(16);
    deep.push('f');
    let expected = [
        (".git", Rule::Name(NameError::Dot)),
        ("a/.htaccess", Rule::Name(NameError::Dot)),
        ("a/local_stats.cgi", Rule::Name(NameError::Local)),
        (deep.as_str(), Rule::Name(NameError::Deep)),
        ("link", Rule::Kind("a symbolic link")),
        ("linked-folder", Rule::Kind("a symbolic link")),
        ("not-\u{fffd}-text", Rule::NotText),
        ("pipe", Rule::Kind("a pipe")),
        ("socket", Rule::Kind("a socket")),
        ("timestamp", Rule::Name(NameError::Timestamp)),
        ("two words", Rule::Name(NameError::Character(b' '))),
    ];
    assert_eq!(found, expected.map(|(path, rule)| (path.to_owned(), rule)));

    let error = feed.publish().unwrap_err().to_string();
    assert!(
        error.contains("link: a symbolic link, not a file or folder; "),
        "{error}"
    );
    assert_eq!(feed.store().newest(), None);
}

#[test]
fn the_list_of_offences_is_bounded_and_counted() {
    let feed = Feed::new();
    for n in 0..OFFENCES_LISTED + 7 {
        feed.write(&format!("local_{n}"), b"x");
    }
    let error = feed.publish().unwrap_err();
    assert!(error.to_string().ends_with("; and 7 more"), "{error}");
    assert_eq!(offences(&feed).len(), OFFENCES_LISTED);
}

#[test]
fn names_on_a_terminal_are_escaped() {
    let feed = Feed::new();
    feed.write("a\x1b[2Jb", b"x");
    assert_eq!(offences(&feed)[0].path, "a\\u{1b}[2Jb");
}

#[test]
fn a_tree_without_files_or_no_tree_at_all_is_refused() {
    let feed = Feed::new();
    fs::create_dir(feed.tree().join("folder")).unwrap();
    assert!(matches!(feed.publish(), Err(PublishError::Empty { .. })));
    fs::remove_dir_all(feed.tree()).unwrap();
    assert!(matches!(feed.publish(), Err(PublishError::NoTree { .. })));
    fs::write(feed.tree(), "a file").unwrap();
    let refused = feed.publish();
    assert!(matches!(refused, Err(PublishError::NotAFolder { .. })));
    assert_eq!(feed.store().newest(), None);
}

/// Publishes a 3 MB file and calls `disturb` when its first bytes have been read.
fn publish_disturbed(feed: &Feed, disturb: impl Fn()) -> Result<PublishReport, PublishError> {
    let mut disturbed = false;
    feed.publish_watching(&mut |progress| {
        if matches!(progress, Progress::Reading { .. }) && !disturbed {
            disturbed = true;
            disturb();
        }
    })
}

#[test]
fn a_file_that_changes_while_it_is_read_is_named_and_nothing_published() {
    let disturbances: [fn(&Feed); 5] = [
        |feed| {
            let file = fs::File::options().append(true).open(feed.tree().join("f"));
            std::io::Write::write_all(&mut file.unwrap(), b"more").unwrap();
        },
        |feed| {
            let file = fs::File::options().write(true).open(feed.tree().join("f"));
            file.unwrap().write_all_at(b"x", 2_900_000).unwrap();
        },
        |feed| {
            let file = fs::File::options().write(true).open(feed.tree().join("f"));
            file.unwrap().set_len(1_500_000).unwrap();
        },
        |feed| {
            fs::write(feed.folder.path().join("other"), "x").unwrap();
            fs::rename(feed.folder.path().join("other"), feed.tree().join("f")).unwrap();
        },
        |feed| feed.remove("f"),
    ];
    for (at, disturb) in disturbances.into_iter().enumerate() {
        let feed = Feed::new();
        feed.write("f", &noise(1, 3_000_000));
        let outcome = publish_disturbed(&feed, || disturb(&feed));
        let Err(PublishError::Changed { path }) = outcome else {
            panic!("disturbance {at}: {outcome:?}");
        };
        assert_eq!(path.as_str(), "f");
        assert_eq!(feed.store().newest(), None);
        // Once it holds still, it is published.
        feed.write("f", b"quiet");
        assert_eq!(feed.publish().unwrap().release, ReleaseNumber(1));
        assert_eq!(feed.content(1, "f"), b"quiet");
    }
}

#[test]
fn a_file_replaced_by_a_link_after_the_walk_is_not_followed() {
    let feed = Feed::new();
    feed.write("a/b", b"x");
    for link_at in ["a/b", "a"] {
        let outcome = feed.publish_watching(&mut |progress| {
            if matches!(progress, Progress::Walked { .. }) {
                let path = feed.tree().join(link_at);
                fs::rename(&path, feed.folder.path().join("aside")).unwrap();
                symlink(feed.folder.path().join("aside"), path).unwrap();
            }
        });
        assert!(outcome.is_err(), "{link_at}: {outcome:?}");
        assert_eq!(feed.store().newest(), None);
        fs::remove_file(feed.tree().join(link_at)).unwrap();
        fs::rename(feed.folder.path().join("aside"), feed.tree().join(link_at)).unwrap();
    }
    feed.publish().unwrap();
}

#[test]
fn too_few_keys_are_said_before_anything_is_read() {
    let mut feed = Feed::new();
    feed.write("f", b"x");
    let mut keys = vec![key(10).public(), key(11).public()];
    keys.sort_unstable();
    feed.next_root(|root| {
        root.release_keys = keys;
        root.release_threshold = 2;
    });
    for given in [
        vec![],
        vec![key(10)],
        vec![key(10), key(10)],
        vec![key(10), key(12)],
    ] {
        feed.keys = given;
        let mut read = false;
        let outcome = feed.publish_watching(&mut |_| read = true);
        let Err(PublishError::TooFewKeys {
            needed: 2, usable, ..
        }) = outcome
        else {
            panic!("{outcome:?}");
        };
        assert!(usable < 2 && !read);
    }
    assert_eq!(feed.store().newest(), None);
}

#[test]
fn a_store_of_another_feed_is_refused() {
    let mut feed = Feed::new();
    feed.write("f", b"x");
    feed.publish().unwrap();
    feed.feed = FeedId([9; 32]);
    assert!(matches!(
        feed.publish(),
        Err(PublishError::OtherFeed { .. })
    ));
    assert_eq!(feed.store().newest().unwrap().release, ReleaseNumber(1));
}

#[test]
fn dropping_more_than_half_of_the_files_needs_the_flag() {
    let mut feed = Feed::new();
    for name in ["a", "b", "c"] {
        feed.write(name, b"x");
    }
    feed.publish().unwrap();
    feed.remove("a");
    feed.remove("b");
    let outcome = feed.publish();
    assert!(matches!(
        outcome,
        Err(PublishError::Successor(ManifestError::Shrinks {
            dropped: 2,
            had: 3
        }))
    ));
    feed.flags.allow_shrink = true;
    assert_eq!(feed.publish().unwrap().removed(), 2);
}

#[test]
fn notes_that_would_disturb_a_terminal_or_are_too_long_are_refused() {
    let mut feed = Feed::new();
    feed.write("f", b"x");
    for notes in ["\x1b[2J".to_owned(), "x".repeat(64 * 1024 + 1)] {
        feed.notes = notes;
        assert!(matches!(feed.publish(), Err(PublishError::Manifest(_))));
        assert_eq!(feed.store().newest(), None);
    }
}

#[test]
fn a_disk_that_fills_up_while_publishing_shows_nothing_and_the_next_try_succeeds() {
    let feed = Feed::new();
    feed.write("first", b"x");
    feed.publish().unwrap();
    let large = noise(1, 1_000_000);
    feed.write("large", &large);
    let reader = feed.store();
    for room in [300_000, 400_000, 0] {
        full_disk::BYTES_LEFT.set(Some(room));
        let outcome = feed.publish();
        full_disk::BYTES_LEFT.set(None);
        assert!(
            matches!(outcome, Err(PublishError::Store(_))),
            "{outcome:?}"
        );
        reader.refresh().unwrap();
        assert_eq!(reader.newest().unwrap().release, ReleaseNumber(1));
        assert!(reader.verify().is_good());
    }
    let report = feed.publish().unwrap();
    assert_eq!(report.release, ReleaseNumber(2));
    assert!(
        report.new_bytes < 500_000,
        "what was stored before is found again"
    );
    assert_eq!(feed.content(2, "large"), large);
    assert!(feed.store().verify().is_good());
}
