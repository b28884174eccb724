//! What was moved out of the docroot, by day, and its end after some weeks. SPEC §8.10.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::RenameFlags;
use rustix::io::Errno;
use tidecast_proto::id::Timestamp;

use super::error::DocrootError;
use super::files;
use super::layout::{self, Folders};

/// Names tried before giving up: the same name moved away this often in one day is a loop somewhere else.
const SUFFIX_MAX: u32 = 10_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Moves `name` out of `from` into today's folder, never over anything, and returns where it went, below the docroot.
///
/// # Errors
/// [`DocrootError`]; `name` is where it was.
pub(super) fn move_away(
    folders: &Folders,
    now: Timestamp,
    from: impl AsFd,
    name: &OsStr,
) -> Result<String, DocrootError> {
    let (day, folder) = open_day(folders, now)?;
    let fault = folders.name_fault("move away", name);
    for suffix in 0..SUFFIX_MAX {
        let mut to = OsString::from(name);
        if suffix > 0 {
            to.push(format!(".{suffix}"));
        }
        match rustix::fs::renameat_with(&from, name, &folder, &*to, RenameFlags::NOREPLACE) {
            Ok(()) => {
                let to = to.to_string_lossy();
                return Ok(format!("{}/{}/{day}/{to}", layout::STATE, layout::REMOVED));
            }
            Err(Errno::EXIST | Errno::NOTEMPTY) => {}
            Err(error) => return Err(fault(error)),
        }
    }
    Err(fault(Errno::EXIST))
}

fn open_day(folders: &Folders, now: Timestamp) -> Result<(String, OwnedFd), DocrootError> {
    // What an operator left in the open by mistake must not stay readable to everybody here.
    let removed = folders.subfolder(layout::REMOVED, 0o700)?;
    let day = day_name(now);
    let folder = files::make_folder(&removed, &day, 0o700)
        .map_err(folders.fault("make", &format!("{}/{day}", layout::REMOVED)))?;
    Ok((day, folder))
}

/// Deletes the folders of days that ended more than `keep` ago; returns how many.
pub(super) fn expire(
    folders: &Folders,
    now: Timestamp,
    keep: Duration,
) -> Result<usize, DocrootError> {
    let fault = || folders.fault("clear", layout::REMOVED);
    let removed = match files::open_folder(&folders.state, layout::REMOVED) {
        Ok(removed) => removed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(fault()(error)),
    };
    let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    // Days are compared as text: `2026-11-21` sorts as it dates.
    let Some(oldest) = now.0.checked_sub(keep_ms.saturating_add(DAY_MS)) else {
        return Ok(0);
    };
    let oldest = day_name(Timestamp(oldest));
    let mut gone = 0;
    for name in files::names(&removed).map_err(fault())? {
        let is_old_day = name
            .to_str()
            .is_some_and(|name| is_day(name) && name < oldest.as_str());
        if is_old_day {
            files::remove_all(&removed, name.as_os_str()).map_err(fault())?;
            gone += 1;
        }
    }
    Ok(gone)
}

fn is_day(name: &str) -> bool {
    name.len() == 10
        && name.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// The day in UTC, `YYYY-MM-DD`.
fn day_name(at: Timestamp) -> String {
    // Days since 0000-03-01, counted in 400-year eras (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let days = at.0 / DAY_MS + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_named_as_the_calendar_names_them() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_795_257_337, "2026-11-21"),
            (4_107_542_399, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(day_name(Timestamp(seconds * 1000)), day);
        }
    }

    #[test]
    fn the_same_name_moved_twice_a_day_is_kept_twice_until_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::make(folder.path()).unwrap();
        let now = Timestamp(1_795_257_337_000);
        for (content, to) in [("one", "x.txt"), ("two", "x.txt.1")] {
            std::fs::write(folder.path().join("x.txt"), content).unwrap();
            let place = move_away(&folders, now, &folders.docroot, OsStr::new("x.txt")).unwrap();
            assert_eq!(place, format!(".tidecast/removed/2026-11-21/{to}"));
            assert_eq!(
                std::fs::read_to_string(folder.path().join(place)).unwrap(),
                content
            );
        }
        let keep = Duration::from_secs(30 * 86_400);
        let at = |days: u64| now.plus(days * DAY_MS);
        assert_eq!(expire(&folders, at(30), keep).unwrap(), 0);
        assert_eq!(expire(&folders, at(32), keep).unwrap(), 1);
    }
}
