//! `tidecast release withdraw`.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use tidecast_engine::clock::{Clock as _, SystemClock};
use tidecast_engine::master::Feed;
use tidecast_engine::proposal::{self, Proposal, ProposeRequest, What, Withdrawal, withdrawal};
use tidecast_engine::store::StoreWriter;
use tidecast_proto::id::ReleaseNumber;
use tidecast_proto::name::ReleasePath;

use super::add::{self, Announcement};
use super::{render, sources};
use crate::command::publish::{ChangeLine, change_line, notes};
use crate::command::unused_number::Number;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::shell::Shell;
use crate::unlock::Unlock;

/// Undo a release by a newer one: what it changed is again what it was before.
///
/// Files that later releases changed again stay as they are. Says what clients will see. With more than one signature
/// needed it makes a proposal. Exit status: 0 done, or shown with -n, 1 say --yes or nothing is left to withdraw, 65 what
/// was there before is no longer in the store, 66 there is no such release.
#[derive(Debug, clap::Args)]
pub(crate) struct Withdraw {
    /// The release.
    release: u64,
    /// Only show what it would do.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// A text that goes into the new release as its change log.
    #[arg(long, value_name = "FILE")]
    notes: Option<PathBuf>,
    /// The release key, where one signature is enough.
    #[arg(long, value_name = "KEYFILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    number: Number,
    #[command(flatten)]
    unlock: Unlock,
}

#[derive(Debug, Serialize)]
struct Object<'a> {
    withdrawn: u64,
    withdrawn_manifest: String,
    back_to: u64,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proposal: Option<String>,
    changes: Vec<ChangeLine<'a>>,
    kept: Vec<&'a str>,
    databases: Vec<Back<'a>>,
    allow_shrink: bool,
    allow_database_rollback: bool,
    revoke: String,
    #[serde(flatten)]
    announcement: Announcement,
}

#[derive(Debug, Serialize)]
struct Back<'a> {
    path: &'a str,
    old_version: u64,
    new_version: u64,
    rebuild_as: u64,
}

/// What was made of it.
#[derive(Debug, Default)]
struct Made {
    proposal: Option<(Proposal, PathBuf)>,
    announcement: Announcement,
}

impl Withdraw {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let feed = Feed::load(&shell.state)?;
        let mut writer = StoreWriter::open(&feed.store_folder())?;
        self.number.check(shell, &feed, writer.store()).await?;
        let planned = withdrawal(writer.store(), ReleaseNumber(self.release))?;
        let mut made = Made::default();
        if self.yes && !self.dry_run {
            let key = match feed.root.release_threshold {
                1 => Some(sources::key(self.key.as_deref(), &self.unlock, shell)?),
                _ => None,
            };
            let (release, before) = (planned.release, planned.before);
            let notes = match &self.notes {
                Some(path) => notes(Some(path))?,
                None => {
                    format!("Withdraws release {release}: its files are again those of {before}.\n")
                }
            };
            let request = ProposeRequest {
                what: What::Files(planned.files.clone()),
                root: &feed.root,
                feed: feed.id,
                verify: feed.verify,
                notes,
                flags: planned.flags,
                cache: &feed.publish_cache(),
                now: SystemClock.now(),
                above: self.number.above(),
                even_if_unchanged: false,
            };
            let proposed = proposal::propose(&mut writer, request, &mut |_| {})?;
            let (mut proposal, path) = (proposed.proposal, proposed.path);
            drop(writer);
            if let Some(key) = key {
                proposal.amend(&path, |there| there.sign(&key, &feed.root))?;
                made.announcement = add::release(&proposal, shell).await?;
            }
            made.proposal = Some((proposal, path));
        }
        let object = object(&planned, &mut made);
        let text = text(
            &planned,
            &made,
            &object.announcement,
            feed.root.release_threshold,
            shell,
        );
        shell.result(&object, &text)?;
        if made.proposal.is_none() && !self.dry_run {
            return Ok(Exit::General);
        }
        Ok(Exit::Ok)
    }
}

fn object<'a>(planned: &'a Withdrawal, made: &mut Made) -> Object<'a> {
    let announcement = std::mem::take(&mut made.announcement);
    let proposal = made.proposal.as_ref();
    Object {
        withdrawn: planned.release.0,
        withdrawn_manifest: planned.manifest.to_string(),
        back_to: planned.before.0,
        done: announcement.released,
        release: proposal.map(|(proposal, _)| proposal.body().release.0),
        manifest: proposal.map(|(proposal, _)| proposal.id().to_string()),
        proposal: proposal
            .filter(|_| !announcement.released)
            .map(|(_, path)| path.display().to_string()),
        changes: planned.changes.iter().map(change_line).collect(),
        kept: planned.kept.iter().map(ReleasePath::as_str).collect(),
        databases: planned
            .back
            .iter()
            .map(|back| Back {
                path: back.path.as_str(),
                old_version: back.had,
                new_version: back.back_to,
                rebuild_as: back.rebuild_as(),
            })
            .collect(),
        allow_shrink: planned.flags.allow_shrink,
        allow_database_rollback: planned.flags.allow_database_rollback,
        revoke: revoke(planned),
        announcement,
    }
}

fn revoke(planned: &Withdrawal) -> String {
    format!(
        "tidecast root rotate --revoke-manifest {}",
        planned.manifest
    )
}

fn text(
    planned: &Withdrawal,
    made: &Made,
    announcement: &Announcement,
    threshold: u16,
    shell: &Shell<'_>,
) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "release {} is undone: its files are again those of release {}",
        planned.release, planned.before
    );
    render::changes(&planned.changes, shell, &mut out);
    for path in &planned.kept {
        let _ = writeln!(out, "  = {path} stays: a later release changed it again");
    }
    for back in &planned.back {
        let _ = writeln!(
            out,
            "WARNING: {} goes back from version {} to {}. Clients that have {} normally keep it; some fetch the older one, and may fetch it again on every run. \
             What every client takes is a rebuilt database with version {} or higher: publish that instead, if you can, or soon after.",
            back.path,
            back.had,
            back.back_to,
            back.had,
            back.rebuild_as()
        );
    }
    if planned.flags.allow_database_rollback {
        out.push_str("it sets the signed permission for databases to go back\n");
    }
    if planned.flags.allow_shrink {
        out.push_str("it sets the signed permission for more than half of the files to go\n");
    }
    if planned.back.is_empty() {
        out.push_str("clients see the earlier files again with their next download\n");
    }
    let _ = writeln!(
        out,
        "mirrors that have fetched release {} and not installed it yet are stopped by a new root: {}",
        planned.release,
        revoke(planned)
    );
    if made.proposal.is_none() {
        out.push_str("nothing was done yet: --yes does it\n");
    }
    match &made.proposal {
        None if threshold > 1 => {
            let _ = writeln!(out, "it would be a proposal that {threshold} must sign");
        }
        None => {}
        Some((proposal, _)) if announcement.released => {
            let _ = writeln!(out, "withdrawn by release {}", proposal.body().release);
            announcement.text(shell, &mut out);
        }
        Some((proposal, path)) => {
            let _ = writeln!(
                out,
                "proposed as release {} ({}): it needs {threshold} signatures\n{}",
                proposal.body().release,
                proposal.id(),
                path.display()
            );
        }
    }
    out
}
