//! Who packs: the encoder a feed's producer uses.

use std::io::{self, Write};

use flate2::Crc;
use tidecast_proto::deflate::{Batch, Encoder, Parameters, Strategy, Tokenizer};

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
    /// Our own exact deflate: streams with sigtool's bytes.
    pub const BUILT_IN: Self = Self {
        database: |pieces, out| exact(Parameters::SIGTOOL, pieces, out),
        cdiff: |pieces, out| exact(CDIFF, pieces, out),
    };
}

/// What the genuine test cdiffs are packed with.
const CDIFF: Parameters = match Parameters::new(6, Strategy::Filtered, 8) {
    Ok(parameters) => parameters,
    Err(_) => Parameters::SIGTOOL,
};

/// Plain bytes given to the encoder at once.
const PIECE_BYTES: usize = 64 * 1024;

fn exact(parameters: Parameters, pieces: &[&[u8]], out: &mut dyn Write) -> io::Result<()> {
    // RFC 1952: deflate, no flags, no time, the level's hint, Unix.
    let hint = if parameters.level() == 9 { 2 } else { 0 };
    out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, hint, 3])?;
    let plain_bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
    let mut tokenizer = Tokenizer::new(parameters, plain_bytes, 0);
    let mut encoder = Encoder::new(parameters, plain_bytes);
    let (mut batch, mut packed) = (Batch::default(), Vec::new());
    let mut crc = Crc::new();
    for plain in pieces.iter().flat_map(|piece| piece.chunks(PIECE_BYTES)) {
        crc.update(plain);
        batch.clear();
        packed.clear();
        tokenizer.push_new(plain, &mut batch);
        encoder.push(&batch.tokens, &batch.plain, &mut packed);
        out.write_all(&packed)?;
    }
    batch.clear();
    packed.clear();
    tokenizer.finish(&mut batch);
    encoder.push(&batch.tokens, &batch.plain, &mut packed);
    encoder.finish(&mut packed);
    out.write_all(&packed)?;
    out.write_all(&crc.sum().to_le_bytes())?;
    out.write_all(&crc.amount().to_le_bytes())
}
