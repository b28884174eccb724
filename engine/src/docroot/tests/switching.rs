//! The switch's promises, with a reader at work all the time.

use std::sync::atomic::AtomicBool;

use super::*;

fn pair(number: u64) -> Vec<(&'static str, Vec<u8>)> {
    let mut files = vec![
        ("a.cvd", noise(&format!("pair {number}"), 3000)),
        ("b/pair.cvd", noise(&format!("pair {number}"), 3000)),
        ("same.txt", b"never changes".to_vec()),
    ];
    // Names that come and go.
    match number % 3 {
        0 => files.push(("odd.cdiff", noise("odd", 100))),
        1 => files.push(("dir/even.cdiff", noise("even", 100))),
        _ => {}
    }
    files
}

#[test]
fn two_hundred_switches_tear_nothing_miss_nothing_and_leave_no_name_dangling() {
    let site = Site::new();
    site.write("local_logo.png", b"logo");
    site.write("local_stats/index.html", b"stats");
    let (mut docroot, _) = site.open();
    Release::new(1, &pair(1)).install(&mut docroot);

    let stop = AtomicBool::new(false);
    let (looked, bad) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut looked, mut bad) = (0_u64, Vec::new());
            while !stop.load(Ordering::SeqCst) {
                looked += 1;
                // One descriptor of `current` pins one tree, as a server that resolves it once does.
                let pinned = std::fs::read_dir(site.path.join(".tidecast/current/.")).is_ok();
                let tree = std::fs::canonicalize(site.path.join(".tidecast/current")).unwrap();
                let a = std::fs::read(tree.join("a.cvd"));
                let b = std::fs::read(tree.join("b/pair.cvd"));
                match (a, b) {
                    (Ok(a), Ok(b)) if a == b && a.len() == 3000 => {}
                    other => bad.push(format!("torn: {other:?}")),
                }
                for kept in [
                    "a.cvd",
                    "b/pair.cvd",
                    "same.txt",
                    "local_logo.png",
                    "local_stats/index.html",
                ] {
                    if let Err(error) = std::fs::read(site.path.join(kept)) {
                        bad.push(format!("{kept}: {error}"));
                    }
                }
                if !pinned {
                    bad.push("current led nowhere".to_owned());
                }
                for name in ["odd.cdiff", "dir"] {
                    // A name is a link that leads on, or it is not there: between two looks it may have gone.
                    let path = site.path.join(name);
                    if path.symlink_metadata().is_ok()
                        && !path.exists()
                        && path.symlink_metadata().is_ok()
                    {
                        bad.push(format!("{name} dangles"));
                    }
                }
            }
            (looked, bad)
        });
        for number in 2..=201 {
            Release::new(number, &pair(number)).install(&mut docroot);
            docroot.expire(site.clock.now()).unwrap();
            site.clock.advance(HOUR_MS);
        }
        stop.store(true, Ordering::SeqCst);
        reader.join().unwrap()
    });
    assert!(looked > 20, "the reader hardly ran: {looked}");
    assert_eq!(bad, Vec::<String>::new(), "in {looked} rounds");
    assert_eq!(site.read("local_logo.png"), b"logo");
    assert!(site.serves(&pair(201)));
    assert!(site.verify().is_clean());
    assert!(docroot.mend().unwrap().is_clean());
}

#[test]
fn databases_carry_their_build_time_other_new_files_the_moment_of_the_switch_and_old_ones_stay() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let files = [("daily.cvd", vec![7_u8; 10]), ("old.txt", b"old".to_vec())];
    let first = Release::new(1, &files).install(&mut docroot);
    assert_eq!(first.stamp_s, START.seconds() + 2);
    site.clock.advance(HOUR_MS);
    let files = [
        files[0].clone(),
        files[1].clone(),
        ("new.txt", b"new".to_vec()),
    ];
    let second = Release::new(2, &files).install(&mut docroot);
    assert!(second.stamp_s * 1000 > second.switched.0);
    let live = docroot.current().unwrap();
    for (path, expected) in [
        ("daily.cvd", 1_700_000_007),
        ("old.txt", first.stamp_s),
        ("new.txt", second.stamp_s),
    ] {
        let served = live.site_files().find(|file| file.path == path).unwrap();
        assert_eq!(served.last_modified_s, expected, "{path}");
        use std::os::unix::fs::MetadataExt;
        let mtime = std::fs::metadata(site.path.join(path)).unwrap().mtime();
        assert_eq!(u64::try_from(mtime).unwrap(), expected, "{path}");
    }
    assert_eq!(live.site_files().count(), 3);
}

#[test]
fn a_new_file_is_dated_after_the_one_it_replaces_in_the_same_second_and_by_a_clock_set_back() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let mut release = |number: u64| {
        Release::new(number, &[("a", number.to_string().into_bytes())]).install(&mut docroot)
    };
    let first = release(1);
    let second = release(2);
    assert_eq!(second.stamp_s, first.stamp_s + 1);
    site.clock.0.fetch_sub(HOUR_MS, Ordering::SeqCst);
    assert_eq!(release(3).stamp_s, first.stamp_s + 2);
    // A time that no clock can have borne out is not followed.
    site.clock.0.fetch_sub(8 * 24 * HOUR_MS, Ordering::SeqCst);
    assert_eq!(release(4).stamp_s, site.clock.now().seconds() + 2);
}

#[test]
fn trees_are_let_go_of_though_one_was_switched_to_by_a_clock_that_was_ahead() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let mut release = |number: u64, ahead_ms: u64| {
        site.clock.advance(ahead_ms);
        Release::new(number, &[("a", number.to_string().into_bytes())]).install(&mut docroot);
        site.clock.0.fetch_sub(ahead_ms, Ordering::SeqCst);
    };
    release(1, 0);
    release(2, 100 * 365 * 24 * HOUR_MS);
    release(3, 0);
    release(4, 0);
    site.clock.advance(24 * HOUR_MS);
    let expired = docroot.expire(site.clock.now()).unwrap();
    assert_eq!(expired.trees, [1, 2].map(ReleaseNumber));
}

/// Every look at it takes a second and a half.
#[derive(Debug)]
struct SlowClock(AtomicU64);

impl Clock for SlowClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1500, Ordering::SeqCst))
    }
}

#[test]
fn a_switch_that_comes_after_its_stamp_stamps_again() {
    let site = Site::new();
    let clock = Arc::new(SlowClock(AtomicU64::new(START.0)));
    let (mut docroot, _) = Docroot::open(&site.path, feed(), Options::default(), clock).unwrap();
    let report =
        Release::new(1, &[("a", b"1".to_vec()), ("b", b"2".to_vec())]).install(&mut docroot);
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    assert!(report.stamp_s > START.seconds() + 4);
    assert!(report.stamp_s * 1000 >= report.switched.0, "{report:?}");
}

#[test]
fn foreign_names_go_to_removed_local_and_hidden_ones_stay() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    Release::new(1, &[("a", b"1".to_vec())]).install(&mut docroot);
    site.write("notes.txt", b"mine");
    site.write("folder/x", b"mine too");
    site.write(".htaccess", b"hidden");
    site.write("local_x/y", b"local");
    site.write("lost+found/z", b"the file system's");
    // The operator replaced a file of the release.
    std::fs::remove_file(site.path.join("a")).unwrap();
    site.write("a", b"edited");
    let report = Release::new(2, &[("a", b"2".to_vec())]).install(&mut docroot);
    assert_eq!(report.moved_away.len(), 3, "{report:?}");
    assert_eq!(report.warnings.len(), 1, "{report:?}");
    let removed = ".tidecast/removed/2026-11-21";
    for (name, content) in [
        ("notes.txt", "mine"),
        ("folder/x", "mine too"),
        ("a", "edited"),
    ] {
        assert_eq!(site.read(&format!("{removed}/{name}")), content.as_bytes());
    }
    for (name, content) in [
        ("a", "2"),
        (".htaccess", "hidden"),
        ("local_x/y", "local"),
        ("lost+found/z", "the file system's"),
    ] {
        assert_eq!(site.read(name), content.as_bytes());
    }
    site.clock.advance(32 * 24 * HOUR_MS);
    assert_eq!(docroot.expire(site.clock.now()).unwrap().removed_days, 1);
    assert!(!site.has(removed));
}

#[test]
fn no_code_path_touches_what_is_the_operators() {
    let site = Site::new();
    let (docroot, _) = site.open();
    for name in [
        "local_logo.png",
        "local_",
        ".tidecast",
        ".htaccess",
        "lost+found",
    ] {
        let folders = &docroot.folders;
        let os = std::ffi::OsStr::new(name);
        for result in [
            links::put(folders, START, name, "x").map(drop),
            links::remove(folders, START, os).map(drop),
            links::move_away(folders, START, os).map(drop),
            links::exchange(folders, layout::SWAP, name, "x").map(drop),
        ] {
            assert!(
                matches!(result, Err(DocrootError::Operators { .. })),
                "{name}"
            );
        }
    }
}

#[test]
fn a_release_that_drops_more_than_half_needs_its_signers_word() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let files: Vec<_> = ["a", "b", "c"].map(|name| (name, name.into())).into();
    Release::new(1, &files).install(&mut docroot);
    let shrunk = Release::new(2, &files[..1]);
    let error = docroot.begin(shrunk.manifest.clone()).unwrap_err();
    assert!(matches!(error, DocrootError::Successor(_)), "{error}");
    // Even a tree that was built while another release was live is not switched to, now or after a restart.
    let live = docroot.live.take();
    let prepared = shrunk.build(&mut docroot).0.finish().unwrap();
    docroot.live = live;
    let error = docroot.switch(prepared).unwrap_err();
    assert!(matches!(error, DocrootError::Successor(_)), "{error}");
    drop(docroot);
    let (mut docroot, recovery) = site.open();
    assert_eq!(recovery.completed, None);
    assert!(site.serves(&files));
    let flags = Flags {
        allow_shrink: true,
        ..Flags::default()
    };
    let report = Release::with_flags(3, &files[..1], flags).install(&mut docroot);
    assert_eq!(report.names_removed, 2);
    assert!(!site.has("b") && !site.has("c") && site.dangling().is_empty());
}

#[test]
fn an_older_or_foreign_release_is_refused_before_anything_is_built() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let release = Release::new(5, &[("a", b"1".to_vec())]);
    release.install(&mut docroot);
    let error = docroot.begin(release.manifest).unwrap_err();
    assert!(matches!(error, DocrootError::NotNewer { .. }), "{error}");
}

#[test]
fn old_trees_stay_for_the_grace_time_and_two_stay_always() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    for number in 1..=3 {
        Release::new(number, &pair(number)).install(&mut docroot);
    }
    assert!(docroot.expire(site.clock.now()).unwrap().trees.is_empty());
    site.clock.advance(10 * 60 * 1000);
    assert_eq!(
        docroot.expire(site.clock.now()).unwrap().trees,
        [ReleaseNumber(1)]
    );
    assert!(!site.has(".tidecast/r1") && !site.has(".tidecast/r1.manifest"));
    assert!(site.has(".tidecast/r2"));
    // Deleting a tree changes link counts, and with them ctimes; the live files still pass for unchanged.
    let report = docroot.mend().unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn lists_go_with_the_last_tree_that_needs_them_and_never_while_another_is_built() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let files = |seed: &str| [("big", noise(seed, 700_000))];
    let lists = || {
        std::fs::read_dir(site.path.join(".tidecast/lists"))
            .unwrap()
            .count()
    };
    for (number, seed) in [(1, "one"), (2, "two"), (3, "three")] {
        Release::new(number, &files(seed)).install(&mut docroot);
    }
    assert_eq!(lists(), 3);
    site.clock.advance(HOUR_MS);
    assert_eq!(
        docroot.expire(site.clock.now()).unwrap().trees,
        [ReleaseNumber(1)]
    );
    assert_eq!(lists(), 2);
    Release::new(4, &files("four")).install(&mut docroot);
    site.clock.advance(HOUR_MS);
    let next = Release::new(5, &files("five"));
    let mut build = docroot.begin(next.manifest.clone()).unwrap();
    next.start(&mut build);
    assert_eq!(
        docroot.expire(site.clock.now()).unwrap().trees,
        [ReleaseNumber(2)]
    );
    next.fetch(&mut build);
    docroot.switch(build.finish().unwrap()).unwrap();
    assert_eq!(lists(), 3);
}

#[test]
fn a_tree_that_was_only_prepared_is_not_switched_to_by_a_restart() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    Release::new(1, &pair(1)).install(&mut docroot);
    let next = Release::new(2, &pair(2));
    let prepared = next.build(&mut docroot).0.finish().unwrap();
    assert_eq!(prepared.release(), ReleaseNumber(2));
    drop(docroot);
    let (mut docroot, recovery) = site.open();
    assert!(
        recovery.unfinished && recovery.completed.is_none(),
        "{recovery}"
    );
    assert!(site.serves(&pair(1)));
    let (build, fetched) = next.build(&mut docroot);
    assert_eq!(fetched, 0);
    docroot.switch(build.finish().unwrap()).unwrap();
    assert!(site.serves(&pair(2)));
}

#[test]
fn a_docroot_and_a_build_may_move_to_the_disks_thread() {
    fn is_send<T: Send>() {}
    is_send::<Docroot>();
    is_send::<Build>();
    is_send::<Prepared>();
    fn is_shared<T: Send + Sync>() {}
    is_shared::<LiveTree>();
}

#[test]
fn of_many_small_files_only_the_changed_ones_are_fetched_and_the_others_linked() {
    const FILES: usize = if cfg!(debug_assertions) {
        5_000
    } else {
        50_000
    };
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let paths: Vec<String> = (0..FILES).map(|n| format!("d{}/f{n}", n % 50)).collect();
    let files = |salt: &str| -> Vec<(&str, Vec<u8>)> {
        let content = |n: usize| {
            if n.is_multiple_of(100) {
                format!("{n}{salt}")
            } else {
                n.to_string()
            }
        };
        paths
            .iter()
            .enumerate()
            .map(|(n, path)| (path.as_str(), content(n).into()))
            .collect()
    };
    let first = Release::new(1, &files("x"));
    let begun = std::time::Instant::now();
    first.install(&mut docroot);
    let fresh = begun.elapsed();
    let second = Release::new(2, &files("y"));
    let begun = std::time::Instant::now();
    let (build, fetched) = second.build(&mut docroot);
    assert_eq!(fetched, FILES / 100);
    assert_eq!(
        build.bytes().linked + build.bytes().written,
        second.manifest.total_bytes()
    );
    let prepared = build.finish().unwrap();
    docroot.switch(prepared).unwrap();
    let update = begun.elapsed();
    eprintln!("{FILES} files: fresh {fresh:?}, update of 1 % {update:?}");
    assert!(site.verify().is_clean());
}
