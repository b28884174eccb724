//! A release told file by file: what changed, what opens, by which road it travels. SPEC §7.13.

use tidecast_proto::id::ReleaseNumber;
use tidecast_proto::manifest::{Manifest, ManifestBody};

use super::explain::{self, ExplainError, Explanation, Opening, RoadBytes};
use super::{ReleaseError, Store, StoreError};

/// Why a release cannot be explained.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnexplainedError {
    /// It was never published here, or its time has passed.
    #[error("there is no release {asked}")]
    NoRelease {
        asked: ReleaseNumber,
        /// The oldest and the newest there is.
        held: Option<(ReleaseNumber, ReleaseNumber)>,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was written beside the release.
    #[error(transparent)]
    Explain(#[from] ExplainError),
}

impl UnexplainedError {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::NoRelease { held: None, .. } => "nothing was published yet".to_owned(),
            Self::NoRelease {
                held: Some((oldest, newest)),
                ..
            } if oldest == newest => format!("the store holds release {newest} only"),
            Self::NoRelease {
                held: Some((oldest, newest)),
                ..
            } => format!("the store holds releases {oldest} to {newest}"),
            Self::Store(error) => error.advice().to_owned(),
            Self::Explain(_) => {
                "remove that file: nothing but this explanation depends on it".to_owned()
            }
        }
    }
}

/// A release, file by file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its number.
    pub release: ReleaseNumber,
    /// The release before it, while the store holds that; otherwise nothing can be said to be unchanged.
    pub previous: Option<ReleaseNumber>,
    /// Whether anything was written down about its streams when it was published.
    pub openings_known: bool,
    /// Whether the bundle from the release before was built, so that roads are known.
    pub roads_known: bool,
    /// Its files, by path.
    pub files: Vec<ExplainedFile>,
}

/// One file of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedFile {
    /// Which.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// What it is to a mirror that has the release before.
    pub change: FileChange,
    /// Its streams; nothing in it when it holds none.
    pub opening: Opening,
    /// How it travels, if it does and that is known.
    pub road: Option<RoadBytes>,
}

/// What a file is to a mirror that has the release before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileChange {
    /// The same: a link.
    Linked,
    /// It had another content, mode or build time.
    Changed,
    /// It was not there.
    Added,
}

impl FileChange {
    /// In JSON.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Linked => "linked",
            Self::Changed => "changed",
            Self::Added => "added",
        }
    }
}

/// Explains a release of `store`.
///
/// # Errors
/// [`UnexplainedError`].
pub fn of(store: &Store, release: ReleaseNumber) -> Result<Explained, UnexplainedError> {
    let releases = store.releases();
    let Some(body) = manifest(store, release)? else {
        let oldest = releases.first().map(|oldest| oldest.release);
        let newest = releases.last().map(|newest| newest.release);
        return Err(UnexplainedError::NoRelease {
            asked: release,
            held: oldest.zip(newest),
        });
    };
    let previous = releases
        .iter()
        .find(|other| Some(other.manifest) == body.previous)
        .map(|other| other.release);
    let before = match previous {
        Some(previous) => manifest(store, previous)?,
        None => None,
    };
    let written = explain::load(store.folder(), release)?;
    Ok(Explained {
        release,
        previous: previous.filter(|_| before.is_some()),
        openings_known: written.is_some(),
        roads_known: written.as_ref().is_some_and(|w| w.roads.is_some()),
        files: files(&body, before.as_deref(), written.unwrap_or_default()),
    })
}

fn files(
    body: &ManifestBody,
    before: Option<&ManifestBody>,
    written: Explanation,
) -> Vec<ExplainedFile> {
    // Both are by path, as the files are; whoever edited them by hand only loses some of the explanation.
    let mut openings = written.openings.into_iter().peekable();
    let mut roads = written.roads.unwrap_or_default().into_iter().peekable();
    let explained = |file: &tidecast_proto::manifest::File| {
        let path = file.path.as_str();
        while openings
            .next_if(|other| other.path.as_str() < path)
            .is_some()
        {}
        while roads.next_if(|other| other.path.as_str() < path).is_some() {}
        let change = match before.map(|before| before.file(path)) {
            Some(Some(old)) if file.same_as(old) => FileChange::Linked,
            Some(Some(_)) => FileChange::Changed,
            Some(None) | None => FileChange::Added,
        };
        let opening = openings.next_if(|other| other.path == path);
        ExplainedFile {
            path: path.to_owned(),
            bytes: file.size,
            change,
            opening: opening.map(|found| found.opening).unwrap_or_default(),
            road: roads.next_if(|other| other.path == path),
        }
    };
    body.files.iter().map(explained).collect()
}

/// A manifest that was verified before it was stored.
fn manifest(store: &Store, release: ReleaseNumber) -> Result<Option<Manifest>, StoreError> {
    let releases = store.releases();
    let Some(stored) = releases.iter().find(|stored| stored.release == release) else {
        return Ok(None);
    };
    let Some(signed) = store.manifest(release)? else {
        return Ok(None);
    };
    let reopened = signed.reopen(&stored.manifest);
    reopened.map(Some).map_err(|error| StoreError::Release {
        path: store.folder().join(format!("releases/{release}.manifest")),
        source: ReleaseError::from(error),
    })
}
