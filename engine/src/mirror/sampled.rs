//! How far the samples of `verify --sample` have come. SPEC §8.1.

use std::path::Path;

use tidecast_proto::name::ReleasePath;

use crate::durable::{self, Access, FileError};

/// The last file that a sample read, and a line feed.
const SAMPLED: &str = "sampled";
/// A path and a line feed, with room for an editor's additions.
const SAMPLED_BYTES_MAX: usize = 1024;

/// The last file that a sample read; `None` before the first, and for a note that names none.
///
/// # Errors
/// [`FileError`]: the state folder.
pub fn sampled_to(state: &Path) -> Result<Option<ReleasePath>, FileError> {
    let bytes = durable::read_optional(&state.join(SAMPLED), SAMPLED_BYTES_MAX)?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(text.and_then(|text| ReleasePath::new(text.trim()).ok()))
}

/// Notes where the next sample goes on.
///
/// # Errors
/// [`FileError`]: the state folder.
pub fn note_sampled(state: &Path, last: &ReleasePath) -> Result<(), FileError> {
    let text = format!("{last}\n");
    durable::write(&state.join(SAMPLED), text.as_bytes(), Access::OwnerOnly)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_and_nonsense_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(sampled_to(folder.path()).unwrap(), None);
        let path = ReleasePath::new("a/b.cvd").unwrap();
        note_sampled(folder.path(), &path).unwrap();
        assert_eq!(sampled_to(folder.path()).unwrap(), Some(path));
        std::fs::write(folder.path().join(SAMPLED), "../../etc\n").unwrap();
        assert_eq!(sampled_to(folder.path()).unwrap(), None);
    }
}
