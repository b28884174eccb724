//! `tidecast bundle export`.

use std::path::PathBuf;

use serde::Serialize;
use tidecast_engine::clock::{Clock as _, SystemClock};
use tidecast_engine::control::{self, ControlError};
use tidecast_engine::master::{self, Exported, Feed, Master};
use tidecast_engine::store::Store;
use tidecast_proto::id::ReleaseNumber;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::Shell;
use crate::text;

/// Write what leads from an older release to the newest into a file, to be carried to a mirror by hand.
///
/// `tidecast bundle import` takes it in there, and checks it as if it had come over the network. The file holds a signed
/// head that is believed for a few hours. Exit status: 0 written, 65 the store no longer holds what it takes, 66 there is
/// no such release, 74 the file cannot be written.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The release that the mirror has.
    #[arg(long, value_name = "RELEASE")]
    from: u64,
    /// Where to write it; a file that is there is replaced.
    file: PathBuf,
}

/// A bundle as JSON shows it. SPEC §10.4.
#[derive(Debug, Serialize)]
struct Written {
    file: String,
    from: u64,
    to: u64,
    manifest: String,
    bytes: u64,
    whole_bytes: u64,
    files: u64,
    head_expires_ms: u64,
}

impl Export {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let feed = Feed::load(&shell.state)?;
        let head = newest_head(shell).await?;
        let store = Store::open(&feed.store_folder())?;
        let from = ReleaseNumber(self.from);
        let now = SystemClock.now();
        let exported = master::export(&feed, &store, &head, from, &self.file, now)?;
        let written = Written {
            file: self.file.display().to_string(),
            from: exported.from.0,
            to: exported.to.0,
            manifest: exported.manifest.to_string(),
            bytes: exported.bytes,
            whole_bytes: exported.whole_bytes,
            files: exported.files as u64,
            head_expires_ms: exported.expires.0,
        };
        let text = render(&exported, &self.file.display().to_string(), now.0);
        shell.result(&written, &text)?;
        Ok(Exit::Ok)
    }
}

/// The head of the newest release: the running master's, or one signed now.
async fn newest_head(shell: &Shell<'_>) -> Result<Vec<u8>, Failure> {
    match control::ask(&shell.state, &control::Command::Reload).await {
        Ok(_) => {}
        Err(ControlError::NotRunning { .. }) => {
            // It opens without a fresh head, too: the second look says why there is none.
            Master::open(&shell.state, std::sync::Arc::new(SystemClock))?.reload()?;
        }
        Err(error) => return Err(error.into()),
    }
    master::newest_head(&shell.state)?.ok_or_else(|| {
        Failure::new(Exit::NoInput, "this feed has no release yet")
            .hint("publish one: tidecast publish")
    })
}

fn render(exported: &Exported, file: &str, now_ms: u64) -> String {
    let minutes = exported.expires.0.saturating_sub(now_ms) / 60_000;
    format!(
        "{file}: release {} to {}, {}; {} changed, {} whole\n\
         import it within {} h {} min, or with --at\n",
        exported.from,
        exported.to,
        text::bytes(exported.bytes),
        text::plural(exported.files as u64, "file"),
        text::bytes(exported.whole_bytes),
        minutes / 60,
        minutes % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::id::{ObjectId, Timestamp};

    #[test]
    fn sizes_and_the_time_that_is_left_are_told() {
        let exported = Exported {
            from: ReleaseNumber(3),
            to: ReleaseNumber(9),
            manifest: ObjectId([0; 32]),
            bytes: 12_345,
            whole_bytes: 64_700_000,
            files: 2,
            expires: Timestamp(1_000 + 5 * 3_600_000 + 90_000),
        };
        assert_eq!(
            render(&exported, "x.bundle", 1_000),
            "x.bundle: release 3 to 9, 12.3 kB; 2 files changed, 64.7 MB whole\n\
             import it within 5 h 1 min, or with --at\n"
        );
    }
}
