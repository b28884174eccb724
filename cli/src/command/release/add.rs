//! `tidecast release add`, and what every command does that completes a proposal.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use tidecast_engine::clock::{Clock as _, SystemClock};
use tidecast_engine::master::Feed;
use tidecast_engine::proposal::{self, Folder, Proposal};
use tidecast_engine::store::{Store, StoreWriter};

use super::render;
use crate::command::publish::{Announced, announce};
use crate::command::unused_number;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::Shell;

/// Take over the signatures of a copy that came back, and announce the release when enough have signed.
///
/// Exit status: 0 taken over, 1 the proposal is stale or was released, 65 the file is no proposal or was changed, 66
/// there is no such proposal here.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// The file that came back.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// What became of a proposal that enough have signed.
#[derive(Debug, Default, Serialize)]
pub(super) struct Announcement {
    /// Whether it is a release now.
    pub(super) released: bool,
    /// Whether a running master has told the mirrors.
    announced: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle_bytes: Option<u64>,
    warnings: Vec<String>,
    #[serde(skip)]
    told: Option<Announced>,
}

impl Announcement {
    pub(super) fn text(&self, shell: &Shell<'_>, out: &mut String) {
        for warning in &self.warnings {
            let _ = writeln!(out, "warning: {warning}");
        }
        if let Some(told) = &self.told {
            out.push_str(&told.text(shell));
        }
    }
}

#[derive(Debug, Serialize)]
struct Added {
    release: u64,
    manifest: String,
    new_signatures: u64,
    signers: Vec<String>,
    needed: u64,
    #[serde(flatten)]
    announcement: Announcement,
}

impl Add {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let feed = Feed::load(&shell.state)?;
        let store = Store::open(&feed.store_folder())?;
        for file in &self.files {
            let copy = Proposal::read(file)?;
            copy.check(&feed.root, &feed.id, SystemClock.now())?;
            copy.check_open(&store)?;
            let mut open = Folder::of(&store).same(&copy)?;
            let merge = |there: &mut Proposal| there.merge(&copy, &feed.root);
            let new = open.proposal.amend(&open.path, merge)?;
            let tally = open.proposal.tally(&feed.root);
            let announcement = if tally.is_enough() {
                release(&open.proposal, shell).await?
            } else {
                Announcement::default()
            };
            let mut out = format!(
                "release {} ({}): {new} new\n",
                copy.body().release,
                copy.id()
            );
            render::tally(&tally, &mut out);
            for key in copy.tally(&feed.root).ignored {
                let _ = writeln!(
                    out,
                    "  WARNING: what {key} is said to have signed does not count"
                );
            }
            announcement.text(shell, &mut out);
            let added = Added {
                release: copy.body().release.0,
                manifest: copy.id().to_string(),
                new_signatures: new as u64,
                signers: tally.signers.iter().map(ToString::to_string).collect(),
                needed: tally.needed as u64,
                announcement,
            };
            shell.result(&added, &out)?;
        }
        Ok(Exit::Ok)
    }
}

/// Makes the master's copy of a proposal the newest release and has the running master announce it.
pub(super) async fn release(
    proposal: &Proposal,
    shell: &Shell<'_>,
) -> Result<Announcement, Failure> {
    let mut writer = StoreWriter::open(&Feed::load(&shell.state)?.store_folder())?;
    // Again, now that it is this command's turn: a root may have come meanwhile.
    let feed = Feed::load(&shell.state)?;
    proposal.check_open(writer.store())?;
    let number = proposal.body().release;
    unused_number::check_proposed(shell, &feed, writer.store(), number).await?;
    let open = Folder::of(writer.store()).same(proposal)?;
    let accepted = proposal::accept(&mut writer, &feed.root, &feed.id, &open, SystemClock.now())?;
    let told = announce(shell).await;
    Ok(Announcement {
        released: true,
        announced: matches!(told, Announced::Yes),
        bundle_bytes: accepted.bundle.map(|bundle| bundle.bytes),
        warnings: accepted.warnings,
        told: Some(told),
    })
}
