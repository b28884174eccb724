//! What the producers are given to pack.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use tempfile::TempDir;

use super::table::Kind;
use crate::support::world::noise;

/// Bytes of a content: many of a producer's blocks and windows.
const BYTES: usize = 300_000;
/// Where minutes are allowed: also many times what parameters are guessed from.
const LONG_BYTES: usize = 5_000_000;
/// For producers that take seconds for a hundred kilobytes.
const SLOW_BYTES: usize = 150_000;

/// A file of each kind.
pub(crate) struct Contents {
    folder: TempDir,
}

impl Contents {
    pub(crate) fn new() -> Self {
        Self::of(match crate::support::long() {
            true => LONG_BYTES,
            false => BYTES,
        })
    }

    /// Of less.
    pub(crate) fn short() -> Self {
        Self::of(SLOW_BYTES)
    }

    fn of(bytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for kind in Kind::ALL {
            let content = match kind {
                Kind::Text => signatures(bytes),
                Kind::Noise => text_and_noise(bytes),
                Kind::Program => program(bytes),
            };
            fs::write(folder.path().join(kind.name()), content).unwrap();
        }
        Self { folder }
    }

    pub(crate) fn path(&self, kind: Kind) -> PathBuf {
        self.folder.path().join(kind.name())
    }
}

/// Lines like those of a `.hdb`, with families that come back.
fn signatures(bytes: usize) -> Vec<u8> {
    let random = noise(1, bytes / 3);
    let mut text = String::with_capacity(bytes + 100);
    for (count, line) in random.chunks_exact(18).enumerate() {
        if text.len() >= bytes {
            break;
        }
        for byte in &line[..16] {
            write!(text, "{byte:02x}").unwrap();
        }
        let family = ["Trojan.Agent", "Malware.Generic", "Packed.Upack"][usize::from(line[16]) % 3];
        let size = u32::from(line[17]) * 512;
        writeln!(text, ":{size}:Win.{family}-{count}:73").unwrap();
    }
    text.truncate(bytes);
    assert_eq!(text.len(), bytes);
    text.into_bytes()
}

/// Stretches of text between stretches that cannot be packed, of all lengths.
fn text_and_noise(bytes: usize) -> Vec<u8> {
    let (text, noise) = (signatures(bytes), noise(2, bytes));
    let mut mixed = Vec::with_capacity(bytes);
    let mut step = 1_000;
    for source in [&text, &noise].into_iter().cycle() {
        let from = mixed.len();
        if from == bytes {
            break;
        }
        mixed.extend_from_slice(&source[from..(from + step).min(bytes)]);
        // Of no pattern, so that stretches end everywhere in a block.
        step = (step * 7 + 1_301) % 40_000;
    }
    mixed
}

/// The beginning of this very program.
fn program(bytes: usize) -> Vec<u8> {
    let mut program = Vec::with_capacity(bytes);
    let file = fs::File::open(std::env::current_exe().unwrap()).unwrap();
    file.take(bytes as u64).read_to_end(&mut program).unwrap();
    assert_eq!(program.len(), bytes);
    program
}
