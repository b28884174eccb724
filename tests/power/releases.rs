//! What the feed of the story publishes.

use crate::support::container::{hdb_line, unsigned};
use crate::support::promise::Release;
use crate::support::world::noise;

/// How many there are.
pub(crate) const LAST: u64 = 8;

/// A name of the operator's, until release 5 has it as well.
pub(crate) const TAKEN: &str = "taken";

/// The files of release `number`: some stay, change, come and go, with the content of opened databases among them.
pub(crate) fn files(number: u64) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("main.cvd".to_owned(), database("main", 1, 400)),
        (
            "daily.cvd".to_owned(),
            database("daily", number, 200 + 10 * number),
        ),
        ("noise.bin".to_owned(), with_a_changed_place(number)),
        ("kept".to_owned(), b"the same in all of them".to_vec()),
        ("empty".to_owned(), Vec::new()),
        (format!("only{number}"), format!("of {number}").into_bytes()),
    ];
    for inner in 0..4 {
        let changes = number / (inner + 1);
        let path = format!("folder/inner/{inner}");
        files.push((
            path,
            noise(1000 + changes, 3000 * (1 + usize::try_from(inner).unwrap())),
        ));
    }
    if number.is_multiple_of(2) {
        files.push(("sometimes/here".to_owned(), noise(number, 9000)));
    }
    if number >= 5 {
        files.push((
            TAKEN.to_owned(),
            format!("the feed's, {number}").into_bytes(),
        ));
    }
    // More than are synced one by one, now and then.
    for of_many in 0..70 {
        let content = noise(number / 3 * 100 + of_many, 700);
        files.push((format!("many/{of_many}"), content));
    }
    files.sort();
    files
}

/// The same for whoever checks a docroot.
pub(crate) fn release(number: u64) -> Release {
    let files = files(number);
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
        .collect();
    Release::of_files(number, &files)
}

fn database(name: &str, version: u64, lines: u64) -> Vec<u8> {
    let lines =
        (0..lines).map(|line| hdb_line(&line.to_le_bytes(), &format!("Test.{name}.{line}")));
    let version = u32::try_from(version).unwrap();
    unsigned(name, version, &lines.collect::<String>())
}

fn with_a_changed_place(number: u64) -> Vec<u8> {
    let mut bytes = noise(7, 400_000);
    bytes[200_000..200_100].copy_from_slice(&noise(number, 100));
    bytes
}
