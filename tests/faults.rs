//! Every call to the system that changes something on disk fails once, or is the last one before the program is killed.
//!
//! A run costs a second, and there are some thousands of them: a sample is run unless `TIDECAST_LONG` is set. Which one is
//! printed, and `TIDECAST_SEED` brings it back. `TIDECAST_FAULT` takes one case as a failure prints it, such as
//! `crashed/tidecast-disk/renameat/KILL/7`, and runs it alone.

#[path = "faults/calls.rs"]
mod calls;
#[path = "faults/scene.rs"]
mod scene;
mod support;
#[path = "faults/traced.rs"]
mod traced;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use scene::{DISK, PRESS, Scene};
use traced::{Traced, Tracer, name_of};

/// Cases of one test in its short form.
const SAMPLE: usize = 8;

/// Errors that are handled as another one is that is tried at every call: of these only some positions are.
const SAMPLED: &[&str] = &["EDQUOT", "EACCES"];
/// Which: every eighth.
const SAMPLED_STEP: u32 = 8;

/// Runs after the last position that was hit before a call counts as done with: now and then a run makes a call less.
const MISSES: u32 = 2;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Case {
    scene: &'static str,
    thread: &'static str,
    call: String,
    /// `KILL` or the name of an error.
    fault: &'static str,
    /// Which of the thread's calls of this name, from 1.
    nth: u32,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scene,
            thread,
            call,
            fault,
            nth,
        } = self;
        write!(f, "{scene}/{thread}/{call}/{fault}/{nth}")
    }
}

impl Case {
    fn inject(&self) -> String {
        match self.fault {
            "KILL" => format!("inject={}:signal=KILL:when={}", self.call, self.nth),
            error => format!("inject={}:error={error}:when={}", self.call, self.nth),
        }
    }
}

/// What became of the cases of one scene.
#[derive(Debug, Default)]
struct Tally {
    /// By call: positions that were hit.
    hits: BTreeMap<String, u32>,
    runs: u32,
    violations: Vec<String>,
}

impl Tally {
    fn print(&self, test: &str) {
        let hits: u32 = self.hits.values().sum();
        println!(
            "{test}: {} runs, {hits} hits, {} violations",
            self.runs,
            self.violations.len()
        );
        for (call, hits) in &self.hits {
            println!("  {call}: {hits}");
        }
        assert!(self.violations.is_empty(), "{}", self.violations.join("\n"));
    }
}

/// Plays `case`; whether it hit anything.
fn play(tracer: &Tracer, scene: &Scene, case: &Case, tally: &mut Tally) -> bool {
    scene.reset();
    let promise = scene.promise();
    let trace = format!("trace={}", case.call);
    let ran = tracer.run(
        &mut scene.sync(),
        case.thread,
        &["-e", &trace, "-e", &case.inject()],
    );
    tally.runs += 1;
    let Some(hit) = ran.hit().map(str::to_owned) else {
        if !ran.status.success() {
            tally
                .violations
                .push(format!("{case}: failed without a fault: {ran:?}"));
        }
        return false;
    };
    if case.fault != "KILL" && hit.contains("anon_inode") {
        // No disk says anything to a thread that wakes another.
        return true;
    }
    *tally
        .hits
        .entry(format!("{} {}", case.fault, case.call))
        .or_default() += 1;
    if let Err(why) = judge(scene, case, &ran, &hit, &promise) {
        let err = ran.err.trim_end();
        let violation = format!("TIDECAST_FAULT={case}\n  at {hit}\n  {why}\n  said: {err}");
        // At once: a long run is not to be waited for.
        println!("{violation}");
        tally.violations.push(violation);
    }
    true
}

/// What has to be so after a fault, and after the sync that follows it.
fn judge(
    scene: &Scene,
    case: &Case,
    ran: &Traced,
    hit: &str,
    promise: &support::promise::Promise,
) -> Result<(), String> {
    let live = scene.check(promise)?;
    if case.fault == "KILL" {
        if !ran.killed() {
            return Err(format!("it was not killed: {:?}", ran.status));
        }
    } else if ran.status.success() {
        // A fault that stops nothing: said as a warning, or one that only concerns what may be lost.
        let report: serde_json::Value =
            serde_json::from_str(&ran.out).map_err(|e| e.to_string())?;
        if report["to"] != live.release {
            return Err(format!("release {} is live after {report}", live.release));
        }
    } else {
        if let Some(path) = calls::unsynced(hit).filter(|path| path.exists()) {
            // Memory may hold what the disk does not.
            return Err(format!("{} is still there", path.display()));
        }
        calls::explained(case.fault, hit, ran, [scene.docroot(), scene.state()])?;
    }
    scene.comes_back(promise)
}

/// The one case that was asked for.
fn asked() -> Option<String> {
    std::env::var("TIDECAST_FAULT").ok()
}

/// Runs `faults` at every position of `calls` on `thread`, or at a sample of them.
fn everywhere(
    tracer: &Tracer,
    scene: &Scene,
    thread: &'static str,
    calls: &BTreeMap<String, u32>,
    faults: &[&'static str],
    tally: &mut Tally,
) {
    let case = |call: &str, fault, nth| Case {
        scene: scene.name,
        thread,
        call: call.to_owned(),
        fault,
        nth,
    };
    let mut all = Vec::new();
    for fault in faults {
        for (call, count) in calls {
            all.extend((1..=*count).map(|nth| case(call, fault, nth)));
        }
    }
    if let Some(asked) = asked() {
        for case in all.iter().filter(|case| case.to_string() == asked) {
            assert!(play(tracer, scene, case, tally), "{case} hits nothing");
        }
        return;
    }
    if !support::long() {
        let seed = seed();
        println!(
            "TIDECAST_SEED={seed}: {} of {} cases",
            SAMPLE.min(all.len()),
            all.len()
        );
        // A spread sample: one of each stretch.
        let stretch = all.len().div_ceil(SAMPLE).max(1);
        for (number, cases) in all.chunks(stretch).enumerate() {
            let draw = blake3::hash(&[seed.to_le_bytes(), (number as u64).to_le_bytes()].concat());
            let at = usize::from(draw.as_bytes()[0]) * cases.len() / 256;
            play(tracer, scene, &cases[at], tally);
        }
        return;
    }
    for fault in faults {
        let step = if SAMPLED.contains(fault) {
            SAMPLED_STEP
        } else {
            1
        };
        for call in calls.keys() {
            let (mut nth, mut missed) = (1, 0);
            while missed < MISSES {
                if play(tracer, scene, &case(call, fault, nth), tally) {
                    missed = 0;
                } else {
                    missed += 1;
                }
                nth += step;
            }
        }
    }
}

fn seed() -> u64 {
    let given = std::env::var("TIDECAST_SEED").ok();
    given.map_or_else(
        || u64::from(std::process::id()),
        |seed| seed.parse().unwrap(),
    )
}

/// How often each call of a kind is made on `thread` when nothing fails, and that every call is of a kind we know.
fn calls_of(
    tracer: &Tracer,
    scene: &Scene,
    thread: &'static str,
    wanted: impl Fn(&str) -> bool,
) -> BTreeMap<String, u32> {
    scene.reset();
    let ran = tracer.run(&mut scene.sync(), thread, &["-e", "trace=%file,%desc"]);
    assert!(ran.status.success(), "{ran:?}");
    scene.was_undisturbed(&ran.out);
    let mut counts = BTreeMap::new();
    let mut strange = BTreeSet::new();
    for line in ran
        .calls
        .iter()
        .filter(|line| !line.starts_with(['+', '-']))
    {
        let name = name_of(line);
        if !calls::CHANGING.contains(&name) && !calls::LOOKING.contains(&name) {
            strange.insert(line.clone());
        }
        if wanted(name) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    assert!(strange.is_empty(), "calls of no known kind: {strange:#?}");
    assert!(!counts.is_empty(), "{thread} made no call: {:?}", ran.calls);
    counts
}

fn changes(name: &str) -> bool {
    calls::CHANGING.contains(&name)
}

#[test]
fn killed_at_any_call_that_changes_something_the_docroot_is_one_release_and_the_next_sync_ends_well()
 {
    let test = "killed_at_any_call_that_changes_something_the_docroot_is_one_release_and_the_next_sync_ends_well";
    let Some(tracer) = Tracer::new(test) else {
        return;
    };
    let mut tally = Tally::default();
    for scene in [Scene::crashed(&tracer), Scene::adopting()] {
        let calls = calls_of(&tracer, &scene, DISK, changes);
        everywhere(&tracer, &scene, DISK, &calls, &["KILL"], &mut tally);
        if scene.name == "crashed" {
            let calls = calls_of(&tracer, &scene, PRESS, changes);
            everywhere(&tracer, &scene, PRESS, &calls, &["KILL"], &mut tally);
        }
    }
    tally.print(test);
}

/// Plays every change, in both scenes and on both threads, with each of `faults`.
fn changes_fail_with(test: &str, faults: &[&'static str]) {
    let Some(tracer) = Tracer::new(test) else {
        return;
    };
    let mut tally = Tally::default();
    for scene in [Scene::crashed(&tracer), Scene::adopting()] {
        let calls = calls_of(&tracer, &scene, DISK, changes);
        everywhere(&tracer, &scene, DISK, &calls, faults, &mut tally);
        if scene.name == "crashed" {
            let calls = calls_of(&tracer, &scene, PRESS, changes);
            everywhere(&tracer, &scene, PRESS, &calls, faults, &mut tally);
        }
    }
    tally.print(test);
}

#[test]
fn whatever_change_finds_the_disk_full_the_old_release_stays_and_the_next_sync_ends_well() {
    let test =
        "whatever_change_finds_the_disk_full_the_old_release_stays_and_the_next_sync_ends_well";
    changes_fail_with(test, &["ENOSPC", "EDQUOT"]);
}

#[test]
fn whatever_change_the_disk_fails_at_the_old_release_stays_and_the_next_sync_ends_well() {
    let test =
        "whatever_change_the_disk_fails_at_the_old_release_stays_and_the_next_sync_ends_well";
    changes_fail_with(test, &["EIO"]);
}

#[test]
fn whatever_change_is_forbidden_the_old_release_stays_and_the_next_sync_ends_well() {
    let test = "whatever_change_is_forbidden_the_old_release_stays_and_the_next_sync_ends_well";
    changes_fail_with(test, &["EROFS", "EACCES"]);
}

#[test]
fn a_read_that_fails_or_a_descriptor_that_is_not_to_be_had_changes_nothing() {
    let test = "a_read_that_fails_or_a_descriptor_that_is_not_to_be_had_changes_nothing";
    let Some(tracer) = Tracer::new(test) else {
        return;
    };
    let mut tally = Tally::default();
    let scene = Scene::crashed(&tracer);
    let reads = calls_of(&tracer, &scene, DISK, |name| calls::READING.contains(&name));
    everywhere(&tracer, &scene, DISK, &reads, &["EIO"], &mut tally);
    let opens = calls_of(&tracer, &scene, DISK, |name| calls::OPENING.contains(&name));
    everywhere(&tracer, &scene, DISK, &opens, &["EMFILE"], &mut tally);
    tally.print(test);
}

/// All steps on the docroot run in order on one thread; only a file that is being rebuilt is written by another, whose
/// end that one waits for.
#[test]
fn nothing_but_the_disk_thread_changes_the_docroot() {
    let test = "nothing_but_the_disk_thread_changes_the_docroot";
    let Some(tracer) = Tracer::new(test) else {
        return;
    };
    for scene in [Scene::crashed(&tracer), Scene::adopting()] {
        scene.reset();
        let by_thread = tracer.all_threads(&mut scene.sync());
        let mut by_the_disk = 0;
        for (thread, line) in &by_thread {
            let touches = [scene.docroot(), scene.state()]
                .iter()
                .any(|folder| line.contains(&*folder.to_string_lossy()));
            if !touches || !calls::changes_something(line) {
                continue;
            }
            by_the_disk += u32::from(thread == DISK);
            let rebuilt = thread == PRESS && line.contains("/.tidecast/new/");
            assert!(thread == DISK || rebuilt, "{thread}: {line}");
        }
        assert!(by_the_disk > 50, "{by_thread:#?}");
    }
}
