//! The docroot: trees, the switch, recovery. SPEC §8.
//!
//! ```text
//! docroot/<name>             -> .tidecast/current/<name>
//! docroot/local_*               never touched
//! docroot/.tidecast/current  -> r<N>      the switch is one rename of this link
//! docroot/.tidecast/r<N>/       release N, whole; its files never change
//! docroot/.tidecast/new/        the tree being built
//! ```
//!
//! Everything here blocks on the disk: run it on a thread of its own.

mod adopt;
mod build;
mod carry;
mod error;
mod expire;
mod files;
mod front;
mod glance;
pub(crate) mod index;
mod keep;
mod layout;
mod leftovers;
mod links;
mod lock;
mod mend;
mod opened;
pub(crate) mod pace;
mod peek;
mod placement;
mod rebuilt;
mod recover;
mod removed;
mod repair;
mod reuse;
pub(crate) mod rot;
mod sample;
pub(crate) mod spool;
mod strangers;
mod survey;
mod switch;
mod targets;
#[cfg(test)]
mod tests;
pub(crate) mod timestamp;
mod tree;
mod verify;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidecast_proto::id::{FeedId, ReleaseNumber, Timestamp};
use tidecast_proto::manifest::Manifest;
use tidecast_proto::name::ReleasePath;

use crate::clock::Clock;
use crate::config::GRACE_S;

pub use build::{Build, BuildBytes, Prepared};
pub use carry::LinkReport;
pub use error::DocrootError;
pub use expire::ExpireReport;
pub use files::FileRecord;
pub use front::{Obstacle, Shown, check_front, verify_front};
pub use glance::Glance;
pub use keep::Gaps;
pub use mend::MendReport;
pub use peek::{Peek, peek};
pub use placement::PutOutcome;
pub use recover::Recovery;
pub use rot::Damage;
pub use sample::{Amount, AmountError, Extent};
pub use spool::SPOOL_BYTES;
pub use survey::{Concern, Foreign, ForeignKind, Survey};
pub use switch::SwitchReport;
pub(crate) use timestamp::{TIMESTAMP_BYTES, is_marked_stale};
pub use tree::{LiveTree, SiteFile};
pub use verify::{Fault, Progress, Verification, VerifyReport, verify, verify_readonly};

use build::FileState;
use layout::Folders;
use lock::Lock;

/// How a docroot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How long a replaced tree stays, for downloads that began in it.
    pub grace: Duration,
    /// Trees that stay whatever their age, the live one among them.
    pub keep_trees_min: usize,
    /// How long what was moved out of the docroot stays in `.tidecast/removed`.
    pub removed_keep: Duration,
    /// Make the docroot where it is missing. For the first time only: later its absence means a missing mount.
    pub create: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(GRACE_S),
            keep_trees_min: 2,
            removed_keep: Duration::from_secs(30 * 24 * 60 * 60),
            create: false,
        }
    }
}

/// A docroot that this process holds the lock of.
#[derive(Debug)]
pub struct Docroot {
    folders: Arc<Folders>,
    lock: Lock,
    feed: FeedId,
    options: Options,
    clock: Arc<dyn Clock>,
    live: Option<Arc<LiveTree>>,
    /// The folder web clients see, where that is not this one.
    front: Option<PathBuf>,
    /// Where an operator's files went outside of a switch that succeeded; the next one reports them.
    moved_earlier: Vec<String>,
    /// Where tests cut the power.
    #[cfg(test)]
    stop_after: Option<switch::Step>,
}

impl Docroot {
    /// Looks at what is in `path`, for `feed`, without changing anything.
    ///
    /// # Errors
    /// [`DocrootError`] when it is no folder, not writable, or another feed's; the operator decides.
    pub fn survey(path: &Path, feed: &FeedId) -> Result<Survey, DocrootError> {
        survey::survey(path, feed)
    }

    /// Takes the docroot at `path` for `feed` and brings it out of any state a crash may have left it in.
    ///
    /// # Errors
    /// [`DocrootError`]: missing, no folder, not writable, another feed's, in use; or of the disk.
    pub fn open(
        path: &Path,
        feed: FeedId,
        options: Options,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Recovery), DocrootError> {
        if options.create {
            match std::fs::create_dir(path) {
                Ok(()) => crate::durable::sync_folder_of(path)
                    .map_err(|error| DocrootError::at("sync", path)(error.source))?,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(DocrootError::at("make", path)(error)),
            }
        }
        // Before anything is made in a folder that may be another feed's.
        if let Some(folders) = Folders::open(path)? {
            check_feed(&folders, &feed)?;
        }
        let folders = Arc::new(Folders::make(path)?);
        let lock = Lock::take(&folders)?;
        if !check_feed(&folders, &feed)? {
            files::write_whole(&folders.state, layout::FEED, format!("{feed}\n").as_bytes())
                .map_err(folders.fault("write", layout::FEED))?;
        }
        let mut docroot = Self {
            folders,
            lock,
            feed,
            options,
            clock,
            live: None,
            front: None,
            moved_earlier: Vec::new(),
            #[cfg(test)]
            stop_after: None,
        };
        let recovery = docroot.recover()?;
        Ok((docroot, recovery))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folders.path
    }

    /// The docroot's own folder, for serving what is not of the release: `local_*` and `timestamp`.
    #[must_use]
    pub fn folder(&self) -> Arc<OwnedFd> {
        self.folders.docroot.clone()
    }

    /// The feed it belongs to.
    #[must_use]
    pub fn feed(&self) -> FeedId {
        self.feed
    }

    /// What is served; `None` before the first switch.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<LiveTree>> {
        self.live.as_ref()
    }

    /// The manifest of a release whose tree is still kept, the live one among them.
    ///
    /// # Errors
    /// [`DocrootError`] of the disk.
    pub fn kept_manifest(
        &self,
        release: ReleaseNumber,
    ) -> Result<Option<Arc<Manifest>>, DocrootError> {
        let kept = tree::read_kept(&self.folders, release)?;
        Ok(kept.map(|kept| kept.manifest))
    }

    /// Checks that the docroot's path still leads to the folder, and to the lock, that this process holds. To be
    /// called at the beginning of every sync.
    ///
    /// # Errors
    /// [`DocrootError::Replaced`]; somebody renamed or replaced the docroot, nothing was changed.
    pub fn check_still_ours(&self) -> Result<(), DocrootError> {
        self.lock.check(&self.folders)
    }

    /// Puts right what a switch that failed half-way left, so that no start completes it.
    ///
    /// # Errors
    /// [`DocrootError`]; the next build or start tries again.
    pub fn give_up_switch(&mut self) -> Result<(), DocrootError> {
        self.check_still_ours()?;
        self.clear_up()
    }

    /// Begins the tree of a release, or goes on with what an earlier attempt left.
    ///
    /// # Errors
    /// [`DocrootError::NotNewer`], [`DocrootError::WrongFeed`], [`DocrootError::Successor`] when it drops more than its
    /// signers allowed; else of the disk.
    pub fn begin(&mut self, manifest: Arc<Manifest>) -> Result<Build, DocrootError> {
        self.check_still_ours()?;
        if manifest.feed != self.feed {
            return Err(DocrootError::WrongFeed {
                got: manifest.feed,
                have: self.feed,
            });
        }
        self.check_successor(&manifest)?;
        self.clear_up()?;
        let states = vec![FileState::ToBuild { missing: 0 }; manifest.files.len()];
        #[cfg_attr(not(test), expect(unused_mut))]
        let mut build = Build::new(
            self.folders.clone(),
            manifest,
            self.live.clone(),
            layout::NEW,
            states,
        )?;
        #[cfg(test)]
        {
            build.stop_after = self.stop_after;
        }
        Ok(build)
    }

    /// Begins to build `damaged` files of the live release again; ends with [`Self::finish_repair`].
    ///
    /// # Errors
    /// [`DocrootError::NothingLive`]; else of the disk.
    pub fn begin_repair(&mut self, damaged: &[ReleasePath]) -> Result<Build, DocrootError> {
        self.check_still_ours()?;
        let live = self.live.clone().ok_or_else(|| DocrootError::NothingLive {
            path: self.folders.path.clone(),
        })?;
        let manifest = live.manifest().clone();
        let mut states = vec![FileState::Elsewhere; manifest.files.len()];
        for path in damaged {
            if let Ok(at) = manifest.files.binary_search_by(|file| file.path.cmp(path)) {
                states[at] = FileState::ToBuild { missing: 0 };
            }
        }
        Build::new(
            self.folders.clone(),
            manifest,
            Some(live),
            layout::MEND,
            states,
        )
    }

    /// Newer than what is served, and allowed to follow it.
    fn check_successor(&self, manifest: &Manifest) -> Result<(), DocrootError> {
        let Some(live) = &self.live else {
            return Ok(());
        };
        if manifest.release <= live.release() {
            return Err(DocrootError::NotNewer {
                got: manifest.release,
                have: live.release(),
            });
        }
        Ok(manifest.check_replaces(live.manifest())?)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Whether the docroot is this feed's already; false when it is nobody's. A feed that never had a release here has
/// no claim: a mistyped fingerprint must not keep the right one out.
fn check_feed(folders: &Folders, feed: &FeedId) -> Result<bool, DocrootError> {
    /// 64 digits and a line end, with room for an editor's additions.
    const FEED_FILE_BYTES_MAX: usize = 256;
    let text = files::read_whole(&folders.state, layout::FEED, FEED_FILE_BYTES_MAX)
        .map_err(folders.fault("read", layout::FEED))?;
    let Some(text) = text else {
        return Ok(false);
    };
    let has: FeedId = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| DocrootError::State {
            path: folders.state_path(layout::FEED),
            what: "it names no feed".to_owned(),
        })?;
    if has != *feed {
        let live = files::link_target(&folders.state, layout::CURRENT)
            .map_err(folders.fault("read", layout::CURRENT))?;
        if live.is_none() {
            return Ok(false);
        }
        return Err(DocrootError::OtherFeed {
            path: folders.path.clone(),
            has,
            wanted: *feed,
        });
    }
    Ok(true)
}
