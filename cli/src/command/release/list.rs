//! `tidecast release list`.

use std::fmt::Write as _;

use serde::Serialize;
use tidecast_engine::master::Feed;
use tidecast_engine::proposal::{Folder, Tally};
use tidecast_engine::store::Store;

use super::render::{self, Shown};
use super::sources;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::shell::Shell;
use crate::text;

/// Releases listed unless more is asked for with -v: a screenful.
const RELEASES_LISTED: usize = 20;

/// List stored releases and open proposals, with the signatures each has.
#[derive(Debug, clap::Args)]
pub(crate) struct List {}

#[derive(Debug, Serialize)]
struct Listed {
    releases: Vec<Shown>,
    proposals: Vec<Shown>,
}

impl List {
    pub(crate) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let feed = Feed::load(&shell.state)?;
        let store = Store::open(&feed.store_folder())?;
        let stored = store.releases();
        let all = shell.json || shell.verbose;
        let skipped = if all {
            0
        } else {
            stored.len().saturating_sub(RELEASES_LISTED)
        };
        let mut listed = Listed {
            releases: Vec::new(),
            proposals: Vec::new(),
        };
        for stored in stored.iter().skip(skipped) {
            let Some((signed, body)) = sources::release(&store, stored.release)? else {
                continue;
            };
            let needed = match body.anchor {
                Some(_) => feed.root.added_threshold,
                None => feed.root.release_threshold,
            };
            let tally = Tally {
                signers: signed.signed_by(&feed.root),
                needed: needed.into(),
                ignored: Vec::new(),
            };
            let shown = render::shown(&body, stored.manifest, Some(&tally), "released");
            listed.releases.push(shown);
        }
        for open in Folder::of(&store).all()? {
            let proposal = &open.proposal;
            let state = match proposal.check_open(&store) {
                Ok(()) => "open",
                Err(_) => "stale",
            };
            let tally = proposal.tally(&feed.root);
            let mut shown = render::shown(proposal.body(), proposal.id(), Some(&tally), state);
            shown.file = Some(open.path.display().to_string());
            listed.proposals.push(shown);
        }
        let text = text(&listed, skipped);
        shell.result(&listed, &text)?;
        Ok(Exit::Ok)
    }
}

fn text(listed: &Listed, skipped: usize) -> String {
    let mut out = String::new();
    if skipped > 0 {
        let _ = writeln!(out, "{skipped} older ones (-v lists all)");
    }
    for shown in &listed.releases {
        line("release", shown, &mut out);
    }
    for shown in &listed.proposals {
        let what = match shown.state {
            "stale" => "stale proposal for release",
            _ => "proposal for release",
        };
        line(what, shown, &mut out);
        if let Some(file) = &shown.file {
            let _ = writeln!(out, "    {file}");
        }
    }
    if out.is_empty() {
        out.push_str("no release and no proposal yet\n");
    }
    out
}

fn line(what: &str, shown: &Shown, out: &mut String) {
    let signers = shown.signers.as_ref().map_or(0, Vec::len);
    let adds = shown.anchor;
    let adds = adds.map_or(String::new(), |anchor| format!(", adds to {anchor}"));
    let _ = writeln!(
        out,
        "{what} {}  {}  {}, {}, {signers} of {} signatures{adds}",
        shown.release,
        shown.manifest.get(..16).unwrap_or_default(),
        text::plural(shown.files, "file"),
        text::bytes(shown.total_bytes),
        shown.needed.unwrap_or_default(),
    );
}
