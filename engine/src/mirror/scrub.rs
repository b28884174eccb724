//! The scrub: everything that is served is read again and again, slowly, to find what rots while nobody looks.
//! SPEC §8.11.
//!
//! A pass has its whole period to go over every byte. Each file is due when its share of the period is over and is then
//! read in one go at a modest rate: bytes that trickle would keep a file of 100 MB under way for days, and a restart
//! would begin it again. So what has to be remembered is one path.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidecast_proto::codec::{self, CodecError};
use tidecast_proto::id::Timestamp;
use tidecast_proto::name::ReleasePath;
use tokio::time::Instant;

use super::events::Wish;
use super::status::ScrubStatus;
use super::{Mirror, SyncError};
use crate::config::MirrorConfig;
use crate::docroot::DocrootError;
use crate::docroot::pace::Pace;
use crate::docroot::rot::{self, Candidate};
use crate::durable::{self, Access};

/// Where a mirror remembers how far its scrub is. SPEC §8.1.
const SCRUB: &str = "scrub";
/// First byte of the format.
const VERSION: u8 = 1;
/// Damaged files that are followed until they are healed; beyond, they are healed and not counted.
const WAITING_MAX: usize = 1000;
/// Longest record: 1,000 paths and what goes with them.
const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// How fast a file is read when it is due, in bytes a second: a hundredth of what a disk of today gives, ...
const FILE_BYTES_PER_S: u64 = 4 * 1024 * 1024;
/// ... or as much faster than the pass on average as this, where that is more.
const FILE_SPEEDUP: u64 = 2;
/// How often a scrub that has nothing to do looks whether the release, or the clock, has changed.
const LOOK: Duration = Duration::from_secs(60);
/// Least time between two notes of how far it is: a restart reads the files of so long again.
const NOTE: Duration = Duration::from_secs(60);

/// What is remembered between two runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Record {
    /// The last file that was read; empty at the beginning of a pass.
    read_to: String,
    /// When the pass began.
    pass_started: Option<Timestamp>,
    /// When the last pass ended.
    last_pass: Option<Timestamp>,
    found: u64,
    healed: u64,
    /// Files that were found damaged and are not right again yet.
    waiting: Vec<String>,
}

/// On disk, in the canonical encoding of SPEC §1.
type Encoded = (
    u8,
    String,
    Option<Timestamp>,
    Option<Timestamp>,
    u64,
    u64,
    Vec<String>,
);

impl Record {
    fn encode(&self) -> Vec<u8> {
        let encoded: Encoded = (
            VERSION,
            self.read_to.clone(),
            self.pass_started,
            self.last_pass,
            self.found,
            self.healed,
            self.waiting.clone(),
        );
        codec::encode(&encoded)
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (version, read_to, pass_started, last_pass, found, healed, waiting): Encoded =
            codec::decode_exact("scrub", bytes, RECORD_BYTES_MAX)?;
        if version != VERSION {
            return Err(CodecError::BadField {
                field: "scrub.version",
                why: "written by another version of tidecast",
            });
        }
        Ok(Self {
            read_to,
            pass_started,
            last_pass,
            found,
            healed,
            waiting,
        })
    }

    /// Takes in files that were found damaged. Returns how many were not known to be.
    fn found(&mut self, paths: &[ReleasePath]) -> u64 {
        let mut new = 0;
        for path in paths {
            if self.waiting.iter().any(|waiting| waiting == path.as_str()) {
                continue;
            }
            new += 1;
            if self.waiting.len() < WAITING_MAX {
                self.waiting.push(path.to_string());
            } else {
                // Nobody will see it become right.
                self.healed += 1;
            }
        }
        self.found += new;
        new
    }

    /// Keeps of the waiting those that are `still` damaged. Returns how many are right again.
    fn keep_waiting(&mut self, still: &[String]) -> u64 {
        let before = self.waiting.len();
        self.waiting.retain(|path| still.contains(path));
        let healed = (before - self.waiting.len()) as u64;
        self.healed += healed;
        healed
    }
}

/// How far the scrub is, in memory and on disk.
#[derive(Debug)]
pub(super) struct Scrub {
    path: PathBuf,
    every_s: u64,
    record: Mutex<Record>,
    noted: Mutex<Option<Instant>>,
}

impl Scrub {
    /// What lies in the state folder. Nothing, and what cannot be read, is a scrub that begins.
    pub(super) fn open(state: &Path, config: &MirrorConfig) -> Self {
        let path = state.join(SCRUB);
        let bytes = durable::read_optional(&path, RECORD_BYTES_MAX).unwrap_or_else(|error| {
            tracing::warn!(%error, "the scrub begins anew");
            None
        });
        let record = bytes.map(|bytes| Record::decode(&bytes));
        let record = record.transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "the scrub begins anew");
            None
        });
        Self {
            path,
            every_s: config.scrub_s,
            record: Mutex::new(record.unwrap_or_default()),
            noted: Mutex::default(),
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> ScrubStatus {
        let record = self.record();
        ScrubStatus {
            every_s: self.every_s,
            pass_started_ms: record.pass_started.map(|at| at.0),
            read_to: record.read_to.clone(),
            last_pass_ms: record.last_pass.map(|at| at.0),
            found: record.found,
            healed: record.healed,
            waiting: record.waiting.len() as u64,
        }
    }

    /// Brings what is remembered to the disk; where it does not matter `now`, only once in a while.
    fn note(&self, now: bool) {
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if !now && noted.is_some_and(|at| at.elapsed() < NOTE) {
                return;
            }
            *noted = Some(Instant::now());
        }
        let bytes = self.record().encode();
        if let Err(error) = durable::write(&self.path, &bytes, Access::OwnerOnly) {
            // It costs reading some files again.
            tracing::warn!(%error, "how far the scrub is could not be noted");
        }
    }
}

/// A file to be read.
#[derive(Debug, PartialEq, Eq)]
struct Next {
    path: ReleasePath,
    due: Timestamp,
    bytes_per_s: NonZeroU64,
}

/// The file after `record`'s last one, and when it is due; `None` at the end of the pass.
fn next(
    files: &[tidecast_proto::manifest::File],
    record: &Record,
    started: Timestamp,
    every_s: u64,
) -> Option<Next> {
    let at = files.partition_point(|file| file.path.as_str() <= record.read_to.as_str());
    let bytes = |files: &[tidecast_proto::manifest::File]| {
        files.iter().map(|file| u128::from(file.size)).sum::<u128>()
    };
    let total = bytes(files).max(1);
    let through = bytes(files.get(..=at)?);
    let share = u128::from(every_s) * 1000 * through / total;
    let average = total / u128::from(every_s.max(1));
    let average = u64::try_from(average).unwrap_or(u64::MAX);
    let bytes_per_s = FILE_BYTES_PER_S.max(average.saturating_mul(FILE_SPEEDUP));
    Some(Next {
        path: files[at].path.clone(),
        due: Timestamp(
            started
                .0
                .saturating_add(u64::try_from(share).unwrap_or(u64::MAX)),
        ),
        bytes_per_s: NonZeroU64::new(bytes_per_s)?,
    })
}

impl Mirror {
    /// Reads what is live file by file, for as long as it is polled. What is found damaged is healed by the next sync,
    /// which is asked for at once.
    pub(super) async fn scrub(self: Arc<Self>) {
        if self.scrub.every_s == 0 {
            return;
        }
        loop {
            let pause = match self.scrub_on().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "the scrub cannot go on; it tries again");
                    LOOK
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Reads the next file if it is due. Returns how long to wait for the one after it.
    async fn scrub_on(&self) -> Result<Duration, SyncError> {
        let Some(live) = self.work().live().await? else {
            return Ok(LOOK);
        };
        let now = self.clock.now();
        let next = {
            let mut record = self.scrub.record();
            // A clock that was set back must not keep everything waiting.
            let started = record.pass_started.filter(|started| *started <= now);
            record.pass_started = Some(started.unwrap_or(now));
            next(
                &live.files,
                &record,
                started.unwrap_or(now),
                self.scrub.every_s,
            )
        };
        let Some(next) = next else {
            if live.files.is_empty() {
                return Ok(LOOK);
            }
            let mut record = self.scrub.record();
            record.read_to.clear();
            record.pass_started = Some(now);
            record.last_pass = Some(now);
            drop(record);
            tracing::info!(release = %live.release, "scrub: every file has been read");
            self.scrub.note(true);
            return Ok(Duration::ZERO);
        };
        if let wait @ 1.. = next.due.0.saturating_sub(now.0) {
            self.scrub.note(false);
            return Ok(Duration::from_millis(wait).min(LOOK));
        }
        self.scrub_file(&next).await?;
        self.scrub.note(false);
        Ok(Duration::ZERO)
    }

    async fn scrub_file(&self, next: &Next) -> Result<(), SyncError> {
        let path = next.path.clone();
        let candidate = self
            .disk
            .run(move |disk| disk.docroot.candidate(&path))
            .await??;
        let Some(candidate) = candidate else {
            // Gone with its release meanwhile; the next look finds the one behind it.
            return Ok(());
        };
        let Candidate { path, hash, fresh } = candidate;
        let inode = fresh.as_ref().map(rot::Fresh::inode);
        let sound = match fresh {
            None => false,
            Some(fresh) => self.read_through(&path, fresh, next.bytes_per_s).await? == Some(hash),
        };
        if !sound {
            let (same, of) = (path.clone(), hash);
            let still = self
                .disk
                .run(move |disk| disk.docroot.is_still(&same, &of, inode))
                .await?;
            if !still {
                // Replaced while it was read: what stands there now is read in its turn.
                return Ok(());
            }
            tracing::warn!(%path, "scrub: the disk does not hold what was signed; it is healed");
            self.doubt(vec![path.clone()]).await?;
            self.want_healing().await;
        }
        self.scrub.record().read_to = path.to_string();
        Ok(())
    }

    /// The hash of the file at `path`, read piece by piece while nothing else is done with the docroot; `None` when it cannot be
    /// read back.
    async fn read_through(
        &self,
        path: &ReleasePath,
        mut fresh: rot::Fresh,
        bytes_per_s: NonZeroU64,
    ) -> Result<Option<tidecast_proto::id::FileHash>, SyncError> {
        let mut pace = Pace::new(bytes_per_s);
        let piece = pace.piece();
        let begun = Instant::now();
        let mut buffer = Vec::new();
        loop {
            // A sync, once it waits, is next: it holds this from its beginning to its end.
            let turn = self.turn.lock().await;
            let (back, read);
            (fresh, back, read) = self
                .disk
                .run(move |_| {
                    let read = fresh.step(&mut buffer, piece);
                    (fresh, buffer, read)
                })
                .await?;
            drop(turn);
            buffer = back;
            match read {
                Ok(0) => return Ok(Some(fresh.hash())),
                Ok(count) => {
                    self.counters.scrubbed(count as u64);
                    tokio::time::sleep(pace.after(count as u64, begun.elapsed())).await;
                }
                Err(error) if rot::is_lost(&error) => return Ok(None),
                Err(error) => {
                    return Err(DocrootError::Io {
                        action: "read",
                        path: self.config.docroot.join(path.as_str()),
                        source: error,
                    }
                    .into());
                }
            }
        }
    }

    /// Has files of the live release read again before they are believed: the next thorough sync heals those that are
    /// not as signed. Returns how many of them the live release has.
    ///
    /// # Errors
    /// [`SyncError`] of the docroot.
    pub async fn doubt(&self, paths: Vec<ReleasePath>) -> Result<usize, SyncError> {
        let doubted = self
            .disk
            .run(move |disk| disk.docroot.doubt(&paths))
            .await??;
        let new = self.scrub.record().found(&doubted);
        self.counters.damaged_files("found", new);
        self.scrub.note(true);
        Ok(doubted.len())
    }

    /// Counts those of the doubted files that are right again.
    pub(super) async fn look_at_doubted(&self) {
        let waiting = self.scrub.record().waiting.clone();
        if waiting.is_empty() {
            return;
        }
        let still = self
            .disk
            .run(move |disk| {
                let doubted = |path: &String| {
                    ReleasePath::new(path.as_str()).is_ok_and(|path| disk.docroot.is_doubted(&path))
                };
                waiting.into_iter().filter(doubted).collect::<Vec<_>>()
            })
            .await;
        let Ok(still) = still else {
            return;
        };
        let healed = self.scrub.record().keep_waiting(&still);
        if healed > 0 {
            tracing::info!(files = healed, waiting = still.len(), "healed");
            self.counters.damaged_files("healed", healed);
            self.scrub.note(true);
        }
    }

    /// Asks the running loop for a thorough sync.
    async fn want_healing(&self) {
        // Not asked while the daemon shuts down; the next start finds the doubt in the index.
        self.wish(Wish::Look).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::id::FileHash;
    use tidecast_proto::manifest::File;

    fn file(name: &str, size: u64) -> File {
        File {
            path: ReleasePath::new(name).unwrap(),
            size,
            executable: false,
            mtime_s: 0,
            hash: FileHash::of(b""),
            list: None,
            recipe: None,
            database: None,
        }
    }

    #[test]
    fn each_file_is_due_when_its_share_of_the_period_is_over_and_the_end_is_the_period() {
        let files = [file("a", 100), file("b", 300), file("c", 600)];
        let started = Timestamp(1_000_000);
        let mut record = Record::default();
        let mut due = Vec::new();
        while let Some(next) = next(&files, &record, started, 1000) {
            assert_eq!(next.bytes_per_s.get(), FILE_BYTES_PER_S);
            due.push((next.path.to_string(), next.due.0 - started.0));
            record.read_to = next.path.to_string();
        }
        let expected = [("a", 100_000), ("b", 400_000), ("c", 1_000_000)];
        assert_eq!(due, expected.map(|(name, ms)| (name.to_owned(), ms)));
        // A file that went with its release is passed over, and so is one that came before the place.
        record.read_to = "aa".into();
        assert_eq!(
            next(&files, &record, started, 1000).unwrap().path.as_str(),
            "b"
        );
    }

    #[test]
    fn a_short_period_is_kept_by_reading_faster() {
        let files = [file("a", 1_000_000_000)];
        let next = next(&files, &Record::default(), Timestamp(0), 10).unwrap();
        assert_eq!(next.bytes_per_s.get(), 200_000_000);
    }

    #[test]
    fn a_damaged_file_counts_once_however_often_it_is_found_and_again_after_it_was_healed() {
        let path = |name: &str| ReleasePath::new(name).unwrap();
        let mut record = Record::default();
        assert_eq!(record.found(&[path("a"), path("b")]), 2);
        assert_eq!(record.found(&[path("a")]), 0);
        assert_eq!(record.keep_waiting(&["b".into()]), 1);
        assert_eq!(record.found(&[path("a")]), 1);
        assert_eq!(
            (record.found, record.healed, record.waiting.len()),
            (3, 1, 2)
        );
        let many: Vec<_> = (0..2 * WAITING_MAX)
            .map(|n| path(&format!("f{n}")))
            .collect();
        record.found(&many);
        assert_eq!(record.waiting.len(), WAITING_MAX);
        assert!(record.encode().len() <= RECORD_BYTES_MAX);
    }

    #[test]
    fn the_record_reads_back_and_another_version_begins_anew() {
        let record = Record {
            read_to: "dir/b".into(),
            pass_started: Some(Timestamp(5)),
            last_pass: None,
            found: 2,
            healed: 1,
            waiting: vec!["a".into()],
        };
        let mut bytes = record.encode();
        assert_eq!(Record::decode(&bytes).unwrap(), record);
        bytes[0] = 2;
        assert!(Record::decode(&bytes).is_err());
    }
}
