//! What wanders off between two releases is brought back.

use super::*;

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a.cvd", noise("a", 600_000)),
        ("dir/b", b"bbb".to_vec()),
        ("c", b"ccc".to_vec()),
        ("d", b"ddd".to_vec()),
    ]
}

#[test]
fn names_links_and_operators_files_are_put_right() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    Release::new(1, &files()).install(&mut docroot);
    docroot.write_timestamp(1, b"head").unwrap();
    assert!(docroot.mend().unwrap().is_clean());
    for name in ["a.cvd", "dir", "c", "timestamp"] {
        std::fs::remove_file(site.path.join(name)).unwrap();
    }
    site.write("c", b"operator's");
    site.write("foreign", b"foreign");
    std::os::unix::fs::symlink("/dev/null", site.path.join("dir")).unwrap();
    std::os::unix::fs::symlink(".tidecast/current/nothing", site.path.join("ghost")).unwrap();
    std::fs::remove_file(site.path.join(".tidecast/current")).unwrap();
    assert!(!verify_readonly(&site.path, &feed(), &mut |_| {}).is_ok_and(|r| r.is_clean()));
    let report = docroot.mend().unwrap();
    assert_eq!(report.restored, ["current", "a.cvd", "c", "dir"]);
    assert_eq!(
        (
            report.removed,
            report.moved_away.len(),
            report.warnings.len()
        ),
        (1, 3, 2)
    );
    assert!(site.serves(&files()) && site.dangling().is_empty());
    assert!(site.has("timestamp") && !site.has("foreign") && !site.has("ghost"));
    assert!(docroot.mend().unwrap().is_clean());
    assert!(
        verify_readonly(&site.path, &feed(), &mut |_| {})
            .unwrap()
            .is_clean()
    );
}

#[test]
fn damaged_files_are_named_and_repaired_with_only_the_missing_chunks() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let release = Release::new(1, &files());
    release.install(&mut docroot);
    let served = |docroot: &Docroot| {
        let live = docroot.current().unwrap();
        live.site_files()
            .find(|file| file.path == "a.cvd")
            .unwrap()
            .last_modified_s
    };
    let before = served(&docroot);
    // One flipped byte, a missing file, a changed mode; one file only touched.
    let mut bytes = site.read("a.cvd");
    bytes[300_000] ^= 1;
    std::fs::write(site.path.join("a.cvd"), bytes).unwrap();
    std::fs::remove_dir_all(site.path.join(".tidecast/r1/dir")).unwrap();
    let touched = std::fs::File::open(site.path.join("d")).unwrap();
    touched.set_modified(std::time::UNIX_EPOCH).unwrap();

    let verified = site.verify();
    let faults: Vec<String> = verified.faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "a.cvd holds other bytes than were signed",
            "dir/b is missing"
        ]
    );

    let report = docroot.mend().unwrap();
    let damaged: Vec<&str> = report.damaged.iter().map(ReleasePath::as_str).collect();
    assert_eq!(damaged, ["a.cvd", "dir/b"]);
    assert_eq!(report.touched, 1);

    let mut build = docroot.begin_repair(&report.damaged).unwrap();
    release.start(&mut build);
    assert_eq!(release.fetch(&mut build), 2);
    assert_eq!(docroot.finish_repair(build).unwrap(), 2);
    assert!(site.serves(&files()));
    assert!(site.verify().is_clean());
    assert!(docroot.mend().unwrap().is_clean());
    assert_eq!(served(&docroot), before);
    assert!(!site.has(".tidecast/mend"));
}

#[test]
fn a_verification_counts_every_byte_and_says_how_far_it_is() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let release = Release::new(1, &files());
    release.install(&mut docroot);
    let mut last = None;
    let report = verify_readonly(&site.path, &feed(), &mut |progress| {
        last = Some(progress);
    })
    .unwrap();
    assert_eq!((report.files, report.bytes), (4, 600_009));
    assert_eq!(report.manifest, release.manifest.id());
    let last = last.unwrap();
    assert_eq!((last.done_bytes, last.total_bytes), (600_009, 600_009));
    std::fs::remove_file(site.path.join("c")).unwrap();
    site.write("x", b"x");
    let faults = site.verify().faults;
    assert_eq!(
        faults,
        [Fault::Name("c".into()), Fault::Foreign("x".into())]
    );
}
