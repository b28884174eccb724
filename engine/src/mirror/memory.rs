//! What a mirror remembers of whom it trusts, in memory and on disk: `roots/`, `counters`, `trust.log` and
//! `anchor.manifest`. SPEC §8.1, §8.2.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidecast_proto::id::{FeedId, RootVersion};
use tidecast_proto::limits;
use tidecast_proto::manifest::SignedManifest;
use tidecast_proto::root::{RootError, SignedRoot};
use tidecast_proto::trust::Trust;
use tokio::sync::OwnedMutexGuard;

use super::SyncError;
use super::disk::Disk;
use super::history::{History, Step};
use crate::chain_log::ChainLogError;
use crate::clock::Clock;
use crate::docroot::Docroot;
use crate::durable::{self, Access, FileError};
use crate::roots::{self, RootsError};

/// Why the memory cannot be used.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The disk or its permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// A root's file.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The files do not hold together: damaged, or of another feed.
    #[error("the trust state in {} is not usable: {source}", folder.display())]
    Trust { folder: PathBuf, source: RootError },
    /// The record of what was believed when.
    #[error(transparent)]
    Log(#[from] ChainLogError),
}

/// The memory's place.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    state: PathBuf,
}

impl Memory {
    pub(super) fn new(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
        }
    }

    fn roots(&self) -> PathBuf {
        self.state.join("roots")
    }

    /// What is remembered; nothing before the first contact.
    ///
    /// # Errors
    /// [`MemoryError`]; the operator must restore the state or join again.
    pub(super) fn load(&self, feed: &FeedId) -> Result<Option<Trust>, MemoryError> {
        let roots = roots::load(&self.roots())?;
        let counters = durable::read_optional(&self.state.join("counters"), Trust::BYTES_MAX)?;
        Trust::resume(feed, roots, counters.as_deref()).map_err(|source| MemoryError::Trust {
            folder: self.state.clone(),
            source,
        })
    }

    /// Opens the record of what was believed when. Where that fails, nothing new is believed until it no longer does;
    /// what is installed is served.
    pub(super) fn record(
        self,
        feed: FeedId,
        trust: Option<&Trust>,
        clock: Arc<dyn Clock>,
    ) -> Recorded {
        let history = History::new(&self.state, feed);
        let recorded = Recorded {
            memory: self,
            history: Mutex::new(history),
            trouble: Mutex::default(),
            on_disk: Mutex::default(),
            clock,
        };
        recorded.catch_up(trust);
        recorded
    }
}

/// The memory of a mirror that may change it.
#[derive(Debug)]
pub(super) struct Recorded {
    memory: Memory,
    history: Mutex<History>,
    /// Why nothing can be added to the record at present.
    trouble: Mutex<Option<String>>,
    /// What the disk knows, where that is less than what is believed.
    on_disk: Mutex<Option<Trust>>,
    clock: Arc<dyn Clock>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorded {
    /// What is believed once the installed release is raised to what `docroot` serves, where that is newer: the state folder
    /// is another than the docroot's, or was restored from a backup, or the switch was carried out after a crash. The
    /// counter rises only with a manifest whose signatures are good.
    pub(super) fn raise_to(&self, docroot: &Docroot, trust: Option<Trust>) -> Option<Trust> {
        let (Some(before), Some(live)) = (&trust, docroot.current()) else {
            return trust;
        };
        if live.release() <= before.installed_release() {
            return trust;
        }
        let signed = live.manifest().signed().clone();
        let Ok(vouched) = signed.vouch(before.root(), &docroot.feed()) else {
            return trust;
        };
        let mut after = before.clone();
        after.install_found(vouched);
        self.keep_if_possible(before, &after);
        Some(after)
    }

    /// Keeps a step of what is believed, to be called before anything is done in its name: first in the log, then the
    /// root if it is a new one, then the counters.
    ///
    /// # Errors
    /// [`MemoryError`]; what was believed before is to stay.
    pub(super) fn keep(
        &self,
        before: Option<&Trust>,
        after: &Trust,
        root: Option<&SignedRoot>,
    ) -> Result<(), MemoryError> {
        let mut on_disk = lock(&self.on_disk);
        let before = on_disk.as_ref().or(before);
        let steps = Step::between(before, after, root);
        if !steps.is_empty() {
            let added = lock(&self.history).add(before, &steps, self.clock.now());
            self.note(added.as_ref().err());
            added?;
        }
        if let Some(root) = root {
            roots::store(&self.memory.roots(), after.root().version, root)?;
        }
        let path = self.memory.state.join("counters");
        durable::write(&path, &after.to_bytes(), Access::OwnerOnly)?;
        *on_disk = None;
        Ok(())
    }

    /// As [`Self::keep`], for what is known to be so already: where it cannot be written it is believed all the same, and
    /// written with the next step.
    pub(super) fn keep_if_possible(&self, before: &Trust, after: &Trust) {
        if let Err(error) = self.keep(Some(before), after, None) {
            tracing::error!(%error, "what this mirror believes cannot be written down; it is tried again");
            *lock(&self.on_disk) = Some(before.clone());
        }
    }

    /// Opens the record if that could not be done before.
    pub(super) fn catch_up(&self, trust: Option<&Trust>) {
        let on_disk = lock(&self.on_disk);
        let trust = on_disk.as_ref().or(trust);
        let opened = lock(&self.history).catch_up(trust, self.clock.now());
        self.note(opened.as_ref().err());
    }

    /// Why nothing can be added to the record at present: until that is over, nothing is installed.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    fn note(&self, error: Option<&MemoryError>) {
        let mut trouble = lock(&self.trouble);
        let is = error.map(ToString::to_string);
        if *trouble == is {
            return;
        }
        match &is {
            Some(why) => tracing::error!(
                why,
                "the record of what this mirror believes cannot be written: nothing new is installed until it can; what is installed is served"
            ),
            None => tracing::info!("the record of what this mirror believes is written again"),
        }
        *trouble = is;
    }
}

impl Memory {
    fn anchor_path(&self) -> PathBuf {
        self.state.join("anchor.manifest")
    }

    /// The manifest that an addition was last compared with, as received; whoever uses it checks it again. One that does not
    /// read is none: it is fetched again.
    ///
    /// # Errors
    /// [`MemoryError`] of the disk.
    pub(super) fn anchor(&self) -> Result<Option<SignedManifest>, MemoryError> {
        let bytes = durable::read_optional(&self.anchor_path(), limits::MANIFEST_BYTES)?;
        Ok(bytes.and_then(|bytes| SignedManifest::from_bytes(&bytes).ok()))
    }

    /// Keeps an anchor, in the place of the one before.
    ///
    /// # Errors
    /// [`MemoryError`] of the disk.
    pub(super) fn keep_anchor(&self, anchor: &SignedManifest) -> Result<(), MemoryError> {
        if self.anchor()?.as_ref() != Some(anchor) {
            durable::write(&self.anchor_path(), &anchor.to_bytes(), Access::OwnerOnly)?;
        }
        Ok(())
    }
}

/// What this mirror trusts at the moment. Looked at without waiting, changed by one task at a time, and on disk
/// before anybody sees the change.
#[derive(Debug)]
pub(super) struct Beliefs {
    memory: Arc<Recorded>,
    trust: Arc<Mutex<Option<Trust>>>,
    changing: Arc<tokio::sync::Mutex<()>>,
}

/// The right to change the beliefs.
pub(super) struct Change<'a> {
    beliefs: &'a Beliefs,
    /// Shared with the disk: a change whose task is dropped is done all the same, and nobody may begin another before.
    one: Arc<OwnedMutexGuard<()>>,
}

impl Beliefs {
    pub(super) fn new(memory: Recorded, trust: Option<Trust>) -> Self {
        Self {
            memory: Arc::new(memory),
            trust: Arc::new(Mutex::new(trust)),
            changing: Arc::default(),
        }
    }

    /// What is believed now; nothing before the first contact.
    pub(super) fn trust(&self) -> Option<Trust> {
        self.trust
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The newest root's number, 0 before the first contact.
    pub(super) fn root_version(&self) -> RootVersion {
        self.with(|trust| trust.root().version)
            .unwrap_or(RootVersion(0))
    }

    /// Looks at what is believed now, in place; `None` before the first contact.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Trust) -> T) -> Option<T> {
        let trust = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        trust.as_ref().map(look)
    }

    /// Where it is kept.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory.memory
    }

    /// Opens the record again if it could not be opened before, and says what keeps it from that.
    pub(super) async fn look_after_record(&self, disk: &Disk) {
        if self.memory.trouble().is_some() {
            let change = self.change().await;
            let (memory, one) = (self.memory.clone(), change.one.clone());
            let trust = change.trust();
            let looked = disk.run(move |_| {
                memory.catch_up(trust.as_ref());
                drop(one);
            });
            // Only a panic there makes this fail, and whatever comes next says so.
            let _ = looked.await;
        }
    }

    /// See [`Recorded::trouble`].
    pub(super) fn trouble(&self) -> Option<String> {
        self.memory.trouble()
    }

    /// Waits for the right to change.
    pub(super) async fn change(&self) -> Change<'_> {
        Change {
            beliefs: self,
            one: Arc::new(self.changing.clone().lock_owned().await),
        }
    }
}

impl Change<'_> {
    /// What is believed before the change.
    pub(super) fn trust(&self) -> Option<Trust> {
        self.beliefs.trust()
    }

    /// Believes `trust` from now on, once its counters are on disk; with `root` if that is new.
    ///
    /// # Errors
    /// [`MemoryError`], what was believed before stays; or the disk thread is gone.
    pub(super) async fn keep(
        &self,
        disk: &Disk,
        trust: &Trust,
        root: Option<&SignedRoot>,
    ) -> Result<(), SyncError> {
        let (memory, believed) = (self.beliefs.memory.clone(), self.beliefs.trust.clone());
        let (one, before) = (self.one.clone(), self.beliefs.trust());
        let (trust, root) = (trust.clone(), root.cloned());
        let kept = disk.run(move |_| {
            memory.keep(before.as_ref(), &trust, root.as_ref())?;
            *believed.lock().unwrap_or_else(PoisonError::into_inner) = Some(trust);
            drop(one);
            Ok::<_, MemoryError>(())
        });
        Ok(kept.await??)
    }
}
