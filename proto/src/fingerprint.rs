//! A feed's fingerprint as people hand it on: 64 hex digits, or 24 words for the telephone. SPEC §3.6.
//!
//! The words are BIP-39's English list: any word is known by its first four letters, and the last word
//! carries a checksum, so a misheard word is noticed.

use alloc::string::String;

use bip39::{Language, Mnemonic};

use crate::id::FeedId;

/// Why text is no fingerprint. The person who typed it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FingerprintError {
    /// Neither form.
    #[error(
        "a fingerprint is 64 hex digits or 24 words; this has {digits} characters in {words} words"
    )]
    Shape {
        /// Characters, blanks left out.
        digits: usize,
        /// Words, divided by blanks or hyphens.
        words: usize,
    },
    /// A word that is not on the list.
    #[error("word {position} ({word:?}) is not on the list")]
    UnknownWord {
        /// Counted from 1.
        position: usize,
        /// As typed.
        word: String,
    },
    /// All words exist, but they do not belong together.
    #[error(
        "the words are all known, but the checksum in the last one does not match: one is wrong or out of order"
    )]
    Checksum,
}

/// The fingerprint as 24 words, one blank between them.
#[must_use]
pub fn to_words(feed: &FeedId) -> String {
    match Mnemonic::from_entropy_in(Language::English, &feed.0) {
        Ok(words) => alloc::format!("{words}"),
        // Never: 32 bytes are a legal length, and that is the only condition.
        Err(_) => unreachable!("32 bytes always make 24 words"),
    }
}

/// Reads either form; blanks, hyphens and capitals do not matter.
///
/// # Errors
/// [`FingerprintError`].
pub fn parse(text: &str) -> Result<FeedId, FingerprintError> {
    let text = text.trim().to_ascii_lowercase();
    if let Ok(feed) = text.parse() {
        return Ok(feed);
    }
    let hex: String = text.split([' ', ':', '-', '\n', '\t']).collect();
    if let Ok(feed) = hex.parse() {
        return Ok(feed);
    }
    let words: alloc::vec::Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c == '-' || c == ',')
        .filter(|word| !word.is_empty())
        .collect();
    if words.len() != 24 {
        return Err(FingerprintError::Shape {
            digits: hex.len(),
            words: words.len(),
        });
    }
    let mnemonic =
        Mnemonic::parse_in_normalized(Language::English, &words.join(" ")).map_err(|error| {
            match error {
                bip39::Error::UnknownWord(index) => FingerprintError::UnknownWord {
                    position: index + 1,
                    word: words.get(index).copied().unwrap_or_default().into(),
                },
                _ => FingerprintError::Checksum,
            }
        })?;
    let (entropy, length) = mnemonic.to_entropy_array();
    match <[u8; 32]>::try_from(&entropy[..length]) {
        Ok(bytes) => Ok(FeedId(bytes)),
        Err(_) => Err(FingerprintError::Checksum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn both_forms_read_back() {
        let feed = FeedId::of(b"root 1");
        assert_eq!(parse(&feed.to_string()).unwrap(), feed);
        let words = to_words(&feed);
        assert_eq!(words.split(' ').count(), 24);
        assert_eq!(parse(&words).unwrap(), feed);
        assert_eq!(
            parse(&words.to_uppercase().replace(' ', "-")).unwrap(),
            feed
        );
    }

    #[test]
    fn a_misheard_word_is_named_or_noticed() {
        let words = to_words(&FeedId::of(b"root 1"));
        let mut list: alloc::vec::Vec<&str> = words.split(' ').collect();
        list[4] = "tidecast";
        assert_eq!(
            parse(&list.join(" ")),
            Err(FingerprintError::UnknownWord {
                position: 5,
                word: "tidecast".into()
            })
        );
        let mut list: alloc::vec::Vec<&str> = words.split(' ').collect();
        list.swap(0, 1);
        assert_eq!(parse(&list.join(" ")), Err(FingerprintError::Checksum));
    }
}
