//! What the file system says about a file, to tell whether it changed.

use rustix::fs::Stat;
use tidecast_proto::id::Timestamp;

/// Everything that changes when a file's content does, short of reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) mtime: Moment,
    /// Cannot be set by whoever writes the file, unlike mtime.
    pub(crate) ctime: Moment,
    pub(crate) inode: u64,
    pub(crate) device: u64,
}

/// Seconds since 1970 and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) s: i64,
    pub(crate) ns: u32,
}

/// How much older than a look at it a file must be for its stamp to be trusted: file systems count time in
/// steps of up to 2 s (FAT), so a later write within the step leaves the same stamp.
const RACY_S: u64 = 2;

impl Stamp {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_fallible_conversions,
        reason = "the width of these fields differs between platforms"
    )]
    pub(crate) fn of(stat: &Stat) -> Self {
        let ns = |ns| u32::try_from(ns).unwrap_or(0);
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: Moment {
                s: stat.st_mtime.into(),
                ns: ns(stat.st_mtime_nsec),
            },
            ctime: Moment {
                s: stat.st_ctime.into(),
                ns: ns(stat.st_ctime_nsec),
            },
            inode: stat.st_ino.into(),
            device: stat.st_dev.into(),
        }
    }

    /// Modification time in seconds since 1970, not below 0.
    pub(crate) fn mtime_s(&self) -> u64 {
        u64::try_from(self.mtime.s).unwrap_or(0)
    }

    /// Whether the file may have been written again, after a look at `looked_at`, without its stamp changing.
    pub(crate) fn is_racy(&self, looked_at: Timestamp) -> bool {
        let settled = i64::try_from(looked_at.seconds().saturating_sub(RACY_S)).unwrap_or(i64::MAX);
        self.mtime.s >= settled || self.ctime.s >= settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_within_two_seconds_of_the_look_is_racy() {
        let at = |mtime, ctime| Stamp {
            size: 1,
            mtime: Moment { s: mtime, ns: 0 },
            ctime: Moment { s: ctime, ns: 0 },
            inode: 1,
            device: 1,
        };
        let look = Timestamp(100_999);
        assert!(!at(97, 97).is_racy(look));
        assert!(at(98, 97).is_racy(look));
        assert!(at(97, 98).is_racy(look));
        assert!(at(97, 500).is_racy(look), "a clock that jumps");
    }
}
