//! One canonical encoding for every object and frame. SPEC §1.
//!
//! Fixed-width little-endian integers, 8-byte counts, no padding, no optional spellings. This module is the
//! only one that names the crate behind it; SPEC.md describes the bytes, so the crate can be replaced.

use alloc::vec::Vec;

use bincode::config::{Configuration, Fixint, LittleEndian};
pub use bincode::{Decode, Encode};
pub(crate) use bincode::{de::Decoder, error::DecodeError, impl_borrow_decode};

/// Why foreign bytes are not a value. The peer or the file is at fault; nothing was kept.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Refused before anything was allocated.
    #[error("{what}: {got} bytes, the limit is {limit}")]
    TooLong {
        what: &'static str,
        got: usize,
        limit: usize,
    },
    /// Truncated, or a count, tag or string that cannot be.
    #[error("{what}: malformed ({got} bytes)")]
    Malformed { what: &'static str, got: usize },
    /// The value ends before the bytes do.
    #[error("{what}: {extra} bytes after the end")]
    Trailing { what: &'static str, extra: usize },
    /// A second spelling of a value that has exactly one.
    #[error("{what}: not in canonical form")]
    NotCanonical { what: &'static str },
    /// More elements than SPEC §2 allows.
    #[error("{field}: {got} elements, the limit is {limit}")]
    TooMany {
        field: &'static str,
        got: usize,
        limit: usize,
    },
    /// Elements out of order or twice.
    #[error("{field}: not strictly ascending at element {index}")]
    NotAscending { field: &'static str, index: usize },
    /// A value outside what the field may hold.
    #[error("{field}: {why}")]
    BadField {
        field: &'static str,
        why: &'static str,
    },
}

const CONFIG: Configuration<LittleEndian, Fixint> = bincode::config::standard()
    .with_little_endian()
    .with_fixed_int_encoding();

/// The canonical bytes of `value`.
///
/// # Panics
/// Never for the types of this crate: encoding into memory has no way to fail for plain data.
#[must_use]
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    // Never fails: the writer is a Vec and no type here has a fallible `Encode`.
    bincode::encode_to_vec(value, CONFIG).expect("plain data encodes")
}

/// Reads one value that fills `bytes` exactly, in its one spelling.
///
/// # Errors
/// [`CodecError`]; the sender is at fault.
pub fn decode_exact<T: Encode + Decode<()>>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLong {
            what,
            got: bytes.len(),
            limit,
        });
    }
    let got = bytes.len();
    let malformed = |_| CodecError::Malformed { what, got };
    // The decoder's budget bounds what a lying count may allocate. It counts the size elements have in
    // memory, up to a few times their size on the wire, so it is chosen by the input's own length.
    let (value, consumed) = match got {
        0..=0x4000 => bincode::decode_from_slice(bytes, CONFIG.with_limit::<0x2_0000>()),
        0x4001..=0x10_0000 => bincode::decode_from_slice(bytes, CONFIG.with_limit::<0x80_0000>()),
        _ => bincode::decode_from_slice(bytes, CONFIG.with_limit::<0x800_0000>()),
    }
    .map_err(malformed)?;
    if consumed != got {
        return Err(CodecError::Trailing {
            what,
            extra: got - consumed,
        });
    }
    if encode::<T>(&value) != bytes {
        return Err(CodecError::NotCanonical { what });
    }
    Ok(value)
}

/// Refuses a list longer than its limit.
pub(crate) fn at_most(field: &'static str, got: usize, limit: usize) -> Result<(), CodecError> {
    if got > limit {
        return Err(CodecError::TooMany { field, got, limit });
    }
    Ok(())
}

/// Refuses a list that is not sorted or holds an element twice: every set has exactly one encoding.
pub(crate) fn strictly_ascending<K: Ord>(
    field: &'static str,
    keys: impl Iterator<Item = K>,
) -> Result<(), CodecError> {
    let mut last: Option<K> = None;
    for (index, key) in keys.enumerate() {
        if last.as_ref().is_some_and(|last| *last >= key) {
            return Err(CodecError::NotAscending { field, index });
        }
        last = Some(key);
    }
    Ok(())
}

/// Refuses text that is too long or holds control characters: it ends up on terminals, and a line feed in
/// it would forge lines of logs and tables.
pub(crate) fn plain_text(field: &'static str, text: &str, limit: usize) -> Result<(), CodecError> {
    text_without(field, text, limit, char::is_control)
}

/// As [`plain_text`], but line feeds and tabs may be in it: release notes are a page, not a name.
pub(crate) fn plain_page(field: &'static str, text: &str, limit: usize) -> Result<(), CodecError> {
    text_without(field, text, limit, |c| {
        c.is_control() && c != '\n' && c != '\t'
    })
}

fn text_without(
    field: &'static str,
    text: &str,
    limit: usize,
    refused: impl Fn(char) -> bool,
) -> Result<(), CodecError> {
    at_most(field, text.len(), limit)?;
    if text.chars().any(refused) {
        return Err(CodecError::BadField {
            field,
            why: "control characters",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::String, vec};

    #[test]
    fn integers_are_fixed_width_little_endian_and_counts_eight_bytes() {
        assert_eq!(encode(&0x0102_u32), [2, 1, 0, 0]);
        assert_eq!(encode(&vec![7_u8, 8]), [2, 0, 0, 0, 0, 0, 0, 0, 7, 8]);
        assert_eq!(encode(&Some(5_u16)), [1, 5, 0]);
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let error = decode_exact::<u32>("n", &[1, 0, 0, 0, 9], 16).unwrap_err();
        assert_eq!(
            error,
            CodecError::Trailing {
                what: "n",
                extra: 1
            }
        );
    }

    #[test]
    fn a_lying_count_allocates_nothing_and_is_refused() {
        let bytes = encode(&(1_u64 << 60));
        let error = decode_exact::<Vec<u64>>("list", &bytes, 64).unwrap_err();
        assert!(matches!(error, CodecError::Malformed { .. }), "{error}");
        let error = decode_exact::<String>("text", &bytes, 64).unwrap_err();
        assert!(matches!(error, CodecError::Malformed { .. }), "{error}");
    }

    #[test]
    fn the_length_limit_comes_before_decoding() {
        let error = decode_exact::<Vec<u8>>("blob", &[0; 65], 64).unwrap_err();
        assert_eq!(
            error,
            CodecError::TooLong {
                what: "blob",
                got: 65,
                limit: 64
            }
        );
    }
}
