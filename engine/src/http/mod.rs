//! The HTTP side: ordinary clients download from a pinned release tree. SPEC §9.
//!
//! The way of a request: `server` admits the connection, `connection` times it and counts its
//! bytes, `path` makes a safe name of the target, [`SiteHandle::pin`] fixes one release for this
//! request, `respond` decides from headers and file facts alone, `body` reads the file in blocks,
//! and `ledger` writes the access log line once the last byte has left or the client has.
//!
//! What freshclam and its relatives demand was read in ClamAV's
//! `libfreshclam/libfreshclam_internal.c` and measured with freshclam 1.4.6. Two rules shape the
//! status codes: 403 puts a client to sleep for a day and 429 for hours, so neither is ever sent;
//! and `If-Modified-Since` of a database carries its build time, so `Last-Modified` is compared
//! exactly as it stands in [`SiteFile`].

mod access_log;
mod admission;
mod answer;
mod body;
pub(crate) mod conditions;
mod connection;
mod health;
mod ledger;
mod log_file;
mod open;
pub(crate) mod path;
pub(crate) mod range;
mod respond;
mod server;
mod site;
mod stats;

#[cfg(test)]
mod live_tests;

pub use access_log::{AccessLog, AccessRecord};
pub use health::{Health, HealthHandle, StatusSource};
pub use log_file::FileAccessLog;
pub use server::{HttpLimits, HttpOptions, ServeSummary, serve};
pub use site::{Site, SiteFile, SiteHandle, Timestamp};
pub use stats::{FileKind, HttpReport, HttpSnapshot, HttpStats, KindSnapshot};
