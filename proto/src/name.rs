//! Which names a release may use. SPEC §4.

use alloc::string::String;
use core::fmt;

use crate::codec::{Decode, DecodeError, Decoder, Encode, impl_borrow_decode};

use crate::limits;

/// Why a path may not be in a release. Whoever made the tree or the manifest is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing between two slashes, or nothing at all.
    #[error("an empty name")]
    Empty,
    /// A character outside the set.
    #[error("a character outside A-Z a-z 0-9 . _ + @ - (byte 0x{0:02x})")]
    Character(u8),
    /// Hidden, `.` or `..`.
    #[error("a name that begins with a dot")]
    Dot,
    /// The operator's own files on every mirror.
    #[error("local_* belongs to each mirror's operator and is never published")]
    Local,
    /// Written by the mirror itself.
    #[error("`timestamp` is written by each mirror and cannot be published")]
    Timestamp,
    /// A component over [`limits::NAME_BYTES`] or a path over [`limits::PATH_BYTES`].
    #[error("too long ({0} bytes)")]
    Long(usize),
    /// More than [`limits::PATH_DEPTH`] components.
    #[error("more than 16 folders deep")]
    Deep,
}

/// A path inside a release: relative, `/` between components, safe to join below any folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
pub struct ReleasePath(String);

impl ReleasePath {
    /// Checks and keeps a path.
    ///
    /// # Errors
    /// The rule of SPEC §4 that it breaks.
    pub fn new(path: impl Into<String>) -> Result<Self, NameError> {
        let path = path.into();
        if path.len() > limits::PATH_BYTES {
            return Err(NameError::Long(path.len()));
        }
        for (depth, component) in path.split('/').enumerate() {
            if depth == limits::PATH_DEPTH {
                return Err(NameError::Deep);
            }
            check_component(component)?;
        }
        if path == "timestamp" || path.starts_with("timestamp/") {
            return Err(NameError::Timestamp);
        }
        Ok(Self(path))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first component: what becomes a name in the docroot.
    #[must_use]
    pub fn top(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }

    /// Everything before the last `/`, if there is one.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }
}

/// Whether a top-level docroot name belongs to the mirror's operator.
#[must_use]
pub fn is_local(name: &str) -> bool {
    name.starts_with("local_")
}

fn check_component(component: &str) -> Result<(), NameError> {
    let first = *component.as_bytes().first().ok_or(NameError::Empty)?;
    if component.len() > limits::NAME_BYTES {
        return Err(NameError::Long(component.len()));
    }
    if first == b'.' {
        return Err(NameError::Dot);
    }
    if let Some(byte) = component
        .bytes()
        .find(|b| !b.is_ascii_alphanumeric() && !b"._+@-".contains(b))
    {
        return Err(NameError::Character(byte));
    }
    if is_local(component) {
        return Err(NameError::Local);
    }
    Ok(())
}

impl<C> Decode<C> for ReleasePath {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::new(String::decode(decoder)?).map_err(|_| DecodeError::Other("unsafe path"))
    }
}

impl_borrow_decode!(ReleasePath);

impl fmt::Display for ReleasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ReleasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_release_may_hold() {
        for good in ["daily.cvd", "a/b/c", "A+b@c-d_e.f", "dir/timestamp", "-rf"] {
            assert!(ReleasePath::new(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_it_may_not() {
        use NameError::*;
        let deep = ["a"; 17].join("/");
        let long = "a".repeat(256);
        for (bad, error) in [
            ("", Empty),
            ("/etc/passwd", Empty),
            ("a//b", Empty),
            ("a/", Empty),
            (".", Dot),
            ("..", Dot),
            ("a/../b", Dot),
            (".tidecast/current", Dot),
            ("local_logo.png", Local),
            ("a/local_x", Local),
            ("timestamp", Timestamp),
            ("timestamp/x", Timestamp),
            ("a b", Character(b' ')),
            ("a\\b", Character(b'\\')),
            ("a\0b", Character(0)),
            ("ä", Character(0xc3)),
            (&deep, Deep),
            (&long, Long(256)),
        ] {
            assert_eq!(ReleasePath::new(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn an_unsafe_path_does_not_even_decode() {
        let bytes = crate::codec::encode(&String::from("../x"));
        assert!(crate::codec::decode_exact::<ReleasePath>("path", &bytes, 64).is_err());
    }
}
