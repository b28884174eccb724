//! The runs of one content: what is missing, read from the store and packed against its bases.

use std::io::Write;
use std::sync::Arc;

use tidecast_proto::bundle::{
    BaseRange, ContentRef, Form, Origin, Origins, PartKind, RunPart, RunPlanner, SampleIndex,
    SampleIndexBuilder, Side, Votes, bytes_of, put_part,
};
use tidecast_proto::list::{Entry, List};
use tidecast_proto::wire::Encoding;

use super::BundleBuildError;
use super::content;
use crate::packing::delta::{Effort, pack_with_prefix};
use crate::store::Store;

/// Opened content of old bases that is read to find what moved, in bytes: a minute's work.
const SEARCHED_BYTES: u64 = 1024 * 1024 * 1024;

/// Missing content up to here is packed as hard as can be: some seconds of one core.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// And up to here half as hard: some more.
const SOME_BYTES: u64 = 256 * 1024 * 1024;

/// One content and what it is built on.
pub(super) struct Runs<'a> {
    store: &'a Store,
    new: Arc<List>,
    form: Form,
    bases: Vec<ContentRef>,
    lists: Vec<Arc<List>>,
    origins: Origins,
    index: Option<SampleIndex>,
}

/// What the runs of a content came to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RunSums {
    pub(super) runs: u32,
    pub(super) bytes: u64,
}

impl<'a> Runs<'a> {
    /// `bases` without their recipes.
    pub(super) fn new(
        store: &'a Store,
        new: Arc<List>,
        form: Form,
        bases: Vec<(ContentRef, Arc<List>)>,
    ) -> Self {
        let (bases, lists): (Vec<_>, Vec<_>) = bases.into_iter().unzip();
        let origins = Origins::new(&new, &as_refs(&lists));
        Self {
            store,
            new,
            form,
            bases,
            lists,
            origins,
            index: None,
        }
    }

    /// Bytes of the content that runs bring.
    pub(super) fn missing_bytes(&self) -> u64 {
        let entries = self.new.entries();
        self.origins
            .missing()
            .map(|stretch| bytes_of(&entries[stretch]))
            .sum()
    }

    /// Bytes of the content that bases have.
    pub(super) fn reused_bytes(&self) -> u64 {
        let chunks = self.new.entries().iter().zip(self.origins.all());
        chunks
            .filter(|(_, origin)| {
                matches!(origin, Origin::InOrder { .. } | Origin::Elsewhere { .. })
            })
            .map(|(entry, _)| u64::from(entry.len))
            .sum()
    }

    /// Samples the bases that are new, so that runs find the parts of them that they resemble.
    pub(super) fn sample_new(&mut self) {
        let new = |base: &ContentRef| base.side == Side::New;
        if self.missing_bytes() > 0 && self.bases.iter().any(new) {
            self.index = Some(self.sample(new));
        }
    }

    /// Samples all bases, old ones as well, and says how many of the missing content's samples each has, and how many
    /// samples there were.
    ///
    /// # Errors
    /// [`BundleBuildError::Gone`] when the content itself cannot be read.
    pub(super) fn sample_all(&mut self) -> Result<(Vec<u32>, u32), BundleBuildError> {
        let index = self.sample(|_| true);
        let mut found = vec![0_u32; self.bases.len()];
        let (mut asked, mut target) = (0_u32, Vec::new());
        for run in self.planner(&as_refs(&self.lists)).runs() {
            target.clear();
            content::read(self.store, &self.new.entries()[run], &mut target)?;
            let (votes, of) = index.votes(&target);
            asked = asked.saturating_add(of);
            for ((base, _), count) in votes {
                if let Some(found) = found.get_mut(base as usize) {
                    *found = found.saturating_add(count);
                }
            }
        }
        self.index = Some(index);
        Ok((found, asked))
    }

    fn sample(&self, wanted: impl Fn(&ContentRef) -> bool) -> SampleIndex {
        let mut rest = SEARCHED_BYTES;
        let chosen: Vec<(u32, &List)> = (0..)
            .zip(self.bases.iter().zip(&self.lists))
            .filter(|(_, (base, _))| wanted(base))
            .map_while(|(at, (_, list))| {
                rest = rest.checked_sub(list.total_bytes())?;
                Some((at, &**list))
            })
            .collect();
        let mut builder = SampleIndexBuilder::new(SEARCHED_BYTES - rest);
        let mut bytes = Vec::new();
        for (base, list) in chosen {
            for (chunk, entry) in (0..).zip(list.entries()) {
                bytes.clear();
                // What the store no longer holds is no base for anything.
                if content::read(self.store, std::slice::from_ref(entry), &mut bytes).is_ok() {
                    builder.chunk(base, chunk, &bytes);
                }
            }
        }
        builder.finish()
    }

    fn planner<'b>(&'b self, lists: &'b [&'b List]) -> RunPlanner<'b> {
        RunPlanner {
            new: &self.new,
            bases: &self.bases,
            lists,
            origins: &self.origins,
        }
    }

    /// Writes a RUN part for everything that is missing.
    ///
    /// # Errors
    /// [`BundleBuildError`]; [`BundleBuildError::TooLarge`] when they have over `limit` bytes.
    pub(super) fn write(
        &self,
        limit: u64,
        out: &mut dyn Write,
    ) -> Result<RunSums, BundleBuildError> {
        let lists = as_refs(&self.lists);
        let planner = self.planner(&lists);
        let missing_bytes = self.missing_bytes();
        let mut sums = RunSums::default();
        let (mut target, mut part) = (Vec::new(), Vec::new());
        for run in planner.runs() {
            let entries = &self.new.entries()[run.clone()];
            target.clear();
            content::read(self.store, entries, &mut target)?;
            let (votes, asked) = match &self.index {
                Some(index) => index.votes(&target),
                None => (Votes::new(), 0),
            };
            let effort = self.effort(entries, target.len(), missing_bytes);
            let (bases, prefix) = self.prefix(planner.bases(&run, &votes, asked));
            let frame = pack_with_prefix(&target, &prefix, effort)?;
            let body = RunPart {
                // A list's index.
                chunks: u32::try_from(entries.len()).unwrap_or(u32::MAX),
                bases,
                frame: &frame,
            };
            part.clear();
            put_part(PartKind::RUN, &body.encode(), &mut part);
            sums.runs += 1;
            sums.bytes += part.len() as u64;
            if sums.bytes > limit {
                return Err(BundleBuildError::TooLarge { limit });
            }
            out.write_all(&part)?;
        }
        Ok(sums)
    }

    /// The bytes of the ranges that the store still holds.
    fn prefix(&self, ranges: Vec<BaseRange>) -> (Vec<BaseRange>, Vec<u8>) {
        let (mut kept, mut prefix) = (Vec::new(), Vec::new());
        for range in ranges {
            let before = prefix.len();
            let first = range.first as usize;
            let entries = self
                .lists
                .get(range.base as usize)
                .and_then(|list| list.entries().get(first..first + range.count as usize));
            let read = entries.map(|entries| content::read(self.store, entries, &mut prefix));
            match read {
                Some(Ok(())) => kept.push(range),
                _ => prefix.truncate(before),
            }
        }
        (kept, prefix)
    }

    /// Much, or what hardly packs, is not packed hard.
    fn effort(&self, entries: &[Entry], bytes: usize, missing_bytes: u64) -> Effort {
        let stored_plain = || {
            let first = entries
                .first()
                .and_then(|entry| self.store.chunk(&entry.id));
            first.is_some_and(|stored| stored.encoding == Encoding::PLAIN)
        };
        match (self.form, missing_bytes) {
            (Form::Stored, _) if bytes > 64 * 1024 && stored_plain() => Effort::Least,
            (_, 0..=MOST_BYTES) => Effort::of(bytes),
            (_, ..=SOME_BYTES) => Effort::Some,
            _ => Effort::Least,
        }
    }
}

fn as_refs(lists: &[Arc<List>]) -> Vec<&List> {
    lists.iter().map(|list| &**list).collect()
}
