//! The first stretch of a stream, from which its parameters are guessed; and the measure of all of it.

use std::fs::File;

use tidecast_proto::deflate::{Batch, Block, Parsed};

use super::packed::{Packed, PackedError};

/// Plain bytes that a guess is made from: some thirty blocks of text.
const SAMPLE_BYTES: usize = 1024 * 1024;

/// What a stream begins with.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// Tokens and plain bytes; up to the first stored block, whose tokens are lost.
    pub(super) batch: Batch,
    /// Blocks that ended in it.
    pub(super) blocks: Vec<Block>,
}

/// Reads the stream at offset `at` of `file` to its end. At most `plain_bytes_max` plain bytes are believed.
pub(super) fn measure(
    file: &File,
    at: u64,
    plain_bytes_max: u64,
) -> Result<(Sample, Parsed), PackedError> {
    let mut packed = Packed::new(file, at, plain_bytes_max);
    let mut sample = Sample::default();
    let mut batch = Batch::default();
    let mut sampling = true;
    loop {
        let into = match sampling {
            true => &mut sample.batch,
            false => {
                batch.clear();
                &mut batch
            }
        };
        let plain_before = into.plain.len();
        let Some(stretch) = packed.next(into)? else {
            break;
        };
        if sampling && stretch.stored {
            sample.batch.plain.truncate(plain_before);
            sampling = false;
        }
        if sampling {
            sample.blocks.extend(stretch.block_ended);
            sampling = sample.batch.plain.len() < SAMPLE_BYTES;
        }
    }
    Ok((sample, packed.finish()?))
}
