//! What ClamAV's own clients would say of a file: publishers ask before they sign, mirrors before they serve what fewer
//! signatures vouch for. SPEC §7.9, §8.6.

mod check;
mod inflate;
mod prove;

pub use check::{CDIFF_BYTES, DatabaseFault};
pub use prove::Unproved;

pub(crate) use check::{Check, in_manifest};
#[cfg(test)]
pub(crate) use inflate::GzipError;
pub(crate) use prove::{ProveError, prove};
