//! The rules of tidecast: bytes and events in, decisions out.
//!
//! Nothing here touches a clock, a socket, a file or a source of randomness; callers hand in `now`,
//! keys, bytes and peers. `#![no_std]` makes the compiler hold us to that: `std::fs`, `Instant::now` or
//! a `HashMap` (whose order would leak into encodings) do not compile here.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod addition;
pub mod bundle;
pub mod ceremony;
pub mod chunker;
pub mod codec;
pub mod database;
pub mod deflate;
pub mod extension;
pub mod fetch;
pub mod fingerprint;
pub mod head;
pub mod id;
pub mod key;
pub mod limits;
pub mod list;
pub mod manifest;
pub mod mirror;
pub mod name;
pub mod plan;
pub mod rate;
pub mod receipt;
pub mod recipe;
pub mod road;
pub mod root;
pub mod root_expiry;
pub mod session;
pub mod signed;
pub mod trust;
pub mod wire;
