//! Every fuzz target on stable Rust: all committed inputs, then mutants of them, counted and seeded so that each run is
//! the same. The long forms are `TIDECAST_LONG=1` here, and `fuzz/run` with coverage on nightly.
//!
//! Read from the environment:
//!   `TIDECAST_FUZZ_TARGET`  only this target
//!   `TIDECAST_FUZZ_TIMES`   how often the usual number of mutants is tried; 1, or 20 with `TIDECAST_LONG`
//!   `TIDECAST_FUZZ_SEED`    where the mutants begin; 1
//!   `TIDECAST_FUZZ_INPUT`   a file to try instead of all this, for one target: how a failure is looked at again

#[path = "corpus/allocation.rs"]
mod allocation;
#[path = "corpus/mutate.rs"]
mod mutate;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mutate::{Random, mutant};
use tidecast_fuzz::{TARGETS, Target};

#[global_allocator]
static ALLOCATOR: allocation::Counting = allocation::Counting;

/// Most bytes of the heap that one input, none of which is longer than 16 KiB, may make a target hold at once. The greatest
/// need is that of a manifest, which may open to 16 MiB and is held encoded and decoded; a length that is believed goes far
/// beyond.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a whole number"))
    })
}

fn chosen() -> Vec<&'static Target> {
    let name = env::var("TIDECAST_FUZZ_TARGET").ok();
    let chosen: Vec<_> = TARGETS
        .iter()
        .filter(|target| name.as_deref().is_none_or(|name| name == target.name))
        .collect();
    assert!(!chosen.is_empty(), "no target {name:?}");
    chosen
}

/// The committed inputs of a target, by their paths.
fn inputs(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for kind in ["seeds", "corpus"] {
        let Ok(folder) = fs::read_dir(fuzz().join(kind).join(target.name)) else {
            continue;
        };
        for entry in folder {
            let path = entry.expect("a readable folder").path();
            let bytes = fs::read(&path).expect("a readable file");
            found.push((path, bytes));
        }
    }
    // Folders have no order.
    found.sort();
    found
}

/// Feeds one input to a target.
///
/// # Errors
/// What is wrong: it panicked, or held too much.
fn attempt(target: &Target, bytes: &[u8]) -> Result<usize, String> {
    let mut panicked = None;
    let held = allocation::peak_of(|| {
        panicked = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).err();
    });
    match panicked {
        Some(_) => Err("it panicked, as told above".into()),
        None if held > HELD_BYTES_MAX => Err(format!("it held {held} bytes")),
        None => Ok(held),
    }
}

/// What to type to see the input in the file `path` fail again.
fn told(target: &Target, path: &Path, why: &str) -> String {
    let name = target.name;
    let path = path.display();
    format!(
        "{name}: {why}\n  TIDECAST_FUZZ_TARGET={name} TIDECAST_FUZZ_INPUT={path} cargo test -p tidecast --test corpus"
    )
}

/// Keeps an input that failed.
fn keep(target: &Target, bytes: &[u8], why: &str) -> String {
    let hash = blake3::hash(bytes).to_hex();
    let name = format!("{}-{}", target.name, &hash[..16]);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).expect("the target folder is writable");
    told(target, &path, why)
}

/// Runs `work` for every chosen target on as many threads as there are processors, and returns what it says, in the
/// targets' order.
fn each_target<T: Send>(work: impl Fn(&'static Target) -> T + Sync) -> Vec<(&'static Target, T)> {
    let targets = chosen();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let said = work(target);
                    done.lock().expect("no panic there").push((*target, said));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic there");
    done.sort_by_key(|(target, _)| TARGETS.iter().position(|t| t.name == target.name));
    done
}

#[test]
fn no_committed_input_and_no_mutant_of_one_breaks_a_promise() {
    if let Some(path) = env::var_os("TIDECAST_FUZZ_INPUT") {
        let bytes = fs::read(path).expect("a readable file");
        for target in chosen() {
            println!("{}: {:?}", target.name, attempt(target, &bytes));
            attempt(target, &bytes).expect("no broken promise");
        }
        return;
    }
    let long = env::var_os("TIDECAST_LONG").is_some();
    let times = number("TIDECAST_FUZZ_TIMES", if long { 20 } else { 1 });
    let seed = number("TIDECAST_FUZZ_SEED", 1);
    let outcomes = each_target(|target| {
        let kept = inputs(target);
        let mut held = 0;
        for (path, bytes) in &kept {
            match attempt(target, bytes) {
                Ok(bytes) => held = held.max(bytes),
                Err(why) => return Err(told(target, path, &why)),
            }
        }
        let bases: Vec<Vec<u8>> = kept.into_iter().map(|(_, bytes)| bytes).collect();
        // The same mutants whatever other targets there are.
        let mut random = Random::new(seed ^ u64::from(target.executions) << 32);
        let count = u64::from(target.executions) * times;
        for _ in 0..count {
            let bytes = mutant(&bases, target.bytes_max, &mut random);
            match attempt(target, &bytes) {
                Ok(bytes) => held = held.max(bytes),
                Err(why) => return Err(keep(target, &bytes, &why)),
            }
        }
        Ok((bases.len(), count, held))
    });
    println!("seed {seed}");
    println!(
        "{:<16} {:>8} {:>10} {:>10}",
        "target", "inputs", "mutants", "held"
    );
    let mut failed = Vec::new();
    let mut all = 0;
    for (target, outcome) in outcomes {
        match outcome {
            Ok((inputs, mutants, held)) => {
                println!("{:<16} {inputs:>8} {mutants:>10} {held:>10}", target.name);
                all += mutants;
            }
            Err(why) => failed.push(why),
        }
    }
    println!("{all} mutants, {} targets failed", failed.len());
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[test]
fn every_target_has_a_program_a_line_in_the_table_and_inputs_to_begin_with() {
    let programs: BTreeSet<String> = fs::read_dir(fuzz().join("targets"))
        .expect("the programs")
        .map(|entry| {
            let path = entry.expect("a readable folder").path();
            let name = path.file_stem().expect("a name").to_string_lossy();
            name.into_owned()
        })
        .collect();
    let names: BTreeSet<String> = TARGETS.iter().map(|t| t.name.to_owned()).collect();
    assert_eq!(programs, names);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("a manifest");
    let readme = fs::read_to_string(fuzz().join("README.md")).expect("a page");
    for target in TARGETS {
        let line = format!("name = \"{}\"", target.name);
        assert!(manifest.contains(&line), "fuzz/Cargo.toml: {line}");
        let cell = format!("| `{}` |", target.name);
        assert!(readme.contains(&cell), "fuzz/README.md: {cell}");
        let inputs = inputs(target);
        assert!(!inputs.is_empty(), "{} has no input", target.name);
        for (path, bytes) in inputs {
            assert!(bytes.len() <= 16 * 1024, "{}", path.display());
        }
    }
    for folder in ["corpus", "seeds"] {
        for entry in fs::read_dir(fuzz().join(folder)).expect("inputs") {
            let name = entry.expect("a readable folder").file_name();
            let name = name.to_string_lossy();
            assert!(
                names.contains(&*name),
                "fuzz/{folder}/{name} is no target's"
            );
        }
    }
}

/// The check above must be able to fail.
#[test]
fn a_panic_and_a_length_that_is_believed_are_noticed() {
    let target = |run| Target {
        name: "made up",
        run,
        bytes_max: 16,
        executions: 1,
    };
    let believing = target(|bytes| {
        let len = bytes.first().map_or(0, |byte| usize::from(*byte) << 20);
        assert!(Vec::<u8>::with_capacity(len).capacity() >= len);
    });
    assert!(attempt(&believing, &[1]).is_ok_and(|held| held >= 1 << 20));
    assert!(attempt(&believing, &[200]).is_err());
    let panicking = target(|bytes| assert_ne!(bytes.first(), Some(&7)));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let bases = [vec![0; 4]];
    let mut random = Random::new(1);
    let found = (0..10_000).any(|_| attempt(&panicking, &mutant(&bases, 16, &mut random)).is_err());
    std::panic::set_hook(hook);
    assert!(found);
}
