//! ClamAV containers and databases of our own making (layout: ClamAV's `libclamav/cvd.c`,
//! `common/tar.c`, `sigtool/sigtool.c`).

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use sha2::Sha256;

const BLOCK: usize = 512;

/// One line of a `.hdb`: the MD5 and the size of a file, and the name it is detected under.
pub(crate) fn hdb_line(infected: &[u8], name: &str) -> String {
    let md5 = hex(&Md5::digest(infected));
    format!("{md5}:{}:{name}\n", infected.len())
}

/// An unsigned container of database `name` that holds one `.hdb` member.
pub(crate) fn unsigned(name: &str, version: u32, hdb: &str) -> Vec<u8> {
    let built_s = 1_700_000_000 + version;
    let signatures = hdb.lines().count();
    let fields = |md5: &str| {
        format!(
            "ClamAV-VDB:14 Nov 2023 22-13 +0000:{version}:{signatures}:90:{md5}:X:tests:{built_s}"
        )
    };
    let member = format!("{name}.hdb");
    let info = format!(
        "{}\n{member}:{}:{}\n",
        fields("X"),
        hdb.len(),
        hex(&Sha256::digest(hdb))
    );
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    for (file, bytes) in [
        ("COPYING", "made by a test\n"),
        (&format!("{name}.info"), &info),
        (&member, hdb),
    ] {
        gzip.write_all(&tar_header(file, bytes.len())).unwrap();
        gzip.write_all(bytes.as_bytes()).unwrap();
        let padding = bytes.len().next_multiple_of(BLOCK) - bytes.len();
        gzip.write_all(&[0; BLOCK][..padding]).unwrap();
    }
    let body = gzip.finish().unwrap();
    let mut container = fields(&hex(&Md5::digest(&body))).into_bytes();
    container.resize(BLOCK, b' ');
    container.extend(body);
    container
}

fn tar_header(name: &str, size: usize) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
