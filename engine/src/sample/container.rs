//! The `.cvd` container: a header of 512 bytes, then a gzip of a tar.
//!
//! Layout from ClamAV's `libclamav/cvd.c`, `common/tar.c` and `sigtool/sigtool.c`: tar headers hold name,
//! size and checksum only, and the stream ends after the last member, without end blocks.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use md5::{Digest, Md5};

use super::pack::Pack;

/// Length of the header in front of the gzip stream, in bytes.
const HEADER_LEN: usize = 512;
/// Length of a tar header, and what members are padded to, in bytes.
const TAR_BLOCK: usize = 512;
const PADDING: [u8; TAR_BLOCK] = [0; TAR_BLOCK];

/// What the header says, apart from MD5 and signature.
#[derive(Debug, Clone)]
pub(super) struct Title {
    pub(super) version: u32,
    pub(super) signatures: u64,
    /// Seconds since 1970.
    pub(super) built_s: u64,
}

impl Title {
    /// The colon-separated fields with the given MD5 and signature; in `.info` both are `X`.
    pub(super) fn fields(&self, md5: &str, signature: &str) -> String {
        // "Sun, 06 Nov 1994 08:49:37 GMT": the date is cut out of it; the header spells times with
        // a hyphen because colons separate its fields.
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.built_s));
        let (day, hour, minute) = (&date[5..16], &date[17..19], &date[20..22]);
        format!(
            "ClamAV-VDB:{day} {hour}-{minute} +0000:{}:{}:90:{md5}:{signature}:sample:{}",
            self.version, self.signatures, self.built_s
        )
    }
}

/// Writes a container to `path`, member by member; an existing file is replaced in one step.
pub(super) fn write(
    path: &Path,
    title: &Title,
    signature: &str,
    members: &[(&str, &[u8])],
    pack: Pack,
) -> io::Result<()> {
    let temporary = path.with_extension("cvd.part");
    let mut file = File::create(&temporary)?;
    file.write_all(&[b' '; HEADER_LEN])?;
    let mut hashed = Hashed {
        inner: BufWriter::with_capacity(1 << 16, file),
        md5: Md5::new(),
    };
    let headers: Vec<_> = members
        .iter()
        .map(|(name, bytes)| tar_header(name, bytes.len()))
        .collect();
    let mut pieces: Vec<&[u8]> = Vec::with_capacity(members.len() * 3);
    for (header, (_, bytes)) in headers.iter().zip(members) {
        let padding = bytes.len().next_multiple_of(TAR_BLOCK) - bytes.len();
        pieces.extend([header.as_slice(), bytes, &PADDING[..padding]]);
    }
    pack(&pieces, &mut hashed)?;
    let Hashed { inner, md5 } = hashed;
    let mut file = inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    let mut header = title.fields(&hex(&md5.finalize()), signature).into_bytes();
    header.resize(HEADER_LEN, b' ');
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header)?;
    std::fs::rename(&temporary, path)
}

fn tar_header(name: &str, size: usize) -> [u8; TAR_BLOCK] {
    let mut header = [0; TAR_BLOCK];
    header[..name.len()].copy_from_slice(name.as_bytes());
    let octal = format!("{size:o}");
    header[124..124 + octal.len()].copy_from_slice(octal.as_bytes());
    // The checksum is taken with blanks in its own place.
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].fill(0);
    header[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    header
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hashes what passes through.
struct Hashed<W> {
    inner: W,
    md5: Md5,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.md5.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
