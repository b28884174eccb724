//! `tidecast release propose`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use tidecast_engine::clock::{Clock as _, SystemClock};
use tidecast_engine::master::Feed;
use tidecast_engine::proposal::{self, ProposeRequest, Proposed, What};
use tidecast_engine::store::StoreWriter;
use tidecast_proto::manifest::Flags;
use tidecast_proto::name::ReleasePath;

use super::render::{self, Compared};
use crate::command::publish::{notes, watch};
use crate::command::unused_number::Number;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::progress::Bar;
use crate::shell::Shell;

/// Make a manifest that sigmakers can sign, without signing it.
///
/// Runs on the master: the contents go into its store, and nothing is announced. What is printed is to be looked at with
/// `release show` and signed with `release sign`, here or on copies of the file elsewhere. Exit status: 0 proposed, 1
/// nothing would change, or a release of that number was announced already, 65 the contents cannot be a release, 66
/// something named is not there, 75 it changed meanwhile.
#[derive(Debug, clap::Args)]
pub(crate) struct Propose {
    /// A folder that becomes the whole release.
    #[arg(required_unless_present_any = ["add", "remove"], conflicts_with_all = ["add", "remove"])]
    tree: Option<PathBuf>,
    /// Instead of a folder: a file that is added to the newest release, or replaces the one of its name there.
    #[arg(long, value_name = "[PATH=]FILE", num_args = 1..)]
    add: Vec<String>,
    /// A path of the newest release that is to go.
    #[arg(long, value_name = "PATH")]
    remove: Vec<String>,
    /// A text that goes into the release as its change log.
    #[arg(long, value_name = "FILE")]
    notes: Option<PathBuf>,
    /// Let this release drop more than half of the files of the one before.
    #[arg(long)]
    allow_shrink: bool,
    /// Let a database go back to an older version; clients ignore or mishandle that.
    #[arg(long)]
    allow_database_rollback: bool,
    /// Propose it although nothing has changed.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    number: Number,
}

#[derive(Debug, Serialize)]
struct Object<'a> {
    #[serde(flatten)]
    compared: Compared<'a>,
    new_bytes: u64,
    read_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_an_addition: Option<&'a str>,
    warnings: &'a [String],
}

impl Propose {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let feed = Feed::load(&shell.state)?;
        let what = match &self.tree {
            Some(tree) => What::Tree(tree),
            None => What::Changes {
                add: added(&self.add)?,
                remove: paths(&self.remove)?,
            },
        };
        let mut writer = StoreWriter::open(&feed.store_folder())?;
        self.number.check(shell, &feed, writer.store()).await?;
        let request = ProposeRequest {
            what,
            root: &feed.root,
            feed: feed.id,
            verify: feed.verify,
            notes: notes(self.notes.as_deref())?,
            flags: Flags {
                allow_shrink: self.allow_shrink,
                allow_database_rollback: self.allow_database_rollback,
            },
            cache: &feed.publish_cache(),
            now: SystemClock.now(),
            above: self.number.above(),
            even_if_unchanged: self.force,
        };
        let bar = Bar::new(shell);
        let proposed = proposal::propose(&mut writer, request, &mut watch(&bar))?;
        drop(bar);
        let tally = proposed.proposal.tally(&feed.root);
        let mut shown = render::shown(
            proposed.proposal.body(),
            proposed.proposal.id(),
            Some(&tally),
            "open",
        );
        shown.file = Some(proposed.path.display().to_string());
        let object = Object {
            compared: Compared::new(shown, Some(&proposed.changes)),
            new_bytes: proposed.new_bytes,
            read_bytes: proposed.read_bytes,
            not_an_addition: proposed.not_an_addition.as_deref(),
            warnings: &proposed.warnings,
        };
        let text = text(&proposed, tally.needed, shell);
        shell.result(&object, &text)?;
        Ok(Exit::Ok)
    }
}

fn text(proposed: &Proposed, needed: usize, shell: &Shell<'_>) -> String {
    let mut out = String::new();
    let body = proposed.proposal.body();
    render::changes(&proposed.changes, shell, &mut out);
    let _ = writeln!(
        out,
        "proposed as release {}: {}",
        body.release,
        proposed.proposal.id()
    );
    render::terms(body, &mut out);
    for warning in &proposed.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    let plural = if needed == 1 { "" } else { "s" };
    let _ = write!(out, "it needs {needed} signature{plural}");
    let _ = match &proposed.not_an_addition {
        Some(why) => writeln!(out, ", because it is more than an addition: {why}"),
        None => writeln!(out),
    };
    let _ = writeln!(
        out,
        "{}\nsign it: {}",
        proposed.path.display(),
        shell.command("release sign FILE --key KEYFILE --tree TREE")
    );
    out
}

/// `FILE`, under its own name at the top, or `PATH=FILE`.
fn added(named: &[String]) -> Result<BTreeMap<ReleasePath, PathBuf>, Failure> {
    let mut files = BTreeMap::new();
    for named in named {
        // No path of a release holds the sign; a file's name may.
        let split = named.split_once('=');
        let split = split.and_then(|(path, file)| Some((ReleasePath::new(path).ok()?, file)));
        let (to, file) = match split {
            Some((to, file)) => (to, PathBuf::from(file)),
            None => {
                let file = PathBuf::from(named);
                let name = file.file_name().and_then(|name| name.to_str());
                (path(name.unwrap_or_default())?, file)
            }
        };
        if !file.exists() {
            let what = format!("there is no file {}", file.display());
            return Err(Failure::new(Exit::NoInput, what).hint("check the path"));
        }
        if files.insert(to.clone(), file).is_some() {
            return Err(Failure::usage(format!("{to} is named twice")).hint("name it once"));
        }
    }
    Ok(files)
}

fn paths(named: &[String]) -> Result<BTreeSet<ReleasePath>, Failure> {
    named.iter().map(|named| path(named)).collect()
}

fn path(named: &str) -> Result<ReleasePath, Failure> {
    ReleasePath::new(named).map_err(|error| {
        let what = format!("{}: {error}", named.escape_debug());
        Failure::new(Exit::Data, what).hint("name the path it is to have: --add PATH=FILE")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_under_its_own_name_or_the_path_in_front_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("daily.cvd"), "x").unwrap();
        std::fs::write(at("a=b"), "x").unwrap();
        let daily = at("daily.cvd").display().to_string();
        let files = added(&[daily.clone(), format!("sub/other.cvd={daily}")]).unwrap();
        let paths: Vec<_> = files.keys().map(ReleasePath::as_str).collect();
        assert_eq!(paths, ["daily.cvd", "sub/other.cvd"]);
        assert!(files.values().all(|file| *file == at("daily.cvd")));
        assert!(added(&[daily.clone(), daily]).is_err());
        assert!(added(&[at("a=b").display().to_string()]).is_err());
        assert!(added(&[at("gone").display().to_string()]).is_err());
    }
}
