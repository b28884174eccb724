//! QUIC as tidecast uses it: raw public keys both ways, frames on streams. SPEC §6.1.

mod endpoint;
mod link;
mod stream;
mod tls;

pub use endpoint::{Bind, ListenError, client, close_code, server};
pub use link::{BundleAnswer, ChunkAnswers, Link, LinkError, News, PackedChunk, PushedBundle};
pub use stream::{StreamError, read_frame, write_frame};
pub use tls::{TlsError, peer_key};
