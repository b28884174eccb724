//! The gzip header (RFC 1952 section 2.3): how many bytes stand before the deflate stream.

/// The first bytes of every gzip with a deflate stream.
pub(super) const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// Where in a header XFL stands, which tells how hard the packer tried.
pub(super) const EXTRA_FLAGS_AT: usize = 8;

/// Longest file name or comment that is believed; no file system has longer names.
const TEXT_BYTES: usize = 4 * 1024;

/// Longest header that is believed: the fixed part, the extra field with its length, two texts, and its checksum.
pub(super) const HEADER_BYTES: usize = 10 + 2 + 0xffff + 2 * TEXT_BYTES + 2;

const HAS_CHECKSUM: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// Length of the gzip header at the start of `bytes`; `None` when there is none, or it is not all there. With
/// [`HEADER_BYTES`] in view, or all that is left of the file, the answer is final.
///
/// The header's own checksum is not compared: whether a stream follows shows when it is read.
pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
    let flags = *bytes.get(3)?;
    if !bytes.starts_with(&MAGIC) || flags & RESERVED != 0 {
        return None;
    }
    let mut at = 10;
    if flags & HAS_EXTRA != 0 {
        let length = bytes.get(at..at + 2)?;
        at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    }
    for flag in [HAS_NAME, HAS_COMMENT] {
        if flags & flag != 0 {
            let text = bytes.get(at..)?;
            at += 1 + text.iter().take(TEXT_BYTES).position(|byte| *byte == 0)?;
        }
    }
    if flags & HAS_CHECKSUM != 0 {
        at += 2;
    }
    // A stream has a byte at least.
    (at < bytes.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u8, rest: &[u8]) -> Vec<u8> {
        [&MAGIC[..], &[flags, 0, 0, 0, 0, 2, 3], rest].concat()
    }

    #[test]
    fn every_optional_field_is_stepped_over() {
        let fields: [(u8, &[u8]); 4] = [
            (HAS_EXTRA, b"\x03\x00abc"),
            (HAS_NAME, b"daily.tar\0"),
            (HAS_COMMENT, b"\0"),
            (HAS_CHECKSUM, b"\x12\x34"),
        ];
        for chosen in 0..16_u8 {
            let (mut flags, mut rest) = (1, Vec::new());
            for (at, (flag, field)) in fields.iter().enumerate() {
                if chosen >> at & 1 == 1 {
                    flags |= flag;
                    rest.extend_from_slice(field);
                }
            }
            let bytes = header(flags, &rest);
            let stream = [bytes.as_slice(), &[3, 0]].concat();
            assert_eq!(length(&stream), Some(bytes.len()), "flags {flags:#x}");
            for cut in 0..=bytes.len() {
                assert_eq!(
                    length(&stream[..cut]),
                    None,
                    "flags {flags:#x} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn reserved_flags_other_methods_and_endless_names_are_no_header() {
        for flag in [0x20, 0x40, 0x80] {
            assert_eq!(length(&header(flag, &[3, 0])), None);
        }
        let mut compress = header(0, &[3, 0]);
        compress[2] = 7;
        assert_eq!(length(&compress), None);
        let endless = header(HAS_NAME, &[b'a'; HEADER_BYTES]);
        assert_eq!(length(&endless), None);
        let longest = header(HAS_EXTRA, &[0xff; 2 + 0xffff + 1]);
        assert_eq!(length(&longest), Some(longest.len() - 1));
    }
}
