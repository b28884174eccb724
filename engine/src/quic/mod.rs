//! QUIC as tidecast uses it: raw public keys both ways, frames on streams. SPEC §6.1.

mod endpoint;
mod link;
mod link_error;
mod stream;
mod tls;

pub use endpoint::{Bind, ListenError, client, client_config, close_code, server, server_config};
pub use link::{BundleAnswer, ChunkAnswers, Link, News, PackedChunk, PushedBundle};
pub use link_error::LinkError;
pub use stream::{StreamError, read_frame, read_frame_if, write_chunks, write_frame};
pub use tls::{TlsError, peer_key};
