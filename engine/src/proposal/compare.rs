//! A signer's own copy of the contents against what is to be signed: whoever signs what he has not seen signs for others.

use std::path::Path;

use rustix::fs::fadvise;
use tidecast_proto::manifest::{File, ManifestBody};
use tidecast_proto::name::ReleasePath;

use crate::durable::FileError;
use crate::publish::PublishError;
use crate::publish::tree::Tree;

/// Bytes read at once.
const PIECE_BYTES: usize = 1 << 20;

/// A file that is not as the proposal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub path: ReleasePath,
    /// In what.
    pub kind: DifferenceKind,
}

/// How a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DifferenceKind {
    /// The proposal has it, the copy has not.
    #[error("is not in your copy")]
    Missing,
    /// The copy has it, the proposal has not.
    #[error("is only in your copy")]
    Extra,
    /// Another length.
    #[error("has {here} bytes in your copy, {proposed} in the proposal")]
    Size {
        /// In the copy.
        here: u64,
        /// In the proposal.
        proposed: u64,
    },
    /// Another content.
    #[error("has another content")]
    Content,
    /// May be run in one of them only.
    #[error("is executable in one of them only")]
    Mode,
}

/// Hashes every file below `tree`. Nothing comes back when it is just what `body` says. `read` hears of each file's bytes.
///
/// # Errors
/// [`PublishError`] when the tree cannot be read, or holds what no release can.
pub fn compare(
    body: &ManifestBody,
    tree: &Path,
    read: &mut dyn FnMut(&ReleasePath, u64),
) -> Result<Vec<Difference>, PublishError> {
    let tree = Tree::open(tree)?;
    let found = tree.walk()?;
    let mut differences = Vec::new();
    let mut tell = |path: &ReleasePath, kind| {
        differences.push(Difference {
            path: path.clone(),
            kind,
        });
    };
    for file in &body.files {
        let at = found.binary_search_by(|found| found.path.cmp(&file.path));
        let Ok(at) = at else {
            tell(&file.path, DifferenceKind::Missing);
            continue;
        };
        let here = &found[at];
        if here.stamp.size != file.size {
            let kind = DifferenceKind::Size {
                here: here.stamp.size,
                proposed: file.size,
            };
            tell(&file.path, kind);
        } else if !holds(&tree, file)? {
            tell(&file.path, DifferenceKind::Content);
        } else if here.executable != file.executable {
            tell(&file.path, DifferenceKind::Mode);
        }
        read(&file.path, file.size);
    }
    for here in &found {
        if body.file(here.path.as_str()).is_none() {
            tell(&here.path, DifferenceKind::Extra);
        }
    }
    Ok(differences)
}

fn holds(tree: &Tree, file: &File) -> Result<bool, PublishError> {
    use std::io::Read as _;
    let mut content = tree.open_file(&file.path)?;
    // Only makes it faster.
    let _ = fadvise(&content, 0, None, rustix::fs::Advice::Sequential);
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = file.size;
    loop {
        let got = content
            .read(&mut piece)
            .map_err(FileError::at("read", &tree.path_of(&file.path)))?;
        // One that grows meanwhile is not read for ever.
        left = match left.checked_sub(got as u64) {
            Some(left) => left,
            None => return Ok(false),
        };
        if got == 0 {
            return Ok(*hasher.finalize().as_bytes() == file.hash.0);
        }
        hasher.update(&piece[..got]);
    }
}
