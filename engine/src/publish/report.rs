//! What a publish did.

use tidecast_proto::{
    id::{ObjectId, ReleaseNumber},
    manifest::{Database, File, ManifestBody},
    name::ReleasePath,
    plan::Plan,
};

use crate::bundle::BundleReport;
use crate::store::explain::FileOpening;

/// What publishing a tree came to.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishReport {
    /// The release that holds the tree: a new one when [`Self::created`], otherwise the newest.
    pub release: ReleaseNumber,
    /// Its manifest.
    pub manifest: ObjectId,
    /// Whether a release was made; `false` when the newest one holds the same files.
    pub created: bool,
    /// Files in the release.
    pub files: usize,
    /// Bytes of all its files.
    pub total_bytes: u64,
    /// Everything that differs from the release before, in path order.
    pub changes: Vec<Change>,
    /// Files that do not differ.
    pub unchanged: usize,
    /// Bytes added to the store, as packed.
    pub new_bytes: u64,
    /// Bytes of file content that were read.
    pub read_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// What became of the deflate streams of its files, by path; files without any are not listed. Empty when no
    /// release was made.
    pub openings: Vec<FileOpening>,
    /// The bundle from the release before, when one was built.
    pub bundle: Option<BundleReport>,
    /// What somebody should look at although it stopped nothing.
    pub warnings: Vec<String>,
}

/// One difference between two releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: ReleasePath,
    /// What happened.
    pub kind: ChangeKind,
    /// Bytes of the file now; before, when it was removed.
    pub size: u64,
    /// Set when the file is a database in either release.
    pub database: Option<DatabaseChange>,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// New.
    Added,
    /// Other content or mode.
    Changed,
    /// Gone.
    Removed,
}

/// A database's version before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseChange {
    /// Its name: `daily`.
    pub name: String,
    /// In the release before, if it was there.
    pub old: Option<u64>,
    /// In this release, if it is there.
    pub new: Option<u64>,
}

impl PublishReport {
    /// Compares `body` with the release before it; numbers about the work are for the caller to fill in.
    pub(super) fn new(body: &ManifestBody, previous: Option<&ManifestBody>) -> Self {
        let changes = changes(body, previous);
        let removed = |change: &&Change| change.kind == ChangeKind::Removed;
        let removed = changes.iter().filter(removed).count();
        Self {
            release: body.release,
            manifest: ObjectId([0; 32]),
            created: false,
            files: body.files.len(),
            total_bytes: body.total_bytes(),
            unchanged: body.files.len() - (changes.len() - removed),
            changes,
            new_bytes: 0,
            read_bytes: 0,
            seconds: 0.0,
            openings: Vec::new(),
            bundle: None,
            warnings: Vec::new(),
        }
    }

    /// Files that were added or have other content or mode.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.changes.len() - self.removed()
    }

    /// Files that are gone.
    #[must_use]
    pub fn removed(&self) -> usize {
        let gone = |change: &&Change| change.kind == ChangeKind::Removed;
        self.changes.iter().filter(gone).count()
    }
}

/// Everything that `body` does to `previous`, in path order.
#[must_use]
pub fn changes(body: &ManifestBody, previous: Option<&ManifestBody>) -> Vec<Change> {
    let plan = Plan::new(body, previous);
    let mut changes = Vec::new();
    let mut add = |files: &[&File], kind| {
        changes.extend(files.iter().map(|file| {
            let before = previous.and_then(|old| old.file(file.path.as_str()));
            let now = Some(*file).filter(|_| kind != ChangeKind::Removed);
            Change {
                path: file.path.clone(),
                kind,
                size: file.size,
                database: database_change(before, now),
            }
        }));
    };
    add(&plan.added, ChangeKind::Added);
    add(&plan.changed, ChangeKind::Changed);
    add(&plan.removed, ChangeKind::Removed);
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes
}

fn database_change(before: Option<&File>, now: Option<&File>) -> Option<DatabaseChange> {
    let database = |file: Option<&File>| -> Option<Database> { file?.database.clone() };
    let (before, now) = (database(before), database(now));
    Some(DatabaseChange {
        name: now.as_ref().or(before.as_ref())?.name.clone(),
        old: before.map(|database| database.version),
        new: now.map(|database| database.version),
    })
}
