//! Room to grow: every signed object, Hello and Receipt ends in a list of extensions. SPEC §1.5.

use alloc::vec::Vec;

use crate::codec::{CodecError, Decode, Encode, at_most, strictly_ascending};
use crate::limits;

/// One field that a later version of tidecast may define.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Extension {
    /// What it is; sorted by this, each at most once.
    pub tag: u16,
    /// Whether a reader that does not know `tag` must refuse the whole object.
    pub critical: bool,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A sorted list of extensions.
pub type Extensions = Vec<Extension>;

/// The tags this version understands: none yet.
const KNOWN_TAGS: &[u16] = &[];

/// A critical extension this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it uses extension {tag}, which this version of tidecast does not know: upgrade tidecast")]
pub struct UnknownCritical {
    /// The tag that stopped us.
    pub tag: u16,
}

/// Checks form: count, order.
pub(crate) fn check_form(extensions: &[Extension]) -> Result<(), CodecError> {
    at_most("extensions", extensions.len(), limits::EXTENSIONS)?;
    strictly_ascending("extensions", extensions.iter().map(|e| e.tag))
}

/// Refuses an unknown extension that says it must be understood; others are carried unchanged.
pub(crate) fn check_critical(extensions: &[Extension]) -> Result<(), UnknownCritical> {
    match extensions
        .iter()
        .find(|e| e.critical && !KNOWN_TAGS.contains(&e.tag))
    {
        Some(unknown) => Err(UnknownCritical { tag: unknown.tag }),
        None => Ok(()),
    }
}
