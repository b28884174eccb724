//! Packing against what the receiver has: a zstd frame whose prefix is an older version, or anything alike. SPEC §5.6.
//!
//! A delta is a frame without its magic number, which would be the same four bytes in each of the many small ones.
//! It carries its content size, no dictionary id and no checksum: what comes out is judged by its hash.

use std::io;

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// zstd level 19: the most that needs no more memory than a few windows.
    Most,
    /// Level 12: a fifth of the time, a few percent more bytes.
    Some,
    /// Level 3, for what hardly packs or is too much.
    Least,
}

impl Effort {
    /// What so many bytes are worth: up to 1 MiB no time is.
    pub(crate) fn of(bytes: usize) -> Self {
        if bytes <= 1024 * 1024 {
            Self::Most
        } else {
            Self::Some
        }
    }

    fn level(self) -> i32 {
        match self {
            Self::Most => 19,
            Self::Some => 12,
            Self::Least => 3,
        }
    }
}

/// Where long-distance matching begins to find what the match finder of the level has forgotten.
const LONG_DISTANCE_BYTES: usize = 1024 * 1024;

/// The window covers prefix and content and never more: two manifests of 16 MiB. Two runs need one less.
const WINDOW_LOG_MAX: u32 = 25;

/// The smallest window zstd knows (`ZSTD_WINDOWLOG_MIN` in zstd.h).
const WINDOW_LOG_MIN: u32 = 10;

const MAGIC: [u8; 4] = zstd_safe::MAGICNUMBER.to_le_bytes();

/// Packs `bytes` against `prefix`.
///
/// # Errors
/// Out of memory, or both together over the window's limit of 32 MiB; the caller is at fault for the latter.
pub(crate) fn pack_with_prefix(bytes: &[u8], prefix: &[u8], effort: Effort) -> io::Result<Vec<u8>> {
    let together = bytes.len() + prefix.len();
    let window_log = together.next_power_of_two().trailing_zeros();
    if window_log > WINDOW_LOG_MAX {
        return Err(invalid(format!(
            "{together} bytes are more than a window holds"
        )));
    }
    let mut context = CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
    for parameter in [
        CParameter::CompressionLevel(effort.level()),
        CParameter::WindowLog(window_log.max(WINDOW_LOG_MIN)),
        CParameter::EnableLongDistanceMatching(together > LONG_DISTANCE_BYTES),
        CParameter::ContentSizeFlag(true),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ] {
        context.set_parameter(parameter).map_err(said_by_zstd)?;
    }
    context.ref_prefix(prefix).map_err(said_by_zstd)?;
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    context.compress2(&mut frame, bytes).map_err(said_by_zstd)?;
    frame.drain(..MAGIC.len());
    Ok(frame)
}

/// Opens a delta to at most `bytes_max` bytes. Memory is bounded by that and the delta's own length, whatever it claims.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when it is damaged, was made against another prefix (noticed by chance only: check
/// the hash), is followed by anything, would open to more, or asks for a window that no packing against `prefix` of
/// so many bytes needs.
pub(crate) fn open_with_prefix(
    delta: &[u8],
    prefix: &[u8],
    bytes_max: usize,
) -> io::Result<Vec<u8>> {
    open_frame(&[&MAGIC, delta].concat(), prefix, bytes_max)
}

/// As [`open_with_prefix`]; the delta is what follows the first `at` bytes of `body`, and it is not copied.
pub(crate) fn open_in(
    mut body: Vec<u8>,
    at: usize,
    prefix: &[u8],
    bytes_max: usize,
) -> io::Result<Vec<u8>> {
    body.reserve_exact(MAGIC.len().saturating_sub(at));
    body.splice(..at.min(body.len()), MAGIC);
    open_frame(&body, prefix, bytes_max)
}

fn open_frame(frame: &[u8], prefix: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
    let delta = frame.get(MAGIC.len()..).unwrap_or_default();
    let opened_bytes = zstd_safe::get_frame_content_size(frame)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .ok_or_else(|| invalid("a delta that does not say how long it is".into()))?;
    if opened_bytes > bytes_max {
        return Err(invalid(format!(
            "opens to {opened_bytes} bytes, the limit is {bytes_max}"
        )));
    }
    let window_max = window_bytes_max(prefix.len().saturating_add(bytes_max));
    if let Some(window) = window_bytes(delta).filter(|window| *window > window_max) {
        return Err(invalid(format!(
            "asks for a window of {window} bytes, the limit is {window_max}"
        )));
    }
    let frame_bytes = zstd_safe::find_frame_compressed_size(frame).map_err(said_by_zstd)?;
    if frame_bytes != frame.len() {
        return Err(invalid(format!(
            "{} bytes after the delta",
            frame.len() - frame_bytes
        )));
    }
    let mut context = DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
    context.ref_prefix(prefix).map_err(said_by_zstd)?;
    // Opened in one go, the output is the window, and zstd's own limit of windows does not apply.
    let mut opened = Vec::with_capacity(opened_bytes);
    context
        .decompress(&mut opened, frame)
        .map_err(said_by_zstd)?;
    if opened.len() != opened_bytes {
        return Err(invalid(format!(
            "opens to {} bytes, not {opened_bytes}",
            opened.len()
        )));
    }
    Ok(opened)
}

/// The largest window that may be asked for when prefix and content have at most `together` bytes.
fn window_bytes_max(together: usize) -> u64 {
    let largest = 1_u64 << WINDOW_LOG_MAX;
    let needed = together.checked_next_power_of_two();
    needed
        .map_or(largest, |needed| needed as u64)
        .clamp(1 << WINDOW_LOG_MIN, largest)
}

/// The window a delta asks for; `None` when it is a single segment, whose window is its content (RFC 8878 §3.1.1.1.2),
/// or too short to say.
fn window_bytes(delta: &[u8]) -> Option<u64> {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    let (&descriptor, &window) = (delta.first()?, delta.get(1)?);
    if descriptor & SINGLE_SEGMENT != 0 {
        return None;
    }
    let base = 1_u64 << (u32::from(window >> 3) + WINDOW_LOG_MIN);
    Some(base + base / 8 * u64::from(window & 7))
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn said_by_zstd(code: zstd_safe::ErrorCode) -> io::Error {
    invalid(zstd_safe::get_error_name(code).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(bytes: &[u8], prefix: &[u8]) -> Vec<u8> {
        pack_with_prefix(bytes, prefix, Effort::of(bytes.len())).unwrap()
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        noise
    }

    #[test]
    fn what_the_receiver_has_costs_next_to_nothing() {
        // Noise, so that only the prefix can help; long enough that the window must cover it all.
        for (bytes, most) in [(10_000, 50), (3_000_000, 500)] {
            let old = noise(bytes);
            let mut new = old.clone();
            new.splice(500..500, *b"a new line");
            let delta = packed(&new, &old);
            assert!(delta.len() < most, "{} bytes", delta.len());
            assert_eq!(open_with_prefix(&delta, &old, new.len()).unwrap(), new);
            for at in 0..9 {
                let body = [&[7; 9][..at], &delta].concat();
                assert_eq!(open_in(body, at, &old, new.len()).unwrap(), new);
            }
        }
    }

    #[test]
    fn nothing_packs_and_opens_with_and_without_a_prefix() {
        for prefix in [&b""[..], b"prefix"] {
            for bytes in [&b""[..], b"x"] {
                let delta = packed(bytes, prefix);
                assert_eq!(open_with_prefix(&delta, prefix, 1).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn a_delta_never_opens_to_more_than_it_may() {
        let delta = packed(&vec![0; 1 << 20], b"");
        assert!(delta.len() < 200);
        assert!(open_with_prefix(&delta, b"", (1 << 20) - 1).is_err());
        assert!(open_with_prefix(&delta, b"", 1 << 20).is_ok());
        // A whole TiB claimed in a few bytes: single segment, content size in eight bytes.
        let claim = [
            &[0b1110_0000_u8][..],
            &(1_u64 << 40).to_le_bytes(),
            &[1, 0, 0],
        ]
        .concat();
        assert!(open_with_prefix(&claim, b"", 1 << 24).is_err());
    }

    #[test]
    fn damaged_cut_and_trailing_bytes_open_to_nothing_longer_and_never_panic() {
        let (old, new) = (noise(5000), noise(6000));
        let delta = packed(&new, &old);
        for cut in 0..delta.len() {
            assert!(
                open_with_prefix(&delta[..cut], &old, new.len()).is_err(),
                "{cut}"
            );
        }
        for at in 0..delta.len() {
            let mut bad = delta.clone();
            bad[at] ^= 0x41;
            if let Ok(opened) = open_with_prefix(&bad, &old, new.len()) {
                assert!(opened.len() <= new.len());
            }
        }
        assert!(open_with_prefix(&[&delta[..], b"\0"].concat(), &old, new.len()).is_err());
        assert!(open_with_prefix(&[&delta[..], &delta].concat(), &old, new.len()).is_err());
        // Without the bytes it refers to, it does not open to what it was made of.
        let wrong = open_with_prefix(&delta, b"", new.len());
        assert!(wrong.map_or(true, |opened| opened != new));
    }

    #[test]
    fn a_window_has_a_limit() {
        let (bytes, prefix) = (vec![0; 1 << 24], vec![0; (1 << 24) + 1]);
        assert!(pack_with_prefix(&bytes, &prefix, Effort::Least).is_err());
    }

    #[test]
    fn a_delta_that_asks_for_more_window_than_its_content_and_prefix_need_is_refused() {
        // Content size in four bytes, a window descriptor, one raw block of five bytes.
        let frame = |window: u8| {
            let head = [0b1000_0000, window];
            [&head[..], &5_u32.to_le_bytes(), &[0x29, 0, 0], b"bytes"].concat()
        };
        let log = |log: u8| (log - 10) << 3;
        let open = |window, prefix: &[u8], most| open_with_prefix(&frame(window), prefix, most);
        assert_eq!(open(log(10), b"", 5).unwrap(), b"bytes");
        assert!(open(log(10) + 1, b"", 5).is_err());
        // A run of 8 MiB against as much: 2^24, and no eighth more.
        let prefix = vec![0; 8 << 20];
        assert_eq!(open(log(24), &prefix, 8 << 20).unwrap(), b"bytes");
        assert!(open(log(24) + 1, &prefix, 8 << 20).is_err());
        // Two manifests, and whatever the limits: no more than 2^25.
        let prefix = vec![0; 16 << 20];
        assert_eq!(open(log(25), &prefix, 16 << 20).unwrap(), b"bytes");
        assert!(open(log(25) + 1, &prefix, 1 << 30).is_err());
    }
}
