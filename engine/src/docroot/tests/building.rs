//! Nothing that is on this machine is fetched, and nothing wrong is taken over.

use super::*;

fn big(seed: &str) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("big.bin", noise(seed, 1_500_000)),
        ("small", b"small".to_vec()),
    ]
}

#[test]
fn an_interrupted_build_keeps_its_chunks_and_fetches_none_twice() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let release = Release::new(1, &big("x"));
    let mut build = docroot.begin(release.manifest.clone()).unwrap();
    release.start(&mut build);
    let missing: Vec<Entry> = build.missing().collect();
    assert!(missing.len() > 8, "{}", missing.len());
    for entry in &missing[..5] {
        build.put(&entry.id, &release.chunks[&entry.id]).unwrap();
    }
    // Killed: nothing is finished or synced.
    drop(build);
    drop(docroot);
    let (mut docroot, recovery) = site.open();
    assert!(recovery.unfinished);
    let mut build = docroot.begin(release.manifest.clone()).unwrap();
    assert!(build.missing_lists().unwrap().is_empty());
    build.start(&chunker()).unwrap();
    assert_eq!(build.missing().collect::<Vec<_>>(), missing[5..]);
    release.fetch(&mut build);
    docroot.switch(build.finish().unwrap()).unwrap();
    assert!(site.serves(&big("x")));
}

#[test]
fn a_newer_release_goes_on_from_what_an_older_one_left_unfinished() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    drop(Release::new(1, &big("x")).build(&mut docroot).0);
    let mut files = big("x");
    files.remove(1);
    files.push(("other", b"other".to_vec()));
    let (build, fetched) = Release::new(2, &files).build(&mut docroot);
    assert_eq!(fetched, 1);
    assert!(!site.has(".tidecast/new/small"));
    docroot.switch(build.finish().unwrap()).unwrap();
    assert!(site.serves(&files));
}

#[test]
fn chunks_of_the_live_tree_are_reused_wherever_they_moved() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    Release::new(1, &big("x")).install(&mut docroot);
    let mut changed = noise("x", 1_500_000);
    changed.splice(700_000..700_000, *b"inserted");
    let files = [
        ("big.bin", changed),
        ("copy", b"small".to_vec()),
        ("small", b"small".to_vec()),
    ];
    let (build, fetched) = Release::new(2, &files).build(&mut docroot);
    assert!((1..=3).contains(&fetched), "{fetched}");
    assert!(build.bytes().reused > 1_000_000);
    docroot.switch(build.finish().unwrap()).unwrap();
    assert!(site.serves(&files));
    // The same without the old file's list, which is cut again.
    std::fs::remove_dir_all(site.path.join(".tidecast/lists")).unwrap();
    let mut changed = files[0].1.clone();
    changed.splice(100_000..100_000, *b"again");
    let files = [("big.bin", changed), files[1].clone(), files[2].clone()];
    let (_, fetched) = Release::new(3, &files).build(&mut docroot);
    assert!((1..=3).contains(&fetched), "{fetched}");
}

#[test]
fn a_chunk_that_appears_many_times_is_fetched_once() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let files = [
        ("a", vec![0_u8; 2_000_000]),
        ("b", vec![0_u8; 2_000_000]),
        ("empty", Vec::new()),
    ];
    let (build, fetched) = Release::new(1, &files).build(&mut docroot);
    assert!(fetched <= 2, "{fetched}");
    docroot.switch(build.finish().unwrap()).unwrap();
    assert!(site.serves(&files));
}

#[test]
fn unchanged_files_are_the_same_inode_and_an_edited_one_is_built_again() {
    use std::os::unix::fs::MetadataExt;
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let files = [
        ("edited", b"right".to_vec()),
        ("kept", b"kept".to_vec()),
        ("touched", b"fine".to_vec()),
    ];
    Release::new(1, &files).install(&mut docroot);
    let inode = |name: &str| std::fs::metadata(site.path.join(name)).unwrap().ino();
    let (kept, edited) = (inode("kept"), inode("edited"));
    // Same length, same mtime: only inode and ctime tell.
    let mtime = std::fs::metadata(site.path.join("edited"))
        .unwrap()
        .modified()
        .unwrap();
    std::fs::write(site.path.join("edited"), b"wrong").unwrap();
    std::fs::File::open(site.path.join("edited"))
        .unwrap()
        .set_modified(mtime)
        .unwrap();
    std::fs::File::open(site.path.join("touched"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    let release = Release::new(2, &files);
    let mut build = docroot.begin(release.manifest.clone()).unwrap();
    let report = build.link_unchanged().unwrap();
    assert_eq!((report.linked, report.copied), (2, 0));
    let damaged: Vec<&str> = report.damaged.iter().map(ReleasePath::as_str).collect();
    assert_eq!(damaged, ["edited"]);
    release.start(&mut build);
    assert_eq!(release.fetch(&mut build), 1);
    docroot.switch(build.finish().unwrap()).unwrap();
    assert!(site.serves(&files));
    assert_eq!(inode("kept"), kept);
    assert_ne!(inode("edited"), edited);
    for name in ["edited", "touched"] {
        let now = std::fs::metadata(site.path.join(name))
            .unwrap()
            .modified()
            .unwrap();
        assert_eq!(now, mtime, "{name} keeps the time it was first served with");
    }
}

#[test]
fn where_a_file_has_too_many_links_it_is_copied() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let files = [("a", b"content".to_vec())];
    Release::new(1, &files).install(&mut docroot);
    let links = site.path.join("local_links");
    std::fs::create_dir(&links).unwrap();
    // ext4 allows 65,000, others more; where there is no limit in reach, there is nothing to test.
    let limited = (0..70_000).any(|n| {
        std::fs::hard_link(site.path.join(".tidecast/r1/a"), links.join(n.to_string())).is_err()
    });
    if !limited {
        crate::skip::skip(
            "where_a_file_has_too_many_links_it_is_copied",
            "this file system has no such limit",
        );
        return;
    }
    let mtime = std::fs::metadata(site.path.join("a"))
        .unwrap()
        .modified()
        .unwrap();
    let mut build = docroot.begin(Release::new(2, &files).manifest).unwrap();
    let report = build.link_unchanged().unwrap();
    assert_eq!((report.linked, report.copied), (0, 1));
    build.start(&chunker()).unwrap();
    docroot.switch(build.finish().unwrap()).unwrap();
    assert!(site.serves(&files));
    assert_eq!(
        std::fs::metadata(site.path.join("a"))
            .unwrap()
            .modified()
            .unwrap(),
        mtime
    );
}

#[test]
fn an_unfinished_build_is_never_a_release() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let release = Release::new(1, &big("x"));
    let mut build = docroot.begin(release.manifest.clone()).unwrap();
    let error = build.start(&chunker()).unwrap_err();
    assert!(matches!(error, DocrootError::ListMissing { .. }), "{error}");
    release.start(&mut build);
    assert_eq!(build.needed_bytes(), 1_500_005);
    build.check_space().unwrap();
    let error = build.finish().unwrap_err();
    assert!(
        matches!(error, DocrootError::Incomplete { files: 2, .. }),
        "{error}"
    );
    assert!(!site.has("big.bin"));
}

#[test]
fn a_list_that_lies_about_its_file_is_found_out_when_the_file_is_complete() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let honest = Release::new(1, &big("x"));
    let other = Release::new(1, &big("y"));
    // The manifest names the list of other content of the same length.
    let mut body = (**honest.manifest).clone();
    body.files[0].list = other.manifest.files[0].list;
    let signed = SignedManifest::sign(&body, &[&SecretKey::from_seed(&[1; 32])]).unwrap();
    let id = signed.id();
    let mut build = docroot
        .begin(Arc::new(signed.reopen(&id).unwrap()))
        .unwrap();
    other.start(&mut build);
    let missing: Vec<Entry> = build.missing().collect();
    let error = missing
        .iter()
        .find_map(|entry| build.put(&entry.id, &other.chunks[&entry.id]).err())
        .expect("noticed");
    assert!(
        matches!(error, DocrootError::WrongContent { .. }),
        "{error}"
    );
    assert!(build.finish().is_err());
}

#[test]
fn nothing_is_written_through_a_link_that_somebody_placed_in_the_tree() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    site.write("local_victim", b"victim");
    let new = site.path.join(".tidecast/new");
    std::fs::create_dir(&new).unwrap();
    std::os::unix::fs::symlink("../../local_victim", new.join("small")).unwrap();
    std::os::unix::fs::symlink("../..", new.join("dir")).unwrap();
    let files = [
        ("dir/local", b"in a folder".to_vec()),
        ("small", b"small".to_vec()),
    ];
    Release::new(1, &files).install(&mut docroot);
    assert!(site.serves(&files));
    assert_eq!(site.read("local_victim"), b"victim");
    assert!(!site.has("local"));
}

#[test]
fn modes_are_0644_and_0755_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let (mut docroot, _) = site.open();
    Release::new(1, &[("d/run.sh", b"#!".to_vec()), ("d/x", b"x".to_vec())]).install(&mut docroot);
    for (name, mode) in [
        ("d", 0o755),
        ("d/run.sh", 0o755),
        ("d/x", 0o644),
        (".tidecast", 0o755),
    ] {
        let got = std::fs::metadata(site.path.join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(got, mode, "{name}");
    }
}

#[test]
fn a_peek_knows_the_live_release_and_its_chunks_without_the_lock() {
    let site = Site::new();
    assert!(peek(&site.path, &feed()).unwrap().is_none());
    let (mut docroot, _) = site.open();
    assert!(peek(&site.path, &feed()).unwrap().is_none());
    let release = Release::new(1, &big("x"));
    release.install(&mut docroot);
    let peek = peek(&site.path, &feed()).unwrap().unwrap();
    assert_eq!(peek.manifest.id(), release.manifest.id());
    let expected: std::collections::BTreeSet<_> = release.chunks.keys().copied().collect();
    assert_eq!(peek.chunks, expected);
}

#[test]
fn an_interrupted_build_does_not_make_the_next_one_hash_what_is_linked_already() {
    use std::os::unix::fs::MetadataExt;
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let files = |other: &str| {
        vec![
            ("kept", b"same".to_vec()),
            ("other", other.as_bytes().to_vec()),
        ]
    };
    Release::new(1, &files("1")).install(&mut docroot);
    let next = Release::new(2, &files("2"));
    let mut build = docroot.begin(next.manifest.clone()).unwrap();
    assert_eq!(build.link_unchanged().unwrap().linked, 1);
    drop(build);
    let mut build = docroot.begin(next.manifest.clone()).unwrap();
    let recorded = docroot.current().unwrap().records()[0];
    let on_disk = std::fs::metadata(site.path.join(".tidecast/r1/kept")).unwrap();
    assert_eq!(
        (recorded.ctime_s, i64::from(recorded.ctime_ns)),
        (on_disk.ctime(), on_disk.ctime_nsec()),
        "the link went and came, so the live file looks touched"
    );
    assert_eq!(build.link_unchanged().unwrap().linked, 1);
    next.start(&mut build);
    next.fetch(&mut build);
    docroot.switch(build.finish().unwrap()).unwrap();
    assert!(site.serves(&files("2")));
}
