//! The readers of foreign bytes that nothing public reaches with bytes alone. For `fuzz/`; no interface.
//!
//! Each reads as the engine does and returns what the caller can hold it to: what the value encodes to again, where
//! things lie, how much of a file is whole.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use http::HeaderMap;
use tidecast_proto::chunker::Chunking;
use tidecast_proto::database::VerifyPolicy;
use tidecast_proto::id::{FeedId, ObjectId, ReleaseNumber};
use tidecast_proto::limits;
use tidecast_proto::manifest::{Manifest, SignedManifest};
use tidecast_proto::wire::Encoding;

use crate::chain_log::{self, ChainLogError, RecordKind};
use crate::docroot::{index::Index, spool::Spool, timestamp};
use crate::durable::FileError;
use crate::http::{conditions, path, range};
use crate::mirror::BundleFault;
use crate::mirror::history::Step;
use crate::mirror::road::Parts;
use crate::packing;
use crate::publish::opening::gzip_header;
use crate::publish::stat_cache::{Identity, StatCache};
use crate::store::open_pack::OpenPack;
use crate::store::pack::Pack;
use crate::store::record::Record;
use crate::store::release_file::{self, ReleaseFile};
use crate::store::{StoreError, bundle_files, snapshot};

/// A record of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRecord {
    /// Its head, encoded again.
    pub head: [u8; Record::LEN],
    /// What is stored.
    pub stored: Bytes,
    /// Whether that opens to what the head names.
    pub sound: bool,
}

/// Every record of a sealed pack.
///
/// # Errors
/// [`crate::store::PackError`] in words.
pub fn pack(bytes: Vec<u8>) -> Result<Vec<PackRecord>, String> {
    let pack = Pack::of(Path::new("pack"), bytes.into()).map_err(|error| error.to_string())?;
    let records: Vec<_> = (0..)
        .map_while(|entry| pack.record(entry))
        .map(|(record, stored)| PackRecord {
            head: record.to_bytes(),
            sound: record.check(&stored.bytes).is_ok(),
            stored: stored.bytes,
        })
        .collect();
    if records.len() == pack.len() {
        Ok(records)
    } else {
        Err(format!("{} of {} records", records.len(), pack.len()))
    }
}

/// A record's head, encoded again.
#[must_use]
pub fn record(head: &[u8; Record::LEN]) -> Option<[u8; Record::LEN]> {
    Record::parse(head).ok().map(Record::to_bytes)
}

/// The manifest in the file of a release.
///
/// # Errors
/// [`StoreError`].
pub fn release_file(bytes: Vec<u8>, release: ReleaseNumber) -> Result<Manifest, StoreError> {
    ReleaseFile::of(Path::new("release"), bytes.into(), release)?.manifest()
}

/// Bytes that are whole, and different records in them, of the pack that a writer left in `file`; the rest is cut off.
///
/// # Errors
/// Of the file.
pub fn open_pack(file: File) -> io::Result<(usize, usize)> {
    Ok(OpenPack::of("open".into(), file)?.extent())
}

/// Bytes that are whole, and different chunks in them, of the spool that a build left in `file`; the rest is cut off.
///
/// # Errors
/// Of the file.
pub fn spool(file: File) -> io::Result<(u64, usize)> {
    Ok(Spool::of(file)?.extent())
}

/// The index of a tree, encoded again.
#[must_use]
pub fn index(bytes: &[u8]) -> Option<Vec<u8>> {
    Index::decode(bytes).ok().map(|index| index.encode())
}

/// The text of a `timestamp` file with the mark of a stale docroot, or without; `None` when it is so already.
#[must_use]
pub fn marked_timestamp(text: &str, stale_since_s: Option<u64>) -> Option<String> {
    let marked = timestamp::marked(text, stale_since_s);
    if let Some(marked) = &marked {
        let stale = timestamp::is_marked_stale(marked.as_bytes());
        assert_eq!(stale, stale_since_s.is_some());
    }
    marked
}

/// A cache of what was published, encoded again (its entries in any order).
///
/// # Errors
/// What is said of a damaged one.
pub fn stat_cache(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let identity = Identity {
        feed: FeedId([7; 32]),
        chunking: Chunking::default(),
        verify: VerifyPolicy::Genuine,
    };
    StatCache::read(bytes, &identity).map(|cache| cache.encode(&identity))
}

/// Length of the gzip header at the start of `bytes`.
#[must_use]
pub fn gzip_header(bytes: &[u8]) -> Option<usize> {
    gzip_header::length(bytes)
}

/// What a packed thing opens to, which must be `opened_bytes` long.
///
/// # Errors
/// When it does not.
pub fn unpack(encoding: Encoding, opened_bytes: usize, stored: &[u8]) -> io::Result<Vec<u8>> {
    packing::open(encoding, opened_bytes, stored).map(std::borrow::Cow::into_owned)
}

/// What a delta opens to, which must be at most `bytes_max` long.
///
/// # Errors
/// When it does not.
pub fn undelta(delta: &[u8], prefix: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
    packing::delta::open_with_prefix(delta, prefix, bytes_max)
}

/// What a bundle holds.
#[derive(Debug)]
pub struct BundleContent {
    /// The release it starts from.
    pub from: ObjectId,
    /// The signed head.
    pub head: Vec<u8>,
    /// Signed roots.
    pub roots: Vec<Vec<u8>>,
    /// The manifest, unverified; `None` when it does not open.
    pub manifest: Option<SignedManifest>,
    /// Number of its sections.
    pub sections: usize,
    /// Bytes that were read.
    pub read_bytes: u64,
}

/// Reads a bundle to its end, as a mirror does, but builds nothing; `live` is what its manifest is a delta of.
///
/// # Errors
/// [`BundleFault`].
pub fn bundle(bytes: Vec<u8>, live: &Manifest) -> Result<BundleContent, BundleFault> {
    let mut parts = Parts::new(io::Cursor::new(bytes));
    let preamble = parts.preamble()?;
    // A mirror looks at its name first, which only a head that was judged can say.
    let prefix = live.signed().body();
    let manifest = undelta(&preamble.manifest, prefix, limits::MANIFEST_BYTES).ok();
    let manifest = manifest.and_then(|bytes| SignedManifest::from_bytes(&bytes).ok());
    let mut sections = 0;
    while parts.section()?.is_some() {
        sections += 1;
        parts.skip_section()?;
    }
    Ok(BundleContent {
        from: preamble.header.from,
        head: preamble.head,
        roots: preamble.roots,
        manifest,
        sections,
        read_bytes: parts.read_bytes(),
    })
}

/// The name that an HTTP request's target asks for and whether it is the operator's; the name of `/` is empty.
#[must_use]
pub fn request_path(target: &str) -> Option<(String, bool)> {
    Some(match path::decode(target)? {
        path::RequestPath::Root => (String::new(), false),
        path::RequestPath::Name(name) => (name.as_str().to_owned(), name.is_local()),
    })
}

/// What a `Range` header selects of a file of `size` bytes: nothing at all, or a part, which is all without a header's
/// help.
#[must_use]
pub fn range(header: &str, size: u64) -> Option<Range<u64>> {
    match range::select(header, size) {
        range::Selected::Whole => Some(0..size),
        range::Selected::Part(part) => {
            assert_eq!(part.length(), part.last - part.first + 1);
            Some(part.first..part.last + 1)
        }
        range::Selected::Unsatisfiable => None,
    }
}

/// What the conditional headers come to for a file of that hash and time: the status instead of 200, if another, and
/// whether its `Range` counts.
#[must_use]
pub fn conditions(headers: &HeaderMap, hash: &[u8; 32], last_modified_s: u64) -> (u16, bool) {
    let current = conditions::Validators {
        etag: conditions::EntityTag::of_hash(hash),
        last_modified_s,
    };
    let status = match conditions::evaluate(headers, &current) {
        conditions::Outcome::Proceed => 200,
        conditions::Outcome::NotModified => 304,
        conditions::Outcome::Failed => 412,
    };
    (status, conditions::range_applies(headers, &current))
}

/// A file's name in the store, spelled again by what it was read as: a pack, a release, a cached bundle.
#[must_use]
pub fn store_name(name: &str) -> Option<String> {
    snapshot::pack_hash(name)
        .map(|hash| snapshot::pack_name(&hash))
        .or_else(|| release_file::number_of(name).map(release_file::file_name))
        .or_else(|| bundle_files::parse(name).map(|(from, to)| bundle_files::name(from, to)))
}

/// What a reader of a chained log was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRead {
    /// The kind and the body of each record that is whole and follows from the one before.
    pub records: Vec<(u8, Vec<u8>)>,
    /// Bytes behind them that a crash left; `None` where the log is damaged.
    pub torn_bytes: Option<u64>,
}

/// Longest body in a log that is fuzzed.
const FUZZED_BODY_BYTES: usize = 512;

const FUZZED: chain_log::Format = chain_log::Format {
    domain: "tidecast fuzzed log",
    body_bytes_max: FUZZED_BODY_BYTES,
};

/// Reads a chained log from front to back.
///
/// # Errors
/// What the system said.
pub fn chain_log(mut file: File) -> Result<ChainRead, FileError> {
    let mut records = Vec::new();
    let read = chain_log::reading::read_on(
        Path::new("log"),
        &FUZZED,
        &mut file,
        chain_log::reading::End::EMPTY,
        &mut |record| records.push((record.kind.0, record.body.clone())),
    );
    let torn_bytes = match read {
        Ok(end) => Some(end.torn_bytes),
        Err(ChainLogError::File(error)) => return Err(error),
        Err(_) => None,
    };
    Ok(ChainRead {
        records,
        torn_bytes,
    })
}

/// A chained log with these records; `None` when one is too long.
#[must_use]
pub fn chain_log_of(records: &[(u8, Vec<u8>)]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut previous = chain_log::record::RecordHash::NONE;
    for (kind, body) in records {
        let kind = RecordKind(*kind);
        let (encoded, hash) = chain_log::record::encode(&FUZZED, previous, kind, body).ok()?;
        bytes.extend_from_slice(&encoded);
        previous = hash;
    }
    Some(bytes)
}

/// What a step in a mirror's `trust.log` encodes to again.
#[must_use]
pub fn trust_step(kind: u8, body: &[u8]) -> Option<(u8, Vec<u8>)> {
    let record = chain_log::Record {
        number: 1,
        at: 0,
        kind: RecordKind(kind),
        body: body.to_vec(),
    };
    let (at, step) = Step::decode(&record).ok()?;
    let (kind, body) = step.encode(at);
    Some((kind.0, body))
}
