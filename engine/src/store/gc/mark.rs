//! Marks what the kept releases need. SPEC §7.11.

use std::collections::BTreeSet;

use tidecast_proto::{
    id::{ListId, RecipeId, ReleaseNumber},
    list::List,
    manifest::{File, ManifestBody},
};

use super::retention::{Fate, Verdict};
use crate::store::StoreError;
use crate::store::content;
use crate::store::record::Kind;
use crate::store::snapshot::Snapshot;

/// Which records of a snapshot's packs are needed: one bit each, so a million chunks cost 128 KiB.
#[derive(Debug)]
pub(super) struct Marks {
    packs: Vec<Vec<u64>>,
}

impl Marks {
    /// Marks all that the kept ones of `verdicts` need, and open proposals.
    ///
    /// # Errors
    /// [`StoreError::Incomplete`] when a list or recipe of a kept release cannot be read: then it is not known
    /// which chunks are needed.
    pub(super) fn of(
        snapshot: &Snapshot,
        verdicts: &[Verdict],
        proposals: &[ManifestBody],
    ) -> Result<Self, StoreError> {
        let words = |records: usize| vec![0; records.div_ceil(64)];
        let mut marking = Marking {
            snapshot,
            marks: Self {
                packs: snapshot.packs().iter().map(|p| words(p.len())).collect(),
            },
            lists: BTreeSet::new(),
            recipes: BTreeSet::new(),
        };
        for verdict in verdicts {
            if let Fate::Kept { whole, .. } = verdict.fate {
                marking.release(verdict.release, whole)?;
            }
        }
        for proposal in proposals {
            for file in &proposal.files {
                // Whoever removed some of it by hand made the proposal impossible, and nothing else.
                let _ = marking.file(file, true);
            }
        }
        Ok(marking.marks)
    }

    /// Whether the record is needed.
    pub(super) fn has(&self, pack: usize, entry: usize) -> bool {
        let word = self.packs.get(pack).and_then(|bits| bits.get(entry / 64));
        word.is_some_and(|word| word >> (entry % 64) & 1 == 1)
    }

    fn set(&mut self, pack: usize, entry: usize) {
        let word = self.packs.get_mut(pack);
        if let Some(word) = word.and_then(|bits| bits.get_mut(entry / 64)) {
            *word |= 1 << (entry % 64);
        }
    }
}

struct Marking<'a> {
    snapshot: &'a Snapshot,
    marks: Marks,
    /// Lists whose chunks are marked: most files are in many releases.
    lists: BTreeSet<ListId>,
    /// Recipes whose opened content is.
    recipes: BTreeSet<RecipeId>,
}

impl Marking<'_> {
    fn release(&mut self, release: ReleaseNumber, whole: bool) -> Result<(), StoreError> {
        let Some(stored) = self.snapshot.release(release) else {
            return Ok(());
        };
        for file in &stored.manifest()?.files {
            self.file(file, whole)
                .map_err(|source| StoreError::Incomplete {
                    release,
                    path: file.path.clone(),
                    source: Box::new(source),
                })?;
        }
        Ok(())
    }

    fn file(&mut self, file: &File, whole: bool) -> Result<(), StoreError> {
        if let Some(id) = file.list {
            self.mark(Kind::List, &id.0);
        }
        if let Some(recipe) = file.recipe
            && self.recipes.insert(recipe)
        {
            self.mark(Kind::Recipe, &recipe.0);
            let opened = content::opened_list(self.snapshot, file, recipe)?;
            self.mark(Kind::List, &opened.list_id.0);
            self.chunks(Some(opened.list_id), &opened.list);
        }
        // What a recipe makes again need not be kept; the list of it tells a mirror what its old file is cut into.
        if (whole || file.recipe.is_none()) && file.list.is_none_or(|id| !self.lists.contains(&id))
        {
            let list = content::stored_list(self.snapshot, file)?;
            self.chunks(file.list, &list);
        }
        Ok(())
    }

    fn chunks(&mut self, id: Option<ListId>, list: &List) {
        if id.is_none_or(|id| self.lists.insert(id)) {
            for entry in list.entries() {
                self.mark(Kind::Chunk, &entry.id.0);
            }
        }
    }

    /// Every copy, should there be two: which of them stays is decided later.
    fn mark(&mut self, kind: Kind, id: &[u8; 32]) {
        for (pack, entry) in self.snapshot.places(kind, id) {
            self.marks.set(pack, entry);
        }
    }
}
