//! Names and numbers that must not be swapped. SPEC §1.

use alloc::string::String;
use core::fmt;

use crate::codec::{Decode, DecodeError, Decoder, Encode, impl_borrow_decode};

/// Why text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hex digits")]
pub struct ParseIdError;

/// Reads 32 bytes out of 64 hex digits.
pub(crate) fn parse_hex(text: &str) -> Result<[u8; 32], ParseIdError> {
    blake3::Hash::from_hex(text)
        .map(Into::into)
        .map_err(|_| ParseIdError)
}

macro_rules! hash_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The BLAKE3 hash of `bytes`.
            #[must_use]
            pub fn of(bytes: &[u8]) -> Self {
                Self(*blake3::hash(bytes).as_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), &blake3::Hash::from_bytes(self.0).to_hex()[..8])
            }
        }

        impl core::str::FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }
        }
    )*};
}

hash_ids! {
    /// Names a chunk: BLAKE3 of its bytes. A file of one chunk has the same bytes as [`FileHash`].
    ChunkId;
    /// BLAKE3 of a whole file.
    FileHash;
    /// Names a chunk list: BLAKE3 of its encoding.
    ListId;
    /// Names a signed object: BLAKE3 of its **body**, so collecting another signature changes no id.
    ObjectId;
    /// Names a feed: the [`ObjectId`] of its first root. Given out of band as the fingerprint.
    FeedId;
    /// Names a recipe: BLAKE3 of its encoding.
    RecipeId;
}

impl From<FileHash> for ChunkId {
    /// The one chunk of a file that needs no list.
    fn from(hash: FileHash) -> Self {
        Self(hash.0)
    }
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

numbers! {
    /// Counts a feed's releases from 1; 0 means "none yet". Only rises.
    ReleaseNumber;
    /// Counts a feed's roots from 1; 0 means "none yet".
    RootVersion;
    /// Raised by a root that replaces a lost head key; resets [`Seq`], never [`ReleaseNumber`].
    Epoch;
    /// Counts the heads of one head key: max(last + 1, Unix milliseconds).
    Seq;
    /// Milliseconds since 1970 (UTC).
    Timestamp;
}

impl Timestamp {
    /// This moment plus `millis`, held at the end of time.
    #[must_use]
    pub fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

impl ReleaseNumber {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A feed's name, for people: 1 to [`crate::limits::FEED_NAME_BYTES`] of `[a-z0-9._-]`, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode)]
pub struct FeedName(String);

impl FeedName {
    /// Checks and keeps a name.
    ///
    /// # Errors
    /// The rule that `name` breaks.
    pub fn new(name: &str) -> Result<Self, &'static str> {
        if name.is_empty() || name.len() > crate::limits::FEED_NAME_BYTES {
            return Err("a feed's name has 1 to 64 characters");
        }
        if !name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        {
            return Err("a feed's name is made of a-z 0-9 . _ -");
        }
        if !name.as_bytes()[0].is_ascii_alphanumeric() {
            return Err("a feed's name begins with a letter or a digit");
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<C> Decode<C> for FeedName {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::new(&String::decode(decoder)?).map_err(|_| DecodeError::Other("unsafe feed name"))
    }
}

impl_borrow_decode!(FeedName);

impl fmt::Display for FeedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = ChunkId::of(b"abc");
        assert_eq!(id.to_string().parse::<ChunkId>().unwrap(), id);
        assert!("abc".parse::<ChunkId>().is_err());
    }

    #[test]
    fn a_feed_name_is_safe_in_a_path_and_on_a_terminal() {
        assert!(FeedName::new("clamav").is_ok());
        for bad in ["", "..", ".x", "A", "a b", "a/b", "ä"] {
            assert!(FeedName::new(bad).is_err(), "{bad}");
            let bytes = crate::codec::encode(&String::from(bad));
            assert!(crate::codec::decode_exact::<FeedName>("feed", &bytes, 64).is_err());
        }
    }
}
