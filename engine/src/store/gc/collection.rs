//! Carries a plan out, so that a stop at any moment leaves a whole store. SPEC §7.11.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidecast_proto::id::{ObjectId, ReleaseNumber, Timestamp};

use super::plan::{Files, GcPlan, Sparse, Work};
use super::retention::Retention;
use super::{last, step};
use crate::durable::{self, FileError};
use crate::store::explain;
use crate::store::pack;
use crate::store::record::Record;
use crate::store::release_file;
use crate::store::snapshot::{RELEASES, Snapshot};
use crate::store::verify::PROBLEMS_LISTED;
use crate::store::{StoreError, StoreWriter};

/// What a collection has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GcReport {
    /// Releases that are gone, oldest first.
    pub releases: Vec<ReleaseNumber>,
    /// Files of releases, packs and bundles that are gone.
    pub removed: Files,
    /// Packs among them whose needed content was copied first.
    pub rewritten_packs: usize,
    /// Bytes written in their place.
    pub written_bytes: u64,
    /// What could not be done; at most [`PROBLEMS_LISTED`].
    pub problems: Vec<GcProblem>,
}

/// Why a pack stays that should have been replaced. The store is whole all the same.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GcProblem {
    /// What is needed of it cannot be read.
    #[error("{} is damaged and was left alone: {kind} {id}", pack.display())]
    Damaged {
        pack: PathBuf,
        kind: &'static str,
        id: ObjectId,
    },
    /// No room for one more pack.
    #[error("no room to replace {packs} packs of which less than half is needed: {what}")]
    NoRoom { packs: usize, what: String },
}

impl GcProblem {
    /// What an operator can do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "restore that file from a backup or from the other master",
            Self::NoRoom { .. } => "make some 64 MB of room on that disk, then collect again",
        }
    }
}

impl GcReport {
    /// Bytes that are free now, once every reader has refreshed.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        self.removed.bytes.saturating_sub(self.written_bytes)
    }

    fn problem(&mut self, problem: GcProblem) {
        if self.problems.len() < PROBLEMS_LISTED {
            self.problems.push(problem);
        }
    }
}

/// A collection under way.
///
/// The order makes it safe to be stopped: releases go before what only they need, packs that nothing needs go
/// before any is written, and a pack that is replaced goes after its needed content is on disk again.
#[derive(Debug)]
pub struct Collection<'a> {
    writer: &'a mut StoreWriter,
    /// What the plan's numbers of packs refer to.
    snapshot: Arc<Snapshot>,
    work: Work,
    sparse: VecDeque<Sparse>,
    /// By number in the snapshot: packs that are to be replaced, whose copies of anything do not count.
    going: Vec<bool>,
    report: GcReport,
    stage: Stage,
    now: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Releases,
    DeadPacks,
    SparsePacks,
    Over,
}

impl<'a> Collection<'a> {
    /// Looks at everything and changes nothing yet.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Incomplete`] when it cannot be told what is needed.
    pub fn begin(
        writer: &'a mut StoreWriter,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        writer.store().refresh()?;
        let snapshot = writer.store().shared.current.load_full();
        let mut work = Work::of(writer.store().folder(), &snapshot, retention, now)?;
        let sparse: VecDeque<Sparse> = std::mem::take(&mut work.sparse).into();
        let mut going = vec![false; snapshot.packs().len()];
        for pack in &sparse {
            going[pack.at] = true;
        }
        Ok(Self {
            writer,
            snapshot,
            work,
            sparse,
            going,
            report: GcReport::default(),
            stage: Stage::Releases,
            now,
        })
    }

    /// What is going to be done.
    #[must_use]
    pub fn plan(&self) -> &GcPlan {
        &self.work.plan
    }

    /// Does the next part; false when all is done. After each, readers that refresh let go of what was removed,
    /// and only then the disk has that room.
    ///
    /// # Errors
    /// [`StoreError`]; the store is whole, and another collection does the rest.
    pub fn advance(&mut self) -> Result<bool, StoreError> {
        let done = match self.stage {
            Stage::Releases => self.remove_releases().map(|()| Stage::DeadPacks),
            Stage::DeadPacks => self.remove_dead().map(|()| Stage::SparsePacks),
            Stage::SparsePacks => self.replace_some().map(|more| match more {
                true => Stage::SparsePacks,
                false => Stage::Over,
            }),
            Stage::Over => return Ok(false),
        };
        // Whatever was removed must not be taken for stored by whoever writes next.
        self.writer.store().refresh()?;
        self.stage = done?;
        if self.stage == Stage::Over && self.report.problems.is_empty() {
            last::write(self.writer.store().folder(), self.now);
        }
        Ok(self.stage != Stage::Over)
    }

    /// What was done.
    #[must_use]
    pub fn finish(self) -> GcReport {
        self.report
    }

    fn remove_releases(&mut self) -> Result<(), StoreError> {
        let folder = self.writer.store().folder().join(RELEASES);
        // The oldest first: whatever stops us, no newer release has gone before an older one.
        for verdict in self.work.plan.releases.iter().filter(|v| v.is_expired()) {
            let Some(file) = self.snapshot.release(verdict.release) else {
                continue;
            };
            let path = folder.join(release_file::file_name(verdict.release));
            // Before the release, so that none is left behind.
            explain::remove(self.writer.store().folder(), verdict.release)?;
            remove(&path)?;
            self.report.releases.push(verdict.release);
            self.report.removed.add(file.file_bytes());
        }
        if !self.report.releases.is_empty() {
            // On disk before anything else goes: a power cut must not bring a release back without its chunks.
            step::begins(&folder)?;
            durable::sync_folder_of(&folder.join("x"))?;
        }
        Ok(())
    }

    fn remove_dead(&mut self) -> Result<(), StoreError> {
        for pack in &self.work.dead {
            remove(pack.path())?;
            self.report.removed.add(pack.bytes().len() as u64);
        }
        for bundle in &self.work.bundles {
            remove(&bundle.path)?;
            self.report.removed.add(bundle.bytes);
        }
        Ok(())
    }

    /// Replaces as many packs as go into one. Returns whether there are more.
    fn replace_some(&mut self) -> Result<bool, StoreError> {
        if self.sparse.is_empty() {
            return Ok(false);
        }
        // What an interrupted publication left open is no copy and must not be thrown away with ours.
        step::begins(self.writer.packs())?;
        if let Err(error) = self.writer.seal() {
            return self.without_room(error).map(|()| false);
        }
        let before = self.report.written_bytes;
        match self.copy_and_seal() {
            Ok(copied) => {
                for sparse in copied {
                    remove(sparse.pack.path())?;
                    self.report.removed.add(sparse.pack.bytes().len() as u64);
                    self.report.rewritten_packs += 1;
                }
                Ok(!self.sparse.is_empty())
            }
            Err(error) => {
                self.without_room(error)?;
                // All in it is still where it was copied from.
                self.writer.discard_open()?;
                self.report.written_bytes = before;
                Ok(false)
            }
        }
    }

    /// Notes that there was no room to go on; any other error is one.
    fn without_room(&mut self, error: StoreError) -> Result<(), StoreError> {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match error {
            StoreError::File(error)
                if matches!(error.source.kind(), StorageFull | QuotaExceeded) =>
            {
                let packs = self.plan().sparse_packs.count - self.report.rewritten_packs;
                let what = error.to_string();
                self.report.problem(GcProblem::NoRoom { packs, what });
                Ok(())
            }
            error => Err(error),
        }
    }

    /// Fills the open pack with copies; returns the packs that are not needed any more.
    fn copy_and_seal(&mut self) -> Result<Vec<Sparse>, StoreError> {
        let before = self.report.written_bytes;
        let mut copied = Vec::new();
        while let Some(sparse) = self.sparse.pop_front() {
            if !self.writer.has_room_for_all(sparse.live, sparse.live_bytes) {
                // Into the next one. An empty pack has room for any: less than half of one is needed.
                self.sparse.push_front(sparse);
                break;
            }
            step::begins(sparse.pack.path())?;
            match self.copy(&sparse) {
                Ok(()) => copied.push(sparse),
                // What is left of it is for whoever restores it; copies made so far do no harm.
                Err(StoreError::WrongContent { kind, id }) => {
                    let pack = sparse.pack.path().to_owned();
                    self.report.problem(GcProblem::Damaged { pack, kind, id });
                }
                Err(error) => return Err(error),
            }
        }
        if self.report.written_bytes > before {
            step::begins(self.writer.packs())?;
            self.writer.seal()?;
            self.report.written_bytes += pack::overhead(0) as u64;
        }
        Ok(copied)
    }

    /// Copies what is needed of a pack and not in one that stays.
    fn copy(&mut self, sparse: &Sparse) -> Result<(), StoreError> {
        for entry in (0..sparse.pack.len()).filter(|entry| self.work.marks.has(sparse.at, *entry)) {
            let Some((record, stored)) = sparse.pack.record(entry) else {
                continue;
            };
            let elsewhere = self
                .snapshot
                .places(record.kind, &record.id)
                .filter(|(pack, _)| !self.going.get(*pack).copied().unwrap_or(true))
                .filter_map(|(pack, entry)| self.snapshot.packs().get(pack)?.record(entry))
                .any(|(record, stored)| record.check(&stored.bytes).is_ok());
            if elsewhere {
                continue;
            }
            record.check(&stored.bytes)?;
            self.writer.copy(record, &stored.bytes)?;
            let entry = pack::overhead(1) - pack::overhead(0);
            self.report.written_bytes += (Record::LEN + stored.bytes.len() + entry) as u64;
        }
        Ok(())
    }
}

/// Removes a file that may be gone already.
fn remove(path: &Path) -> Result<(), FileError> {
    step::begins(path)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::at("remove", path)(error))
        }
        _ => Ok(()),
    }
}
