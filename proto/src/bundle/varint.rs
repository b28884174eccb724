//! Numbers inside bundles: LEB128 in its one shortest spelling, because a bundle of a few kilobytes has hundreds
//! of them. SPEC §5.7.

use alloc::vec::Vec;

use crate::codec::CodecError;

/// Appends `value`.
pub(super) fn put(value: u64, out: &mut Vec<u8>) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 0x80")]
    out.push(rest as u8);
}

/// The number at the start of `bytes` and how many bytes it takes; `None` when it goes on after them.
pub(super) fn split(what: &'static str, bytes: &[u8]) -> Result<Option<(u64, usize)>, CodecError> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * at;
        if shift > 63 || bits << shift >> shift != bits {
            return Err(CodecError::BadField {
                field: what,
                why: "a number over 64 bits",
            });
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            if *byte == 0 && at > 0 {
                return Err(CodecError::NotCanonical { what });
            }
            return Ok(Some((value, at + 1)));
        }
    }
    Ok(None)
}

/// Reads numbers off the front of a part's body.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(what: &'static str, body: &'a [u8]) -> Self {
        Self { what, rest: body }
    }

    fn malformed(&self) -> CodecError {
        CodecError::Malformed {
            what: self.what,
            got: self.rest.len(),
        }
    }

    pub(super) fn number(&mut self) -> Result<u64, CodecError> {
        let (value, used) = split(self.what, self.rest)?.ok_or_else(|| self.malformed())?;
        self.rest = &self.rest[used..];
        Ok(value)
    }

    /// A number of at most 32 bits: an index or a count.
    pub(super) fn index(&mut self) -> Result<u32, CodecError> {
        let value = self.number()?;
        u32::try_from(value).map_err(|_| CodecError::BadField {
            field: self.what,
            why: "an index over 32 bits",
        })
    }

    pub(super) fn byte(&mut self) -> Result<u8, CodecError> {
        let (first, rest) = self.rest.split_first().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*first)
    }

    /// What is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Refuses bytes after the last field.
    pub(super) fn end(self) -> Result<(), CodecError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(CodecError::Trailing {
            what: self.what,
            extra: self.rest.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_in_their_shortest_form() {
        for value in [
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            u64::from(u32::MAX),
            u64::MAX,
        ] {
            let mut bytes = Vec::new();
            put(value, &mut bytes);
            assert_eq!(split("n", &bytes), Ok(Some((value, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(split("n", &bytes[..cut]), Ok(None));
            }
        }
    }

    #[test]
    fn second_spellings_and_long_numbers_are_refused() {
        assert!(split("n", &[0x80, 0]).is_err());
        assert!(split("n", &[0xff, 0x80, 0x00]).is_err());
        assert!(
            split(
                "n",
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]
            )
            .is_err()
        );
        assert!(split("n", &[0xff; 11]).is_err());
    }
}
