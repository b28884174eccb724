//! The manifest: the signed list of a release's files. SPEC §3.3.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use crate::addition::{Addition, NotAnAddition, Vouched};
use crate::codec::{
    CodecError, Decode, Encode, at_most, plain_page, plain_text, strictly_ascending,
};
use crate::extension::{Extension, Extensions};
use crate::head::Head;
use crate::id::{Epoch, FeedId, FileHash, ListId, ObjectId, RecipeId, ReleaseNumber, Timestamp};
use crate::key::PublicKey;
use crate::limits;
use crate::name::ReleasePath;
use crate::root::Root;
use crate::signed::{Body, Signed, SignedError, Verified};

/// What a `.cvd` or `.cld` says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Database {
    /// The name in front of the dot: `daily`.
    pub name: String,
    /// Its version; never goes back from release to release without the signed flag.
    pub version: u64,
    /// Seconds since 1970 from header field 9 (field 2 where 9 is missing). Served as Last-Modified, exactly.
    pub build_time_s: u64,
}

/// One file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct File {
    /// Where it goes.
    pub path: ReleasePath,
    /// Its length in bytes.
    pub size: u64,
    /// Mode 0755 instead of 0644.
    pub executable: bool,
    /// Seconds since 1970, as the publisher's tree had it: shown to people. Mirrors serve the moment they
    /// switched the file in, except for databases.
    pub mtime_s: u64,
    /// BLAKE3 of the whole content.
    pub hash: FileHash,
    /// Its chunks; a file of at most one chunk has none, its chunk's id is its hash.
    pub list: Option<ListId>,
    /// How it is rebuilt from opened content, for a file that opens; its list is still that of the file as it is.
    pub recipe: Option<RecipeId>,
    /// Set for `.cvd` and `.cld`.
    pub database: Option<Database>,
}

impl File {
    /// Whether a mirror that holds `before` holds this file as well: the same content, mode and, for a database,
    /// build time, which is the time it is served with. The one definition of "unchanged", SPEC §8.6.
    #[must_use]
    pub fn same_as(&self, before: &Self) -> bool {
        let build_time = |file: &Self| file.database.as_ref().map(|database| database.build_time_s);
        self.hash == before.hash
            && self.size == before.size
            && self.executable == before.executable
            && build_time(self) == build_time(before)
    }
}

/// What may be unusual about a release; each is a decision a signer takes knowingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Flags {
    /// More than half of the previous release's files may go.
    pub allow_shrink: bool,
    /// A database may go back to an older version.
    pub allow_database_rollback: bool,
}

/// The release that another one only adds genuine databases to. SPEC §3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Anchor {
    /// Its number.
    pub release: ReleaseNumber,
    /// Its manifest, which `release_threshold` keys signed.
    pub manifest: ObjectId,
}

impl Anchor {
    /// Whether a release of this number may be an addition to it. Numbers only rise, so a single key that could give
    /// any number would end a feed with the highest one.
    #[must_use]
    pub fn bears(&self, release: ReleaseNumber) -> bool {
        let ahead = release.0.checked_sub(self.release.0);
        self.release.0 > 0
            && ahead.is_some_and(|ahead| (1..=limits::ADDITIONS_PER_ANCHOR as u64).contains(&ahead))
    }
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ManifestBody {
    /// The feed.
    pub feed: FeedId,
    /// Roots of an older epoch must not install it.
    pub epoch_min: Epoch,
    /// Its number.
    pub release: ReleaseNumber,
    /// The manifest before it; none for the first.
    pub previous: Option<ObjectId>,
    /// Set where this release only adds genuine databases: then fewer signatures may suffice
    /// ([`crate::addition`]).
    pub anchor: Option<Anchor>,
    /// When it was made.
    pub created: Timestamp,
    /// The change log, for people.
    pub notes: String,
    /// Sorted by path.
    pub files: Vec<File>,
    /// What a signer allowed.
    pub flags: Flags,
    /// Room to grow.
    pub extensions: Extensions,
}

/// A manifest as received.
pub type SignedManifest = Signed<ManifestBody>;
/// A manifest that enough release keys signed and a head points at.
pub type Manifest = Verified<ManifestBody>;

/// Why a manifest was refused. The docroot is untouched whenever one comes back.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Malformed, or too few signatures.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// Not the one the head names.
    #[error(
        "manifest {got} ({got_bytes} bytes) is not the {expected} ({expected_bytes} bytes) the head names"
    )]
    NotTheHeads {
        got: ObjectId,
        got_bytes: u64,
        expected: ObjectId,
        expected_bytes: u64,
    },
    /// Signed well, but for another feed.
    #[error("manifest of feed {got}, expected {expected}")]
    WrongFeed { got: FeedId, expected: FeedId },
    /// The number in it is not the number the head gave.
    #[error("manifest is of release {got}, the head says {expected}")]
    WrongRelease {
        got: ReleaseNumber,
        expected: ReleaseNumber,
    },
    /// A replay, or a master restored from backup.
    #[error("manifest of release {got} is not newer than the installed release {have}")]
    Rollback {
        got: ReleaseNumber,
        have: ReleaseNumber,
    },
    /// The root forbids it.
    #[error("manifest {0} of this release was revoked by the feed's root")]
    Revoked(ObjectId),
    /// Below the floor the root sets.
    #[error("release {got} is below the feed's floor {floor}")]
    BelowFloor {
        got: ReleaseNumber,
        floor: ReleaseNumber,
    },
    /// Signed by fewer keys than a release needs that does more than add to its anchor.
    #[error("signed as an addition to release {}, but {why}", anchor.release)]
    NotAnAddition { anchor: Anchor, why: NotAnAddition },
    /// A fork of what is installed: both go back to one release, and this one lacks what the installed one added.
    #[error("an addition like the installed release {have}, but compared with that, {why}")]
    UndoesAddition {
        have: ReleaseNumber,
        why: NotAnAddition,
    },
    /// Adds to a release from before one that more keys signed: what that one removed could come back.
    #[error("adds to release {got}, installed goes back to release {have}, signed by more keys")]
    AnchorBehind {
        got: ReleaseNumber,
        have: ReleaseNumber,
    },
    /// Made for keys we have not learned of yet.
    #[error("release needs epoch {needed}, the root has {have}: a newer root is missing")]
    Epoch { needed: Epoch, have: Epoch },
    /// Going back needs the signer's flag.
    #[error("{path}: database version goes back from {had} to {got} without the signed permission")]
    DatabaseRollback {
        path: ReleasePath,
        had: u64,
        got: u64,
    },
    /// More than half of the files would go without the signer's flag.
    #[error("the release drops {dropped} of {had} files without the signed permission")]
    Shrinks { dropped: usize, had: usize },
}

impl Body for ManifestBody {
    const NAME: &'static str = "manifest";
    const BYTES_MAX: usize = limits::MANIFEST_BYTES;

    fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    fn check(&self) -> Result<(), CodecError> {
        if self.release.0 == 0 {
            return Err(CodecError::BadField {
                field: "release",
                why: "releases count from 1",
            });
        }
        if let Some(anchor) = &self.anchor
            && !anchor.bears(self.release)
        {
            return Err(CodecError::BadField {
                field: "anchor",
                why: "is no earlier release, or one too far back",
            });
        }
        plain_page("notes", &self.notes, limits::NOTES_BYTES)?;
        at_most("files", self.files.len(), limits::FILES_PER_RELEASE)?;
        strictly_ascending("files", self.files.iter().map(|f| &f.path))?;
        self.check_folders()?;
        for file in &self.files {
            if let Some(database) = &file.database {
                plain_text("database.name", &database.name, limits::NAME_BYTES)?;
            }
            if file.list.is_none() && file.size > limits::CHUNK_BYTES as u64 {
                return Err(CodecError::BadField {
                    field: "files.list",
                    why: "missing for a file longer than one chunk",
                });
            }
            // Nothing is fetched for it, so nothing else would compare the two.
            if file.size == 0 && file.hash != FileHash::of(&[]) {
                return Err(CodecError::BadField {
                    field: "files.hash",
                    why: "of an empty file is not that of nothing",
                });
            }
        }
        Ok(())
    }
}

impl ManifestBody {
    /// No path may be both a file and a folder.
    fn check_folders(&self) -> Result<(), CodecError> {
        for file in &self.files {
            let mut parent = file.path.parent();
            while let Some(folder) = parent {
                if self.file(folder).is_some() {
                    return Err(CodecError::BadField {
                        field: "files",
                        why: "one path is both a file and a folder",
                    });
                }
                parent = folder.rsplit_once('/').map(|(up, _)| up);
            }
        }
        Ok(())
    }

    /// The file at `path`.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files
            .binary_search_by(|f| f.path.as_str().cmp(path))
            .ok()
            .map(|at| &self.files[at])
    }

    /// Bytes of all files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, f| sum.saturating_add(f.size))
    }

    /// The newest file of each database, whatever its path, must not be older than before.
    fn check_database_names(&self, previous: &Self) -> Result<(), ManifestError> {
        let old = previous.newest_databases();
        for (name, (path, got)) in self.newest_databases() {
            if let Some((_, had)) = old.get(name).filter(|(_, had)| got < *had) {
                return Err(ManifestError::DatabaseRollback {
                    path: path.clone(),
                    had: *had,
                    got,
                });
            }
        }
        Ok(())
    }

    /// Each database's highest version and where it is.
    fn newest_databases(&self) -> BTreeMap<&str, (&ReleasePath, u64)> {
        let mut newest = BTreeMap::new();
        for file in &self.files {
            let Some(database) = &file.database else {
                continue;
            };
            let found = (&file.path, database.version);
            let entry = newest.entry(database.name.as_str()).or_insert(found);
            if database.version > entry.1 {
                *entry = found;
            }
        }
        newest
    }

    /// Checks what one release may do to the one before it: publishers and mirrors apply the same rule.
    ///
    /// # Errors
    /// [`ManifestError::DatabaseRollback`] or [`ManifestError::Shrinks`]; the release's maker is at fault.
    pub fn check_successor_of(&self, previous: &Self) -> Result<(), ManifestError> {
        if !self.flags.allow_database_rollback {
            self.check_database_names(previous)?;
            for file in &self.files {
                let (Some(new), Some(old)) = (
                    &file.database,
                    previous
                        .file(file.path.as_str())
                        .and_then(|f| f.database.as_ref()),
                ) else {
                    continue;
                };
                if new.version < old.version {
                    return Err(ManifestError::DatabaseRollback {
                        path: file.path.clone(),
                        had: old.version,
                        got: new.version,
                    });
                }
            }
        }
        let dropped = previous
            .files
            .iter()
            .filter(|old| self.file(old.path.as_str()).is_none())
            .count();
        if dropped * 2 > previous.files.len() && !self.flags.allow_shrink {
            return Err(ManifestError::Shrinks {
                dropped,
                had: previous.files.len(),
            });
        }
        Ok(())
    }
}

impl Manifest {
    /// Checks what this release may do to the one a mirror has live. Its flags speak of the release right before
    /// it: a mirror that missed some is not bound by them, or it would be stuck on one it never saw.
    ///
    /// # Errors
    /// As [`ManifestBody::check_successor_of`]; for an addition also [`ManifestError::UndoesAddition`].
    pub fn check_replaces(&self, live: &Self) -> Result<(), ManifestError> {
        // No flag speaks for an addition, so whatever else it says of the release before it changes nothing: only an anchor
        // that is newer than what is live, signed by more keys, may undo what is live.
        if self
            .anchor
            .is_some_and(|anchor| anchor.release <= live.release)
        {
            self.additions_to(live)
                .map_err(|why| ManifestError::UndoesAddition {
                    have: live.release,
                    why,
                })?;
        }
        match self.previous {
            Some(previous) if previous != live.id() => Ok(()),
            _ => self.check_successor_of(live),
        }
    }
}

impl SignedManifest {
    /// The manifest `head` points at, signed by release keys of `root` and newer than `installed`.
    ///
    /// # Errors
    /// [`ManifestError`]; the upstream or the release's maker is at fault, nothing was kept.
    pub fn verify(
        self,
        root: &Root,
        head: &Head,
        installed: ReleaseNumber,
    ) -> Result<Vouched, ManifestError> {
        let (got, got_bytes) = (self.id(), self.body_len() as u64);
        if got != head.manifest || got_bytes != head.manifest_bytes {
            return Err(ManifestError::NotTheHeads {
                got,
                got_bytes,
                expected: head.manifest,
                expected_bytes: head.manifest_bytes,
            });
        }
        let vouched = self.vouch(root, &head.feed)?;
        let manifest = vouched.body();
        if manifest.release != head.release {
            return Err(ManifestError::WrongRelease {
                got: manifest.release,
                expected: head.release,
            });
        }
        if manifest.release <= installed {
            return Err(ManifestError::Rollback {
                got: manifest.release,
                have: installed,
            });
        }
        Ok(vouched)
    }

    /// A manifest that was verified before it was stored, read again: its id, remembered beside it, stands in
    /// for the signatures, whose keys may have been replaced since. What is installed keeps being served.
    ///
    /// # Errors
    /// [`ManifestError`]; the file was changed.
    pub fn reopen(self, id: &ObjectId) -> Result<Manifest, ManifestError> {
        if self.id() != *id {
            return Err(ManifestError::NotTheHeads {
                got: self.id(),
                got_bytes: self.body_len() as u64,
                expected: *id,
                expected_bytes: self.body_len() as u64,
            });
        }
        let body = self.open()?;
        Ok(self.into_verified(body))
    }

    /// A manifest that `release_threshold` keys signed, whatever head points at it: signatures, feed, epoch, revocation
    /// and floor are checked, its being new is not.
    ///
    /// # Errors
    /// [`ManifestError`]; the file was changed, too few signed, or the root has moved on.
    pub fn verify_stored(self, root: &Root, feed: &FeedId) -> Result<Manifest, ManifestError> {
        self.require(&root.release_keys, root.release_threshold.into())?;
        self.open_for(root, feed)
    }

    /// The same for one that so many keys signed, or for an addition that as many signed as that takes; which of the
    /// two, the result says.
    ///
    /// # Errors
    /// As [`Self::verify_stored`].
    pub fn vouch(self, root: &Root, feed: &FeedId) -> Result<Vouched, ManifestError> {
        let good = self.good_signers(&root.release_keys).len();
        let (added, whole) = (root.added_threshold.into(), root.release_threshold.into());
        // Below this nobody looks inside.
        if good < usize::min(added, whole).max(1) {
            return Err(self.too_few(good, whole).into());
        }
        let too_few = self.too_few(good, whole);
        let manifest = self.open_for(root, feed)?;
        match manifest.anchor {
            Some(anchor) => Ok(Vouched::Addition(Addition::new(manifest, anchor))),
            None if good < whole => Err(too_few.into()),
            None => Ok(Vouched::Whole(manifest)),
        }
    }

    /// What it says, whoever signed it: to show it to people who are to sign, never to act on.
    ///
    /// # Errors
    /// [`SignedError`]; whoever made it is at fault.
    pub fn claims(&self) -> Result<ManifestBody, SignedError> {
        self.open()
    }

    /// The distinct release keys of `root` whose signatures hold, ascending.
    #[must_use]
    pub fn signed_by(&self, root: &Root) -> Vec<PublicKey> {
        self.good_signers(&root.release_keys)
    }

    /// Opens a body whose signatures were found good, and checks what does not depend on a head.
    fn open_for(self, root: &Root, feed: &FeedId) -> Result<Manifest, ManifestError> {
        let body = self.open()?;
        let manifest = self.into_verified(body);
        if manifest.feed != *feed {
            return Err(ManifestError::WrongFeed {
                got: manifest.feed,
                expected: *feed,
            });
        }
        if manifest.epoch_min > root.epoch {
            return Err(ManifestError::Epoch {
                needed: manifest.epoch_min,
                have: root.epoch,
            });
        }
        if root.revoked_manifests.binary_search(&manifest.id()).is_ok() {
            return Err(ManifestError::Revoked(manifest.id()));
        }
        if manifest.release < root.release_min {
            return Err(ManifestError::BelowFloor {
                got: manifest.release,
                floor: root.release_min,
            });
        }
        Ok(manifest)
    }
}
