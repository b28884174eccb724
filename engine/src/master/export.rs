//! A bundle as a file, to be carried by hand. SPEC §5.7.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use tidecast_proto::head::SignedHead;
use tidecast_proto::id::{ObjectId, ReleaseNumber, Timestamp};
use tidecast_proto::root::{RootError, SignedRoot};
use tidecast_proto::trust::{HeadError, Trust};

use super::Feed;
use super::bundles::stored_manifest;
use crate::bundle::{self, BundleBuildError, BundleCache};
use crate::durable::{self, FileError};
use crate::store::{Store, StoredRelease};

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// The release it starts from.
    pub from: ReleaseNumber,
    /// The release it leads to.
    pub to: ReleaseNumber,
    /// The manifest of that.
    pub manifest: ObjectId,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of the files that differ, whole.
    pub whole_bytes: u64,
    /// How many files differ.
    pub files: usize,
    /// When the head in it stops being believed.
    pub expires: Timestamp,
}

/// Why nothing was exported.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Expired, or never made.
    #[error("release {asked} is not in the store, which has {}", range(releases))]
    NoRelease {
        asked: ReleaseNumber,
        releases: Option<(ReleaseNumber, ReleaseNumber)>,
    },
    /// There is nothing to bring.
    #[error("release {0} is the newest one")]
    Newest(ReleaseNumber),
    /// The head is damaged, expired, or not of this feed.
    #[error("the newest head cannot be used: {0}")]
    Head(#[from] HeadError),
    /// The state folder has lost its roots.
    #[error("the feed has no root")]
    NoRoot,
    /// The roots in the state folder do not hold together.
    #[error("the feed's roots: {0}")]
    Root(#[from] RootError),
    /// The bundle.
    #[error(transparent)]
    Build(#[from] BundleBuildError),
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
}

fn range(releases: &Option<(ReleaseNumber, ReleaseNumber)>) -> String {
    match releases {
        None => "none".into(),
        Some((oldest, newest)) => format!("{oldest} to {newest}"),
    }
}

impl ExportError {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoRelease { .. } => {
                "start from a release that the receiver has and the store still holds"
            }
            Self::Newest(_) => "publish something first",
            Self::Head(_) => "let the master run, so that it signs a fresh one",
            Self::NoRoot | Self::Root(_) => "restore the roots from a backup",
            Self::Build(error) => error.advice(),
            Self::File(_) => "check that the folder exists, has room and belongs to this user",
        }
    }
}

/// Writes the bundle from release `from` to the one `head` points at to `path`, whole or not at all. All roots from the
/// second on are in it, because nobody knows which ones the receiver has.
///
/// # Errors
/// [`ExportError`]; `path` is as it was.
pub fn export(
    feed: &Feed,
    store: &Store,
    head: &[u8],
    from: ReleaseNumber,
    path: &Path,
    now: Timestamp,
) -> Result<Exported, ExportError> {
    // As the receiver will do.
    let root = |bytes: &Vec<u8>| {
        SignedRoot::from_bytes(bytes).map_err(|error| RootError::Signed(error.into()))
    };
    let (first, later) = feed.roots.split_first().ok_or(ExportError::NoRoot)?;
    let mut trust = Trust::begin(&feed.id, root(first)?)?;
    for later in later {
        trust.accept_root(root(later)?)?;
    }
    let signed = SignedHead::from_bytes(head).map_err(|error| HeadError::Signed(error.into()))?;
    let verdict = trust.accept_head(signed, now)?;
    let to = verdict.head();
    let releases = store.releases();
    let number = |release: &StoredRelease| release.release;
    let start = releases.iter().find(|release| release.release == from);
    let start = start.ok_or_else(|| ExportError::NoRelease {
        asked: from,
        releases: releases
            .first()
            .map(number)
            .zip(releases.last().map(number)),
    })?;
    if start.manifest == to.manifest {
        return Err(ExportError::Newest(from));
    }
    let old = stored_manifest(store, start.manifest)?;
    let new = stored_manifest(store, to.manifest)?;
    let cache = BundleCache::new(
        &feed.store_folder(),
        feed.config.retention.bundle_cache_bytes,
    );
    let end = StoredRelease {
        release: new.release,
        manifest: new.id(),
    };
    let core = match cache.open(*start, end) {
        Some(core) => core,
        None => {
            cache.build(store, &old, &new)?;
            let gone = || BundleBuildError::Gone {
                what: "the bundle that was just built".into(),
            };
            cache.open(*start, end).ok_or_else(gone)?
        }
    };
    let roots = feed.roots.get(1..).unwrap_or_default();
    let front = bundle::front(old.id(), head, roots);
    write_whole(path, &[&front, &core])?;
    let plan = tidecast_proto::plan::Plan::new(&new, Some(&old));
    Ok(Exported {
        from,
        to: new.release,
        manifest: new.id(),
        bytes: (front.len() + core.len()) as u64,
        whole_bytes: plan.build_bytes(),
        files: plan.to_build().count(),
        expires: to.expires,
    })
}

/// As [`durable::write`], of bytes that need not lie in one piece.
fn write_whole(path: &Path, pieces: &[&[u8]]) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary)
        .and_then(|mut file| {
            pieces.iter().try_for_each(|piece| file.write_all(piece))?;
            file.sync_all()
        })
        .map_err(FileError::at("write", &temporary))
        .and_then(|()| fs::rename(&temporary, path).map_err(FileError::at("rename to", path)));
    if written.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    durable::sync_folder_of(path)
}
