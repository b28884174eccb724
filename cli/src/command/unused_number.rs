//! Whether the number of a new release is one that nobody has used, as far as this master and its mirrors know.

use tidecast_engine::control;
use tidecast_engine::master::{self, Feed, MasterStatus};
use tidecast_engine::publish::{believable, next_release};
use tidecast_engine::store::Store;
use tidecast_proto::id::ReleaseNumber;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::shell::Shell;

/// Which number a new release is to have.
#[derive(Debug, clap::Args)]
pub(crate) struct Number {
    /// Give the release a number above this one: where the store was restored from an old backup, and mirrors hold
    /// newer releases than it knows.
    #[arg(long, value_name = "RELEASE", default_value_t)]
    above: u64,
}

impl Number {
    /// What it must be above.
    pub(crate) fn above(&self) -> ReleaseNumber {
        ReleaseNumber(self.above)
    }

    /// Refuses a number that this master has announced, or that an admitted mirror holds: its store was restored from an
    /// old backup, and mirrors would call the new release a forgery of the one they have.
    pub(crate) async fn check(
        &self,
        shell: &Shell<'_>,
        feed: &Feed,
        store: &Store,
    ) -> Result<(), Failure> {
        let newest = newest(store);
        let next = next_release(newest, feed.root.release_min, self.above())?;
        check(shell, feed, newest, next).await
    }
}

/// Refuses the number of a proposal, as [`Number::check`] would: it may have been used since it was proposed.
pub(crate) async fn check_proposed(
    shell: &Shell<'_>,
    feed: &Feed,
    store: &Store,
    proposed: ReleaseNumber,
) -> Result<(), Failure> {
    let checked = check(shell, feed, newest(store), proposed).await;
    checked.map_err(|failure| {
        failure.hint("propose it anew, with --above where the store was restored from an old backup; drop this one")
    })
}

fn newest(store: &Store) -> ReleaseNumber {
    store.newest().map_or(ReleaseNumber(0), |n| n.release)
}

async fn check(
    shell: &Shell<'_>,
    feed: &Feed,
    newest: ReleaseNumber,
    next: ReleaseNumber,
) -> Result<(), Failure> {
    let announced = master::announced(&shell.state)?.map_or(0, |(release, _)| release.0);
    let known = newest
        .max(ReleaseNumber(announced))
        .max(feed.root.release_min);
    let believable = believable(known);
    if next > believable.next() {
        let what = format!(
            "the next release would be {next}: nobody can have made so many since release {known}, and numbers that are gone do not come back"
        );
        return Err(Failure::new(Exit::General, what).hint(format!(
            "--above takes at most {believable}; whoever told you to go past that lies. If there really were so many, make a root first: `tidecast root rotate --release-min`"
        )));
    }
    // Without a daemon nobody has said anything; the log of heads knows what was announced.
    let status = control::ask(&shell.state, &control::Command::Status).await;
    let heads = status
        .ok()
        .and_then(|status| serde_json::from_value::<MasterStatus>(status).ok())
        .map(|status| status.heads)
        .unwrap_or_default();
    let (highest, who) = if heads.held > announced && heads.held <= believable.0 {
        let node = heads.held_by.unwrap_or_default();
        (heads.held, format!("mirror {node} holds"))
    } else {
        (announced, "this master has announced".to_owned())
    };
    if next.0 > highest {
        return Ok(());
    }
    let what = format!("the next release would be {next}, but {who} release {highest}");
    Err(Failure::new(Exit::General, what).hint(format!(
        "was the store restored from an old backup? Restore a newer one; or go past it with --above {highest}"
    )))
}
