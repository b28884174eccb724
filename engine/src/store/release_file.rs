//! A release on disk: one record that holds its signed manifest, packed once. SPEC §7.7.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use tidecast_proto::{
    id::{ObjectId, ReleaseNumber},
    manifest::{Anchor, Manifest, SignedManifest},
};

use super::record::{Kind, Record};
use super::{ReleaseError, StoreError, StoredBytes, pack};
use crate::durable::{self, Access, FileError};
use crate::packing::{self, Packer};

/// A release file, mapped.
#[derive(Debug)]
pub(crate) struct ReleaseFile {
    path: PathBuf,
    release: ReleaseNumber,
    record: Record,
    stored: StoredBytes,
    /// What it adds to, once somebody has asked: opening a manifest takes longer than looking at names.
    anchor: OnceLock<Option<Anchor>>,
}

/// The name of a release's file.
pub(crate) fn file_name(release: ReleaseNumber) -> String {
    format!("{release}.manifest")
}

/// The release whose file is called `name`, when it is spelled the one way.
pub(crate) fn number_of(name: &str) -> Option<ReleaseNumber> {
    let release = ReleaseNumber(name.strip_suffix(".manifest")?.parse().ok()?);
    (release.0 > 0 && file_name(release) == name).then_some(release)
}

impl ReleaseFile {
    /// Maps the file at `path` and checks its head; the manifest in it is checked when it is read.
    pub(super) fn open(path: &Path, release: ReleaseNumber) -> Result<Self, StoreError> {
        Self::of(path, pack::map(path)?, release)
    }

    /// The release file that `bytes` are.
    pub(crate) fn of(
        path: &Path,
        bytes: Bytes,
        release: ReleaseNumber,
    ) -> Result<Self, StoreError> {
        let refused = |source| StoreError::Release {
            path: path.to_owned(),
            source,
        };
        let Some((head, stored)) = bytes.split_first_chunk::<{ Record::LEN }>() else {
            return Err(refused(ReleaseError::Size {
                got: bytes.len() as u64,
                expected: Record::LEN as u64,
            }));
        };
        let record = Record::parse(head).map_err(|error| refused(error.into()))?;
        if record.kind != Kind::Manifest {
            return Err(refused(ReleaseError::NotAManifest));
        }
        if stored.len() != record.stored_len as usize {
            return Err(refused(ReleaseError::Size {
                got: bytes.len() as u64,
                expected: Record::LEN as u64 + u64::from(record.stored_len),
            }));
        }
        Ok(Self {
            path: path.to_owned(),
            release,
            record,
            stored: StoredBytes {
                encoding: record.encoding,
                opened_len: record.opened_len,
                bytes: bytes.slice(Record::LEN..),
            },
            anchor: OnceLock::new(),
        })
    }

    /// Writes the file of a new release; it is on disk, and visible, when this returns.
    pub(super) fn create(
        folder: &Path,
        release: ReleaseNumber,
        manifest: &SignedManifest,
        packer: &mut Packer,
    ) -> Result<u64, StoreError> {
        let path = folder.join(file_name(release));
        let opened = manifest.to_bytes();
        let (encoding, stored) = packer.pack(&opened).map_err(FileError::at("pack", &path))?;
        let length = |len: usize| {
            u32::try_from(len)
                .ok()
                .filter(|_| (1..=Kind::Manifest.bytes_max()).contains(&len))
                .ok_or(StoreError::Length {
                    kind: Kind::Manifest.name(),
                    got: len,
                    limit: Kind::Manifest.bytes_max(),
                })
        };
        let record = Record {
            kind: Kind::Manifest,
            encoding,
            stored_len: length(stored.len())?,
            opened_len: length(opened.len())?,
            id: manifest.id().0,
        };
        let bytes = [&record.to_bytes(), stored].concat();
        match durable::create(&path, &bytes, Access::Everyone) {
            Ok(()) => Ok(bytes.len() as u64),
            Err(error) if error.source.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(StoreError::ReleaseExists(release))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub(super) fn file_bytes(&self) -> u64 {
        Record::LEN as u64 + self.stored.bytes.len() as u64
    }

    pub(super) fn release(&self) -> ReleaseNumber {
        self.release
    }

    pub(super) fn manifest_id(&self) -> ObjectId {
        ObjectId(self.record.id)
    }

    pub(super) fn stored(&self) -> &StoredBytes {
        &self.stored
    }

    /// The manifest as it was signed; its signatures are for the caller to check.
    pub(super) fn signed(&self) -> Result<SignedManifest, StoreError> {
        let opened = packing::open(
            self.record.encoding,
            self.record.opened_len as usize,
            &self.stored.bytes,
        )
        .map_err(|_| self.refused(ReleaseError::Packing))?;
        let signed =
            SignedManifest::from_bytes(&opened).map_err(|error| self.refused(error.into()))?;
        if signed.id() != self.manifest_id() {
            return Err(StoreError::WrongContent {
                kind: Kind::Manifest.name(),
                id: self.manifest_id(),
            });
        }
        Ok(signed)
    }

    /// The manifest, which was verified before it was stored.
    pub(crate) fn manifest(&self) -> Result<Manifest, StoreError> {
        let manifest = self
            .signed()?
            .reopen(&self.manifest_id())
            .map_err(|error| self.refused(error.into()))?;
        if manifest.release != self.release {
            return Err(self.refused(ReleaseError::OtherNumber(manifest.release)));
        }
        Ok(manifest)
    }

    /// The release it only adds to, if it names one.
    pub(super) fn anchor(&self) -> Result<Option<Anchor>, StoreError> {
        if let Some(anchor) = self.anchor.get() {
            return Ok(*anchor);
        }
        let anchor = self.manifest()?.anchor;
        Ok(*self.anchor.get_or_init(|| anchor))
    }

    fn refused(&self, source: ReleaseError) -> StoreError {
        StoreError::Release {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_number_has_one_spelling() {
        assert_eq!(number_of("12.manifest"), Some(ReleaseNumber(12)));
        for bad in [
            "0.manifest",
            "012.manifest",
            "+12.manifest",
            "12",
            ".manifest",
            "12.manifest.77.tmp",
            "18446744073709551616.manifest",
        ] {
            assert_eq!(number_of(bad), None, "{bad}");
        }
    }
}
