//! What unlocks a key file.

use std::path::Path;

use pkcs8::der::zeroize::Zeroizing;

use super::{KEY_FILE_BYTES, KeyFileError, OTHERS};
use crate::durable::{self, FileError};

/// A passphrase: one line of text, erased from memory when dropped and never printed.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

/// Longest passphrase, in bytes: a page of words; what is longer is another file named by mistake.
pub const PASSPHRASE_BYTES: usize = 1024;

/// Why text is no passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// A key under an empty passphrase looks protected and is not.
    #[error("the passphrase is empty")]
    Empty,
    /// Not typed by a person.
    #[error("the passphrase has more than {PASSPHRASE_BYTES} bytes")]
    TooLong,
}

impl Passphrase {
    /// Takes a line as it was typed; the line's end is not part of it.
    ///
    /// # Errors
    /// [`PassphraseError`]; whoever typed it is at fault.
    pub fn new(line: String) -> Result<Self, PassphraseError> {
        let mut line = Zeroizing::new(line);
        let end = line.trim_end_matches(['\r', '\n']).len();
        line.truncate(end);
        match line.len() {
            0 => Err(PassphraseError::Empty),
            1..=PASSPHRASE_BYTES => Ok(Self(line)),
            _ => Err(PassphraseError::TooLong),
        }
    }

    /// Reads the first line of a file: one that only its owner may read, or a pipe.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        use std::os::unix::fs::PermissionsExt;
        let facts = std::fs::metadata(path).map_err(FileError::at("look at", path))?;
        let mode = facts.permissions().mode() & 0o7777;
        if facts.is_file() && mode & OTHERS != 0 {
            return Err(KeyFileError::Open {
                path: path.to_owned(),
                mode,
            });
        }
        let bytes = durable::read_optional(path, KEY_FILE_BYTES)?.unwrap_or_default();
        let bytes = Zeroizing::new(bytes);
        let bad = |why| KeyFileError::Passphrase {
            path: path.to_owned(),
            why,
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| KeyFileError::NotText {
            path: path.to_owned(),
        })?;
        Self::new(text.lines().next().unwrap_or_default().to_owned()).map_err(bad)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl PartialEq for Passphrase {
    /// For comparing what was typed twice.
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(..)")
    }
}
