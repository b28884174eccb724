//! `tidecast release show`.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use tidecast_engine::proposal::{ProposalError, Tally};
use tidecast_engine::publish::changes;
use tidecast_proto::id::{ObjectId, ReleaseNumber};
use tidecast_proto::manifest::ManifestBody;

use super::render::{self, Compared};
use super::sources::{self, Trusted};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::Shell;
use crate::text;

/// Show what a proposal or a release does to the release before it.
///
/// Exit status: 0 shown, 65 the file is no proposal or was changed, 66 there is nothing of that name.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// A proposal's file or the first digits of its id, or a release's number.
    what: String,
    /// The manifest that it follows, where no store has it.
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// The feed's roots, where this state has none: the folder of them, or the first one's file.
    #[arg(long, value_name = "PATH")]
    root: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Object<'a> {
    #[serde(flatten)]
    compared: Compared<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_an_addition: Option<&'a str>,
}

impl Show {
    pub(crate) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let store = sources::store(shell)?;
        let trusted = sources::trusted(self.root.as_deref(), shell)?;
        let number = self.what.parse().ok().map(ReleaseNumber);
        let stored = match (&store, number) {
            (Some(store), Some(number)) => sources::release(store, number)?,
            _ => None,
        };
        let (body, id, tally, state) = match stored {
            Some((signed, body)) => {
                let tally = trusted.as_ref().map(|trusted| Tally {
                    signers: signed.signed_by(&trusted.root),
                    needed: match body.anchor {
                        Some(_) => trusted.root.added_threshold.into(),
                        None => trusted.root.release_threshold.into(),
                    },
                    ignored: Vec::new(),
                });
                (body, signed.id(), tally, "released")
            }
            None => {
                let found = sources::proposal(&self.what, store.as_ref())?;
                let state = match store.as_ref().map(|store| found.proposal.check_open(store)) {
                    None => "unknown",
                    Some(Ok(())) => "open",
                    Some(Err(ProposalError::Released(_))) => "released",
                    Some(Err(ProposalError::Stale { .. })) => "stale",
                    Some(Err(error)) => return Err(error.into()),
                };
                let proposal = found.proposal;
                check_feed(proposal.body(), trusted.as_ref())?;
                let tally = trusted
                    .as_ref()
                    .map(|trusted| proposal.tally(&trusted.root));
                (proposal.body().clone(), proposal.id(), tally, state)
            }
        };
        let before = match body.previous {
            Some(id) => sources::previous(self.previous.as_deref(), id, store.as_ref())?,
            None => None,
        };
        let known = body.previous.is_none() || before.is_some();
        let changes = known.then(|| changes(&body, before.as_ref()));
        let shown = render::shown(&body, id, tally.as_ref(), state);
        let not_an_addition = trusted
            .as_ref()
            .and_then(|trusted| render::not_an_addition(&body, before.as_ref(), &trusted.root));
        let object = Object {
            compared: Compared::new(shown, changes.as_deref()),
            not_an_addition: not_an_addition.as_deref(),
        };
        let mut out = header(&body, id, state);
        match &changes {
            Some(changes) => render::changes(changes, shell, &mut out),
            None => not_compared(&body, &mut out),
        }
        render::terms(&body, &mut out);
        match &tally {
            Some(tally) => {
                render::tally(tally, &mut out);
                render::more_than_an_addition(not_an_addition.as_deref(), &mut out);
            }
            None => {
                out.push_str("signatures not counted: the feed's root is not at hand (--root)\n");
            }
        }
        shell.result(&object, &out)?;
        Ok(Exit::Ok)
    }
}

fn check_feed(body: &ManifestBody, trusted: Option<&Trusted>) -> Result<(), Failure> {
    match trusted {
        Some(trusted) if trusted.feed != body.feed => Err(ProposalError::WrongFeed {
            got: body.feed,
            expected: trusted.feed,
        }
        .into()),
        _ => Ok(()),
    }
}

fn header(body: &ManifestBody, id: ObjectId, state: &str) -> String {
    let what = match state {
        "released" => "release",
        "stale" => "STALE proposal for release",
        _ => "proposal for release",
    };
    format!(
        "{what} {}: {}, {}\nid {id}\n",
        body.release,
        text::plural(body.files.len() as u64, "file"),
        text::bytes(body.total_bytes())
    )
}

fn not_compared(body: &ManifestBody, out: &mut String) {
    let previous = body.previous.map(|id| id.to_string()).unwrap_or_default();
    let _ = writeln!(
        out,
        "NOT COMPARED: it follows manifest {previous}, which is not at hand (--previous FILE); what it removes or replaces cannot be told. It holds:"
    );
    for file in &body.files {
        let version = file.database.as_ref();
        let version = version.map_or(String::new(), |d| format!("  version {}", d.version));
        let _ = writeln!(
            out,
            "    {}  {}{version}",
            file.path,
            text::bytes(file.size)
        );
    }
}
