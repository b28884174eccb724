//! Does what `tidecast-proto` decided: QUIC endpoints, release store, publishing, docroot, HTTP.
//!
//! Nothing here prints, reads `$HOME` or holds a rule about trust: those live in `cli` and `proto`.

pub mod audit;
mod beneath;
pub mod blocking;
pub mod bundle;
pub mod chain_log;
pub mod clock;
pub mod config;
pub mod control;
pub mod docroot;
pub mod durable;
#[doc(hidden)]
pub mod foreign;
mod genuine;
pub mod http;
pub mod keyfile;
pub mod master;
pub mod metrics;
pub mod mirror;
pub mod network;
mod packing;
pub mod proposal;
pub mod publish;
pub mod quic;
pub mod rebuild;
pub mod roots;
pub mod sample;
#[cfg(test)]
mod skip;
#[cfg(test)]
mod small_disk;
pub mod store;
pub mod vouched;
pub mod warning;
