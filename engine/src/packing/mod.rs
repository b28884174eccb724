//! How bytes are packed once, so that serving them never costs a compression. SPEC §5.3.

pub(crate) mod delta;

use std::borrow::Cow;
use std::io;

use tidecast_proto::wire::Encoding;

/// zstd level: what a 2-core master packs at some 300 MB/s; higher ones gain 1-3 % on signature text.
const LEVEL: i32 = 3;

/// A packed form is kept only when it saves at least one in this many bytes: below that, opening it costs
/// every mirror more than the line gains.
const SAVES_ONE_IN: usize = 16;

/// Packs one thing after another with one compression context.
pub(crate) struct Packer {
    context: zstd::bulk::Compressor<'static>,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Packer(..)")
    }
}

impl Packer {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            context: zstd::bulk::Compressor::new(LEVEL)?,
            buffer: Vec::new(),
        })
    }

    /// The form to keep: zstd where it pays, otherwise `bytes` themselves.
    pub(crate) fn pack<'a>(&'a mut self, bytes: &'a [u8]) -> io::Result<(Encoding, &'a [u8])> {
        self.buffer.clear();
        self.buffer
            .reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        let packed_len = self.context.compress_to_buffer(bytes, &mut self.buffer)?;
        if packed_len + bytes.len().div_ceil(SAVES_ONE_IN) <= bytes.len() {
            Ok((Encoding::ZSTD, &self.buffer[..packed_len]))
        } else {
            Ok((Encoding::PLAIN, bytes))
        }
    }
}

/// Opens a packed form to exactly `opened_len` bytes, which also bounds what is allocated.
pub(crate) fn open(
    encoding: Encoding,
    opened_len: usize,
    stored: &[u8],
) -> io::Result<Cow<'_, [u8]>> {
    let opened = match encoding {
        Encoding::PLAIN => Cow::Borrowed(stored),
        Encoding::ZSTD => Cow::Owned(zstd::bulk::decompress(stored, opened_len)?),
        Encoding(other) => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("unknown encoding {other}"),
            ));
        }
    };
    if opened.len() != opened_len {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("opens to {} bytes, not {opened_len}", opened.len()),
        ));
    }
    Ok(opened)
}

/// As [`open`]; what is plain is not copied, and what was packed is let go of.
pub(crate) fn open_owned(
    encoding: Encoding,
    opened_len: usize,
    stored: Vec<u8>,
) -> io::Result<Vec<u8>> {
    match open(encoding, opened_len, &stored)? {
        Cow::Owned(opened) => Ok(opened),
        Cow::Borrowed(_) => Ok(stored),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_packed_and_noise_is_not() {
        let mut packer = Packer::new().unwrap();
        let text = b"Trojan.Agent-1234:1:*:deadbeef\n".repeat(200);
        let (encoding, packed) = packer.pack(&text).unwrap();
        assert_eq!(encoding, Encoding::ZSTD);
        assert_eq!(open(encoding, text.len(), packed).unwrap(), text.as_slice());

        let mut noise = vec![0; 5000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        assert_eq!(
            packer.pack(&noise).unwrap(),
            (Encoding::PLAIN, noise.as_slice())
        );
    }

    #[test]
    fn a_frame_that_opens_to_another_length_is_refused() {
        let mut packer = Packer::new().unwrap();
        let text = [b'a'; 1000];
        let (encoding, packed) = packer.pack(&text).unwrap();
        assert!(open(encoding, 999, packed).is_err());
        assert!(open(encoding, 1001, packed).is_err());
        assert!(open(Encoding::ZSTD, 1000, b"no frame").is_err());
        assert!(open(Encoding(9), 1000, packed).is_err());
    }
}
