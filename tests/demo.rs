//! `tidecast demo` as a newcomer runs it.

#[path = "support/command.rs"]
mod command;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use command::{Place, names, signal};

/// A `tidecast demo` whose temporary folders lie in `place`, so that a leftover is seen.
fn demo(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidecast"));
    command
        .arg("demo")
        .args(arguments)
        .env("TMPDIR", place.0.path())
        .env_remove("TIDECAST_STATE")
        .stdin(Stdio::null());
    command
}

/// Whether any process mentions `folder` in its command line.
fn is_mentioned(folder: &Path) -> bool {
    let folder = folder.to_str().unwrap().as_bytes();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .any(|line| line.windows(folder.len()).any(|part| part == folder))
}

#[test]
fn the_demo_switches_three_mirrors_and_leaves_nothing_behind() {
    let place = Place::new();
    let output = demo(&place, &["--json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    let mirrors: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(mirrors.len(), 3, "{text}");
    for mirror in &mirrors {
        for field in ["switched", "download_equal", "local_kept"] {
            assert_eq!(mirror[field], true, "{field}: {mirror}");
        }
        assert!(mirror["bytes"].as_u64().unwrap() > 0, "{mirror}");
        assert!(mirror["seconds"].as_f64().unwrap() > 0.0, "{mirror}");
    }
    assert!(names(place.0.path()).is_empty());
    assert!(!is_mentioned(place.0.path()));
}

#[test]
fn a_demo_that_is_kept_serves_until_it_is_interrupted() {
    let place = Place::new();
    let mut child = demo(&place, &["--keep", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mirror: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let url = mirror["url"].as_str().unwrap();
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let connected = std::net::TcpStream::connect(address).is_ok();
    signal(&child, "INT");
    let ended = child.wait().unwrap();
    assert!(connected);
    assert_eq!(ended.code(), Some(0));
    assert!(names(place.0.path()).is_empty());
    assert!(!is_mentioned(place.0.path()));
}
