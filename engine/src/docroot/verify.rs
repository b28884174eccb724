//! The docroot against the signed manifest, byte by byte. Reads only, and needs no lock. SPEC §8.11.

use std::path::Path;
use std::sync::Arc;

use tidecast_proto::id::{FeedId, ObjectId, ReleaseNumber};

use super::build::mode_of;
use super::error::DocrootError;
use super::files::{self, FolderCache, Kind};
use super::layout::{self, Folders};
use super::links::{self, Standing};
use super::{check_feed, tree};

/// Faults that are listed; beyond that many, the list says nothing new.
const FAULTS_LISTED_MAX: usize = 1000;
/// A daemon may switch while we read; then we begin again. More often than this in a row it will not.
const ATTEMPTS_MAX: u32 = 3;

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes hashed.
    pub done_bytes: u64,
    /// Bytes of the release.
    pub total_bytes: u64,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// The release that is live.
    pub release: ReleaseNumber,
    /// Its manifest's name: compare it with the one this mirror accepted.
    pub manifest: ObjectId,
    /// Files checked.
    pub files: usize,
    /// Bytes hashed.
    pub bytes: u64,
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
/// [`DocrootError`]: missing, another feed's, nothing live yet; else of the disk.
pub fn verify_readonly(
    path: &Path,
    feed: &FeedId,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, DocrootError> {
    let nothing = || DocrootError::NothingLive {
        path: path.to_owned(),
    };
    let folders = Folders::open(path)?.ok_or_else(nothing)?;
    if !check_feed(&folders, feed)? {
        return Err(nothing());
    }
    verify_folders(&folders, progress)
}

fn verify_folders(
    folders: &Folders,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport, DocrootError> {
    let mut attempt = 1;
    loop {
        let before = tree::current_tree(folders)?;
        let result = verify_once(folders, before.flatten(), progress);
        let clean = result.as_ref().is_ok_and(VerifyReport::is_clean);
        if clean || attempt == ATTEMPTS_MAX || tree::current_tree(folders)? == before {
            return result;
        }
        attempt += 1;
    }
}

fn verify_once(
    folders: &Folders,
    release: Option<ReleaseNumber>,
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
    let mut report = VerifyReport {
        release,
        manifest: manifest.id(),
        files: 0,
        bytes: 0,
        faults: Vec::new(),
        fault_count: 0,
    };
    let total_bytes = manifest.total_bytes();
    let folder: Arc<_> = tree::open_tree(folders, release)?;
    let mut cache = FolderCache::reading(folder);
    let mut buffer = Vec::new();
    for file in &manifest.files {
        let path = file.path.as_str();
        let fault = |action| folders.fault(action, path);
        report.files += 1;
        match cache.look(path).map_err(fault("look at"))? {
            None => report.add(Fault::Missing(path.to_owned())),
            Some(found) if found.kind != Kind::File || found.record.size != file.size => {
                report.add(Fault::Content(path.to_owned()));
            }
            Some(found) => {
                let opened = cache.open(path).map_err(fault("open"))?;
                let hash = files::hash_file(&opened, &mut buffer).map_err(fault("read"))?;
                report.bytes += file.size;
                let (got, expected) = (found.mode & 0o777, mode_of(file));
                if hash != file.hash {
                    report.add(Fault::Content(path.to_owned()));
                } else if got != expected {
                    report.add(Fault::Mode {
                        path: path.to_owned(),
                        got,
                        expected,
                    });
                }
            }
        }
        progress(Progress {
            done_bytes: report.bytes,
            total_bytes,
        });
    }
    let names = layout::top_names(&manifest);
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
    Ok(report)
}
