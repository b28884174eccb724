//! Does what `tidecast-proto` decided: QUIC endpoints, release store, publishing, docroot, HTTP.
//!
//! Nothing here prints, reads `$HOME` or holds a rule about trust: those live in `cli` and `proto`.

pub mod http;
