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
use std::time::Duration;

use bytes::Bytes;
use tidecast_proto::id::{ObjectId, ReleaseNumber};
use tidecast_proto::manifest::Manifest;

use super::{BundleBuildError, BundleReport, build};
use crate::durable::{self, FileError};
use crate::store::bundle_files::{self, BUNDLES};
use crate::store::{self, Store, StoredRelease};

/// A half-written bundle this old belongs to nobody any more: no build takes an hour.
const ABANDONED: Duration = Duration::from_secs(3600);

const HASH_BYTES: usize = 32;

/// The cached bundles of a store.
#[derive(Debug, Clone)]
pub struct BundleCache {
    store: PathBuf,
    folder: PathBuf,
    bytes_max: u64,
}

impl BundleCache {
    /// The cache of the store in `store`, of at most `bytes_max` bytes. Nothing is read or made yet.
    #[must_use]
    pub fn new(store: &Path, bytes_max: u64) -> Self {
        Self {
            store: store.to_owned(),
            folder: store.join(BUNDLES),
            bytes_max,
        }
    }

    fn path(&self, from: ReleaseNumber, to: ReleaseNumber) -> PathBuf {
        self.folder.join(bundle_files::name(from, to))
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

    /// Removes bundles that lead to a release before `newest`, then the oldest ones beyond the size cap. Those that
    /// lead beyond `newest` stay: whoever publishes builds them before the release is known. Returns how many bytes
    /// went.
    ///
    /// # Errors
    /// [`FileError`]; what was removed before stays removed.
    pub fn sweep(&self, newest: ReleaseNumber) -> Result<u64, FileError> {
        let bundles = bundle_files::all(&self.store)?;
        let (mut going, rest): (Vec<_>, Vec<_>) =
            bundles.into_iter().partition(|bundle| bundle.to < newest);
        let mut useful: Vec<_> = rest.into_iter().filter(|b| b.to == newest).collect();
        // The last one built is wanted by somebody right now.
        let wanted_bytes = useful.pop().map_or(0, |last| last.bytes);
        let cap = self.bytes_max.saturating_sub(wanted_bytes);
        going.extend(bundle_files::beyond(useful, cap));
        let mut removed = 0;
        for bundle in going {
            removed += remove(&bundle.path, bundle.bytes)?;
        }
        for (name, path) in store::list(&self.folder)? {
            if let Ok(found) = path.metadata()
                && name.ends_with(".tmp")
                && let Ok(written) = found.modified()
                && written.elapsed().is_ok_and(|age| age > ABANDONED)
            {
                removed += remove(&path, found.len())?;
            }
        }
        Ok(removed)
    }
}

/// Returns how many bytes went: none when it was gone.
fn remove(path: &Path, bytes: u64) -> Result<u64, FileError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(FileError::at("remove", path)(error)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_beyond_the_newest_release_known_outlives_every_sweep() {
        let folder = tempfile::tempdir().unwrap();
        let bundles = folder.path().join(BUNDLES);
        fs::create_dir(&bundles).unwrap();
        let names = ["7-8.bundle", "7-9.bundle", "8-9.bundle", "9-10.bundle"];
        for name in names {
            fs::write(bundles.join(name), [0; 100]).unwrap();
        }
        let swept = |cap, newest| {
            let bytes = BundleCache::new(folder.path(), cap).sweep(ReleaseNumber(newest));
            let left = names.map(|name| bundles.join(name).exists());
            (bytes.unwrap(), left)
        };
        assert_eq!(swept(1000, 9), (100, [false, true, true, true]));
        // One of two stays: somebody waits for the last one built.
        let (bytes, [_, .., above]) = swept(0, 9);
        assert_eq!((bytes, above), (100, true));
        assert_eq!(swept(0, 10), (100, [false, false, false, true]));
    }
}
