//! Whose gzip is rebuilt exactly: SPEC §5.8 against the producers themselves.
//!
//! Every row is tried: each producer packs the same contents, all of it is published, and what became of each file is
//! compared with its cell. `--nocapture` shows what was measured. Whatever the table says, the published bytes
//! are those of the file, and a file that does not open says where it differs.

#[path = "exactness/contents.rs"]
mod contents;
#[path = "exactness/gzfile.rs"]
mod gzfile;
#[path = "spec/page.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod page;
#[path = "exactness/published.rs"]
mod published;
mod support;
#[path = "exactness/table.rs"]
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use contents::Contents;
use gzfile::GzFile;
use published::{Outcome, Published};
use support::world::World;
use table::{Kind, Promise, Row};
use zlib_rs::{DeflateConfig, ReturnCode, Strategy};

const SIGTOOL: &str = "sigtool";
const ZLIB: &str = "zlib";
const GZOPEN: &str = "zlib gzopen";
const ZLIB_NG: &str = "zlib-ng";
const ZLIB_RS: &str = "zlib-rs";
const GZIP: &str = "GNU gzip";
const PIGZ: &str = "pigz";
const PIGZ_ZOPFLI: &str = "pigz -11";
const LIBDEFLATE: &str = "libdeflate-gzip";
const ZOPFLI: &str = "zopfli";
const IGZIP: &str = "igzip";

/// Packs the contents with every one of the producer's settings, publishes all, and holds the table to it.
#[track_caller]
fn compare(
    test: &str,
    producer: &str,
    version: &str,
    contents: &Contents,
    pack: impl Fn(&str, &Path) -> Vec<u8>,
) {
    let rows = table::rows_of(producer);
    if rows.iter().any(|row| !row.is_of(version)) {
        let why = format!(
            "SPEC §5.8 does not speak of {producer} {version}; only what holds for all is tried"
        );
        support::skip(test, &why);
    }
    let world = World::new("none");
    let tree = world.tree();
    let mut files = Vec::new();
    for row in &rows {
        for (setting, kind) in of_row(row) {
            let name = format!("{}.gz", files.len());
            let packed = pack(setting, &contents.path(kind));
            fs::write(tree.join(&name), &packed).unwrap();
            files.push((row, setting, kind, name, packed));
        }
    }
    let published = Published::new(&world);
    let mut wrong = Vec::new();
    for (row, setting, kind, name, packed) in files {
        let outcome = published.outcome(&name, &packed);
        let promise = row.promise(kind, version);
        let measured = format!("{producer} {setting}, {}: {outcome:?}", kind.name());
        println!("{measured}");
        let kept = match promise {
            Promise::Exact => matches!(outcome, Outcome::Exact(_)),
            Promise::Whole => matches!(outcome, Outcome::Whole(_)),
            Promise::Varies => true,
        };
        if !kept {
            wrong.push(format!("{measured}, not {promise:?}"));
        }
    }
    assert!(wrong.is_empty(), "{version}: {wrong:#?}");
}

fn of_row(row: &Row) -> impl Iterator<Item = (&str, Kind)> {
    let settings = row.settings.iter();
    settings.flat_map(|setting| Kind::ALL.map(|kind| (setting.as_str(), kind)))
}

/// What a program prints, which must end well.
#[track_caller]
fn output(command: &mut Command) -> Vec<u8> {
    let ran = command.stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{command:?}: {ran:?}");
    // Some say their version on stderr.
    match ran.stdout.is_empty() {
        true => ran.stderr,
        false => ran.stdout,
    }
}

/// The first line of what a program says of its version, without the letter before the number.
fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let first = text.lines().next().unwrap_or_default();
    first.replace(" v", " ")
}

/// Compares a program that packs a file to stdout with `-c`.
#[track_caller]
fn compare_program(
    test: &str,
    producer: &str,
    (name, package): (&str, &str),
    asked_version: &str,
    contents: &Contents,
) {
    let Some(program) = support::program(test, name, package) else {
        return;
    };
    let version = said(&output(Command::new(&program).arg(asked_version)));
    compare(test, producer, &version, contents, |settings, path| {
        let settings = settings.split(' ').filter(|word| !word.is_empty());
        output(Command::new(&program).args(settings).arg("-c").arg(path))
    });
}

/// Compares a Python module with zlib's interface.
#[track_caller]
fn compare_module(test: &str, producer: &str, python: &Path, module: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/exactness/compress.py");
    let call = || {
        let mut command = Command::new(python);
        command.arg(&script).arg(module);
        command
    };
    let version = said(&output(&mut call()));
    // Some systems have zlib-ng in zlib's place; its own rows tell of it.
    if producer == ZLIB && version.contains("zlib-ng") {
        support::skip(test, "this Python calls zlib-ng in zlib's place");
        return;
    }
    compare(
        test,
        producer,
        &version,
        &Contents::new(),
        |settings, path| output(call().arg(settings).arg(path)),
    );
}

#[test]
fn the_table_has_no_row_that_nobody_tries() {
    let stated: BTreeSet<String> = table::rows().into_iter().map(|row| row.producer).collect();
    let tried = [
        SIGTOOL,
        ZLIB,
        GZOPEN,
        ZLIB_NG,
        ZLIB_RS,
        GZIP,
        PIGZ,
        PIGZ_ZOPFLI,
        LIBDEFLATE,
        ZOPFLI,
        IGZIP,
    ];
    assert_eq!(stated, tried.map(str::to_owned).into());
}

#[test]
fn what_sigtool_makes_is_rebuilt() {
    let test = "what_sigtool_makes_is_rebuilt";
    let Some(data) = support::genuine(test) else {
        return;
    };
    let mut files = Vec::new();
    for row in table::rows_of(SIGTOOL) {
        for suffix in &row.settings {
            // The feed's first release has no script that leads to it.
            for version in if suffix == ".cdiff" { 2..=6 } else { 1..=6 } {
                let file = format!("test-{version}{suffix}");
                let bytes = fs::read(data.join(&file)).unwrap();
                files.push((file, bytes));
            }
        }
    }
    let laid_out: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    let world = World::new("genuine");
    world.lay_out(&laid_out);
    let published = Published::new(&world);
    for (name, bytes) in &files {
        let outcome = published.outcome(name, bytes);
        println!("{name}: {outcome:?}");
        assert!(matches!(outcome, Outcome::Exact(_)), "{name}: {outcome:?}");
    }
}

#[test]
fn what_zlib_packs_is_rebuilt_however_it_is_called() {
    let test = "what_zlib_packs_is_rebuilt_however_it_is_called";
    let Some(python) = support::program(test, "python3", "python3") else {
        return;
    };
    // What is in the path may be a script that looks for the right one, each time.
    let shown = output(Command::new(python).args(["-c", "import sys; print(sys.executable)"]));
    let python = String::from_utf8(shown).unwrap();
    compare_module(test, ZLIB, Path::new(python.trim_end()), "zlib");
}

#[test]
fn what_gzopen_writes_is_rebuilt_whatever_its_buffers() {
    let test = "what_gzopen_writes_is_rebuilt_whatever_its_buffers";
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("packed");
    let version = gzfile::version();
    compare(
        test,
        GZOPEN,
        &version,
        &Contents::new(),
        |settings, path| {
            let mut words = settings.split(' ');
            let mode = words.next().unwrap();
            let number = |name: &str| {
                let named = words.clone().skip_while(|word| *word != name).nth(1);
                named.map(|number| number.parse::<u32>().unwrap())
            };
            let (by, buffer_bytes) = (number("by").unwrap(), number("buffer"));
            let mut file = GzFile::create(&to, mode, buffer_bytes);
            for piece in fs::read(path).unwrap().chunks(by as usize) {
                file.write(piece);
            }
            file.close();
            fs::read(&to).unwrap()
        },
    );
}

#[test]
fn zlib_ng_is_as_stated() {
    let test = "zlib_ng_is_as_stated";
    let cached = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cache/venv/bin/python");
    let python = std::env::var_os("TIDECAST_ZLIB_NG").map_or_else(cached, PathBuf::from);
    let has_it = || {
        let mut command = Command::new(&python);
        command.args(["-c", "import zlib_ng.zlib_ng"]);
        let ran = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
        ran.is_ok_and(|status| status.success())
    };
    if !python.is_file() || !has_it() {
        support::skip(
            test,
            "the Python module zlib-ng is not installed; run tests/run",
        );
        return;
    }
    compare_module(test, ZLIB_NG, &python, "zlib_ng.zlib_ng");
}

#[test]
fn zlib_rs_is_as_stated() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap();
    let (_, after) = lock.split_once("name = \"zlib-rs\"\nversion = \"").unwrap();
    let (version, _) = after.split_once('"').unwrap();
    let test = "zlib_rs_is_as_stated";
    compare(
        test,
        ZLIB_RS,
        version,
        &Contents::new(),
        |settings, path| {
            let words: Vec<&str> = settings.split(' ').collect();
            let [level, strategy, memory_level] = words[..] else {
                panic!("{settings} are level, strategy, memLevel");
            };
            let config = DeflateConfig {
                level: level.parse().unwrap(),
                mem_level: memory_level.parse().unwrap(),
                strategy: match strategy {
                    "default" => Strategy::Default,
                    "filtered" => Strategy::Filtered,
                    other => panic!("strategy {other}"),
                },
                // With a gzip header.
                window_bits: 16 + 15,
                ..DeflateConfig::default()
            };
            let plain = fs::read(path).unwrap();
            let mut packed = vec![0; zlib_rs::compress_bound(plain.len()) + 64];
            let (packed, code) = zlib_rs::compress_slice(&mut packed, &plain, config);
            assert_eq!(code, ReturnCode::Ok);
            packed.to_vec()
        },
    );
}

#[test]
fn gnu_gzip_is_as_stated() {
    let test = "gnu_gzip_is_as_stated";
    let program = ("gzip", "gzip");
    compare_program(test, GZIP, program, "--version", &Contents::new());
}

#[test]
fn pigz_is_as_stated() {
    let test = "pigz_is_as_stated";
    compare_program(test, PIGZ, ("pigz", "pigz"), "--version", &Contents::new());
}

#[test]
fn pigz_with_zopfli_is_as_stated() {
    let test = "pigz_with_zopfli_is_as_stated";
    let program = ("pigz", "pigz");
    compare_program(test, PIGZ_ZOPFLI, program, "--version", &Contents::short());
}

#[test]
fn libdeflate_is_as_stated() {
    let test = "libdeflate_is_as_stated";
    let program = ("libdeflate-gzip", "libdeflate-tools");
    compare_program(test, LIBDEFLATE, program, "-V", &Contents::new());
}

#[test]
fn zopfli_is_as_stated() {
    let test = "zopfli_is_as_stated";
    // It does not tell its version.
    compare_program(test, ZOPFLI, ("zopfli", "zopfli"), "-h", &Contents::short());
}

#[test]
fn igzip_is_as_stated() {
    let test = "igzip_is_as_stated";
    compare_program(
        test,
        IGZIP,
        ("igzip", "isal"),
        "--version",
        &Contents::new(),
    );
}
