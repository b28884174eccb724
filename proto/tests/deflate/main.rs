//! Exact deflate against stock zlib.

mod inflate;
mod input;
mod reuse;
mod search;
mod oracle;
