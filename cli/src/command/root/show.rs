//! `tidecast root show`.

use std::path::{Path, PathBuf};

use tidecast_proto::id::RootVersion;
use tidecast_proto::root::RootBody;

use super::{at_hand, report};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::{Shell, now_ms};

/// Show a root: who may sign what, what it changes, who has signed it and how many are still needed.
///
/// It is compared with the root before it, out of the state folder or --against. Exit status: 0 shown, whatever there
/// is to say of it, 65 it is no root, 66 there is none.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// A root's file, or its number in the state folder. Default: the newest there.
    #[arg(value_name = "FILE|N")]
    root: Option<String>,
    /// The root before it.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

impl Show {
    pub(super) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let chain = at_hand::chain(shell)?;
        let file = self
            .root
            .as_deref()
            .filter(|text| text.parse::<u64>().is_err());
        let (path, signed, body) = match file {
            Some(file) => {
                let path = Path::new(file);
                let (signed, body) = at_hand::read(path)?;
                (Some(path), signed, body)
            }
            None => {
                let number = self.root.as_deref().and_then(|text| text.parse().ok());
                let chain = chain.as_ref().ok_or_else(|| none(shell, number))?;
                let newest = chain.newest().map_or(RootVersion(0), |root| root.version);
                let version = number.map_or(newest, RootVersion);
                match (chain.signed(version), chain.body(version)) {
                    (Some(signed), Some(body)) => (None, signed.clone(), body.clone()),
                    _ => return Err(none(shell, number)),
                }
            }
        };
        let previous = previous(self.against.as_deref(), chain.as_ref(), &body)?;
        let report = report::Report::new(path, &signed, &body, previous.as_ref())?;
        let text = report.text(now_ms());
        shell.result(&report, &text)?;
        Ok(Exit::Ok)
    }
}

fn none(shell: &Shell<'_>, number: Option<u64>) -> Failure {
    let which = number.map_or("no root".into(), |number: u64| format!("no root {number}"));
    Failure::new(
        Exit::NoInput,
        format!("{} holds {which}", shell.state.display()),
    )
    .hint("name a master's or mirror's state folder with --state, or a root's file")
}

/// The root before `body`: the one named, or the one of the same feed at hand.
pub(super) fn previous(
    against: Option<&Path>,
    chain: Option<&at_hand::Chain>,
    body: &RootBody,
) -> Result<Option<RootBody>, Failure> {
    if let Some(path) = against {
        return Ok(Some(at_hand::read(path)?.1));
    }
    let Some(before) = body.version.0.checked_sub(1).filter(|before| *before > 0) else {
        return Ok(None);
    };
    // A root of another feed that happens to lie here is no basis.
    let of_this_feed = |chain: &&at_hand::Chain| {
        let newest = chain.newest();
        newest.is_some_and(|root| root.feed == body.feed)
    };
    Ok(chain
        .filter(of_this_feed)
        .and_then(|chain| chain.body(RootVersion(before)))
        .cloned())
}
