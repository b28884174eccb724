//! Releases that only add genuine databases, for which fewer signatures suffice. SPEC §3.3.
//!
//! ClamAV signs its databases, so a sigmaker who publishes a new one vouches for little. Everything else a release
//! can do (other files, removals, flags) takes the whole threshold. Who has too few keys can thereby do no more than
//! publish what ClamAV signed, in rising versions, on top of a release that enough keys signed: its *anchor*.
//! A manifest that names an anchor is an addition however many keys signed it, so that what it may do, and what
//! it goes back to, does not depend on how many signatures a copy of it carries.

use alloc::vec::Vec;

use crate::database::{Container, DatabaseFile, is_stock_name};
use crate::id::{FeedId, ReleaseNumber};
use crate::limits;
use crate::manifest::{Anchor, File, Flags, Manifest, ManifestBody, ManifestError, SignedManifest};
use crate::name::ReleasePath;
use crate::root::Root;

/// What a release does that no addition may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAnAddition {
    /// A permission that only the whole threshold gives.
    #[error("it sets a flag")]
    Flag,
    /// Something this version does not know may mean anything.
    #[error("its extensions differ")]
    Extensions,
    /// A file of the anchor is not in it.
    #[error("it removes {0}")]
    Removes(ReleasePath),
    /// A file is neither as in the anchor nor a newer version of a database that ClamAV signs.
    #[error("{0} is neither unchanged nor a newer database of ClamAV's")]
    Changes(ReleasePath),
    /// A new file is not the cdiff of a new version.
    #[error("{0} is new and no cdiff of a newer database of ClamAV's")]
    Adds(ReleasePath),
    /// A detached signature (ClamAV 1.5) is new or another. It is made with certificates that neither publishers nor mirrors
    /// hold, and clients that get one that does not fit refuse the database beside it.
    #[error(
        "{0} is new, and what a .sign file says only clients can check; publish the databases and cdiffs without it first, and every .sign with the next release that is signed whole"
    )]
    Signature(ReleasePath),
    /// Its anchor is not at hand.
    #[error("that release's manifest is not at hand")]
    NoAnchor,
    /// Another manifest than the one it names was offered as its anchor.
    #[error("something else was offered as that release's manifest")]
    OtherAnchor,
    /// Only what `release_threshold` keys signed can be built on.
    #[error("that release is itself an addition")]
    AnchorAdds,
    /// Its number leaves too little room for those that follow, as [`Anchor::bears`] has it: whoever has too few keys must
    /// not use them up.
    #[error("its number {0} is more than {max} above", max = limits::ADDITIONS_PER_ANCHOR)]
    TooFar(ReleaseNumber),
}

/// What enough keys for one thing or the other signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vouched {
    /// `release_threshold` keys, and it names no anchor: it may do anything.
    Whole(Manifest),
    /// It names an anchor, which must be looked at, and as many keys as that takes signed it.
    Addition(Addition),
}

impl Vouched {
    /// What it says.
    #[must_use]
    pub fn body(&self) -> &ManifestBody {
        match self {
            Self::Whole(manifest) | Self::Addition(Addition { manifest, .. }) => manifest,
        }
    }

    /// The manifest, if nothing more is to be asked.
    ///
    /// # Errors
    /// [`ManifestError::NotAnAddition`] with [`NotAnAddition::NoAnchor`]: nobody can look at its anchor here.
    pub fn whole(self) -> Result<Manifest, ManifestError> {
        match self {
            Self::Whole(manifest) => Ok(manifest),
            Self::Addition(Addition { anchor, .. }) => Err(ManifestError::NotAnAddition {
                anchor,
                why: NotAnAddition::NoAnchor,
            }),
        }
    }
}

/// A manifest that is acceptable if it does nothing but add to its anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    manifest: Manifest,
    anchor: Anchor,
}

/// An addition whose anchor was looked at. What it adds must still be found genuine, byte for byte, before anybody is
/// served it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The manifest.
    pub manifest: Manifest,
    /// Files that must carry ClamAV's signature, in path order: databases and cdiffs.
    pub to_prove: Vec<ReleasePath>,
}

impl Addition {
    pub(crate) fn new(manifest: Manifest, anchor: Anchor) -> Self {
        Self { manifest, anchor }
    }

    /// What it says; nobody may act on it yet.
    #[must_use]
    pub fn body(&self) -> &ManifestBody {
        &self.manifest
    }

    /// What it adds to.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// Compares it with its anchor, which `release_threshold` keys of `root` must have signed. `floor` is the number of
    /// the newest release so signed that the installed one goes back to.
    ///
    /// # Errors
    /// [`ManifestError`]: the anchor's, [`ManifestError::NotAnAddition`] or [`ManifestError::AnchorBehind`]; whoever
    /// signed it is at fault.
    pub fn check(
        self,
        anchor: SignedManifest,
        root: &Root,
        feed: &FeedId,
        floor: ReleaseNumber,
    ) -> Result<Added, ManifestError> {
        let named = self.anchor;
        if named.release < floor {
            return Err(ManifestError::AnchorBehind {
                got: named.release,
                have: floor,
            });
        }
        let refuse = |why| ManifestError::NotAnAddition { anchor: named, why };
        if anchor.id() != named.manifest {
            return Err(refuse(NotAnAddition::OtherAnchor));
        }
        let anchor = anchor.verify_stored(root, feed)?;
        if anchor.release != named.release {
            return Err(refuse(NotAnAddition::OtherAnchor));
        }
        if anchor.anchor.is_some() {
            return Err(refuse(NotAnAddition::AnchorAdds));
        }
        let to_prove = self
            .manifest
            .additions_to(&anchor)
            .map_err(refuse)?
            .into_iter()
            .map(|file| file.path.clone())
            .collect();
        Ok(Added {
            manifest: self.manifest,
            to_prove,
        })
    }

    /// The manifest of a docroot or store that was checked when it was put there.
    #[must_use]
    pub fn checked_before(self) -> Manifest {
        self.manifest
    }
}

impl ManifestBody {
    /// What this release adds to `anchor`, in path order: newer versions of databases under names ClamAV signs, in
    /// the place of older ones, and the cdiffs that lead to them. Whether the anchor bears its number, [`Anchor::bears`]
    /// says, without which no manifest that names one can be read.
    ///
    /// # Errors
    /// [`NotAnAddition`] for the first thing it does besides.
    pub fn additions_to(&self, anchor: &Self) -> Result<Vec<&File>, NotAnAddition> {
        if self.flags != Flags::default() {
            return Err(NotAnAddition::Flag);
        }
        if self.extensions != anchor.extensions {
            return Err(NotAnAddition::Extensions);
        }
        if let Some(gone) = anchor
            .files
            .iter()
            .find(|old| self.file(old.path.as_str()).is_none())
        {
            return Err(NotAnAddition::Removes(gone.path.clone()));
        }
        let mut added = Vec::new();
        let mut signature = None;
        for file in &self.files {
            match anchor.file(file.path.as_str()) {
                Some(old) if unchanged(file, old) => {}
                Some(old) if is_newer(file, old) => added.push(file),
                // Told of only if it is all that stands in the way: then leaving it out is enough.
                _ if matches!(DatabaseFile::of(file.path.as_str()), DatabaseFile::Sign(_)) => {
                    signature.get_or_insert(&file.path);
                }
                Some(_) => return Err(NotAnAddition::Changes(file.path.clone())),
                None if self.is_new_cdiff(file, anchor) => added.push(file),
                None => return Err(NotAnAddition::Adds(file.path.clone())),
            }
        }
        match signature {
            Some(path) => Err(NotAnAddition::Signature(path.clone())),
            None => Ok(added),
        }
    }

    /// Whether `file` is the script to a version that this release has and `anchor` has not reached.
    fn is_new_cdiff(&self, file: &File, anchor: &Self) -> bool {
        let DatabaseFile::Cdiff { name, version } = DatabaseFile::of(file.path.as_str()) else {
            return false;
        };
        let container = match file.path.parent() {
            Some(folder) => alloc::format!("{folder}/{name}.cvd"),
            None => alloc::format!("{name}.cvd"),
        };
        let versions = |body: &Self| Some(body.file(&container)?.database.as_ref()?.version);
        let (Some(had), Some(has)) = (versions(anchor), versions(self)) else {
            return false;
        };
        let version = u64::from(version.0);
        // An empty one sends every client to the whole database: nobody's signature stands behind that.
        is_stock_name(name)
            && (had < version && version <= has)
            && file.size > 0
            && !file.executable
            && file.database.is_none()
    }
}

/// Nothing that clients could notice differs.
fn unchanged(file: &File, old: &File) -> bool {
    file.same_as(old) && file.database == old.database
}

/// A newer version of a database that ClamAV signs, in the place of the older one.
fn is_newer(file: &File, old: &File) -> bool {
    let stock = matches!(
        DatabaseFile::of(file.path.as_str()),
        DatabaseFile::Container { name, container: Container::Cvd } if is_stock_name(name)
    );
    let (Some(new), Some(old)) = (&file.database, &old.database) else {
        return false;
    };
    stock && !file.executable && new.name == old.name && new.version > old.version
}
