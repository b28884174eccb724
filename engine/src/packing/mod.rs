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
            return Err(invalid(format!("unknown encoding {other}")));
        }
    };
    if opened.len() != opened_len {
        return Err(invalid(format!(
            "opens to {} bytes, not {opened_len}",
            opened.len()
        )));
    }
    Ok(opened)
}

/// Largest window of a packed object (zstd's logarithm): what level 3 asks for, whatever the content.
const WINDOW_LOG_MAX: u32 = 21;

/// Room that is made at once while an object opens, in bytes.
const ROOM_BYTES: usize = 128 * 1024;

/// A packed form that is opened as it comes, so that it is never held beside what it opens to.
pub(crate) struct Opening {
    opened_len: usize,
    opened: Vec<u8>,
    /// For what is packed, until the frame has ended.
    decoder: Option<zstd::stream::raw::Decoder<'static>>,
    ended: bool,
}

impl Opening {
    /// Of something that opens to exactly `opened_len` bytes.
    pub(crate) fn new(encoding: Encoding, opened_len: usize) -> io::Result<Self> {
        let decoder = match encoding {
            Encoding::PLAIN => None,
            Encoding::ZSTD => {
                let mut decoder = zstd::stream::raw::Decoder::new()?;
                decoder.set_parameter(zstd::zstd_safe::DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
                Some(decoder)
            }
            Encoding(other) => return Err(invalid(format!("unknown encoding {other}"))),
        };
        Ok(Self {
            opened_len,
            opened: Vec::new(),
            ended: decoder.is_none(),
            decoder,
        })
    }

    fn make_room(&mut self, bytes: usize) {
        if self.opened.capacity() - self.opened.len() < bytes {
            // All of it once something has come: growing step by step, it would be there twice at times.
            let left = self.opened_len.saturating_sub(self.opened.len());
            let room = if self.opened.is_empty() {
                bytes.min(left)
            } else {
                left
            };
            self.opened.reserve_exact(room.max(1));
        }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// Whoever packed it is at fault: it is damaged, opens to more, or goes on behind its end.
    pub(crate) fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        use zstd::stream::raw::{InBuffer, Operation, OutBuffer};
        let Some(mut decoder) = self.decoder.take() else {
            let more = self.opened.len() + piece.len();
            if more > self.opened_len {
                return Err(invalid(format!("over {} bytes", self.opened_len)));
            }
            self.make_room(piece.len());
            self.opened.extend_from_slice(piece);
            return Ok(());
        };
        let mut input = InBuffer::around(piece);
        loop {
            if self.ended && input.pos() < piece.len() {
                return Err(invalid("bytes behind its end".into()));
            }
            // A last round with nothing to read brings out what the decoder still holds.
            let before = (input.pos(), self.opened.len());
            self.make_room(ROOM_BYTES.min(self.opened_len - self.opened.len()).max(1));
            let at = self.opened.len();
            let mut output = OutBuffer::around_pos(&mut self.opened, at);
            self.ended = decoder.run(&mut input, &mut output)? == 0;
            if self.opened.len() > self.opened_len {
                return Err(invalid(format!("opens to over {} bytes", self.opened_len)));
            }
            if self.ended || before == (input.pos(), self.opened.len()) {
                break;
            }
        }
        if input.pos() < piece.len() {
            return Err(invalid(format!(
                "does not open to {} bytes",
                self.opened_len
            )));
        }
        self.decoder = Some(decoder);
        Ok(())
    }

    /// What it opened to.
    ///
    /// # Errors
    /// As [`Self::push`]: it opens to less.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        let (got, wanted) = (self.opened.len(), self.opened_len);
        if !self.ended || got != wanted {
            return Err(invalid(format!("opens to {got} bytes, not {wanted}")));
        }
        Ok(self.opened)
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
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

    fn in_pieces(
        encoding: Encoding,
        len: usize,
        packed: &[u8],
        piece: usize,
    ) -> io::Result<Vec<u8>> {
        let mut opening = Opening::new(encoding, len)?;
        for piece in packed.chunks(piece) {
            opening.push(piece)?;
        }
        opening.finish()
    }

    #[test]
    fn what_comes_in_pieces_opens_as_it_would_whole() {
        let mut packer = Packer::new().unwrap();
        let text = b"Trojan.Agent-1234:1:*:deadbeef\n".repeat(20_000);
        let (encoding, packed) = packer.pack(&text).unwrap();
        for piece in [1, 97, 4096, packed.len()] {
            assert_eq!(
                in_pieces(encoding, text.len(), packed, piece).unwrap(),
                text
            );
            assert_eq!(
                in_pieces(Encoding::PLAIN, text.len(), &text, 997).unwrap(),
                text
            );
            for wrong in [0, 1, text.len() - 1, text.len() + 1] {
                assert!(in_pieces(encoding, wrong, packed, piece).is_err());
                assert!(in_pieces(Encoding::PLAIN, wrong, &text, 997).is_err());
            }
            let cut = &packed[..packed.len() - 1];
            assert!(in_pieces(encoding, text.len(), cut, piece).is_err());
            let more = [packed, b"x"].concat();
            assert!(in_pieces(encoding, text.len(), &more, piece).is_err());
        }
        assert_eq!(in_pieces(Encoding::PLAIN, 0, b"", 1).unwrap(), b"");
        assert!(Opening::new(Encoding(9), 1).is_err());
    }

    #[test]
    fn a_window_that_no_object_needs_is_refused() {
        let wide = |log| {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
            encoder.window_log(log).unwrap();
            io::Write::write_all(&mut encoder, &[7; 5000]).unwrap();
            encoder.finish().unwrap()
        };
        assert!(in_pieces(Encoding::ZSTD, 5000, &wide(21), 100).is_ok());
        assert!(in_pieces(Encoding::ZSTD, 5000, &wide(24), 100).is_err());
    }
}
