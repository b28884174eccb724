//! A disk that forgets a bit: found by reading, doubted, healed.

use super::*;

fn files(other: &str) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a.cvd", noise("a", 600_000)),
        ("dir/b", b"bbb".to_vec()),
        ("c", other.as_bytes().to_vec()),
    ]
}

fn flip(site: &Site, docroot: &mut Docroot, name: &str, at: usize) {
    let path = site.path.join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    docroot.believe_times();
}

fn path(name: &str) -> ReleasePath {
    ReleasePath::new(name).unwrap()
}

#[test]
fn what_nothing_shows_is_found_by_reading_and_healed_by_one_chunk() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let release = Release::new(1, &files("c"));
    release.install(&mut docroot);
    flip(&site, &mut docroot, "a.cvd", 300_000);
    flip(&site, &mut docroot, "dir/b", 1);
    assert!(docroot.mend().unwrap().is_clean(), "it is believed");

    let report = site.verify();
    let list = release.manifest.files[0].list.unwrap();
    let chunks = release.lists[&list].entries().len() as u64;
    let found: Vec<_> = report
        .damaged
        .iter()
        .map(|d| (d.path.as_str(), d.chunks, d.bad_chunks))
        .collect();
    let expected = [
        ("a.cvd", Some(chunks), Some(1)),
        ("dir/b", Some(1), Some(1)),
    ];
    assert_eq!(found, expected);
    assert_eq!(report.bad_chunks(), 2);

    let paths = [path("a.cvd"), path("dir/b"), path("nothing")];
    assert_eq!(docroot.doubt(&paths).unwrap(), paths[..2]);
    assert!(docroot.is_doubted(&paths[0]) && !docroot.is_doubted(&path("c")));
    let mended = docroot.mend().unwrap();
    assert_eq!(mended.damaged, paths[..2]);
    let mut build = docroot.begin_repair(&mended.damaged).unwrap();
    release.start(&mut build);
    assert_eq!(release.fetch(&mut build), 2);
    assert_eq!(build.bytes().written, report.bad_bytes());
    docroot.finish_repair(build).unwrap();
    assert!(site.serves(&files("c")) && site.verify().is_clean());
    assert!(docroot.mend().unwrap().is_clean());
    assert!(!docroot.is_doubted(&paths[0]));
}

#[test]
fn doubt_outlives_a_restart_and_no_release_is_built_on_it() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    Release::new(1, &files("c")).install(&mut docroot);
    flip(&site, &mut docroot, "a.cvd", 1);
    docroot.doubt(&[path("a.cvd")]).unwrap();
    drop(docroot);
    let (mut docroot, _) = site.open();
    assert!(docroot.is_doubted(&path("a.cvd")));
    let second = Release::new(2, &files("d"));
    let mut build = docroot.begin(second.manifest.clone()).unwrap();
    let linked = build.link_unchanged().unwrap();
    assert_eq!(linked.damaged, [path("a.cvd")]);
    second.start(&mut build);
    assert_eq!(second.fetch(&mut build), 2, "one chunk of a.cvd, and c");
    let prepared = build.finish().unwrap();
    docroot.switch(prepared).unwrap();
    assert!(site.serves(&files("d")) && site.verify().is_clean());
}

#[test]
fn what_was_doubted_wrongly_is_believed_again() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    Release::new(1, &files("c")).install(&mut docroot);
    docroot.doubt(&[path("a.cvd")]).unwrap();
    let mended = docroot.mend().unwrap();
    assert_eq!((mended.damaged.len(), mended.touched), (0, 1));
    assert!(!docroot.is_doubted(&path("a.cvd")));
    assert!(docroot.mend().unwrap().is_clean());
}

#[test]
fn older_trees_get_the_healed_file_and_believe_it() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    Release::new(1, &files("c")).install(&mut docroot);
    let second = Release::new(2, &files("d"));
    second.install(&mut docroot);
    flip(&site, &mut docroot, "a.cvd", 9);
    let record = |release| {
        let kept = tree::read_kept(&docroot_folders(&site), ReleaseNumber(release));
        kept.unwrap().unwrap().index.unwrap().records[0]
    };
    docroot.doubt(&[path("a.cvd")]).unwrap();
    assert_eq!((record(1).ctime_s, record(2).ctime_s), (0, 0));
    let mut build = docroot.begin_repair(&[path("a.cvd")]).unwrap();
    second.start(&mut build);
    assert_eq!(second.fetch(&mut build), 1);
    docroot.finish_repair(build).unwrap();
    for release in ["r1", "r2"] {
        let served = site.read(&format!(".tidecast/{release}/a.cvd"));
        assert_eq!(served, files("d")[0].1, "{release}");
    }
    assert_eq!(record(1), record(2));
    assert!(docroot.mend().unwrap().is_clean());
}

fn docroot_folders(site: &Site) -> Folders {
    Folders::open(&site.path).unwrap().unwrap()
}

#[test]
fn what_an_older_tree_still_has_is_not_fetched() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    Release::new(1, &files("c")).install(&mut docroot);
    let second = Release::new(2, &files("d"));
    second.install(&mut docroot);
    std::fs::remove_file(site.path.join(".tidecast/r2/a.cvd")).unwrap();
    let damaged = docroot.mend().unwrap().damaged;
    assert_eq!(damaged, [path("a.cvd")]);
    let mut build = docroot.begin_repair(&damaged).unwrap();
    second.start(&mut build);
    assert_eq!(second.fetch(&mut build), 0);
    docroot.finish_repair(build).unwrap();
    assert!(site.serves(&files("d")));
}

#[test]
fn a_repair_leaves_every_other_file_as_it_was() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let release = Release::new(1, &files("c"));
    release.install(&mut docroot);
    let before = docroot.current().unwrap().records();
    docroot.doubt(&[path("c")]).unwrap();
    let mut build = docroot.begin_repair(&[path("c")]).unwrap();
    // Not asked for by a repair, and without effect on what is not repaired.
    assert_eq!(build.link_unchanged().unwrap().linked, 1);
    release.start(&mut build);
    docroot.finish_repair(build).unwrap();
    let after = docroot.current().unwrap().records();
    let at = |name: &str| {
        let files = &release.manifest.files;
        files.iter().position(|f| f.path.as_str() == name).unwrap()
    };
    for name in ["a.cvd", "dir/b"] {
        assert_eq!(before[at(name)], after[at(name)], "{name}");
    }
}

#[test]
fn a_sample_reads_its_share_and_the_names() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    Release::new(1, &files("c")).install(&mut docroot);
    flip(&site, &mut docroot, "dir/b", 0);
    let mut after = None;
    let mut clean = Vec::new();
    for _ in 0..3 {
        let verification = Verification {
            extent: Extent::Sample {
                amount: "1".parse().unwrap(),
                after,
            },
            bytes_per_s: None,
        };
        let report = verify(&site.path, &feed(), &verification, &mut |_| {}).unwrap();
        assert_eq!((report.files, report.release_files), (1, 3));
        clean.push(report.is_clean());
        after = report.read.last().cloned();
    }
    assert_eq!(clean, [true, true, false]);
}
