//! Releases whose every file says which release it is of, and whether it is whole.

use crate::support::promise::Release;
use crate::support::world::{World, noise};

/// Names that every release has, in a folder too. More than half of all, or mirrors would have to refuse the others'
/// going.
pub(crate) const ALWAYS: [&str; 14] = [
    "a",
    "b",
    "folder/inner",
    BIG,
    "kept-0",
    "kept-1",
    "kept-2",
    "kept-3",
    "kept-4",
    "kept-5",
    "kept-6",
    "kept-7",
    "kept-8",
    "kept-9",
];

/// The name that is fetched in pieces.
pub(crate) const BIG: &str = "big";

/// A name whose content never changes.
pub(crate) const SAME: &str = "same";

/// Names that come and go, each in its own rhythm.
pub(crate) const SOMETIMES: [&str; 3] = ["odd", "two-of-four", "third/inside"];

/// Releases that have [`passing`] of one number.
pub(crate) const PASSES: u64 = 4;

/// Fewest and most bytes of [`BIG`]: more than a socket's buffer takes at once.
const BIG_BYTES: (usize, usize) = (60_000, 90_000);

/// Fewest and most bytes of the other files.
const SMALL_BYTES: (usize, usize) = (200, 3_000);

/// Length of the hash that a file ends with.
const HASH_BYTES: usize = 32;

/// The name that comes with release `number` and goes with the one [`PASSES`] later; it never comes back.
pub(crate) fn passing(number: u64) -> String {
    format!("passing-{number}")
}

/// Whether release `number` has `name`.
pub(crate) fn has(number: u64, name: &str) -> bool {
    match name {
        "odd" => number % 2 == 1,
        "two-of-four" => number % 4 < 2,
        "third/inside" => number.is_multiple_of(3),
        _ => match name.strip_prefix("passing-") {
            Some(came) => {
                let came: u64 = came.parse().unwrap();
                (came..came + PASSES).contains(&number)
            }
            None => name == SAME || ALWAYS.contains(&name),
        },
    }
}

/// What `name` holds in release `number`: a line with both, bytes that do not compress, a hash of all that.
pub(crate) fn content(number: u64, name: &str) -> Vec<u8> {
    let number = if name == SAME { 0 } else { number };
    let mut bytes = format!("{number} {name}\n").into_bytes();
    let seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ blake3::hash(name.as_bytes()).as_bytes()[..8]
            .iter()
            .fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let (least, most) = if name == BIG { BIG_BYTES } else { SMALL_BYTES };
    let length = least + usize::try_from(seed % (most - least) as u64).unwrap();
    bytes.extend(noise(seed, length));
    bytes.extend(blake3::hash(&bytes).as_bytes());
    bytes
}

/// The release that `bytes` are the whole `name` of, or what is wrong with them.
pub(crate) fn release_of(name: &str, bytes: &[u8]) -> Result<u64, String> {
    let torn = |why: &str| Err(format!("{name}, {} bytes: {why}", bytes.len()));
    let Some((body, hash)) = bytes
        .len()
        .checked_sub(HASH_BYTES)
        .map(|at| bytes.split_at(at))
    else {
        return torn("too short");
    };
    if blake3::hash(body).as_bytes() != hash {
        return torn("not what its hash is of");
    }
    let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    match line.split_once(' ') {
        Some((number, of)) if of == name => number.parse().or_else(|_| torn("no number")),
        _ => torn(&format!("it is {line:?}")),
    }
}

/// All of release `number`.
pub(crate) fn files(number: u64) -> Vec<(String, Vec<u8>)> {
    let passing: Vec<String> = (number.saturating_sub(PASSES - 1).max(1)..=number)
        .map(passing)
        .collect();
    let names = ALWAYS.iter().chain(&SOMETIMES).chain([&SAME]).copied();
    names
        .chain(passing.iter().map(String::as_str))
        .filter(|name| has(number, name))
        .map(|name| (name.to_owned(), content(number, name)))
        .collect()
}

fn borrowed(files: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    let files = files.iter();
    files
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect()
}

/// Makes it the feed's newest.
#[track_caller]
pub(crate) fn publish(world: &World, number: u64) {
    assert_eq!(world.publish(&borrowed(&files(number))), number);
}

/// What a docroot that serves it may show.
pub(crate) fn promised(number: u64) -> Release {
    Release::of_files(number, &borrowed(&files(number)))
}
