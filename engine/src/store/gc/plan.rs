//! What would go, and what stays and why: read-only. SPEC §7.11.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tidecast_proto::id::{ReleaseNumber, Timestamp};

use super::mark::Marks;
use super::retention::{Retention, Verdict};
use super::{anchors, bundles};
use crate::durable::FileError;
use crate::store::StoreError;
use crate::store::bundle_files::BundleFile;
use crate::store::pack::{self, Pack};
use crate::store::proposals;
use crate::store::record::Record;
use crate::store::snapshot::Snapshot;

/// Files and their bytes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Files {
    /// How many.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Files {
    pub(super) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What a collection would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcPlan {
    /// Every release and what becomes of it, oldest first.
    pub releases: Vec<Verdict>,
    /// Files of releases that go.
    pub expired: Files,
    /// Packs that hold nothing that is needed, and go.
    pub dead_packs: Files,
    /// Packs of which less than half is needed, and which are replaced.
    pub sparse_packs: Files,
    /// Bytes that what is needed of them will have.
    pub sparse_live_bytes: u64,
    /// Packs that stay as they are.
    pub kept_packs: Files,
    /// Those of them that stay for a while because they are new, although little or nothing of them is needed.
    pub new_packs: Files,
    /// Cached bundles that go.
    pub bundles: Files,
}

impl GcPlan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let files = [
            self.expired,
            self.dead_packs,
            self.sparse_packs,
            self.bundles,
        ];
        files.iter().all(|files| files.count == 0)
    }

    /// Bytes that will be free afterwards.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        let gone = self.expired.bytes + self.dead_packs.bytes + self.bundles.bytes;
        gone + self
            .sparse_packs
            .bytes
            .saturating_sub(self.sparse_live_bytes)
    }
}

/// A pack that is to be replaced.
#[derive(Debug)]
pub(super) struct Sparse {
    /// Its number in the snapshot.
    pub(super) at: usize,
    pub(super) pack: Arc<Pack>,
    /// Records that are needed.
    pub(super) live: usize,
    /// Their bytes, heads included.
    pub(super) live_bytes: usize,
}

/// A plan and what it takes to carry it out.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) plan: GcPlan,
    pub(super) marks: Marks,
    pub(super) dead: Vec<Arc<Pack>>,
    /// Those with the least to copy first: that frees most for the least room.
    pub(super) sparse: Vec<Sparse>,
    pub(super) bundles: Vec<BundleFile>,
}

impl Work {
    /// Looks at everything; changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Incomplete`] when it cannot be told what is needed.
    pub(super) fn of(
        folder: &Path,
        snapshot: &Snapshot,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut releases = retention.judge(&appeared(snapshot)?, now);
        let open = proposals::open(folder, snapshot)?;
        anchors::keep(snapshot, &open, &mut releases)?;
        let marks = Marks::of(snapshot, &releases, &open)?;
        let mut work = Self {
            plan: GcPlan {
                expired: Files::default(),
                dead_packs: Files::default(),
                sparse_packs: Files::default(),
                sparse_live_bytes: 0,
                kept_packs: Files::default(),
                new_packs: Files::default(),
                bundles: Files::default(),
                releases,
            },
            marks,
            dead: Vec::new(),
            sparse: Vec::new(),
            bundles: Vec::new(),
        };
        for (at, pack) in snapshot.packs().iter().enumerate() {
            let age_ms = now.0.saturating_sub(modified(pack.path())?.0);
            work.judge_pack(at, pack, age_ms < retention.pack_grace_ms);
        }
        work.sparse.sort_by_key(|sparse| sparse.live_bytes);
        let mut kept = BTreeSet::new();
        for verdict in &work.plan.releases {
            if !verdict.is_expired() {
                kept.insert(verdict.release);
            } else if let Some(file) = snapshot.release(verdict.release) {
                work.plan.expired.add(file.file_bytes());
            }
        }
        work.bundles = bundles::discarded(folder, &kept, retention.bundle_cache_bytes)?;
        for bundle in &work.bundles {
            work.plan.bundles.add(bundle.bytes);
        }
        Ok(work)
    }

    fn judge_pack(&mut self, at: usize, pack: &Arc<Pack>, new: bool) {
        let (mut live, mut live_bytes) = (0, 0);
        for entry in (0..pack.len()).filter(|entry| self.marks.has(at, *entry)) {
            live += 1;
            live_bytes += Record::LEN + pack.stored_len(entry).unwrap_or(0);
        }
        let bytes = pack.bytes().len();
        let needed = live_bytes + pack::overhead(live);
        if needed * 2 >= bytes {
            self.plan.kept_packs.add(bytes as u64);
        } else if new {
            self.plan.kept_packs.add(bytes as u64);
            self.plan.new_packs.add(bytes as u64);
        } else if live == 0 {
            self.plan.dead_packs.add(bytes as u64);
            self.dead.push(Arc::clone(pack));
        } else {
            self.plan.sparse_packs.add(bytes as u64);
            self.plan.sparse_live_bytes += needed as u64;
            self.sparse.push(Sparse {
                at,
                pack: Arc::clone(pack),
                live,
                live_bytes,
            });
        }
    }
}

/// Each release with the moment it appeared in this store: the time of its file, because a manifest's own time is
/// another machine's. Oldest first.
pub(super) fn appeared(snapshot: &Snapshot) -> Result<Vec<(ReleaseNumber, Timestamp)>, StoreError> {
    snapshot
        .releases()
        .map(|file| Ok((file.release(), modified(file.path())?)))
        .collect()
}

fn modified(path: &Path) -> Result<Timestamp, FileError> {
    let found = std::fs::metadata(path).and_then(|found| found.modified());
    let modified: SystemTime = match found {
        // Gone since the snapshot was made; whoever took it knew why.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => SystemTime::now(),
        found => found.map_err(FileError::at("look at", path))?,
    };
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp(
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    ))
}
