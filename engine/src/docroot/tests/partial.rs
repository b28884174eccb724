//! What is left of a build that was begun: it is there for the next attempt, and not forever.

use super::*;

const DAY_MS: u64 = 24 * HOUR_MS;

/// A docroot at release 1 in which somebody began release 2, and the moment the last byte of it was written, as the file
/// system remembers it: its times are not the test clock's.
fn begun() -> (Site, Release, Timestamp) {
    let site = Site::new();
    let real = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let real_ms = u64::try_from(real.as_millis()).unwrap();
    site.clock.0.store(real_ms, Ordering::SeqCst);
    let (mut docroot, _) = site.open();
    Release::new(1, &[("kept", b"kept".to_vec())]).install(&mut docroot);
    let next = Release::new(
        2,
        &[("big", noise("big", 900_000)), ("kept", b"kept".to_vec())],
    );
    let mut build = docroot.begin(next.manifest.clone()).unwrap();
    build.link_unchanged().unwrap();
    next.start(&mut build);
    let missing: Vec<Entry> = build.missing().collect();
    assert!(missing.len() > 4);
    for entry in &missing[..2] {
        build.put(&entry.id, &next.chunks[&entry.id]).unwrap();
    }
    let opened = b"a chunk of opened content";
    build.spool_chunk(&ChunkId::of(opened), opened).unwrap();
    (site, next, Timestamp(real_ms))
}

fn partial(site: &Site) -> [bool; 2] {
    ["new", "spool"].map(|name| site.has(&format!(".tidecast/{name}")))
}

#[test]
fn a_release_that_was_begun_stays_for_a_week_and_goes_when_nothing_was_added_to_it() {
    for at_start in [false, true] {
        let (site, next, written) = begun();
        let look = |days: u64| {
            let at = written.plus(days * DAY_MS + 60_000);
            site.clock.0.store(at.0, Ordering::SeqCst);
            let (mut docroot, recovery) = site.open();
            if at_start {
                return (recovery.given_up, recovery);
            }
            // A daemon that runs all the while: it was opened when nothing was old yet.
            (docroot.expire(at).unwrap().given_up, recovery)
        };
        let (gone, recovery) = look(6);
        assert!(!gone && recovery.unfinished, "{recovery}");
        assert_eq!(partial(&site), [true, true]);
        // What was fetched is not asked for twice.
        let (mut docroot, _) = site.open();
        let mut build = docroot.begin(next.manifest.clone()).unwrap();
        build.link_unchanged().unwrap();
        next.start(&mut build);
        assert_eq!(build.missing().count(), next.chunks.len() - 1 - 2);
        drop((build, docroot));

        let (gone, recovery) = look(8);
        let line = recovery.to_string();
        if at_start {
            assert!(
                gone && line.contains("without progress for a week"),
                "{line}"
            );
            assert!(!recovery.unfinished && !line.contains('\n'), "{line}");
        }
        assert_eq!(partial(&site), [false, false], "{line}");
        let lists = std::fs::read_dir(site.path.join(".tidecast/lists")).unwrap();
        assert_eq!(lists.count(), 0);
        assert!(site.verify().is_clean());
        next.install(&mut site.open().0);
        assert!(site.serves(&[("big", noise("big", 900_000))]));
    }
}

#[test]
fn a_running_mirror_gives_up_what_was_begun_too() {
    let (site, _, written) = begun();
    let (mut docroot, _) = site.open();
    let at = |days: u64| written.plus(days * DAY_MS + 60_000);
    assert!(!docroot.expire(at(6)).unwrap().given_up);
    assert!(docroot.expire(at(8)).unwrap().given_up);
    assert_eq!(partial(&site), [false, false]);
    assert!(!docroot.expire(at(9)).unwrap().given_up);
}

#[test]
fn a_clock_that_was_ahead_takes_nothing_away() {
    let (site, _, written) = begun();
    let (mut docroot, _) = site.open();
    let before = Timestamp(written.0 - 400 * DAY_MS);
    assert!(!docroot.expire(before).unwrap().given_up);
    assert!(!docroot.expire(Timestamp(0)).unwrap().given_up);
    assert_eq!(partial(&site), [true, true]);
}

#[test]
fn a_spool_without_a_tree_that_is_built_is_removed_at_the_start() {
    let (site, _, _) = begun();
    std::fs::remove_dir_all(site.path.join(".tidecast/new")).unwrap();
    let (_, recovery) = site.open();
    assert_eq!(recovery.corrected, 1, "{recovery}");
    assert_eq!(partial(&site), [false, false]);
}

#[test]
fn a_folder_whose_maker_was_killed_before_it_got_its_mode_gets_it() {
    use std::os::unix::fs::PermissionsExt;
    let (site, _, _) = begun();
    let mode = |name: &str| {
        let found = site.path.join(name).metadata().unwrap();
        found.permissions().mode() & 0o777
    };
    for (name, right) in [(".tidecast", 0o755), (".tidecast/lists", 0o755)] {
        let path = site.path.join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        let (mut docroot, _) = site.open();
        let files = [("big", noise(name, 300_000)), ("kept", b"kept".to_vec())];
        Release::new(3, &files).build(&mut docroot);
        assert_eq!(mode(name), right, "{name}");
    }
}
