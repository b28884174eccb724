//! The docroot of an older mirror script is taken over in place.

use std::sync::atomic::AtomicBool;

use super::*;

#[test]
fn equal_files_and_chunks_of_an_older_mirror_are_not_fetched() {
    let site = Site::new();
    let old = noise("daily", 2_000_000);
    let mut new = old.clone();
    new.splice(1_000_000..1_000_000, *b"inserted");
    site.write("main.cvd", &noise("main", 700_000));
    site.write("daily.cvd", &old);
    site.write("small.txt", b"small");
    site.write("sub/renamed.txt", b"moved within the tree");
    site.write("local_logo.png", b"logo");
    let files = [
        ("main.cvd", noise("main", 700_000)),
        ("daily.cvd", new),
        ("small.txt", b"small".to_vec()),
        ("other/name.txt", b"moved within the tree".to_vec()),
    ];
    let release = Release::new(1, &files);
    let (mut docroot, _) = site.open();
    let (build, fetched) = release.build(&mut docroot);
    assert!(fetched <= 3, "{fetched} chunks fetched for 8 bytes");
    assert!(build.bytes().reused > 2_300_000);
    let prepared = build.finish().unwrap();
    let report = docroot.switch(prepared).unwrap();
    assert_eq!(report.adopted, 3);
    assert!(site.serves(&files) && site.dangling().is_empty());
    assert!(site.verify().is_clean());
    // Only what differs is kept, the rest is the release's.
    site.clock.advance(HOUR_MS);
    let expired = docroot.expire(site.clock.now()).unwrap();
    assert_eq!(
        expired.moved_away,
        [".tidecast/removed/2026-11-21/daily.cvd"]
    );
    assert_eq!(site.read(".tidecast/removed/2026-11-21/daily.cvd"), old);
    assert_eq!(
        site.read(".tidecast/removed/2026-11-21/sub/renamed.txt"),
        b"moved within the tree"
    );
    assert_eq!(site.read("local_logo.png"), b"logo");
}

#[test]
fn readers_of_an_adopted_docroot_miss_nothing() {
    for round in 0..20 {
        let site = Site::new();
        let stop = AtomicBool::new(false);
        site.write("a.cvd", b"old");
        site.write("folder/b.cvd", b"old");
        let (mut docroot, _) = site.open();
        let files = [
            ("a.cvd", b"new".to_vec()),
            ("folder/b.cvd", b"new".to_vec()),
        ];
        let prepared = Release::new(1, &files)
            .build(&mut docroot)
            .0
            .finish()
            .unwrap();
        let bad = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut bad = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    for name in ["a.cvd", "folder/b.cvd"] {
                        match std::fs::read(site.path.join(name)) {
                            Ok(content) if content == b"old" || content == b"new" => {}
                            other => bad.push(format!("{name}: {other:?}")),
                        }
                    }
                }
                bad
            });
            docroot.switch(prepared).unwrap();
            stop.store(true, Ordering::SeqCst);
            reader.join().unwrap()
        });
        assert_eq!(bad, Vec::<String>::new(), "round {round}");
        assert!(site.serves(&files));
    }
}

#[test]
fn an_operators_links_under_a_releases_name_are_kept_too() {
    let site = Site::new();
    site.write("elsewhere.cvd", b"target");
    std::os::unix::fs::symlink("elsewhere.cvd", site.path.join("a.cvd")).unwrap();
    let (mut docroot, _) = site.open();
    let files = [("a.cvd", b"1".to_vec())];
    Release::new(1, &files).install(&mut docroot);
    assert!(site.serves(&files));
    site.clock.advance(HOUR_MS);
    docroot.expire(site.clock.now()).unwrap();
    let kept = site.path.join(".tidecast/removed/2026-11-21/a.cvd");
    assert_eq!(
        std::fs::read_link(kept).unwrap(),
        PathBuf::from("elsewhere.cvd")
    );
}

#[test]
fn a_docroot_full_of_other_things_is_not_read() {
    let site = Site::new();
    for n in 0..20 {
        site.write(&format!("films/{n}.mkv"), &noise("film", 1_000_000 + n));
    }
    let release = Release::new(1, &[("daily.cvd", noise("daily", 300_000))]);
    let (mut docroot, _) = site.open();
    let mut build = docroot.begin(release.manifest.clone()).unwrap();
    release.start(&mut build);
    assert_eq!(strangers::reuse(&mut build, &chunker()).unwrap(), 0);
    // Of the right size, but too many of them: four are worth a try.
    for n in 0..20 {
        site.write(&format!("copies/{n}.cvd"), &noise(&format!("{n}"), 300_000));
    }
    let read = strangers::reuse(&mut build, &chunker()).unwrap();
    assert!((900_000..=1_200_000).contains(&read), "{read}");
    // Under its own name it is tried first, whatever its size.
    let mut grown = noise("daily", 300_000);
    grown.extend_from_slice(b"one more line");
    site.write("daily.cvd", &grown);
    strangers::reuse(&mut build, &chunker()).unwrap();
    assert!(build.missing().count() <= 1);
    assert!(build.bytes().reused > 0);
}

#[test]
fn an_operators_files_inside_an_adopted_folder_are_kept_and_named() {
    let site = Site::new();
    site.write("dir/a.cvd", b"old");
    site.write("dir/sub/local_notes", b"mine");
    let (mut docroot, _) = site.open();
    let files = [("dir/a.cvd", b"new".to_vec())];
    let report = Release::new(1, &files).install(&mut docroot);
    assert_eq!(report.warnings.len(), 1, "{report:?}");
    assert!(
        report.warnings[0].contains("dir/sub/local_notes"),
        "{report:?}"
    );
    site.clock.advance(HOUR_MS);
    docroot.expire(site.clock.now()).unwrap();
    let kept = site.read(".tidecast/removed/2026-11-21/dir/sub/local_notes");
    assert_eq!(kept, b"mine");
}
