//! When the last collection ended. Advisory: without it the next one comes earlier.

use std::path::{Path, PathBuf};

use tidecast_proto::id::Timestamp;

use crate::durable::{self, Access};

/// Digits of a `u64` and a line feed.
const BYTES: usize = 21;

fn path(folder: &Path) -> PathBuf {
    folder.join("collected")
}

/// The moment the last collection ended well; the beginning of time when nobody knows.
pub(super) fn read(folder: &Path) -> Timestamp {
    let bytes = durable::read_optional(&path(folder), BYTES);
    let text = bytes.ok().flatten().and_then(|b| String::from_utf8(b).ok());
    Timestamp(
        text.and_then(|text| text.trim_end().parse().ok())
            .unwrap_or(0),
    )
}

/// Remembers it.
pub(super) fn write(folder: &Path, now: Timestamp) {
    // On a disk that is full all the same: then the next publication looks again, which costs little.
    let _ = durable::write(
        &path(folder),
        format!("{now}\n").as_bytes(),
        Access::Everyone,
    );
}
