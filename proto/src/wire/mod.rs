//! What crosses the wire: frames and the messages in them. SPEC §6.

mod encoding;

pub use encoding::Encoding;
