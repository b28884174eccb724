//! From an upstream: each road, and what a file falls back to.

use tidecast_proto::bundle::{Form, Origins, PartKind, Side, put_part};
use tidecast_proto::deflate::{Parameters, Strategy};

use super::kit::*;
use super::upstream::{Answers, Stream, Upstream};
use super::whole::{all_served, day, plans};
use crate::mirror::SyncReport;

fn roads(report: &SyncReport) -> Vec<(&str, &str, &str)> {
    let files = report.files.iter();
    files
        .map(|f| (f.path.as_str(), f.road.as_str(), f.reason.as_str()))
        .collect()
}

/// One sync of a mirror at the first release of [`day`].
async fn sync(answers: impl FnOnce(&Release, &Release) -> Answers) -> (Feed, Upstream, SyncReport) {
    let feed = Feed::new();
    let (old, new) = day(&feed);
    let upstream = Upstream::start(&feed, &old, &new, answers(&old, &new));
    let mirror = feed.mirror_of(&upstream.address, &old).await;
    let report = mirror.sync_once().await.unwrap();
    assert!(report.switched && all_served(&feed, &new), "{report:?}");
    (feed, upstream, report)
}

fn whole_bundle(old: &Release, new: &Release) -> Vec<u8> {
    bundle(old, new, &new.head, &plans())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_is_all_that_is_fetched_also_when_it_keeps_one_waiting() {
    for late in [false, true] {
        let (_feed, upstream, report) = sync(|old, new| {
            let bytes = whole_bundle(old, new);
            Answers::bundle(if late {
                Stream::Late(bytes)
            } else {
                Stream::Whole(bytes)
            })
        })
        .await;
        assert_eq!(roads(&report)[1], ("daily.cvd", "bundle", "in_bundle"));
        assert_eq!(*upstream.asked.lock().unwrap(), ["bundle"]);
        assert!(report.bundle_bytes < 4000, "{report:?}");
        assert!(report.warnings.is_empty(), "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_is_cut_or_wrong_is_made_up_for_by_chunks_of_the_opened_content() {
    let feed = Feed::new();
    let (old, new) = day(&feed);
    let length = whole_bundle(&old, &new).len();
    for at in (0..length - 2).step_by(length / 9) {
        let (_feed, upstream, report) =
            sync(|old, new| Answers::bundle(Stream::Cut(whole_bundle(old, new), at))).await;
        assert!(report.warnings[0].contains("bundle"), "{at}: {report:?}");
        assert_eq!(upstream.asked("bundle"), 1);
        let daily = roads(&report)[1];
        assert!(matches!(daily.1, "chunks" | "bundle"), "{at}: {report:?}");
        let (_feed, _upstream, report) = sync(|old, new| {
            let mut bytes = whole_bundle(old, new);
            bytes[at] ^= 0x10;
            Answers::bundle(Stream::Whole(bytes))
        })
        .await;
        assert_ne!(roads(&report)[1].1, "whole", "{at}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_were_verified_before_a_cut_are_not_fetched_again() {
    let feed = Feed::new();
    let old_lines = lines(1, 12_000);
    let mut new_lines = old_lines.clone();
    for (seed, at) in [(2, new_lines.len() * 7 / 8), (3, new_lines.len() / 8)] {
        new_lines.splice(at..at, lines(seed, 20));
    }
    let old = feed.release(1, None, &[("daily.cvd", Made::cvd(&old_lines))]);
    let new = feed.release(2, Some(&old), &[("daily.cvd", Made::cvd(&new_lines))]);
    let (old_list, new_list) = (&old.files["daily.cvd"], &new.files["daily.cvd"]);
    let lists = [old_list, new_list].map(|made| made.opened.as_ref().unwrap().1.clone());
    let origins = Origins::new(&lists[1], &[&lists[0]]);
    let stretches: Vec<_> = origins.missing().collect();
    assert_eq!(stretches.len(), 2, "two places changed");
    let plan = Plan {
        path: "daily.cvd",
        form: Form::Opened,
        bases: vec![(Side::Old, "daily.cvd", Form::Opened)],
    };
    let bytes = bundle(&old, &new, &new.head, &[plan]);
    // Inside the second run.
    let cut = Answers::bundle(Stream::Cut(bytes.clone(), bytes.len() - 10));
    let upstream = Upstream::start(&feed, &old, &new, cut);
    let mirror = feed.mirror_of(&upstream.address, &old).await;
    let report = mirror.sync_once().await.unwrap();
    assert!(all_served(&feed, &new));
    assert_eq!(roads(&report), [("daily.cvd", "chunks", "bundle_failed")]);
    assert_eq!(upstream.asked("opened chunk"), stretches[1].len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_bundle_runs_are_asked_for_then_chunks_and_the_whole_file_last() {
    let runs = |old: &Release, new: &Release| {
        let plan = Plan {
            path: "daily.cvd",
            form: Form::Opened,
            bases: vec![(Side::Old, "daily.cvd", Form::Opened)],
        };
        let mut all = runs_of(old, new, &plan);
        put_part(PartKind::END, &[], &mut all);
        all
    };
    let (_feed, upstream, report) = sync(|old, new| Answers {
        runs: Stream::Whole(runs(old, new)),
        ..Answers::bundle(Stream::Absent)
    })
    .await;
    assert_eq!(
        roads(&report),
        [
            ("daily-2.cdiff", "whole", "no_base"),
            ("daily.cvd", "runs", "bundle_absent"),
            ("notes.txt", "whole", "not_opened"),
        ]
    );
    assert_eq!(upstream.asked("opened chunk"), 0);

    let (_feed, upstream, report) = sync(|_, _| Answers::bundle(Stream::Absent)).await;
    assert_eq!(roads(&report)[1], ("daily.cvd", "chunks", "bundle_absent"));
    assert_eq!((upstream.asked("bundle"), upstream.asked("runs")), (1, 1));
    assert!(upstream.asked("opened chunk") <= 3, "{report:?}");

    let (_feed, _upstream, report) = sync(|_, _| Answers {
        opened_chunks: false,
        ..Answers::bundle(Stream::Absent)
    })
    .await;
    assert_eq!(roads(&report)[1].1, "whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_longer_than_the_files_is_left_alone() {
    let (_feed, _upstream, report) =
        sync(|old, new| Answers::bundle(Stream::Claims(u64::MAX, whole_bundle(old, new)))).await;
    assert_eq!(roads(&report)[1], ("daily.cvd", "chunks", "cheaper"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_file_that_is_damaged_is_noticed_named_and_fetched_whole() {
    for with_bundle in [true, false] {
        let feed = Feed::new();
        let (old, new) = day(&feed);
        let stream = match with_bundle {
            true => Stream::Whole(whole_bundle(&old, &new)),
            false => Stream::Absent,
        };
        let upstream = Upstream::start(&feed, &old, &new, Answers::bundle(stream));
        let mirror = feed.mirror_of(&upstream.address, &old).await;
        let path = feed.docroot().join(".tidecast/r1/daily.cvd");
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        std::fs::write(&path, &bytes).unwrap();
        let report = mirror.sync_once().await.unwrap();
        assert!(report.switched && all_served(&feed, &new), "{report:?}");
        assert_eq!(roads(&report)[1], ("daily.cvd", "whole", "base_damaged"));
        let told = report.warnings.join("\n");
        assert!(
            told.contains("daily.cvd") && told.contains("damaged"),
            "{told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_does_not_rebuild_is_fetched_whole_and_told() {
    let feed = Feed::new();
    let (old_lines, new_lines) = (lines(1, 3000), lines(1, 3010));
    let old = feed.release(1, None, &[("daily.cvd", Made::cvd(&old_lines))]);
    let other = Parameters::new(6, Strategy::Default, 8).unwrap();
    let made = Made::packed(&new_lines, other);
    let new = feed.release(2, Some(&old), &[("daily.cvd", made)]);
    let plan = Plan {
        path: "daily.cvd",
        form: Form::Opened,
        bases: vec![(Side::Old, "daily.cvd", Form::Opened)],
    };
    let bytes = bundle(&old, &new, &new.head, &[plan]);
    let upstream = Upstream::start(&feed, &old, &new, Answers::bundle(Stream::Whole(bytes)));
    let mirror = feed.mirror_of(&upstream.address, &old).await;
    let report = mirror.sync_once().await.unwrap();
    assert!(all_served(&feed, &new));
    assert_eq!(roads(&report), [("daily.cvd", "whole", "rebuild_differs")]);
    assert!(report.warnings[0].contains("daily.cvd"), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_in_a_bundle_loses_nothing_that_was_verified() {
    let feed = Feed::new();
    let (old, new) = day(&feed);
    let bytes = whole_bundle(&old, &new);
    let at = bytes.len() - 3;
    let lost = Answers::bundle(Stream::Lost(bytes, at));
    let upstream = Upstream::start(&feed, &old, &new, lost);
    let mirror = feed.mirror_of(&upstream.address, &old).await;
    mirror.sync_once().await.unwrap_err();
    assert!(all_served(&feed, &old));
    let there = feed.docroot().join(".tidecast/new/daily.cvd");
    assert_eq!(std::fs::read(there).unwrap(), new.files["daily.cvd"].bytes);
    // It is not begun anew, for it would be lost at the same place.
    let report = mirror.sync_once().await.unwrap();
    assert!(report.switched && all_served(&feed, &new), "{report:?}");
    assert_eq!(upstream.asked("bundle"), 1);
    assert_eq!(upstream.asked("opened chunk"), 0, "{report:?}");
    assert_eq!(roads(&report)[2].2, "not_opened", "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_not_asked_for_when_most_of_them_are_in_the_spool() {
    let feed = Feed::new();
    let old_lines = lines(1, 12_000);
    let mut new_lines = old_lines.clone();
    for (seed, at) in [(2, new_lines.len() * 7 / 8), (3, new_lines.len() / 8)] {
        let count = if seed == 3 { 4000 } else { 20 };
        new_lines.splice(at..at, lines(seed, count));
    }
    let old = feed.release(1, None, &[("daily.cvd", Made::cvd(&old_lines))]);
    let new = feed.release(2, Some(&old), &[("daily.cvd", Made::cvd(&new_lines))]);
    let plan = Plan {
        path: "daily.cvd",
        form: Form::Opened,
        bases: vec![(Side::Old, "daily.cvd", Form::Opened)],
    };
    let bytes = bundle(&old, &new, &new.head, &[plan]);
    // Inside the last run.
    let at = bytes.len() - 10;
    let upstream = Upstream::start(&feed, &old, &new, Answers::bundle(Stream::Lost(bytes, at)));
    let mirror = feed.mirror_of(&upstream.address, &old).await;
    mirror.sync_once().await.unwrap_err();
    let report = mirror.sync_once().await.unwrap();
    assert!(all_served(&feed, &new));
    assert_eq!(roads(&report), [("daily.cvd", "chunks", "bundle_failed")]);
    assert_eq!((upstream.asked("bundle"), upstream.asked("runs")), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patience_asked_for_again_and_again_closes_a_road_and_in_a_bundle_it_is_a_breach() {
    for (waits, then) in [
        (Stream::Waits(0, 12), "bundle_absent"),
        (Stream::Waits(1, 1), "bundle_failed"),
    ] {
        let (_feed, upstream, report) = sync(|_, _| Answers {
            runs: Stream::Waits(0, 12),
            ..Answers::bundle(waits)
        })
        .await;
        assert_eq!(roads(&report)[1], ("daily.cvd", "chunks", then));
        assert_eq!((upstream.asked("bundle"), upstream.asked("runs")), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipe_that_cannot_be_read_costs_the_whole_file_and_not_the_release() {
    let feed = Feed::new();
    let (old, mut new) = day(&feed);
    // What was signed names a recipe that makes a file of another length.
    let other = Made::cvd(&lines(9, 50)).opened;
    new.files.get_mut("daily.cvd").unwrap().opened = other;
    let files: Vec<_> = new
        .files
        .iter()
        .map(|(p, m)| (p.as_str(), m.clone()))
        .collect();
    let new = feed.release(2, Some(&old), &files);
    let upstream = Upstream::start(&feed, &old, &new, Answers::bundle(Stream::Absent));
    let mirror = feed.mirror_of(&upstream.address, &old).await;
    let report = mirror.sync_once().await.unwrap();
    assert!(report.switched && all_served(&feed, &new), "{report:?}");
    assert_eq!(roads(&report)[1].1, "whole");
    assert!(
        report.warnings.join("\n").contains("daily.cvd: recipe"),
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_that_did_not_change_and_is_damaged_does_not_go_live_again() {
    use rustix::fs::{CWD, Timespec, Timestamps};
    use std::os::unix::fs::MetadataExt;
    for lost in [false, true] {
        let feed = Feed::new();
        let (old_lines, script) = (lines(1, 3000), lines(2, 900));
        let new_lines = [&old_lines[..], &script[..]].concat();
        let cdiff = ("daily-1.cdiff", Made::cvd(&script));
        let old = [cdiff.clone(), ("daily.cvd", Made::cvd(&old_lines))];
        let new = [cdiff, ("daily.cvd", Made::cvd(&new_lines))];
        let old = feed.release(1, None, &old);
        let new = feed.release(2, Some(&old), &new);
        let plan = Plan {
            path: "daily.cvd",
            form: Form::Opened,
            bases: vec![
                (Side::Old, "daily.cvd", Form::Opened),
                (Side::Old, "daily-1.cdiff", Form::Opened),
            ],
        };
        let bytes = bundle(&old, &new, &new.head, &[plan]);
        let length = bytes.len();
        let stream = match lost {
            true => Stream::Lost(bytes, length - 1),
            false => Stream::Whole(bytes),
        };
        let upstream = Upstream::start(&feed, &old, &new, Answers::bundle(stream));
        let mirror = feed.mirror_of(&upstream.address, &old).await;
        // The disk forgets a bit, and nothing but the content shows it.
        let path = feed.docroot().join(".tidecast/r1/daily-1.cdiff");
        let before = std::fs::metadata(&path).unwrap();
        let mut rotten = std::fs::read(&path).unwrap();
        let middle = rotten.len() / 2;
        rotten[middle] ^= 0x04;
        std::fs::write(&path, &rotten).unwrap();
        let time = Timespec {
            tv_sec: before.mtime(),
            tv_nsec: before.mtime_nsec(),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
        mirror
            .work()
            .disk
            .run(|disk| disk.docroot.believe_times())
            .await
            .unwrap();
        if lost {
            mirror.sync_once().await.unwrap_err();
        }
        let report = mirror.sync_once().await.unwrap();
        assert!(
            report.switched && all_served(&feed, &new),
            "{lost}: {report:?}"
        );
        let first = roads(&report)[0];
        assert_eq!(first, ("daily-1.cdiff", "whole", "base_damaged"), "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_came_unasked_is_used_and_one_that_starts_elsewhere_is_not() {
    for fits in [true, false] {
        let feed = Feed::new();
        let (old, new) = day(&feed);
        let bytes = whole_bundle(&old, &new);
        let from = if fits { &old } else { &new };
        let answers = Answers {
            push: Some((from.manifest.id(), bytes.clone())),
            ..Answers::bundle(Stream::Whole(bytes))
        };
        let upstream = Upstream::start(&feed, &old, &new, answers);
        let mirror = feed.mirror_of(&upstream.address, &old).await;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(mirror.clone().run(async {
            let _ = stopped.await;
        }));
        for _ in 0..500 {
            if all_served(&feed, &new) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert!(all_served(&feed, &new));
        assert_eq!(upstream.asked("bundle"), usize::from(!fits));
        assert_eq!(upstream.asked("manifest"), 0);
        let told = async {
            loop {
                if let Some(report) = mirror.status().last_sync.filter(|report| report.switched) {
                    return report;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let report = tokio::time::timeout(std::time::Duration::from_secs(10), told)
            .await
            .unwrap();
        assert!(report.received_bytes > report.bundle_bytes, "{report:?}");
        assert!(report.bundle_bytes > 0, "{report:?}");
        let _ = stop.send(());
        running.await.unwrap();
    }
}
