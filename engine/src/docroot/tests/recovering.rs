//! A power cut after any step ends with the old release or the new one, whole.

use super::*;
use switch::Step;

fn old() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("both.cvd", noise("old", 400_000)),
        ("dropped/x", b"x".to_vec()),
        ("same", b"same".to_vec()),
    ]
}

fn new() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("added/y", b"y".to_vec()),
        ("both.cvd", noise("new", 400_000)),
        ("same", b"same".to_vec()),
    ]
}

/// Installs `release` until the power is cut after `step`.
fn cut_after(step: Step, docroot: &mut Docroot, release: &Release) {
    docroot.stop_after = Some(step);
    let build = release.build(docroot).0;
    let result = build
        .finish()
        .and_then(|prepared| docroot.switch(prepared).map(drop));
    assert!(
        matches!(result, Err(DocrootError::Stopped(_))),
        "{step:?}: {result:?}"
    );
}

#[test]
fn a_cut_after_any_step_leaves_one_release_whole_and_no_name_dangling() {
    for step in Step::ALL {
        let site = Site::new();
        site.write("local_logo.png", b"logo");
        let (mut docroot, _) = site.open();
        Release::new(1, &old()).install(&mut docroot);
        site.write("foreign", b"foreign");
        let release = Release::new(2, &new());
        cut_after(step, &mut docroot, &release);
        drop(docroot);
        // Before anything is recovered: what a web server in front serves after the reboot.
        assert_eq!(site.dangling(), Vec::<PathBuf>::new(), "{step:?}");
        let (was_old, was_new) = (
            site.read("both.cvd") == old()[0].1,
            site.read("both.cvd") == new()[1].1,
        );
        assert!(was_old || was_new, "{step:?}");

        let (mut docroot, recovery) = site.open();
        assert_eq!(
            site.dangling(),
            Vec::<PathBuf>::new(),
            "{step:?}: {recovery}"
        );
        let live = docroot.current().unwrap().release().0;
        let expected = match step {
            Step::FilesSynced | Step::ManifestWritten | Step::TreeRenamed => 1,
            _ => 2,
        };
        assert_eq!(live, expected, "{step:?}: {recovery}");
        if live == 1 {
            assert!(
                site.serves(&old()) && !site.has("added"),
                "{step:?}: {recovery}"
            );
            assert!(recovery.unfinished, "{step:?}: {recovery}");
            // Nothing that was there is fetched again.
            let (build, fetched) = release.build(&mut docroot);
            assert_eq!(fetched, 0, "{step:?}");
            let prepared = build.finish().unwrap();
            docroot.switch(prepared).unwrap();
        }
        assert!(
            site.serves(&new()) && !site.has("dropped"),
            "{step:?}: {recovery}"
        );
        assert!(!site.has("foreign") && site.has(".tidecast/removed/2026-11-21/foreign"));
        assert_eq!(site.read("local_logo.png"), b"logo");
        let report = site.verify();
        assert!(report.is_clean(), "{step:?}: {report:?}");
        let report = docroot.mend().unwrap();
        assert!(report.is_clean(), "{step:?}: {report:?}");
        for leftover in ["intent", "current.tmp", "link.tmp", "new"] {
            assert!(
                !site.has(&format!(".tidecast/{leftover}")),
                "{step:?}: {leftover}"
            );
        }
        drop(docroot);
        let (_, again) = site.open();
        assert_eq!(
            (again.completed, again.corrected),
            (None, 0),
            "{step:?}: {again}"
        );
    }
}

#[test]
fn a_cut_during_the_very_first_switch_is_picked_up_too() {
    for step in Step::ALL {
        let site = Site::new();
        // An older mirror's files, one of them under a name of the release.
        site.write("both.cvd", b"older");
        site.write("added/other", b"older");
        site.write("gone", b"gone");
        let (mut docroot, _) = site.open();
        let release = Release::new(2, &new());
        cut_after(step, &mut docroot, &release);
        drop(docroot);
        assert_eq!(site.dangling(), Vec::<PathBuf>::new(), "{step:?}");
        assert!(site.has("both.cvd"), "{step:?}");
        let (mut docroot, recovery) = site.open();
        assert_eq!(
            site.dangling(),
            Vec::<PathBuf>::new(),
            "{step:?}: {recovery}"
        );
        if docroot.current().is_none() {
            assert_eq!(site.read("both.cvd"), b"older", "{step:?}");
            let (build, fetched) = release.build(&mut docroot);
            assert_eq!(fetched, 0, "{step:?}");
            docroot.switch(build.finish().unwrap()).unwrap();
        }
        assert!(site.serves(&new()), "{step:?}: {recovery}");
        site.clock.advance(HOUR_MS);
        docroot.expire(site.clock.now()).unwrap();
        for name in ["both.cvd", "added/other", "gone"] {
            assert!(
                site.has(&format!(".tidecast/removed/2026-11-21/{name}")),
                "{step:?}: {name}"
            );
        }
        assert!(!site.has(".tidecast/r0"));
        assert!(docroot.mend().unwrap().is_clean(), "{step:?}");
    }
}

#[test]
fn a_file_on_its_way_to_removed_arrives_after_a_crash() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    Release::new(1, &old()).install(&mut docroot);
    // As left by a crash between the exchange and the move.
    links::exchange(
        &docroot.folders,
        layout::SWAP,
        "same",
        ".tidecast/current/same",
    )
    .unwrap();
    site.write(".tidecast/swap/mine", b"mine");
    drop(docroot);
    let (_, recovery) = site.open();
    assert_eq!(recovery.moved_away, [".tidecast/removed/2026-11-21/mine"]);
    assert!(site.serves(&old()));
    assert!(
        std::fs::read_dir(site.path.join(".tidecast/swap"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn without_its_live_tree_a_docroot_falls_back_and_names_never_dangle() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    Release::new(1, &old()).install(&mut docroot);
    Release::new(2, &new()).install(&mut docroot);
    drop(docroot);
    std::fs::remove_dir_all(site.path.join(".tidecast/r2")).unwrap();
    let (docroot, recovery) = site.open();
    assert!(recovery.fell_back, "{recovery}");
    assert_eq!(docroot.current().unwrap().release(), ReleaseNumber(1));
    assert!(site.dangling().is_empty());
    assert_eq!(site.read("both.cvd"), old()[0].1);
    drop(docroot);
    std::fs::remove_dir_all(site.path.join(".tidecast/r1")).unwrap();
    let (mut docroot, recovery) = site.open();
    assert!(recovery.fell_back && docroot.current().is_none());
    assert!(site.dangling().is_empty() && !site.has("both.cvd"));
    Release::new(3, &new()).install(&mut docroot);
    assert!(site.serves(&new()));
}

#[test]
fn a_lost_index_or_manifest_costs_reading_not_the_release() {
    for lost in ["r1.index", "r1.manifest"] {
        let site = Site::new();
        let (mut docroot, _) = site.open();
        let release = Release::new(1, &old());
        release.install(&mut docroot);
        drop(docroot);
        std::fs::remove_file(site.path.join(".tidecast").join(lost)).unwrap();
        let (mut docroot, _) = site.open();
        assert!(site.serves(&old()), "{lost}");
        if docroot.current().is_none() {
            let (build, fetched) = release.build(&mut docroot);
            assert_eq!(fetched, 0, "{lost}");
            docroot.switch(build.finish().unwrap()).unwrap();
        }
        assert_eq!(Release::new(2, &old()).build(&mut docroot).1, 0, "{lost}");
        assert!(docroot.mend().unwrap().damaged.is_empty());
        assert!(site.serves(&old()) && site.dangling().is_empty(), "{lost}");
    }
}

#[test]
fn flipped_bytes_in_our_own_files_never_stop_a_start() {
    for name in ["r1.index", "r1.manifest", "intent", "feed"] {
        let site = Site::new();
        let (mut docroot, _) = site.open();
        Release::new(1, &old()).install(&mut docroot);
        drop(docroot);
        std::fs::write(site.path.join(".tidecast").join(name), b"\xff\0garbage").unwrap();
        match site.try_open() {
            Ok(_) => {}
            Err(DocrootError::State { .. }) if name == "feed" => {}
            Err(error) => panic!("{name}: {error}"),
        }
        assert!(site.serves(&old()), "{name}");
    }
}
