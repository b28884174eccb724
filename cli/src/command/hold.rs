//! `tidecast hold` and `tidecast unhold`.

use std::sync::Arc;

use serde::Serialize;
use tidecast_engine::clock::SystemClock;
use tidecast_engine::config::{self, MirrorConfig};
use tidecast_engine::control::{self, Command, ControlError};
use tidecast_engine::mirror::{self, HoldReport, MIRROR_CONFIG};

use crate::diagnosis;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::{Shell, now_ms};
use crate::text;

/// Stay on the release that is served, until `unhold`.
///
/// Nothing newer is installed, through restarts too; what is served is still checked and mended, and status, metrics
/// and the master are told. Works with and without a running daemon; when it ends, no switch is under way. Exit
/// status: 0 held, 66 there is no release to stay on, 74 the disk, 75 another tidecast uses the docroot.
#[derive(Debug, clap::Args)]
pub(crate) struct Hold {
    /// Why, in a line for those who look at the status.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Follow the feed again after `hold`.
///
/// A running daemon looks for news at once. Exit status: 0 done, or it was not held.
#[derive(Debug, clap::Args)]
pub(crate) struct Unhold {}

/// What came of it, for JSON. SPEC §10.4.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    report: HoldReport,
    /// Whether a running daemon acts on it already.
    told: bool,
}

impl Hold {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let config = load(shell)?;
        let command = Command::Hold {
            reason: self.reason.clone(),
        };
        let told = match ask(shell, &command).await? {
            Some(report) => Told { report, told: true },
            None => {
                let clock = Arc::new(SystemClock);
                let report = mirror::hold(&shell.state, config, self.reason, clock).await?;
                Told {
                    report,
                    told: false,
                }
            }
        };
        let report = &told.report;
        let mut text = match report.changed {
            true => format!("held at release {}", report.release),
            false => format!("held already at release {}", report.release),
        };
        text.push_str(&format!(
            ", since {}\n",
            text::ago(report.since_ms, now_ms())
        ));
        if !report.reason.is_empty() {
            text.push_str(&format!("reason: {}\n", text::plain(&report.reason)));
        }
        let go_on = shell.command("unhold");
        text.push_str(&format!("to follow the feed again: {go_on}\n"));
        shell.result(&told, &text)?;
        Ok(Exit::Ok)
    }
}

impl Unhold {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        load(shell)?;
        let told = match ask(shell, &Command::Unhold).await? {
            Some(report) => Told { report, told: true },
            None => Told {
                report: mirror::unhold(&shell.state)?,
                told: false,
            },
        };
        let text = match (told.report.changed, told.told) {
            (false, _) => "it was not held; nothing was changed\n".into(),
            (true, true) => "no longer held; the daemon looks for news\n".into(),
            (true, false) => format!(
                "no longer held; to fetch the newest release: {}\n",
                shell.command("sync")
            ),
        };
        shell.result(&told, &text)?;
        Ok(Exit::Ok)
    }
}

fn load(shell: &Shell<'_>) -> Result<MirrorConfig, Failure> {
    let path = shell.state.join(MIRROR_CONFIG);
    let config: MirrorConfig = config::load(&path)?;
    config.feed_id(&path)?;
    Ok(config)
}

/// The running daemon's answer; `None` when none runs.
async fn ask(shell: &Shell<'_>, command: &Command) -> Result<Option<HoldReport>, Failure> {
    match control::ask(&shell.state, command).await {
        Ok(value) => serde_json::from_value(value)
            .map(Some)
            .map_err(|error| Failure::new(Exit::Internal, format!("the daemon's answer: {error}"))),
        Err(ControlError::NotRunning { .. }) => Ok(None),
        Err(ControlError::FailedFor { what, kind }) => {
            Err(Failure::new(diagnosis::exit_of_kind(&kind), what))
        }
        Err(error) => Err(error.into()),
    }
}
