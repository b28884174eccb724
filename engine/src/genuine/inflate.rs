//! Opens gzip as it streams by, in bounded pieces.

use flate2::{Decompress, FlushDecompress, Status};

/// Bytes handed out at once: what one step of inflating may come to, however well the input is packed.
const PIECE_BYTES: usize = 64 * 1024;

/// log2 of deflate's largest window.
const WINDOW_BITS: u8 = 15;

/// Why bytes are not the gzip they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GzipError {
    /// Damage: a bad header, stream or checksum.
    #[error("its gzip stream is damaged")]
    Damaged,
    /// Cut short.
    #[error("its gzip stream breaks off")]
    Truncated,
    /// More than one stream in a file that has one.
    #[error("bytes follow the end of its gzip stream")]
    Trailing,
}

/// One gzip stream, or several in a row.
#[derive(Debug)]
pub(crate) struct Inflate {
    stream: Decompress,
    ended: bool,
    /// Whether another stream may follow the end of one, as in `cat a.gz b.gz`.
    several: bool,
    piece: Vec<u8>,
}

impl Inflate {
    pub(crate) fn new(several: bool) -> Self {
        Self {
            stream: Decompress::new_gzip(WINDOW_BITS),
            ended: false,
            several,
            piece: vec![0; PIECE_BYTES],
        }
    }

    /// Takes the next packed bytes and hands what they open to on, piece by piece, until `opened` fails.
    pub(crate) fn push<E: From<GzipError>>(
        &mut self,
        mut packed: &[u8],
        mut opened: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            if self.ended {
                if packed.is_empty() {
                    return Ok(());
                }
                if !self.several {
                    return Err(GzipError::Trailing.into());
                }
                self.stream = Decompress::new_gzip(WINDOW_BITS);
                self.ended = false;
            }
            let (consumed, produced) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress(packed, &mut self.piece, FlushDecompress::None)
                .map_err(|_| GzipError::Damaged)?;
            // Both fit: neither exceeds the slice it was counted in.
            let consumed = usize::try_from(self.stream.total_in() - consumed).unwrap_or(0);
            let produced = usize::try_from(self.stream.total_out() - produced).unwrap_or(0);
            opened(self.piece.get(..produced).unwrap_or_default())?;
            packed = packed.get(consumed..).unwrap_or_default();
            self.ended = matches!(status, Status::StreamEnd);
            // A full piece may have more behind it although no input is left.
            let stuck = consumed == 0 && produced == 0;
            if !self.ended && produced < self.piece.len() && (packed.is_empty() || stuck) {
                return match packed.is_empty() {
                    true => Ok(()),
                    false => Err(GzipError::Damaged.into()),
                };
            }
        }
    }

    /// Says that the packed bytes end here.
    pub(crate) fn finish(self) -> Result<(), GzipError> {
        match self.ended {
            true => Ok(()),
            false => Err(GzipError::Truncated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn open(packed: &[u8], step: usize, several: bool) -> Result<Vec<u8>, GzipError> {
        let mut inflate = Inflate::new(several);
        let mut all = Vec::new();
        for piece in packed.chunks(step) {
            inflate.push(piece, |opened| {
                assert!(opened.len() <= PIECE_BYTES);
                all.extend_from_slice(opened);
                Ok::<(), GzipError>(())
            })?;
        }
        inflate.finish().map(|()| all)
    }

    #[test]
    fn any_cut_of_the_input_opens_to_the_same() {
        let content = b"0123456789abcdef".repeat(40_000);
        let packed = gzip(&content);
        for step in [1, 7, 100, packed.len()] {
            assert_eq!(open(&packed, step, false).unwrap(), content, "{step}");
        }
        let two = [packed.clone(), gzip(b"more")].concat();
        for step in [1, 1000, two.len()] {
            let both = [content.as_slice(), b"more"].concat();
            assert_eq!(open(&two, step, true).unwrap(), both);
        }
    }

    #[test]
    fn truncation_garbage_and_damage_are_told_apart() {
        let packed = gzip(b"some content");
        for len in 0..packed.len() {
            assert_eq!(
                open(&packed[..len], 5, true),
                Err(GzipError::Truncated),
                "{len}"
            );
        }
        let garbage = [packed.as_slice(), b"\0"].concat();
        assert_eq!(open(&garbage, 5, false), Err(GzipError::Trailing));
        assert!(open(&garbage, 5, true).is_err());
        let garbage = [packed.as_slice(), b"rubbish behind the end"].concat();
        assert_eq!(open(&garbage, 5, true), Err(GzipError::Damaged));
        let mut damaged = packed.clone();
        let at = damaged.len() - 6;
        damaged[at] ^= 1;
        assert_eq!(open(&damaged, 5, true), Err(GzipError::Damaged));
    }
}
