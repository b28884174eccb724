//! `tidecast release sign`.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tidecast_engine::clock::{Clock as _, SystemClock};
use tidecast_engine::proposal::{Proposal, compare};

use super::add::{self, Announcement};
use super::sources::{self, Found};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::progress::Bar;
use crate::shell::Shell;
use crate::text;
use crate::unlock::Unlock;

/// Differences listed one by one: a screenful.
const DIFFERENCES_LISTED: usize = 20;

/// Sign a proposal, after comparing it with your own copy of the contents.
///
/// The signature goes into the file. On the master, the release is announced as soon as enough have signed; from elsewhere
/// the file is brought back with `release add`. Exit status: 0 signed, 1 somebody must decide first, 65 the contents
/// differ or the file was changed, 66 something named is not there, 77 the key is no release key of the feed.
#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    /// The proposal's file or, on the master, the first digits of its id.
    what: String,
    /// The release key to sign with.
    #[arg(long, value_name = "KEYFILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    unlock: Unlock,
    /// Your own copy of what the release is to hold: every file of it is hashed.
    #[arg(long, value_name = "TREE")]
    tree: Option<PathBuf>,
    /// The feed's roots, where this state has none: the folder of them, or the first one's file.
    #[arg(long, value_name = "PATH")]
    root: Option<PathBuf>,
    /// Sign without asking, also when the contents are not checked.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Signed {
    release: u64,
    manifest: String,
    file: String,
    key: String,
    contents_checked: bool,
    signers: Vec<String>,
    needed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_an_addition: Option<String>,
    #[serde(flatten)]
    announcement: Announcement,
}

impl Sign {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let store = sources::store(shell)?;
        let Found {
            path,
            mut proposal,
            open,
        } = sources::proposal(&self.what, store.as_ref())?;
        let trusted = sources::trusted(self.root.as_deref(), shell)?;
        let trusted = trusted.ok_or_else(sources::no_root)?;
        proposal.check(&trusted.root, &trusted.feed, SystemClock.now())?;
        if let Some(store) = &store {
            proposal.check_open(store)?;
        }
        let before = match proposal.body().previous {
            Some(id) => sources::previous(None, id, store.as_ref())?,
            None => None,
        };
        let not_an_addition =
            super::render::not_an_addition(proposal.body(), before.as_ref(), &trusted.root);
        let key = sources::key(self.key.as_deref(), &self.unlock, shell)?;
        // Known before hours of reading.
        proposal.clone().sign(&key, &trusted.root)?;
        match &self.tree {
            Some(tree) => check_contents(&proposal, tree, shell)?,
            None => self.confirm(shell)?,
        }
        // It may have been signed by somebody else, or released, while this one was reading.
        proposal.amend(&path, |there| there.sign(&key, &trusted.root))?;
        let tally = proposal.tally(&trusted.root);
        let announcement = if open && tally.is_enough() {
            add::release(&proposal, shell).await?
        } else {
            Announcement::default()
        };
        let mut out = format!(
            "signed release {} ({}) with {}\n",
            proposal.body().release,
            proposal.id(),
            key.public()
        );
        if self.tree.is_none() {
            out.push_str("CONTENTS NOT CHECKED\n");
        }
        super::render::tally(&tally, &mut out);
        super::render::more_than_an_addition(not_an_addition.as_deref(), &mut out);
        match (&announcement.released, tally.is_enough(), open) {
            (true, _, _) => announcement.text(shell, &mut out),
            (false, true, false) => {
                let _ = writeln!(
                    out,
                    "enough have signed: on the master, type: tidecast release add {}",
                    proposal.file_name()
                );
            }
            _ => {}
        }
        let signed = Signed {
            release: proposal.body().release.0,
            manifest: proposal.id().to_string(),
            file: path.display().to_string(),
            key: key.public().to_string(),
            contents_checked: self.tree.is_some(),
            signers: tally.signers.iter().map(ToString::to_string).collect(),
            needed: tally.needed as u64,
            not_an_addition,
            announcement,
        };
        shell.result(&signed, &out)?;
        Ok(Exit::Ok)
    }

    fn confirm(&self, shell: &Shell<'_>) -> Result<(), Failure> {
        shell.note("CONTENTS NOT CHECKED: you sign what somebody else put together (--tree TREE compares it with your own copy)");
        if self.yes {
            return Ok(());
        }
        let stdin = std::io::stdin();
        let refused = || {
            Failure::new(Exit::General, "not signed: the contents were not checked")
                .hint("name your own copy of them with --tree, or say --yes")
        };
        if !stdin.is_terminal() {
            return Err(refused());
        }
        shell.note("Sign all the same? Type yes:");
        let mut answer = String::new();
        match stdin.read_line(&mut answer) {
            Ok(_) if answer.trim() == "yes" => Ok(()),
            _ => Err(refused()),
        }
    }
}

fn check_contents(proposal: &Proposal, tree: &Path, shell: &Shell<'_>) -> Result<(), Failure> {
    let bar = Bar::new(shell);
    bar.total(proposal.body().total_bytes());
    let mut done_bytes = 0_u64;
    let differences = compare(proposal.body(), tree, &mut |path, bytes| {
        done_bytes = done_bytes.saturating_add(bytes);
        bar.at(done_bytes, path.as_str());
    })?;
    drop(bar);
    if differences.is_empty() {
        return Ok(());
    }
    let mut what = format!(
        "not signed: {} not as in {}",
        match differences.len() {
            1 => "1 file is".to_owned(),
            more => format!("{} are", text::plural(more as u64, "file")),
        },
        tree.display()
    );
    for difference in differences.iter().take(DIFFERENCES_LISTED) {
        let _ = write!(what, "\n  {} {}", difference.path, difference.kind);
    }
    if let more @ 1.. = differences.len().saturating_sub(DIFFERENCES_LISTED) {
        let _ = write!(what, "\n  and {more} more");
    }
    Err(Failure::new(Exit::Data, what)
        .hint("find out which of the two is wrong before you sign anything"))
}
