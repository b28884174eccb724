//! Bundles end to end: applied, cut, damaged, aimed elsewhere.

use tidecast_proto::bundle::{Form, Side};
use tidecast_proto::head::Phase;
use tidecast_proto::id::{RootVersion, Timestamp};

use super::kit::*;
use crate::mirror::ImportError;

/// One day: new lines in a database, its script beside it, a text, and a file that stays.
pub(super) fn day(feed: &Feed) -> (Release, Release) {
    day_of(feed, 6000)
}

/// The same with a database of so many lines.
fn day_of(feed: &Feed, count: usize) -> (Release, Release) {
    let old_lines = lines(1, count);
    let mut new_lines = old_lines.clone();
    let added = lines(2, 40);
    let middle = new_lines.len() / 2;
    let middle = middle
        + new_lines[middle..]
            .iter()
            .position(|b| *b == b'\n')
            .unwrap()
        + 1;
    new_lines.splice(middle..middle, added.iter().copied());
    let old = feed.release(
        1,
        None,
        &[
            ("daily.cvd", Made::cvd(&old_lines)),
            ("main.cvd", Made::plain(b"stays as it is")),
            ("notes.txt", Made::plain(b"one")),
        ],
    );
    let new = feed.release(
        2,
        Some(&old),
        &[
            ("daily-2.cdiff", Made::cvd(&added)),
            ("daily.cvd", Made::cvd(&new_lines)),
            ("main.cvd", Made::plain(b"stays as it is")),
            ("notes.txt", Made::plain(b"two")),
        ],
    );
    (old, new)
}

/// The sections of such a day: the script first, for the database is built on it, too.
pub(super) fn plans() -> Vec<Plan> {
    vec![
        Plan {
            path: "daily-2.cdiff",
            form: Form::Opened,
            bases: Vec::new(),
        },
        Plan {
            path: "daily.cvd",
            form: Form::Opened,
            bases: vec![
                (Side::Old, "daily.cvd", Form::Opened),
                (Side::New, "daily-2.cdiff", Form::Opened),
            ],
        },
        Plan {
            path: "notes.txt",
            form: Form::Stored,
            bases: vec![(Side::Old, "notes.txt", Form::Stored)],
        },
    ]
}

pub(super) fn all_served(feed: &Feed, release: &Release) -> bool {
    let right = |(path, made): (&String, &Made)| feed.served(path) == Some(made.bytes.clone());
    release.files.iter().all(right)
}

#[tokio::test]
async fn a_bundle_brings_the_whole_release_and_the_next_one_builds_on_it() {
    let feed = Feed::new();
    let (old, new) = day(&feed);
    let mirror = feed.mirror_at(&old).await;
    let first = bundle(&old, &new, &new.head, &plans());
    assert!(first.len() < 4000, "{} bytes", first.len());
    let report = mirror.import(&feed.file(&first), None).await.unwrap();
    assert!(report.switched && all_served(&feed, &new), "{report:?}");
    assert_eq!((report.from, report.to, &*report.reason), (1, 2, "import"));
    let roads: Vec<_> = report
        .files
        .iter()
        .map(|f| (f.path.as_str(), f.road.as_str(), f.reason.as_str()))
        .collect();
    assert_eq!(
        roads,
        [
            ("daily-2.cdiff", "bundle", "in_bundle"),
            ("daily.cvd", "bundle", "in_bundle"),
            ("notes.txt", "bundle", "in_bundle"),
        ]
    );
    assert_eq!(report.roads[0].road, "unchanged");
    assert!(report.files[1].received_bytes < 2500, "{report:?}");
    assert!(!feed.docroot().join(".tidecast/spool").exists());

    // What it left behind is what the next one needs.
    let third = feed.release(
        3,
        Some(&new),
        &[
            ("daily.cvd", old.files["daily.cvd"].clone()),
            ("main.cvd", old.files["main.cvd"].clone()),
        ],
    );
    let plan = Plan {
        path: "daily.cvd",
        form: Form::Opened,
        bases: vec![(Side::Old, "daily.cvd", Form::Opened)],
    };
    let next = bundle(&new, &third, &third.head, &[plan]);
    let report = mirror.import(&feed.file(&next), None).await.unwrap();
    assert_eq!(report.to, 3, "{report:?}");
    assert!(all_served(&feed, &third));
    assert!(feed.served("notes.txt").is_none());
}

#[tokio::test]
async fn a_bundle_cut_or_damaged_anywhere_installs_nothing_that_was_not_signed() {
    let feed = Feed::new();
    // Two chunks: enough for a run and for what is linked, and quick enough to be done thousands of times.
    let (old, new) = day_of(&feed, 900);
    let mirror = feed.mirror_at(&old).await;
    // A head that does not let it switch yet: every attempt begins at the same release.
    let head = feed.head(&new.manifest, 2, Phase::PREPARE, RootVersion(1));
    let whole = bundle(&old, &new, &head, &plans());
    // Each attempt costs two fsyncs. All of them are made when asked for, else every seventh.
    let step = match std::env::var_os("TIDECAST_ALL_CUTS") {
        Some(_) => 1,
        None => 7,
    };
    let places = || (0..whole.len()).step_by(step);
    let mut attempts: Vec<Vec<u8>> = places().map(|len| whole[..len].to_vec()).collect();
    attempts.extend(places().map(|at| {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        damaged
    }));
    let mut brought = 0;
    for (attempt, bytes) in attempts.iter().enumerate() {
        feed.forget_attempts();
        match mirror.import(&feed.file(bytes), None).await {
            Ok(report) => {
                assert_eq!(report.reason, "prepared", "{attempt}: {report:?}");
                brought += 1;
            }
            Err(ImportError::Mirror(error)) => panic!("{attempt}: {error}"),
            Err(_) => {}
        }
        assert!(all_served(&feed, &old), "{attempt}");
        // Whatever is complete in the tree being built is right; what is not has not got its mode yet.
        for (path, made) in &new.files {
            use std::os::unix::fs::PermissionsExt;
            let path = feed.docroot().join(".tidecast/new").join(path);
            if let Ok(meta) = path.metadata()
                && meta.permissions().mode() & 0o777 == 0o644
            {
                assert_eq!(std::fs::read(&path).unwrap(), made.bytes, "{attempt}");
            }
        }
    }
    // Only what damages nothing but the end, or a head that is refused anyway, may still bring all files.
    assert!(brought <= 8, "{brought}");
    let report = mirror
        .import(&feed.file(&bundle(&old, &new, &head, &plans())), None)
        .await
        .unwrap();
    assert_eq!(report.reason, "prepared");
}

#[tokio::test]
async fn what_a_cut_bundle_brought_is_not_needed_again() {
    let feed = Feed::new();
    let (old, new) = day(&feed);
    let mirror = feed.mirror_at(&old).await;
    let whole = bundle(&old, &new, &new.head, &plans());
    let error = mirror
        .import(&feed.file(&whole[..whole.len() - 20]), None)
        .await
        .unwrap_err();
    assert!(matches!(error, ImportError::Bundle { .. }), "{error}");
    // The last section alone completes the release: the first two files are there.
    let rest = bundle(&old, &new, &new.head, &plans()[2..]);
    let report = mirror.import(&feed.file(&rest), None).await.unwrap();
    assert!(report.switched && all_served(&feed, &new), "{report:?}");
    let roads: Vec<_> = report.files.iter().map(|f| f.road.as_str()).collect();
    assert_eq!(roads, ["unchanged", "unchanged", "bundle"]);
}

#[tokio::test]
async fn a_bundle_that_does_not_belong_here_is_named_for_what_it_is() {
    let feed = Feed::new();
    let (old, new) = day(&feed);
    let mirror = feed.mirror_at(&old).await;
    let later = feed.release(3, Some(&new), &[("notes.txt", Made::plain(b"three"))]);
    let told = |error: ImportError| error.to_string();

    let bytes = bundle(&new, &later, &later.head, &[]);
    let error = mirror.import(&feed.file(&bytes), None).await.unwrap_err();
    assert!(error.advice().contains("--from 1"), "{}", error.advice());
    assert!(told(error).contains("export one with --from 1"));

    let other = Feed::seeded(7);
    let (other_old, other_new) = day(&other);
    let bytes = bundle(&other_old, &other_new, &other_new.head, &plans());
    let error = mirror.import(&feed.file(&bytes), None).await.unwrap_err();
    assert!(matches!(error, ImportError::OtherFeed { .. }), "{error}");

    let error = mirror
        .import(&feed.file(b"PK\x03\x04"), None)
        .await
        .unwrap_err();
    assert!(matches!(error, ImportError::NotABundle { .. }), "{error}");
    let missing = feed.folder.path().join("nothing");
    let error = mirror.import(&missing, None).await.unwrap_err();
    assert!(matches!(error, ImportError::File { .. }), "{error}");
    assert_eq!(error.kind(), "no_input");
    // Nobody ever writes to it.
    let pipe = feed.folder.path().join("pipe");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    let error = mirror.import(&pipe, None).await.unwrap_err();
    assert!(matches!(error, ImportError::NotAFile { .. }), "{error}");
    assert_eq!(error.kind(), "content");
    assert!(all_served(&feed, &old));
}

#[tokio::test]
async fn a_head_is_judged_by_the_time_that_is_given_and_never_by_an_earlier_one_than_was_seen() {
    let feed = Feed::new();
    let (old, new) = day(&feed);
    let mirror = feed.mirror_at(&old).await;
    let path = feed.file(&bundle(&old, &new, &new.head, &plans()));
    let day_ms = 24 * 3_600_000;
    let error = mirror
        .import(&path, Some(NOW.plus(day_ms)))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    assert!(error.advice().contains("--at"), "{}", error.advice());
    // A year before the last head was issued counts as that moment: the head is no future one.
    let report = mirror
        .import(&path, Some(Timestamp(NOW.0 - 365 * day_ms)))
        .await
        .unwrap();
    assert!(report.switched);
}

#[tokio::test]
async fn roots_come_with_the_bundle_and_are_walked_before_the_head_is_judged() {
    let feed = Feed::new();
    let (old, new) = day(&feed);
    let mirror = feed.mirror_at(&old).await;
    let head = feed.head(&new.manifest, 2, Phase::LIVE, RootVersion(2));
    let with = |roots: &[Vec<u8>]| {
        let mut bytes = preamble(&old, &new, &head, roots);
        for plan in plans() {
            bytes.extend(section(&old, &new, &plan));
        }
        tidecast_proto::bundle::put_part(tidecast_proto::bundle::PartKind::END, &[], &mut bytes);
        bytes
    };
    let error = mirror
        .import(&feed.file(&with(&[])), None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("root 2"), "{error}");
    let stranger = Feed::seeded(9).next_root();
    let bytes = with(&[stranger, feed.next_root()]);
    let report = mirror.import(&feed.file(&bytes), None).await.unwrap();
    assert!(report.switched);
    let trust = mirror.work().beliefs.trust().unwrap();
    assert_eq!(trust.root().version, RootVersion(2));
}
