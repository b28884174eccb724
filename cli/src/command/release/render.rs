//! Proposals and releases as people and programs read them. SPEC §10.4.

use std::fmt::Write as _;

use serde::Serialize;
use tidecast_engine::proposal::Tally;
use tidecast_engine::publish::Change;
use tidecast_proto::id::ObjectId;
use tidecast_proto::manifest::{Flags, ManifestBody};
use tidecast_proto::root::Root;

use crate::command::publish::{CHANGES_LISTED, ChangeLine, change_line, change_text};
use crate::shell::Shell;
use crate::text;

/// A manifest as JSON shows it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) release: u64,
    pub(super) manifest: String,
    /// `open`, `stale`, `released`, or `unknown` where no store tells.
    pub(super) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    pub(super) created_ms: u64,
    pub(super) previous: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) anchor: Option<u64>,
    pub(super) files: u64,
    pub(super) total_bytes: u64,
    pub(super) notes: String,
    pub(super) allow_shrink: bool,
    pub(super) allow_database_rollback: bool,
    pub(super) signers: Option<Vec<String>>,
    pub(super) needed: Option<u64>,
}

/// What a manifest says, and who signed it.
pub(super) fn shown(
    body: &ManifestBody,
    id: ObjectId,
    tally: Option<&Tally>,
    state: &'static str,
) -> Shown {
    Shown {
        release: body.release.0,
        manifest: id.to_string(),
        state,
        file: None,
        created_ms: body.created.0,
        previous: body.previous.map(|id| id.to_string()),
        anchor: body.anchor.map(|anchor| anchor.release.0),
        files: body.files.len() as u64,
        total_bytes: body.total_bytes(),
        notes: body.notes.clone(),
        allow_shrink: body.flags.allow_shrink,
        allow_database_rollback: body.flags.allow_database_rollback,
        signers: tally.map(|tally| tally.signers.iter().map(ToString::to_string).collect()),
        needed: tally.map(|tally| tally.needed as u64),
    }
}

/// A manifest and what it does.
#[derive(Debug, Serialize)]
pub(super) struct Compared<'a> {
    #[serde(flatten)]
    pub(super) shown: Shown,
    /// Absent where the release before is not at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) changes: Option<Vec<ChangeLine<'a>>>,
}

impl<'a> Compared<'a> {
    pub(super) fn new(shown: Shown, changes: Option<&'a [Change]>) -> Self {
        Self {
            shown,
            changes: changes.map(|changes| changes.iter().map(change_line).collect()),
        }
    }
}

/// The changes of a release, the first of them unless more is asked for.
pub(super) fn changes(changes: &[Change], shell: &Shell<'_>, out: &mut String) {
    let listed = if shell.verbose {
        changes.len()
    } else {
        CHANGES_LISTED
    };
    for change in changes.iter().take(listed) {
        out.push_str(&change_text(change));
    }
    if let more @ 1.. = changes.len().saturating_sub(listed) {
        let more = text::plural(more as u64, "more change");
        let _ = writeln!(out, "  and {more} (-v lists all)");
    }
}

/// What is unusual about a release, and its notes.
pub(super) fn terms(body: &ManifestBody, out: &mut String) {
    let Flags {
        allow_shrink,
        allow_database_rollback,
    } = body.flags;
    if allow_shrink {
        out.push_str("ALLOWS: more than half of the files may go\n");
    }
    if allow_database_rollback {
        out.push_str("ALLOWS: databases go back to older versions\n");
    }
    if let Some(anchor) = body.anchor {
        let _ = writeln!(
            out,
            "only adds databases that ClamAV signed to release {}",
            anchor.release
        );
    }
    if body.notes.is_empty() {
        return;
    }
    out.push_str("notes:\n");
    for line in body.notes.lines() {
        let _ = writeln!(out, "  {}", text::plain(line));
    }
}

/// Why `body` takes the whole threshold of `root`, where fewer signatures suffice for additions to `before`.
pub(super) fn not_an_addition(
    body: &ManifestBody,
    before: Option<&ManifestBody>,
    root: &Root,
) -> Option<String> {
    if body.anchor.is_some() || root.added_threshold >= root.release_threshold {
        return None;
    }
    let why = body.additions_to(before?).err()?;
    Some(why.to_string())
}

/// The same in a line.
pub(super) fn more_than_an_addition(why: Option<&str>, out: &mut String) {
    if let Some(why) = why {
        let _ = writeln!(out, "it is more than an addition: {why}");
    }
}

/// Who signed, and how many are lacking.
pub(super) fn tally(tally: &Tally, out: &mut String) {
    let (have, needed) = (tally.signers.len(), tally.needed);
    let _ = writeln!(out, "{have} of {needed} needed signatures");
    for key in &tally.signers {
        let _ = writeln!(out, "  signed by {key}");
    }
    for key in &tally.ignored {
        let _ = writeln!(
            out,
            "  WARNING: a signature in the name of {key} does not count: no release key, or not of this text"
        );
    }
}
