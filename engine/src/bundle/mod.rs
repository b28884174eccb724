//! Bundles, from the sender's side: what carries a mirror from one release to the newest. SPEC §5.7.
//!
//! ```text
//! two manifests -> choose (order, forms, bases) -> section (recipe, list, runs) -> core -> cache file -> wire, file
//! ```
//!
//! The **core** is everything from MANIFEST to END: it depends on the two releases only, so it is built once and kept.
//! HEADER, HEAD and ROOT parts change by the hour and by what the receiver has; they are put in front when it goes out.

mod build;
mod cache;
mod choose;
mod content;
mod error;
mod report;
mod runs;
mod section;

#[cfg(test)]
mod tests;

pub use crate::store::bundle_files::BUNDLES;
pub use build::build;
pub use cache::BundleCache;
pub use error::BundleBuildError;
pub use report::{BundleReport, FileShare};
pub use runs::{RUNS_BYTES_MAX, runs};

use tidecast_proto::bundle::{Header, PartKind, put_part};
use tidecast_proto::id::ObjectId;

/// What stands in front of a core: the release it starts from, the newest head, and `roots` that the receiver may not
/// have, in order.
#[must_use]
pub fn front(from: ObjectId, head: &[u8], roots: &[Vec<u8>]) -> Vec<u8> {
    let mut front = Vec::new();
    put_part(PartKind::HEADER, &Header { from }.encode(), &mut front);
    put_part(PartKind::HEAD, head, &mut front);
    for root in roots {
        put_part(PartKind::ROOT, root, &mut front);
    }
    front
}
