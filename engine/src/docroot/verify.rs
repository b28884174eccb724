//! The docroot against the signed manifest, byte by byte. Reads only, and needs no lock. SPEC §8.11.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidecast_proto::id::{FeedId, FileHash, ObjectId, ReleaseNumber};
use tidecast_proto::list::List;
use tidecast_proto::manifest;
use tidecast_proto::name::ReleasePath;

use super::build::mode_of;
use super::error::DocrootError;
use super::files::{FolderCache, Kind};
use super::layout::{self, Folders};
use super::links::{self, Standing};
use super::pace::{self, Pace};
use super::rot::{self, Damage, Fresh};
use super::sample::Extent;
use super::{check_feed, reuse, tree};

/// Faults that are listed; beyond that many, the list says nothing new.
const FAULTS_LISTED_MAX: usize = 1000;
/// A daemon may switch while we read; then we begin again. More often than this in a row it will not.
const ATTEMPTS_MAX: u32 = 3;

/// What a verification does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Which files it reads. Names and links are always checked.
    pub extent: Extent,
    /// Most bytes it reads in a second; as fast as it can without.
    pub bytes_per_s: Option<NonZeroU64>,
}

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes hashed.
    pub done_bytes: u64,
    /// Bytes to hash.
    pub total_bytes: u64,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// The release that is live.
    pub release: ReleaseNumber,
    /// Its manifest's name: compare it with the one this mirror accepted.
    pub manifest: ObjectId,
    /// Files of the release.
    pub release_files: usize,
    /// Files checked.
    pub files: usize,
    /// Bytes hashed.
    pub bytes: u64,
    /// The files that were checked, in that order.
    pub read: Vec<ReleasePath>,
    /// Files that hold other bytes than were signed, or cannot be read, and what is wrong in each; all of them.
    pub damaged: Vec<Damage>,
    /// What is wrong; at most 1,000.
    pub faults: Vec<Fault>,
    /// How many faults there are.
    pub fault_count: usize,
}

impl VerifyReport {
    /// Whether the docroot is exactly what was signed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.fault_count == 0
    }

    /// Chunks that are damaged; files whose chunks are not known count as one.
    #[must_use]
    pub fn bad_chunks(&self) -> u64 {
        let chunks = |file: &Damage| file.bad_chunks.unwrap_or(1);
        self.damaged.iter().map(chunks).sum()
    }

    /// Bytes of damaged chunks.
    #[must_use]
    pub fn bad_bytes(&self) -> u64 {
        self.damaged.iter().map(|file| file.bad_bytes).sum()
    }

    fn add(&mut self, fault: Fault) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_LISTED_MAX {
            self.faults.push(fault);
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// In the manifest, not in the tree.
    #[error("{0} is missing")]
    Missing(String),
    /// Other bytes than were signed.
    #[error("{0} holds other bytes than were signed")]
    Content(String),
    /// The disk does not give back what is in it.
    #[error("{0} cannot be read from the disk")]
    Unreadable(String),
    /// Not readable for the web server, or executable when it should not be.
    #[error("{path} has mode {got:o}, should have {expected:o}")]
    Mode {
        /// The file.
        path: String,
        /// Its permission bits.
        got: u32,
        /// What they should be.
        expected: u32,
    },
    /// The name in the docroot is missing or leads elsewhere.
    #[error("{0} in the docroot does not lead to the release")]
    Name(String),
    /// Neither the operator's nor of the release.
    #[error("{0} in the docroot is not of the release")]
    Foreign(String),
}

/// Checks every byte that is served against the signed manifest, while another process may be at work on the docroot.
///
/// # Errors
/// As [`verify`].
pub fn verify_readonly(
    path: &Path,
    feed: &FeedId,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, DocrootError> {
    verify(path, feed, &Verification::default(), progress)
}

/// Checks what is served against the signed manifest, while another process may be at work on the docroot. Files are
/// read from the disk, not from memory, where the system allows (SPEC §8.11).
///
/// # Errors
/// [`DocrootError`]: missing, another feed's, nothing live yet; else of the disk.
pub fn verify(
    path: &Path,
    feed: &FeedId,
    verification: &Verification,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, DocrootError> {
    let nothing = || DocrootError::NothingLive {
        path: path.to_owned(),
    };
    let folders = Folders::open(path)?.ok_or_else(nothing)?;
    if !check_feed(&folders, feed)? {
        return Err(nothing());
    }
    let mut reader = Reader::new(verification.bytes_per_s);
    let mut attempt = 1;
    loop {
        let before = tree::current_tree(&folders)?;
        let extent = &verification.extent;
        let result = verify_once(&folders, before.flatten(), extent, &mut reader, progress);
        let clean = result.as_ref().is_ok_and(VerifyReport::is_clean);
        if clean || attempt == ATTEMPTS_MAX || tree::current_tree(&folders)? == before {
            return result;
        }
        attempt += 1;
    }
}

/// Reads files no faster than it may.
struct Reader {
    pace: Option<Pace>,
    piece: usize,
    buffer: Vec<u8>,
    begun: Instant,
}

impl Reader {
    fn new(bytes_per_s: Option<NonZeroU64>) -> Self {
        let pace = bytes_per_s.map(Pace::new);
        Self {
            piece: pace.map_or_else(pace::unpaced_piece, Pace::piece),
            pace,
            buffer: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// Waits until `bytes` that were read are paid for.
    fn pay(&mut self, bytes: u64) {
        if let Some(pace) = &mut self.pace {
            let wait = pace.after(bytes, self.begun.elapsed());
            if wait > Duration::ZERO {
                std::thread::sleep(wait);
            }
        }
    }

    /// The file's hash; `None` when it cannot be read back. `read` is told of each piece.
    fn hash(&mut self, file: File, read: &mut dyn FnMut(u64)) -> std::io::Result<Option<FileHash>> {
        let mut fresh = Fresh::new(file)?;
        loop {
            match fresh.step(&mut self.buffer, self.piece) {
                Ok(0) => return Ok(Some(fresh.hash())),
                Ok(count) => {
                    read(count as u64);
                    self.pay(count as u64);
                }
                Err(error) if rot::is_lost(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

fn verify_once(
    folders: &Folders,
    release: Option<ReleaseNumber>,
    extent: &Extent,
    reader: &mut Reader,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, DocrootError> {
    let nothing = || DocrootError::NothingLive {
        path: folders.path.clone(),
    };
    let release = release.ok_or_else(nothing)?;
    let kept = tree::read_kept(folders, release)?.ok_or_else(|| DocrootError::State {
        path: folders.state_path(&layout::manifest_name(release)),
        what: "it is missing or not the manifest that was installed".to_owned(),
    })?;
    let manifest = kept.manifest;
    let chosen = extent.choose(&manifest.files);
    let sizes = chosen.iter().map(|at| manifest.files[*at].size);
    let mut at = Progress {
        done_bytes: 0,
        total_bytes: sizes.sum(),
    };
    let mut report = VerifyReport {
        release,
        manifest: manifest.id(),
        release_files: manifest.files.len(),
        files: chosen.len(),
        bytes: 0,
        read: Vec::new(),
        damaged: Vec::new(),
        faults: Vec::new(),
        fault_count: 0,
    };
    let folder: Arc<_> = tree::open_tree(folders, release)?;
    let mut cache = FolderCache::reading(folder);
    for number in chosen {
        let file = &manifest.files[number];
        let before = at;
        let mut read = |bytes| {
            at.done_bytes += bytes;
            progress(at);
        };
        check_file(folders, &mut cache, file, reader, &mut read, &mut report)?;
        // A file that is missing, longer or shorter than signed must not put the end elsewhere.
        at.done_bytes = before.done_bytes + file.size;
        progress(at);
        report.read.push(file.path.clone());
    }
    check_names(folders, &manifest, &mut report)?;
    Ok(report)
}

fn check_file(
    folders: &Folders,
    cache: &mut FolderCache,
    file: &manifest::File,
    reader: &mut Reader,
    read: &mut dyn FnMut(u64),
    report: &mut VerifyReport,
) -> Result<(), DocrootError> {
    let path = file.path.as_str();
    let fault = |action| folders.fault(action, path);
    // A file that is healed while it is read is another one by now: it deserves a second look.
    for last in [false, true] {
        let Some(found) = cache.look(path).map_err(fault("look at"))? else {
            report.add(Fault::Missing(path.to_owned()));
            return Ok(());
        };
        let mut opened = None;
        let mut unreadable = false;
        if found.kind == Kind::File {
            let file = cache.open(path).map_err(fault("open"))?;
            opened = Some(file);
        }
        if let Some(opened) = &opened
            && found.record.size == file.size
        {
            let twin = opened.try_clone().map_err(fault("open"))?;
            let hash = reader.hash(twin, read).map_err(fault("read"))?;
            report.bytes += file.size;
            unreadable = hash.is_none();
            if hash == Some(file.hash) {
                let (got, expected) = (found.mode & 0o777, mode_of(file));
                if got != expected {
                    report.add(Fault::Mode {
                        path: path.to_owned(),
                        got,
                        expected,
                    });
                }
                return Ok(());
            }
        }
        let now = cache.look(path).map_err(fault("look at"))?;
        if !last && now.is_none_or(|now| now.record.inode != found.record.inode) {
            continue;
        }
        let list = known_list(folders, file)?;
        let damage = rot::examine(opened.as_ref(), file, list.as_ref());
        reader.pay(file.size);
        report.damaged.push(damage);
        report.add(if unreadable {
            Fault::Unreadable(path.to_owned())
        } else {
            Fault::Content(path.to_owned())
        });
        return Ok(());
    }
    Ok(())
}

fn known_list(folders: &Folders, file: &manifest::File) -> Result<Option<List>, DocrootError> {
    match file.list {
        Some(id) => reuse::stored_list(folders, &id, file.size),
        None => Ok(List::of_small_file(file.hash, file.size)),
    }
}

fn check_names(
    folders: &Folders,
    manifest: &manifest::Manifest,
    report: &mut VerifyReport,
) -> Result<(), DocrootError> {
    let names = layout::top_names(manifest);
    let standing = links::standing(folders)?;
    for name in &names {
        let target = layout::settled_target(name);
        if standing.get(std::ffi::OsStr::new(name)) != Some(&Standing::Ours(target)) {
            report.add(Fault::Name((*name).to_owned()));
        }
    }
    for name in standing.keys() {
        if name
            .to_str()
            .is_none_or(|name| names.binary_search(&name).is_err())
        {
            report.add(Fault::Foreign(name.to_string_lossy().into_owned()));
        }
    }
    Ok(())
}
