//! Reads everything back.

use super::record::Kind;
use super::snapshot::{Snapshot, pack_hash};
use super::{PackError, StoreError};
use tidecast_proto::id::ListId;
use tidecast_proto::list::List;
use tidecast_proto::manifest::File;
use tidecast_proto::recipe::Recipe;

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
        for file in &manifest.files {
            if let Err(missing) = check_file(snapshot, file) {
                let (release, path) = (release.release(), &file.path);
                report.add(format!("release {release}, {path}: {missing}"));
            }
        }
    }
    report
}

/// Whether everything a file is made of is in the store, as it is and opened.
fn check_file(snapshot: &Snapshot, file: &File) -> Result<(), String> {
    let list = match &file.list {
        None => List::of_small_file(file.hash, file.size).ok_or("its list is missing")?,
        Some(id) => stored_list(snapshot, id, file.size)?,
    };
    check_chunks(snapshot, &list)?;
    let Some(id) = &file.recipe else {
        return Ok(());
    };
    let stored = snapshot
        .find(Kind::Recipe, &id.0)
        .ok_or_else(|| format!("recipe {id} is missing"))?;
    let bytes = stored.open().map_err(|error| error.to_string())?;
    let recipe = Recipe::decode(&bytes, *id, file.size).map_err(|error| error.to_string())?;
    let opened = stored_list(snapshot, &recipe.opened(), recipe.opened_bytes())?;
    check_chunks(snapshot, &opened).map_err(|missing| format!("opened content: {missing}"))
}

fn stored_list(snapshot: &Snapshot, id: &ListId, size: u64) -> Result<List, String> {
    let stored = snapshot
        .find(Kind::List, &id.0)
        .ok_or_else(|| format!("list {id} is missing"))?;
    let bytes = stored.open().map_err(|error| error.to_string())?;
    List::decode(&bytes, *id, size).map_err(|error| error.to_string())
}

fn check_chunks(snapshot: &Snapshot, list: &List) -> Result<(), String> {
    let mut entries = list.entries().iter();
    match entries.find(|entry| snapshot.find(Kind::Chunk, &entry.id.0).is_none()) {
        Some(entry) => Err(format!("chunk {} is missing", entry.id)),
        None => Ok(()),
    }
}
