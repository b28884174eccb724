//! Open proposals, in a folder of the store so that a collection leaves what they need. SPEC §7.7.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tidecast_proto::id::ReleaseNumber;

use super::{Proposal, ProposalError};
use crate::durable::{self, Access, FileError};
use crate::store::explain::{Explanation, FileOpening};
use crate::store::proposals::PROPOSALS;
use crate::store::{Store, StoreError, list};

pub(super) use crate::store::proposals::SUFFIX;

/// Where a store's proposals lie.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// A proposal in the folder.
#[derive(Debug, Clone)]
pub struct Open {
    /// Its file.
    pub path: PathBuf,
    /// What it is.
    pub proposal: Proposal,
}

/// Whether a file is called as a proposal is.
pub(super) fn is_name(name: &str) -> bool {
    let stem = name.strip_suffix(SUFFIX);
    let Some((release, digits)) = stem.and_then(|stem| stem.split_once('-')) else {
        return false;
    };
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    release.parse::<u64>().is_ok() && digits.len() == super::NAME_DIGITS && digits.bytes().all(hex)
}

impl Folder {
    /// That of `store`.
    #[must_use]
    pub fn of(store: &Store) -> Self {
        Self {
            path: store.folder().join(PROPOSALS),
        }
    }

    /// Every proposal that reads, by release and id.
    ///
    /// # Errors
    /// [`StoreError`] of the disk.
    pub fn all(&self) -> Result<Vec<Open>, StoreError> {
        let mut open = Vec::new();
        for (name, path) in list(&self.path)? {
            if is_name(&name)
                && let Ok(proposal) = Proposal::read(&path)
            {
                open.push(Open { path, proposal });
            }
        }
        open.sort_by_key(|open| (open.proposal.body().release, open.proposal.id()));
        Ok(open)
    }

    /// The one that `what` names: the first digits of its id, its file's name, or a release number if just one would be
    /// that release.
    ///
    /// # Errors
    /// [`ProposalError::NotThere`], [`ProposalError::Ambiguous`], or of the disk.
    pub fn find(&self, what: &str) -> Result<Open, ProposalError> {
        let number = what.parse().ok().map(ReleaseNumber);
        let mut found = self.all()?;
        found.retain(|open| {
            let proposal = &open.proposal;
            Some(proposal.body().release) == number
                || (!what.is_empty() && proposal.id().to_string().starts_with(what))
                || proposal.file_name() == what
        });
        let what = what.to_owned();
        match found.len() {
            0 => Err(ProposalError::NotThere { what }),
            1 => Ok(found.remove(0)),
            count => Err(ProposalError::Ambiguous { what, count }),
        }
    }

    /// The copy in this folder of a proposal that came back from somewhere.
    ///
    /// # Errors
    /// [`ProposalError::NotThere`], or of the disk.
    pub fn same(&self, proposal: &Proposal) -> Result<Open, ProposalError> {
        let path = self.path.join(proposal.file_name());
        let here = Proposal::read(&path)?;
        if here.id() != proposal.id() {
            return Err(ProposalError::OtherProposal {
                got: proposal.id(),
                expected: here.id(),
            });
        }
        Ok(Open {
            path,
            proposal: here,
        })
    }

    /// Whether the file at `path` is one of this folder's.
    #[must_use]
    pub fn holds(&self, path: &Path) -> bool {
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        folder.is_some() && folder == self.path.canonicalize().ok()
    }

    /// Puts a new one in, with what `tidecast explain` will tell of it.
    ///
    /// # Errors
    /// [`ProposalError::File`].
    pub(super) fn put(
        &self,
        proposal: &Proposal,
        openings: Vec<FileOpening>,
    ) -> Result<PathBuf, ProposalError> {
        std::fs::create_dir_all(&self.path).map_err(FileError::at("create", &self.path))?;
        let path = self.path.join(proposal.file_name());
        let explanation = Explanation {
            openings,
            roads: None,
        };
        // Numbers and strings always make JSON.
        let explained = serde_json::to_vec(&explanation).unwrap_or_default();
        durable::write(&explained_at(&path), &explained, Access::Everyone)?;
        proposal.write(&path)?;
        Ok(path)
    }

    /// Removes one that nobody will sign, or that has become a release.
    ///
    /// # Errors
    /// [`ProposalError::File`].
    pub fn remove(&self, open: &Open) -> Result<(), ProposalError> {
        let _turn = turn(&open.path)?;
        std::fs::remove_file(&open.path).map_err(FileError::at("remove", &open.path))?;
        // Nobody looks for it without the other.
        let _ = std::fs::remove_file(explained_at(&open.path));
        Ok(())
    }
}

/// Waits until nobody else changes files beside `path`; its turn ends when what it returns is dropped. Held for one
/// small file's writing.
pub(super) fn turn(path: &Path) -> Result<File, FileError> {
    let beside = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = File::open(beside).map_err(FileError::at("open", beside))?;
    flock(&folder, FlockOperation::LockExclusive).map_err(FileError::at("lock", beside))?;
    Ok(folder)
}

fn explained_at(path: &Path) -> PathBuf {
    path.with_extension("json")
}

impl Open {
    /// What became of the streams of its files; nothing where nobody remembers.
    pub(super) fn openings(&self) -> Vec<FileOpening> {
        let bytes = std::fs::read(explained_at(&self.path)).unwrap_or_default();
        let explained = serde_json::from_slice::<Explanation>(&bytes);
        explained
            .map(|explained| explained.openings)
            .unwrap_or_default()
    }
}
