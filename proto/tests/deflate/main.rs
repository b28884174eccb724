//! Exact deflate against stock C zlib. SPEC §5.4.
//!
//! The quick form runs always. `TIDECAST_DEFLATE_CASES=N` makes every random test try N times as many cases
//! (about a minute each on one core for N = 20).

mod again;
mod hostile;
mod inflate;
mod input;
mod oracle;
mod reuse;
mod search;
mod support;
