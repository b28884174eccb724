//! Looks whether a content that lies here is what its list says.

use tidecast_proto::deflate::Batch;
use tidecast_proto::id::ChunkId;

use super::Source;
use super::error::{Damage, RebuildError};
use super::walk::Walk;

/// Reads all of base number `base`.
///
/// # Errors
/// [`RebuildError::Damaged`] with the first chunk that has other bytes, or of the disk.
pub(super) fn check(base: usize, source: &Source) -> Result<(), RebuildError> {
    let mut walk = Walk::new(base, source);
    let mut chunks = source.list.with_offsets().enumerate();
    let mut current = chunks.next();
    let mut hasher = blake3::Hasher::new();
    let mut hashed = 0_u32;
    let mut batch = Batch::default();
    while let Some(piece) = walk.next(batch)? {
        let mut rest = piece.batch.plain.as_slice();
        while let Some((index, (at, entry))) = current {
            let left = (entry.len - hashed) as usize;
            let (now, later) = rest.split_at(left.min(rest.len()));
            hasher.update(now);
            rest = later;
            if now.len() < left {
                hashed += u32::try_from(now.len()).unwrap_or(entry.len);
                break;
            }
            if ChunkId(*hasher.finalize().as_bytes()) != entry.id {
                return Err(RebuildError::Damaged {
                    base,
                    damage: Damage::Chunk {
                        index,
                        chunk: entry.id,
                        at,
                    },
                });
            }
            hasher.reset();
            hashed = 0;
            current = chunks.next();
        }
        batch = piece.batch;
    }
    Ok(())
}
