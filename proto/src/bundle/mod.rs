//! Bundles: one self-contained stream from a release to the newest one. SPEC §5.7.
//!
//! ```text
//! HEADER HEAD ROOT* MANIFEST (FILE RECIPE? LIST? RUN*)* END
//! ```
//!
//! Each part is checked before anything of it is kept, against what is signed: the head against the root, the
//! manifest against the head, recipes and lists against their ids, chunks against their lists. Compression runs
//! where the bytes are; this module judges what comes out of it.

mod origin;
mod part;
mod plan;
mod similar;
mod varint;

pub use origin::{Origin, Origins, base_bytes, bytes_of, check_run, check_run_size};
pub use part::{
    BaseRange, BundleError, ContentRef, FilePart, Form, Header, PartHeader, PartKind, RunPart,
    Side, put_part,
};
pub use plan::{RUN_TARGET_BYTES, RunPlanner};
pub use similar::{SampleIndex, SampleIndexBuilder, Votes};
