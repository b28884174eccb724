//! `tidecast verify --heal`: has what was found damaged mended, by the daemon or, where none runs, here.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;
use tidecast_engine::config::MirrorConfig;
use tidecast_engine::control::{self, COMMAND_BYTES, Command, ControlError};
use tidecast_engine::docroot::{Damage, Extent, Fault, Verification, VerifyReport, verify};
use tidecast_engine::mirror::SyncReport;
use tidecast_proto::id::FeedId;
use tidecast_proto::name::ReleasePath;

use super::sync;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::shell::Shell;
use crate::text;

/// Paths of one command have at most so many bytes together, quotes and commas included: the rest is the command itself.
const PATHS_BYTES: usize = COMMAND_BYTES - 1024;

/// Files named one by one when healing fails.
const STILL_NAMED: usize = 5;

/// What healing came to, for JSON. SPEC §10.4.
#[derive(Debug, Serialize)]
pub(super) struct Healed {
    /// Everything that was found is as signed now.
    pub(super) clean: bool,
    by_daemon: bool,
    release: u64,
    fault_count: u64,
    faults: Vec<String>,
    fetched_bytes: u64,
    list_bytes: u64,
    received_bytes: u64,
    sent_bytes: u64,
    seconds: f64,
    warnings: Vec<String>,
}

impl Healed {
    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out: String = self
            .warnings
            .iter()
            .map(|warning| format!("warning: {}\n", text::plain(warning)))
            .collect();
        for fault in &self.faults {
            out.push_str(&format!("still: {}\n", text::plain(fault)));
        }
        out.push_str(&format!(
            "{}: release {}; {} of chunks and {} of lists fetched, {} received, {:.2} s\n",
            if self.clean {
                "healed"
            } else {
                "not all is healed"
            },
            self.release,
            text::bytes(self.fetched_bytes),
            text::bytes(self.list_bytes),
            text::bytes(self.received_bytes),
            self.seconds
        ));
        out
    }
}

/// Mends what `found` says and looks at it again.
///
/// The files are doubted first, whatever they look like from outside, so that nothing takes them for sound before they
/// have been read again; a thorough sync then does the rest, as it does after any damage.
pub(super) async fn heal(
    shell: &Shell<'_>,
    config: MirrorConfig,
    feed: &FeedId,
    found: &VerifyReport,
) -> Result<Healed, Failure> {
    let damaged: Vec<ReleasePath> = found.damaged.iter().map(of_damage).collect();
    let by_daemon = doubt(&shell.state, &damaged).await?;
    let docroot = config.kept_docroot();
    let synced = if by_daemon {
        match sync::ask_daemon(&shell.state).await {
            Ok(Some(report)) => Ok(report),
            Ok(None) => Err(Failure::new(Exit::Temporary, "the daemon has just ended")
                .hint("run the same command again")),
            Err(failure) => Err(failure),
        }
    } else {
        sync::sync(shell, config, damaged).await
    };
    let again = verify(
        &docroot,
        feed,
        &Verification {
            extent: Extent::Only(suspects(found)),
            bytes_per_s: None,
        },
        &mut |_| {},
    )?;
    let report = match synced {
        Ok(report) => report,
        // What failed may be something else: an upstream whose head is no longer accepted still has the chunks.
        Err(failure) if again.is_clean() => SyncReport {
            to: again.release.0,
            warnings: vec![format!("healed, but not synced: {}", failure.what)],
            ..SyncReport::default()
        },
        Err(failure) => return Err(unhealed(failure, &again)),
    };
    Ok(Healed {
        clean: again.is_clean(),
        by_daemon,
        release: again.release.0,
        fault_count: again.fault_count as u64,
        faults: again.faults.iter().map(ToString::to_string).collect(),
        fetched_bytes: report.fetched_bytes,
        list_bytes: report.list_bytes,
        received_bytes: report.received_bytes,
        sent_bytes: report.sent_bytes,
        seconds: report.seconds,
        warnings: report.warnings,
    })
}

fn of_damage(damage: &Damage) -> ReleasePath {
    damage.path.clone()
}

/// Every file that something is wrong with.
fn suspects(found: &VerifyReport) -> BTreeSet<ReleasePath> {
    let named = found.faults.iter().filter_map(|fault| match fault {
        Fault::Missing(path) | Fault::Mode { path, .. } => ReleasePath::new(path.as_str()).ok(),
        _ => None,
    });
    named.chain(found.damaged.iter().map(of_damage)).collect()
}

/// Tells a running daemon what to doubt; false when none runs.
async fn doubt(state: &Path, damaged: &[ReleasePath]) -> Result<bool, Failure> {
    // Whether there is one, also where nothing is to be doubted.
    let ask = async |command| match control::ask(state, &command).await {
        Ok(_) => Ok(true),
        Err(ControlError::NotRunning { .. }) => Ok(false),
        Err(error) => Err(Failure::from(error)),
    };
    if !ask(Command::Status).await? {
        return Ok(false);
    }
    for paths in in_commands(damaged) {
        if !ask(Command::Doubt { paths }).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// So many paths at a time as a command may hold.
fn in_commands(paths: &[ReleasePath]) -> Vec<Vec<ReleasePath>> {
    let mut commands: Vec<Vec<ReleasePath>> = Vec::new();
    let mut bytes = PATHS_BYTES;
    for path in paths {
        // Two quotes and a comma; nothing in a release's path needs an escape.
        let more = path.as_str().len() + 3;
        if bytes + more > PATHS_BYTES {
            commands.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(last) = commands.last_mut() {
            last.push(path.clone());
        }
    }
    commands
}

/// The failure of the sync, saying first what it leaves behind.
fn unhealed(mut failure: Failure, again: &VerifyReport) -> Failure {
    let mut named: Vec<String> = again.faults.iter().map(ToString::to_string).collect();
    named.truncate(STILL_NAMED);
    let why = std::mem::replace(
        &mut failure.what,
        format!(
            "release {} could not be healed: {}",
            again.release,
            text::plural(again.fault_count as u64, "fault")
        ),
    );
    failure.causes.insert(0, why);
    failure.causes.extend(named);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stay_under_their_limit_and_leave_no_path_out() {
        let path = |n: usize| ReleasePath::new(format!("{n:0>200}")).unwrap();
        let paths: Vec<ReleasePath> = (0..1000).map(path).collect();
        let commands = in_commands(&paths);
        assert!(commands.len() > 1);
        for paths in &commands {
            let paths = paths.clone();
            let line = serde_json::to_string(&Command::Doubt { paths }).unwrap();
            assert!(line.len() < COMMAND_BYTES, "{}", line.len());
        }
        assert_eq!(commands.concat(), paths);
        assert!(in_commands(&[]).is_empty());
    }
}
