//! How stored and sent bytes are packed. SPEC §5.3.

use crate::codec::{Decode, Encode};

/// How the bytes of a chunk or object are packed, in stores and on the wire alike: what is stored is sent
/// as it is, the server never compresses on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Encoding(pub u8);

impl Encoding {
    /// As they are.
    pub const PLAIN: Self = Self(0);
    /// One zstd frame that carries its content size; no dictionary.
    pub const ZSTD: Self = Self(1);
}
