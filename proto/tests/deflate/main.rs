//! Exact deflate against stock C zlib. SPEC §5.4.
//!
//! The quick form runs always, within seconds. `TIDECAST_DEFLATE_CASES=N` makes every random test try N times as
//! many cases.

mod again;
mod discover;
mod hostile;
mod reuse;
mod search;
mod support;
