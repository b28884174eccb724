//! A switch that fails without a crash is tried again by the same process: nothing dangles, nothing is lost.

use std::sync::atomic::AtomicBool;

use super::*;
use switch::Step;

fn old() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("both.cvd", b"old".to_vec()),
        ("dropped/x", b"x".to_vec()),
        ("same", b"same".to_vec()),
    ]
}

fn new() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("added/y", b"y".to_vec()),
        ("another.cvd", b"z".to_vec()),
        ("both.cvd", b"new".to_vec()),
        ("same", b"same".to_vec()),
    ]
}

/// Runs `work` while another thread looks for names that lead nowhere; returns those it saw.
fn watched<T>(site: &Site, work: impl FnOnce() -> T) -> (T, Vec<PathBuf>) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut bad = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                for entry in std::fs::read_dir(&site.path).unwrap() {
                    let path = entry.unwrap().path();
                    // Between two looks a name may have gone; one that is there leads on.
                    if !path.exists() && path.symlink_metadata().is_ok() && !path.exists() {
                        bad.push(path);
                    }
                }
            }
            bad
        });
        // A claim that fails in `work` must end the watcher as well.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::SeqCst);
        let result = result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (result, watcher.join().unwrap())
    })
}

/// Installs `release` until `step` fails; the docroot stays open.
fn fail_after(step: Step, docroot: &mut Docroot, release: &Release) {
    docroot.stop_after = Some(step);
    let build = release.build(docroot).0;
    let result = build
        .finish()
        .and_then(|prepared| docroot.switch(prepared).map(drop));
    assert!(
        matches!(result, Err(DocrootError::Stopped(_))),
        "{step:?}: {result:?}"
    );
    docroot.stop_after = None;
}

#[test]
fn after_a_failure_at_any_step_the_next_build_finds_every_name_leading_on_and_the_next_switch_succeeds()
 {
    for step in Step::ALL {
        for first in [true, false] {
            let site = Site::new();
            // What an older mirror left, where nothing was live before.
            site.write("both.cvd", b"older");
            let (mut docroot, _) = site.open();
            if !first {
                Release::new(1, &old()).install(&mut docroot);
            }
            let ((), bad) = watched(&site, || {
                fail_after(step, &mut docroot, &Release::new(2, &new()));
                // Even a name that went missing otherwise is back before anything is built.
                drop(docroot.begin(Release::new(3, &new()).manifest).unwrap());
                assert_eq!(site.dangling(), Vec::<PathBuf>::new(), "{step:?}");
                let live = docroot.current().map(|live| live.release().0);
                match live {
                    Some(1) => assert!(site.serves(&old()), "{step:?}: names are missing"),
                    Some(_) => assert!(site.serves(&new()), "{step:?}: names are missing"),
                    None => assert_eq!(site.read("both.cvd"), b"older", "{step:?}"),
                }
                Release::new(3, &new()).install(&mut docroot);
            });
            assert_eq!(bad, Vec::<PathBuf>::new(), "{step:?}");
            assert!(site.serves(&new()) && !site.has("dropped"), "{step:?}");
            assert!(docroot.mend().unwrap().is_clean(), "{step:?}");
            assert!(!site.has(".tidecast/intent"), "{step:?}");
        }
    }
}

#[test]
fn a_name_of_the_live_release_that_is_missing_is_back_at_the_start() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    Release::new(1, &old()).install(&mut docroot);
    drop(docroot);
    std::fs::remove_file(site.path.join("dropped")).unwrap();
    let (_, recovery) = site.open();
    assert_eq!(recovery.corrected, 1, "{recovery}");
    assert!(site.serves(&old()));
}

#[test]
fn an_operators_file_that_appears_after_the_look_is_kept_whatever_was_meant_for_its_name() {
    let site = Site::new();
    let (docroot, _) = site.open();
    let folders = &docroot.folders;
    // The caller believes that links of ours stand here.
    for name in ["pointed", "removed"] {
        site.write(name, name.as_bytes());
    }
    let target = layout::settled_target("pointed");
    let put = links::put(folders, START, "pointed", &target).unwrap();
    let removed = links::remove(folders, START, "removed".as_ref()).unwrap();
    let place = |name: &str| format!(".tidecast/removed/2026-11-21/{name}");
    assert_eq!(put, links::Settled::Replaced(place("pointed")));
    assert_eq!(removed, Some(place("removed")));
    for name in ["pointed", "removed"] {
        assert_eq!(site.read(&place(name)), name.as_bytes());
    }
    assert_eq!(
        links::remove(folders, START, "never".as_ref()).unwrap(),
        None
    );
}

/// An operator who puts files into the docroot when the clock is looked at for the `left`th time.
#[derive(Debug)]
struct BusyOperator {
    docroot: PathBuf,
    left: AtomicU64,
}

const OPERATORS: [&str; 3] = ["another.cvd", "both.cvd", "dropped"];

impl Clock for BusyOperator {
    fn now(&self) -> Timestamp {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            for name in OPERATORS {
                let path = self.docroot.join(name);
                let _ = std::fs::remove_file(&path);
                std::fs::write(path, b"mine").unwrap();
            }
        }
        START
    }
}

#[test]
fn files_that_an_operator_places_during_a_switch_are_never_lost() {
    let mut during = 0;
    for look in 1..30 {
        let site = Site::new();
        let clock = Arc::new(BusyOperator {
            docroot: site.path.clone(),
            left: AtomicU64::new(u64::MAX / 2),
        });
        let options = Options::default();
        let (mut docroot, _) = Docroot::open(&site.path, feed(), options, clock.clone()).unwrap();
        Release::new(1, &old()).install(&mut docroot);
        let prepared = Release::new(2, &new())
            .build(&mut docroot)
            .0
            .finish()
            .unwrap();
        clock.left.store(look, Ordering::SeqCst);
        docroot.switch(prepared).unwrap();
        if clock.left.load(Ordering::SeqCst) < look && clock.left.load(Ordering::SeqCst) > 0 {
            // The switch looks at the clock less often than that.
            break;
        }
        during += 1;
        docroot.mend().unwrap();
        for name in OPERATORS {
            let kept = site.read(&format!(".tidecast/removed/2026-11-21/{name}"));
            assert_eq!(kept, b"mine", "{name}, at look {look}");
        }
        assert!(
            site.serves(&new()) && !site.has("dropped"),
            "at look {look}"
        );
    }
    assert!(during >= 3, "{during}");
}

#[test]
fn a_file_that_could_not_be_moved_on_is_by_the_next_attempt() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    Release::new(1, &old()).install(&mut docroot);
    std::fs::remove_file(site.path.join("same")).unwrap();
    site.write("same", b"mine");
    let release = Release::new(2, &new());
    let prepared = release.build(&mut docroot).0.finish().unwrap();
    site.write(".tidecast/removed", b"in the way");
    docroot.switch(prepared).unwrap_err();
    assert_eq!(site.read(".tidecast/swap/same"), b"mine");
    std::fs::remove_file(site.path.join(".tidecast/removed")).unwrap();
    let report = release.install(&mut docroot);
    let place = ".tidecast/removed/2026-11-21/same";
    assert_eq!(report.moved_away, [place]);
    assert_eq!(site.read(place), b"mine");
    assert!(!site.has(".tidecast/swap/same") && site.serves(&new()));
}

#[test]
fn what_fails_after_the_switch_is_a_warning_and_is_finished_by_the_next_build() {
    let site = Site::new();
    let (mut docroot, _) = site.open();
    let mut files = old();
    Release::new(1, &files).install(&mut docroot);
    files.push(("added", b"added".to_vec()));
    let prepared = Release::new(2, &files)
        .build(&mut docroot)
        .0
        .finish()
        .unwrap();
    // Nothing changes places before the new name's link is pointed through `current`.
    std::fs::remove_dir(site.path.join(".tidecast/swap")).ok();
    site.write(".tidecast/swap", b"in the way");
    let report = docroot.switch(prepared).unwrap();
    assert_eq!(report.to, ReleaseNumber(2));
    assert_eq!(report.warnings.len(), 1, "{report:?}");
    assert!(
        report.warnings[0].contains("release 2 is served"),
        "{report:?}"
    );
    assert_eq!(docroot.current().unwrap().release(), ReleaseNumber(2));
    assert!(site.serves(&files) && site.has(".tidecast/intent"));
    std::fs::remove_file(site.path.join(".tidecast/swap")).unwrap();
    drop(docroot.begin(Release::new(3, &files).manifest).unwrap());
    assert!(!site.has(".tidecast/intent"));
    let kept = tree::read_kept(&docroot.folders, ReleaseNumber(2))
        .unwrap()
        .unwrap();
    assert_eq!(kept.index.unwrap().switched, Some(report.switched));
    let link = std::fs::read_link(site.path.join("added")).unwrap();
    assert_eq!(link, PathBuf::from(".tidecast/current/added"));
}
