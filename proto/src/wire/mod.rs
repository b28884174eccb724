//! What crosses the wire: frames and the messages in them. SPEC §6.
//!
//! A stream carries frames and nothing else: type (1 byte), length of the body (4 bytes LE), body. The mirror
//! opens a stream for each question and ends its side; the answer's frames follow on the same stream.

mod answer;
mod encoding;
mod frame;
mod greeting;
mod request;

pub use answer::{Answer, BundleHeader, ChunkHeader, ObjectHeader, Wait};
pub use encoding::Encoding;
pub use frame::{FRAME_HEADER_BYTES, FrameType, WireError, frame, parse_header};
pub use greeting::{Hello, PROTOCOL, PROTOCOL_MIN, RefusalReason, Refused, Serves, Welcome};
pub use request::{FetchBundle, FetchRuns, ObjectKind, ObjectName, Poll, Request};

/// The ALPN name; its number is that of the framing, [`PROTOCOL`] counts what is said inside it.
pub const ALPN: &[u8] = b"tidecast/1";

/// The UDP port unless another is named.
pub const DEFAULT_PORT: u16 = 4873;
