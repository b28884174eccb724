//! Proposed releases that wait for signatures: what they need is in the store already and must stay. SPEC §7.7.

use std::path::Path;

use tidecast_proto::limits;
use tidecast_proto::manifest::{ManifestBody, SignedManifest};

use super::StoreError;
use super::snapshot::{self, Snapshot};
use crate::durable;

/// The folder in the store.
pub(crate) const PROPOSALS: &str = "proposals";
/// How their files' names end.
pub(crate) const SUFFIX: &str = ".manifest";
/// Most proposals that are open at once; sigmakers agree on one or a few.
pub(crate) const PROPOSALS_MAX: usize = 64;

/// What open proposals say: those that would follow the newest release. Others can never become one, and a file that does
/// not read is nobody's proposal.
pub(super) fn open(folder: &Path, snapshot: &Snapshot) -> Result<Vec<ManifestBody>, StoreError> {
    let newest = snapshot.newest().map(|newest| newest.manifest);
    let mut open = Vec::new();
    for (name, path) in snapshot::list(&folder.join(PROPOSALS))? {
        if !name.ends_with(SUFFIX) || open.len() == PROPOSALS_MAX {
            continue;
        }
        let Some(bytes) = durable::read_optional(&path, limits::MANIFEST_BYTES)? else {
            continue;
        };
        let signed = SignedManifest::from_bytes(&bytes).ok();
        let body = signed.and_then(|signed| signed.claims().ok());
        open.extend(body.filter(|body| body.previous == newest));
    }
    Ok(open)
}
