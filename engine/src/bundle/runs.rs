//! Runs of one content, for a mirror that asks by lists instead of releases.

use std::sync::Arc;

use tidecast_proto::bundle::{ContentRef, Form, PartKind, Side, put_part};
use tidecast_proto::wire::FetchRuns;

use super::BundleBuildError;
use super::content::{packed_bytes, stored_list};
use super::section::Runs;
use crate::store::Store;

/// Runs beyond this are refused, in bytes: they are built in memory, and chunks cost little more by then.
pub const RUNS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A base up to here the receiver reaches into freely; of a longer one it keeps a copy.
const SMALL_BYTES: u64 = 1024 * 1024;

/// RUN parts for the chunks of a list that are in none of the bases, and END.
///
/// # Errors
/// [`BundleBuildError::Gone`] when the store lacks a list or a chunk; [`BundleBuildError::TooLarge`] when they would
/// have over [`RUNS_BYTES_MAX`] or more bytes than the chunks themselves.
pub fn runs(store: &Store, fetch: &FetchRuns) -> Result<Vec<u8>, BundleBuildError> {
    let list = |id| {
        stored_list(store, id)
            .map(Arc::new)
            .ok_or_else(|| BundleBuildError::Gone {
                what: format!("list {id}"),
            })
    };
    let new = list(&fetch.list)?;
    let mut bases = Vec::new();
    for (file, id) in (0..).zip(&fetch.bases) {
        let base = list(id)?;
        let small = file > 0 && base.total_bytes() <= SMALL_BYTES;
        let content = ContentRef {
            side: if small { Side::New } else { Side::Old },
            file,
            form: Form::Opened,
        };
        bases.push((content, base));
    }
    let whole = packed_bytes(store, new.entries().iter().map(|entry| &entry.id));
    let mut runs = Runs::new(store, new, Form::Opened, bases);
    runs.sample_new();
    let limit = whole.unwrap_or(u64::MAX).clamp(1024, RUNS_BYTES_MAX);
    let mut parts = Vec::new();
    runs.write(limit, &mut parts)?;
    put_part(PartKind::END, &[], &mut parts);
    Ok(parts)
}
