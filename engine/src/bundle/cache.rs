//! Built cores on disk. SPEC §7.6.
//!
//! ```text
//! <store>/bundles/<A>-<N>.bundle      the core from release A to release N, then 32 bytes: BLAKE3 of the
//!                                     two manifests' ids and the core
//! ```
//!
//! A cache and nothing more: what is missing or damaged is built again. Publishing and the daemon both write into it,
//! each file whole under a name of its own first. A bundle that is being served stays readable when it is removed.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tidecast_proto::id::{ObjectId, ReleaseNumber};
use tidecast_proto::manifest::Manifest;

use super::{BundleBuildError, BundleReport, build};
use crate::durable::{self, FileError};
use crate::store::{self, Store, StoredRelease};

/// The folder in a store.
pub const BUNDLES: &str = "bundles";

/// A half-written bundle this old belongs to nobody any more: no build takes an hour.
const ABANDONED: Duration = Duration::from_secs(3600);

const HASH_BYTES: usize = 32;

/// The cached bundles of a store.
#[derive(Debug, Clone)]
pub struct BundleCache {
    folder: PathBuf,
    bytes_max: u64,
}

impl BundleCache {
    /// The cache of the store in `store`, of at most `bytes_max` bytes. Nothing is read or made yet.
    #[must_use]
    pub fn new(store: &Path, bytes_max: u64) -> Self {
        Self {
            folder: store.join(BUNDLES),
            bytes_max,
        }
    }

    fn path(&self, from: ReleaseNumber, to: ReleaseNumber) -> PathBuf {
        self.folder.join(format!("{from}-{to}.bundle"))
    }

    /// A core that is there and as it was written; a damaged one is removed.
    #[must_use]
    pub fn open(&self, from: StoredRelease, to: StoredRelease) -> Option<Bytes> {
        let path = self.path(from.release, to.release);
        let bytes = store::map(&path).ok()?;
        let core = bytes.len().checked_sub(HASH_BYTES)?;
        let mut hasher = hasher(from.manifest, to.manifest);
        hasher.update(&bytes[..core]);
        if hasher.finalize().as_bytes() != &bytes[core..] {
            tracing::warn!(path = %path.display(), "a cached bundle is damaged; it is built again when needed");
            // It is in nobody's way: the next build replaces it.
            let _ = fs::remove_file(&path);
            return None;
        }
        Some(bytes.slice(..core))
    }

    /// Builds the core from one release to another and keeps it.
    ///
    /// # Errors
    /// [`BundleBuildError`]; nothing is kept.
    pub fn build(
        &self,
        store: &Store,
        from: &Manifest,
        to: &Manifest,
    ) -> Result<BundleReport, BundleBuildError> {
        fs::create_dir_all(&self.folder).map_err(FileError::at("create", &self.folder))?;
        let path = self.path(from.release, to.release);
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let built = write_core(&temporary, store, from, to).and_then(|report| {
            fs::rename(&temporary, &path).map_err(FileError::at("rename to", &path))?;
            durable::sync_folder_of(&path)?;
            Ok(report)
        });
        if built.is_err() {
            // The error that matters is the first one; what is left is swept away later.
            let _ = fs::remove_file(&temporary);
        }
        built
    }

    /// Removes bundles that lead to another release than `newest`, then the oldest ones beyond the size cap. Returns how
    /// many bytes went.
    ///
    /// # Errors
    /// [`FileError`]; what was removed before stays removed.
    pub fn sweep(&self, newest: ReleaseNumber) -> Result<u64, FileError> {
        let suffix = format!("-{newest}.bundle");
        let mut kept = Vec::new();
        let mut removed = 0;
        let remove = |path: &Path, bytes: u64| match fs::remove_file(path) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(FileError::at("remove", path)(error)),
        };
        for (name, path) in store::list(&self.folder)? {
            let Ok(metadata) = path.metadata() else {
                continue;
            };
            let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let abandoned = || written.elapsed().is_ok_and(|age| age > ABANDONED);
            if name.ends_with(&suffix) {
                kept.push((written, metadata.len(), path));
            } else if name.ends_with(".bundle") || (name.ends_with(".tmp") && abandoned()) {
                removed += remove(&path, metadata.len())?;
            }
        }
        kept.sort();
        let mut total: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        // The last one built is wanted by somebody right now.
        kept.pop();
        for (_, bytes, path) in kept {
            if total <= self.bytes_max {
                break;
            }
            removed += remove(&path, bytes)?;
            total -= bytes;
        }
        Ok(removed)
    }
}

/// Begins with what the core is about: a number may have been another release's once, before a store was restored.
fn hasher(from: ObjectId, to: ObjectId) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&from.0).update(&to.0);
    hasher
}

fn write_core(
    path: &Path,
    store: &Store,
    from: &Manifest,
    to: &Manifest,
) -> Result<BundleReport, BundleBuildError> {
    let file = File::create(path).map_err(FileError::at("create", path))?;
    let mut out = Hashed {
        out: BufWriter::new(file),
        hasher: hasher(from.id(), to.id()),
    };
    let report = build(store, from, to, &mut out)?;
    let hash = out.hasher.finalize();
    let mut out = out.out;
    let written = out.write_all(hash.as_bytes()).and_then(|()| out.flush());
    written
        .and_then(|()| out.get_ref().sync_all())
        .map_err(FileError::at("write", path))?;
    Ok(report)
}

/// Hashes what goes through.
struct Hashed {
    out: BufWriter<File>,
    hasher: blake3::Hasher,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
