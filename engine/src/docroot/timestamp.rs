//! The reserved file `timestamp`: when this docroot was last vouched for, for scripts that watch mirrors. SPEC §8.3.

use std::fmt::Write as _;

use super::Docroot;
use super::error::DocrootError;
use super::files;
use super::layout::TIMESTAMP;

/// Begins the line that says that nobody vouches for the docroot any more.
const STALE: &str = "stale ";

/// Longest `timestamp` file that is read, in bytes: a number, a mark and a head of 1 KiB in hexadecimal.
pub(crate) const TIMESTAMP_BYTES: usize = 8 * 1024;

impl Docroot {
    /// Writes the reserved file `timestamp`: `unix_seconds` on the first line, as scripts that watch mirrors
    /// expect it, then the signed `head` in hexadecimal, 64 digits a line. Returns where an operator's file of that name is now.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk; the old file stays.
    pub fn write_timestamp(
        &self,
        unix_seconds: u64,
        head: &[u8],
    ) -> Result<Option<String>, DocrootError> {
        let mut text = format!("{unix_seconds}\n");
        for line in head.chunks(32) {
            for byte in line {
                // Writing into a string has no way to fail.
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
        self.replace_timestamp(&text)?;
        self.link_timestamp()
    }

    /// Adds the line `stale` with the Unix second since when, or takes it away. The first line stays the moment a head was
    /// last accepted. Returns whether anything had to be changed; without such a file nothing has.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk; the old file stays.
    pub fn mark_timestamp(&self, stale_since_s: Option<u64>) -> Result<bool, DocrootError> {
        let bytes = files::read_whole(&self.folders.state, TIMESTAMP, TIMESTAMP_BYTES)
            .map_err(self.folders.fault("read", TIMESTAMP))?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(text) = text.and_then(|text| marked(&text, stale_since_s)) else {
            return Ok(false);
        };
        self.replace_timestamp(&text)?;
        Ok(true)
    }

    fn replace_timestamp(&self, text: &str) -> Result<(), DocrootError> {
        files::write_unsynced(&self.folders.state, TIMESTAMP, text.as_bytes(), true)
            .map_err(self.folders.write_fault(TIMESTAMP, text.len()))
    }
}

/// Whether a `timestamp` file says that the docroot is stale.
pub(crate) fn is_marked_stale(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(is_marked)
}

fn is_marked(text: &str) -> bool {
    text.lines()
        .nth(1)
        .is_some_and(|line| line.starts_with(STALE))
}

/// The text with the mark or without; `None` when it is so already.
pub(crate) fn marked(text: &str, stale_since_s: Option<u64>) -> Option<String> {
    if is_marked(text) == stale_since_s.is_some() {
        return None;
    }
    let mut lines = text.lines();
    let mut new = format!("{}\n", lines.next()?);
    match stale_since_s {
        Some(since) => {
            let _ = writeln!(new, "{STALE}{since}");
        }
        None => drop(lines.next()),
    }
    for line in lines {
        new.push_str(line);
        new.push('\n');
    }
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_the_second_line_and_leaves_the_rest_alone() {
        let fresh = "1795286137\nabab\nab\n";
        let stale = "1795286137\nstale 1795307737\nabab\nab\n";
        assert_eq!(marked(fresh, Some(1_795_307_737)).as_deref(), Some(stale));
        assert_eq!(marked(stale, None).as_deref(), Some(fresh));
        assert_eq!(marked(fresh, None), None);
        // Since when is told once, not moved along.
        assert_eq!(marked(stale, Some(1_795_399_999)), None);
    }
}
