//! `tidecast release drop`.

use serde::Serialize;
use tidecast_engine::master::Feed;
use tidecast_engine::proposal::Folder;
use tidecast_engine::store::Store;

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::shell::Shell;

/// Forget a proposal that nobody will sign, or that is stale.
///
/// Exit status: 0 it is gone, 66 there is none of that name.
#[derive(Debug, clap::Args)]
pub(crate) struct Drop {
    /// The first digits of its id, or its file's name.
    what: String,
}

#[derive(Debug, Serialize)]
struct Dropped {
    release: u64,
    manifest: String,
}

impl Drop {
    pub(crate) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let feed = Feed::load(&shell.state)?;
        let folder = Folder::of(&Store::open(&feed.store_folder())?);
        let open = folder.find(&self.what)?;
        folder.remove(&open)?;
        let dropped = Dropped {
            release: open.proposal.body().release.0,
            manifest: open.proposal.id().to_string(),
        };
        let text = format!("proposal {} is dropped\n", dropped.manifest);
        shell.result(&dropped, &text)?;
        Ok(Exit::Ok)
    }
}
