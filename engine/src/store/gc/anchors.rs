//! A release that others only add to stays as long as they do: mirrors need its manifest to accept them. SPEC §7.11.

use std::collections::BTreeSet;

use tidecast_proto::manifest::ManifestBody;

use super::retention::{Fate, KeptFor, Verdict};
use crate::store::StoreError;
use crate::store::snapshot::Snapshot;

/// Keeps those releases that kept ones and open proposals add to. An anchor has none itself, so once is enough.
pub(super) fn keep(
    snapshot: &Snapshot,
    proposals: &[ManifestBody],
    verdicts: &mut [Verdict],
) -> Result<(), StoreError> {
    let mut anchors = BTreeSet::new();
    anchors.extend(proposals.iter().filter_map(|proposal| proposal.anchor));
    for kept in verdicts.iter().filter(|verdict| !verdict.is_expired()) {
        if let Some(file) = snapshot.release(kept.release) {
            anchors.extend(file.anchor()?);
        }
    }
    for anchor in anchors {
        let stored = snapshot.release(anchor.release);
        let is_it = stored.is_some_and(|file| file.manifest_id() == anchor.manifest);
        let verdict = verdicts
            .iter_mut()
            .find(|verdict| verdict.release == anchor.release && verdict.is_expired());
        if let Some(verdict) = verdict.filter(|_| is_it) {
            verdict.fate = Fate::Kept {
                why: KeptFor::Anchor,
                whole: false,
            };
        }
    }
    Ok(())
}
