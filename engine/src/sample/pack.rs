//! Who packs: the encoder a feed's producer uses.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};

/// Writes the pieces, one after the other, as one gzip stream: header, deflate, trailer.
pub type Pack = fn(&[&[u8]], &mut dyn Write) -> io::Result<()>;

/// The encoders of a producer.
///
/// sigtool has stock zlib pack databases at level 9, filtered, and the genuine test cdiffs come from level 6,
/// filtered; both begin with ten bytes of header that name Unix and no time. Which encoder made a stream decides whether
/// a mirror can make it again, so whoever measures that passes one of its own.
#[derive(Debug, Clone, Copy)]
pub struct Packer {
    /// What packs the tar of a `.cvd`.
    pub database: Pack,
    /// What packs the script of a `.cdiff`.
    pub cdiff: Pack,
}

impl Packer {
    /// What is at hand without C: streams of sigtool's form and nearly its length, but not its bytes.
    pub const BUILT_IN: Self = Self {
        database: |pieces, out| built_in(Compression::best(), pieces, out),
        cdiff: |pieces, out| built_in(Compression::default(), pieces, out),
    };
}

fn built_in(level: Compression, pieces: &[&[u8]], out: &mut dyn Write) -> io::Result<()> {
    const UNIX: u8 = 3;
    let mut gzip = GzBuilder::new().operating_system(UNIX).write(out, level);
    for piece in pieces {
        gzip.write_all(piece)?;
    }
    gzip.finish().map(drop)
}
