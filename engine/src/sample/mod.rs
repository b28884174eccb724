//! Made-up feeds with the shape of real ones, for the demo and the benchmarks.
//!
//! Everything here is a function of a seed: the same seed, [`Scale`] and [`Packer`] give the same bytes on every
//! machine. Hashes and patterns are random, so no file matches a signature; signatures *on* the
//! files are placeholders of the right length, so such a feed is published with `--verify header`.
//!
//! Files are written without being synced: they can be made again.

mod cdiff;
mod container;
mod database;
mod day;
mod feed;
mod pack;
mod random;
mod scale;
mod signatures;

pub use day::Day;
pub use feed::Feed;
pub use pack::{Pack, Packer};
pub use scale::Scale;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use random::Random;

/// Files per folder of [`small_files`]; keeps listings short, as mirrors' own folders are.
const FILES_PER_FOLDER: u32 = 500;

/// Writes `count` files of 40 to 1,200 bytes of text under `folder`, 500 to a subfolder
/// (`d000/f00000.txt`).
///
/// # Errors
/// What the file system said; some files may have been written.
pub fn small_files(folder: &Path, count: u32, seed: u64) -> io::Result<()> {
    let mut random = Random::named(seed, "small files");
    let mut text = Vec::new();
    for index in 0..count {
        let subfolder = folder.join(format!("d{:03}", index / FILES_PER_FOLDER));
        if index % FILES_PER_FOLDER == 0 {
            std::fs::create_dir_all(&subfolder)?;
        }
        text.clear();
        for _ in 0..=random.below(29) {
            random.hex(39, &mut text);
            text.push(b'\n');
        }
        std::fs::write(subfolder.join(format!("f{index:05}.txt")), &text)?;
    }
    Ok(())
}

/// Writes `bytes` random bytes to `path`: what a packed database is to chunking and compression.
///
/// # Errors
/// What the file system said; part of the file may have been written.
pub fn incompressible(path: &Path, bytes: u64, seed: u64) -> io::Result<()> {
    let mut random = Random::named(seed, "incompressible");
    let mut out = BufWriter::with_capacity(1 << 16, File::create(path)?);
    for _ in 0..bytes / 8 {
        out.write_all(&random.next().to_le_bytes())?;
    }
    let last = random.next().to_le_bytes();
    let rest = last.iter().zip(0..bytes % 8).map(|(byte, _)| *byte);
    out.write_all(&rest.collect::<Vec<u8>>())?;
    out.flush()
}

#[cfg(test)]
mod tests;
