//! Reads everything back.

use tidecast_proto::{
    id::ObjectId,
    list::{Entry, List},
    manifest::File,
};

use super::record::Kind;
use super::snapshot::{Snapshot, pack_hash};
use super::{PackError, StoreError, content};

/// Most problems a report lists; a disk that lies about more lies about everything.
pub const PROBLEMS_LISTED: usize = 100;

/// What [`super::Store::verify`] found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Sealed packs read.
    pub packs: usize,
    /// Chunks, lists and recipes opened and hashed.
    pub records: usize,
    /// Releases whose manifest was opened and whose files were looked up.
    pub releases: usize,
    /// Bytes read.
    pub read_bytes: u64,
    /// What is wrong, at most [`PROBLEMS_LISTED`] of them.
    pub problems: Vec<String>,
    /// How many there were in all.
    pub problem_count: usize,
}

impl VerifyReport {
    /// Whether everything is as it was published.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.problem_count == 0
    }

    fn add(&mut self, problem: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_LISTED {
            self.problems.push(problem);
        }
    }
}

pub(super) fn verify(snapshot: &Snapshot) -> VerifyReport {
    let mut report = VerifyReport::default();
    for pack in snapshot.packs() {
        report.packs += 1;
        report.read_bytes += pack.bytes().len() as u64;
        let name = pack.path().file_name().and_then(|name| name.to_str());
        if name.and_then(pack_hash) != Some(blake3::hash(pack.bytes())) {
            let path = pack.path().to_owned();
            let source = PackError::Name;
            report.add(StoreError::Pack { path, source }.to_string());
        }
        for entry in 0..pack.len() {
            report.records += 1;
            let Some((record, stored)) = pack.record(entry) else {
                continue;
            };
            if let Err(error) = record.check(&stored.bytes) {
                report.add(format!("{}: {error}", pack.path().display()));
            }
        }
    }
    for release in snapshot.releases() {
        report.releases += 1;
        report.read_bytes += release.stored().bytes.len() as u64;
        let manifest = match release.manifest() {
            Ok(manifest) => manifest,
            Err(error) => {
                report.add(error.to_string());
                continue;
            }
        };
        let newest = snapshot.newest().map(|newest| newest.release) == Some(release.release());
        for file in &manifest.files {
            if let Err(missing) = check_file(snapshot, file, newest) {
                let (release, path) = (release.release(), &file.path);
                report.add(format!("release {release}, {path}: {missing}"));
            }
        }
    }
    report
}

/// Whether everything a file is made of is in the store. Of a file with a recipe, `whole` content may be gone.
fn check_file(snapshot: &Snapshot, file: &File, whole: bool) -> Result<(), StoreError> {
    let stored = content::stored_list(snapshot, file)?;
    if whole || file.recipe.is_none() {
        check_chunks(snapshot, &stored)?;
    }
    match file.recipe {
        Some(recipe) => check_chunks(
            snapshot,
            &content::opened_list(snapshot, file, recipe)?.list,
        ),
        None => Ok(()),
    }
}

fn check_chunks(snapshot: &Snapshot, list: &List) -> Result<(), StoreError> {
    let missing = |entry: &&Entry| snapshot.find(Kind::Chunk, &entry.id.0).is_none();
    match list.entries().iter().find(missing) {
        Some(entry) => Err(StoreError::Missing {
            kind: Kind::Chunk.name(),
            id: ObjectId(entry.id.0),
        }),
        None => Ok(()),
    }
}
