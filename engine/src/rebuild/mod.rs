//! Makes a file of contents that are here and the chunks that are not, in one pass. SPEC §5.5.
//!
//! ```text
//! old file -> walk -> window -> splice -> segments -> | channel | -> press -> new file
//!             (parse)    ^        ^       (tokens)                  (Huffman, hash, write)
//!                        |        |
//!                      bases <- missing chunks
//! ```
//!
//! The first base is read front to back once. Where the new content has the same bytes, the old stream's tokens go on
//! to the encoder as they are; only around changes is anything searched. Memory is bounded, whatever the file's
//! size, and nothing is put aside on the disk unless the order of the content changed.

mod check;
mod error;
mod partners;
mod press;
mod repeats;
mod scratch;
mod segments;
mod shelf;
mod splice;
#[cfg(test)]
pub(crate) mod tests;
mod walk;
mod window;

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::sync::Arc;

use bytes::Bytes;
use tidecast_proto::bundle::Origins;
use tidecast_proto::id::{FileHash, ListId};
use tidecast_proto::list::List;
use tidecast_proto::recipe::Recipe;

use press::Press;
use segments::{Halt, Segments};
use splice::Splice;

pub use error::{Damage, MissingError, Place, RebuildError};

/// How far behind the place where the rebuild is in the first base, as opened content, [`Bases::read`] still has its
/// bytes. What lies farther back, or more than [`RUN_BYTES`] ahead, costs a temporary copy of that content.
///
/// [`RUN_BYTES`]: tidecast_proto::limits::RUN_BYTES
pub const BEHIND_BYTES: u64 = 1024 * 1024;

/// A complete content that lies on this machine.
#[derive(Debug)]
pub struct Source {
    /// The file; read at positions, never moved.
    pub file: File,
    /// The list of the content.
    pub list: Arc<List>,
    /// Set when the content is the opened form of the file.
    pub recipe: Option<Arc<Recipe>>,
}

impl Source {
    /// Bytes of the file.
    fn file_bytes(&self) -> u64 {
        let recipe = self.recipe.as_deref();
        recipe.map_or(self.list.total_bytes(), Recipe::file_bytes)
    }
}

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// BLAKE3 of the file.
    pub hash: FileHash,
    /// Its length.
    pub bytes: u64,
    /// The list of its content.
    pub list: &'a List,
    /// Set when the list is that of the opened content.
    pub recipe: Option<&'a Recipe>,
    /// Where each chunk of the list comes from; made with the lists of the bases in their order.
    pub origins: &'a Origins,
}

impl Target<'_> {
    /// Whether list and recipe are of this length.
    fn adds_up(&self) -> bool {
        let listed = self.list.total_bytes();
        match self.recipe {
            Some(recipe) => recipe.opened_bytes() == listed && recipe.file_bytes() == self.bytes,
            None => listed == self.bytes,
        }
    }
}

/// Missing chunks that came.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// How many chunks; at least 1.
    pub chunks: usize,
    /// Their bytes, one chunk after the other.
    pub bytes: Bytes,
}

/// Delivers missing chunks in the order of the new list.
pub trait MissingChunks {
    /// The next missing chunks, the first of which is chunk `from` of the new list: as many as are at hand at once,
    /// at most [`RUN_BYTES`], none of them beyond the end of the stretch of missing chunks that `from` lies in
    /// ([`Origins::missing`]). Their ids have been checked.
    ///
    /// # Errors
    /// [`MissingError`], by who is at fault. It ends the rebuild.
    ///
    /// [`RUN_BYTES`]: tidecast_proto::limits::RUN_BYTES
    fn next(&mut self, from: usize, bases: &mut dyn Bases) -> Result<Delivery, MissingError>;
}

/// Reads stretches of the bases, for opening runs.
pub trait Bases {
    /// Appends the bytes `range` of base number `base` to `out`. They are not checked: a base may be damaged.
    ///
    /// Of the first base, as opened content, this is cheap from [`BEHIND_BYTES`] behind the place where the rebuild is
    /// until [`RUN_BYTES`] beyond the place where in-order chunks go on after those that are asked for.
    ///
    /// # Errors
    /// [`RebuildError::Impossible`] for a range outside; else of the base or the disk.
    ///
    /// [`RUN_BYTES`]: tidecast_proto::limits::RUN_BYTES
    fn read(&mut self, base: u32, range: Range<u64>, out: &mut Vec<u8>)
    -> Result<(), RebuildError>;
}

/// How a file was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuilt {
    /// Bytes of its content that bases have, in the order of the first base.
    pub same_bytes: u64,
    /// Bytes of its content that bases have elsewhere, or that came before.
    pub moved_bytes: u64,
    /// Bytes of its content that [`MissingChunks`] delivered.
    pub missing_bytes: u64,
    /// Of those, what turned out to be the first base's bytes all the same.
    pub trimmed_bytes: u64,
    /// Bytes put aside on the disk, because content was needed out of its order.
    pub scratch_bytes: u64,
}

/// Makes the file `target` and writes it to `out`, from where `out` stands. Blocks, and uses a second thread while it
/// runs. Temporary files, if any, are made in the folder `scratch`, without a name.
///
/// The result has the hash and the length that `target` says; whatever is wrong, no other file passes.
/// At most 64 MiB are held, [`MissingChunks`]' own memory included if it holds one run and its bases.
///
/// When another file comes out, the bases that are not in `sound` yet are read to see whether one is damaged.
///
/// # Errors
/// [`RebuildError`]; `out` then holds the beginning of a file, or a wrong one.
pub fn rebuild(
    target: Target<'_>,
    bases: &[Source],
    missing: &mut dyn MissingChunks,
    out: &mut File,
    scratch: BorrowedFd<'_>,
    sound: &mut SoundBases,
) -> Result<Rebuilt, RebuildError> {
    attempt(target, bases, missing, out, scratch).map_err(|error| sound.blame(error, bases))
}

fn attempt(
    target: Target<'_>,
    bases: &[Source],
    missing: &mut dyn MissingChunks,
    out: &mut File,
    scratch: BorrowedFd<'_>,
) -> Result<Rebuilt, RebuildError> {
    if !target.adds_up() {
        return Err(RebuildError::Impossible(
            "a file whose list and recipe disagree",
        ));
    }
    let parts = partners::parts(&target, bases.first())?;
    let (press, feed) = Press::new(out, target.bytes);
    let splice = move || {
        let segments = Segments::new(parts, feed)?;
        Splice::new(target, bases, missing, segments, scratch)?.run()
    };
    let (spliced, pressed) = std::thread::scope(|scope| {
        let press = std::thread::Builder::new()
            .name("tidecast-press".into())
            .spawn_scoped(scope, || press.run())
            .map_err(RebuildError::Thread)?;
        let spliced = splice();
        // A panic over there is a bug here, too.
        let pressed = press.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok::<_, RebuildError>((spliced, pressed))
    })?;
    let rebuilt = match spliced {
        Ok(rebuilt) => Some(rebuilt),
        Err(Halt::Press) => None,
        Err(Halt::Because(error)) => return Err(error),
    };
    let pressed = pressed?;
    match rebuilt {
        Some(rebuilt) if (pressed.hash, pressed.bytes) == (target.hash, target.bytes) => {
            Ok(rebuilt)
        }
        _ => Err(RebuildError::Differs {
            expected: target.hash,
            expected_bytes: target.bytes,
            got: pressed.hash,
            got_bytes: pressed.bytes,
        }),
    }
}

/// Bases that were read whole and found to be what their lists say. Recipes that make other files, however many, have
/// each base read once.
#[derive(Debug, Default)]
pub struct SoundBases(HashSet<(u64, u64, ListId)>);

impl SoundBases {
    /// Looks whether a damaged base is why.
    fn blame(&mut self, error: RebuildError, bases: &[Source]) -> RebuildError {
        use RebuildError::{Differs, Missing};
        if !matches!(error, Differs { .. } | Missing(MissingError::Unfit(_))) {
            return error;
        }
        for (base, source) in bases.iter().enumerate() {
            let meta = source.file.metadata().ok();
            let content = meta.map(|meta| (meta.dev(), meta.ino(), source.list.id()));
            if content.is_some_and(|content| self.0.contains(&content)) {
                continue;
            }
            if let Err(damaged) = check::check(base, source) {
                return damaged;
            }
            self.0.extend(content);
        }
        error
    }
}
