//! Sums as lower-case hexadecimal text, the only spelling ClamAV's files use.

use alloc::string::String;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Two digits per byte.
pub(super) fn encode(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|b| [b >> 4, b & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// Exactly `N` bytes, or `None`. Upper case is refused: clients compare the text, not the value.
pub(super) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_encodes_decodes_and_nothing_else_does() {
        assert_eq!(encode(&[0x00, 0xaf, 0x09]), "00af09");
        assert_eq!(decode::<3>("00af09"), Some([0x00, 0xaf, 0x09]));
        for bad in [
            "", "00af0", "00af090", "00AF09", "00af0g", "00af0:", "é0f09",
        ] {
            assert_eq!(decode::<3>(bad), None, "{bad:?}");
        }
    }
}
