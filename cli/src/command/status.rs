//! `tidecast status`.

use std::fmt::Write as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidecast_engine::clock::{Clock as _, SystemClock};
use tidecast_engine::config::{self, MirrorConfig};
use tidecast_engine::control::{self, ControlError};
use tidecast_engine::http::KindSnapshot;
use tidecast_engine::master::{self, MasterStatus};
use tidecast_engine::mirror::{self, MIRROR_CONFIG, MirrorStatus, ScrubStatus};
use tidecast_engine::warning::Warning;

use super::node;
use crate::diagnosis::{self, Diagnosis};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::mirror_daemon::MirrorReport;
use crate::shell::{Role, Shell, now_ms};
use crate::text;

/// Say how this master or mirror is, whose fault it is if it is not well, and what to type next.
///
/// Asks the running daemon; when none runs, says so and shows what is on disk. Exit status: 0 all is well (also when
/// a node waits to be admitted), 75 stale: nobody vouches for what is newest, 69 no daemon runs, 1 something else is
/// wrong, 78 there is neither master nor mirror.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {}

/// A status with what we make of it. SPEC §10.4.
#[derive(Debug, Serialize)]
struct Judged<T> {
    #[serde(flatten)]
    status: T,
    /// Whether a daemon runs.
    daemon: bool,
    diagnosis: Diagnosis,
}

impl Status {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let now = now_ms();
        let command = |rest: &str| shell.command(rest);
        let exit = match shell.role()? {
            Role::Master => {
                let (status, daemon) = match ask(shell).await? {
                    Some(status) => (status, true),
                    None => (
                        master::status_on_disk(&shell.state, SystemClock.now())?,
                        false,
                    ),
                };
                let diagnosis = diagnosis::of_master(&status, daemon, now, command);
                let text = master_text(&status, daemon, &diagnosis, now);
                let exit = diagnosis.exit;
                let judged = Judged {
                    status,
                    daemon,
                    diagnosis,
                };
                shell.result(&judged, &text)?;
                exit
            }
            Role::Mirror => {
                let (report, daemon) = match ask::<MirrorReport>(shell).await? {
                    Some(report) => (report, true),
                    None => {
                        let status = mirror_on_disk(shell)?;
                        (MirrorReport { status, http: None }, false)
                    }
                };
                let diagnosis = diagnosis::of_mirror(&report.status, daemon, now, command);
                let text = mirror_text(&report, &diagnosis, now);
                let exit = diagnosis.exit;
                let judged = Judged {
                    status: report,
                    daemon,
                    diagnosis,
                };
                shell.result(&judged, &text)?;
                exit
            }
        };
        Ok(exit)
    }
}

/// The daemon's own words; `None` when none runs.
async fn ask<T: DeserializeOwned>(shell: &Shell<'_>) -> Result<Option<T>, Failure> {
    match control::ask(&shell.state, &control::Command::Status).await {
        Ok(value) => serde_json::from_value(value)
            .map(Some)
            .map_err(|error| Failure::new(Exit::Internal, format!("the daemon's answer: {error}"))),
        Err(ControlError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn mirror_on_disk(shell: &Shell<'_>) -> Result<MirrorStatus, Failure> {
    let config: MirrorConfig = config::load(&shell.state.join(MIRROR_CONFIG))?;
    Ok(mirror::status_on_disk(
        &shell.state,
        &config,
        SystemClock.now(),
    )?)
}

fn master_text(status: &MasterStatus, daemon: bool, diagnosis: &Diagnosis, now: u64) -> String {
    let mut text = diagnosis.text();
    text.push('\n');
    let _ = writeln!(text, "feed         {}", status.feed);
    let _ = writeln!(text, "fingerprint  {}", status.fingerprint);
    if let Some(newest) = &status.newest {
        let head = match newest.head_issued_ms {
            0 => String::new(),
            issued => format!(
                ", head signed {}, expires {}",
                text::ago(issued, now),
                text::ago(newest.head_expires_ms, now)
            ),
        };
        let _ = writeln!(text, "release      {}{head}", newest.release);
    }
    let _ = writeln!(
        text,
        "root         {}, expires {}",
        status.root_version,
        text::ago(status.root_expires_ms, now)
    );
    warnings_text(&mut text, &status.warnings);
    text.push('\n');
    text.push_str(&node::render(&status.nodes, daemon, now, false));
    text
}

/// How far a mirror is with reading everything it serves.
fn scrub_text(scrub: &ScrubStatus, now: u64) -> String {
    let mut text = match (scrub.every_s, scrub.last_pass_ms) {
        (0, _) => "off".to_owned(),
        (every, None) => format!("every {}, not once through yet", text::span(every * 1000)),
        (every, Some(then)) => format!(
            "every {}, last through {}",
            text::span(every * 1000),
            text::ago(then, now)
        ),
    };
    if scrub.found > 0 {
        let found = text::plural(scrub.found, "damaged file");
        let _ = write!(text, "; {found} found so far, {} healed", scrub.healed);
    }
    if scrub.waiting > 0 {
        let _ = write!(text, ", {} waiting for an upstream", scrub.waiting);
    }
    text
}

/// What is well today and will not stay so, one line each.
fn warnings_text(text: &mut String, warnings: &[Warning]) {
    for warning in warnings {
        let _ = writeln!(text, "{:<12} {}", warning.level, text::plain(&warning.what));
    }
}

fn mirror_text(report: &MirrorReport, diagnosis: &Diagnosis, now: u64) -> String {
    let status = &report.status;
    let mut text = diagnosis.text();
    text.push('\n');
    if let Some(feed) = &status.feed {
        let _ = writeln!(text, "feed         {feed}");
    }
    let _ = writeln!(text, "docroot      {}", status.docroot);
    if status.release > 0 {
        let since = status
            .switched_ms
            .map(|then| format!(", since {}", text::ago(then, now)))
            .unwrap_or_default();
        let _ = writeln!(text, "release      {}{since}", status.release);
    }
    if let Some(hold) = &status.hold {
        let reason = match hold.reason.as_str() {
            "" => String::new(),
            reason => format!(": {}", text::plain(reason)),
        };
        let since = text::ago(hold.since_ms, now);
        let _ = writeln!(text, "HELD         since {since}{reason}");
    }
    if status.is_held_back() {
        let _ = writeln!(text, "behind       release {} is out", status.head_release);
    }
    if status.stale
        && let Some(since) = status.stale_since_ms
    {
        let _ = writeln!(text, "stale        since {}", text::ago(since, now));
    }
    if let (Some(version), Some(expires)) = (status.root_version, status.root_expires_ms) {
        let _ = writeln!(
            text,
            "root         {version}, expires {}",
            text::ago(expires, now)
        );
    }
    warnings_text(&mut text, &status.warnings);
    let _ = writeln!(
        text,
        "upstream     {} ({})",
        text::plain(&status.connection.upstream),
        status.connection.state
    );
    if let Some(sync) = &status.last_sync {
        let _ = writeln!(
            text,
            "last sync    {} -> {}: {} received, {:.2} s",
            sync.from,
            sync.to,
            text::bytes(sync.received_bytes),
            sync.seconds
        );
    }
    let _ = writeln!(text, "scrub        {}", scrub_text(&status.scrub, now));
    if let Some(mended) = &status.mended {
        let ago = text::ago(mended.at_ms, now);
        let _ = writeln!(text, "mended       the docroot, {ago}:");
        for line in &mended.what {
            let _ = writeln!(text, "             {}", text::plain(line));
        }
        let _ = writeln!(text, "             {}", mended.advice);
    }
    for after in &status.after {
        let _ = writeln!(
            text,
            "{:<12} release {}, {}: {}",
            after.whom,
            after.tried_release,
            text::ago(after.at_ms, now),
            text::plain(&after.what)
        );
    }
    if let Some(http) = &report.http {
        let kinds = [http.served.database, http.served.cdiff, http.served.other];
        let answers = |kind: &KindSnapshot| kind.whole + kind.partial + kind.not_modified;
        let _ = writeln!(
            text,
            "web server   {} served, {}",
            text::plural(kinds.iter().map(answers).sum(), "request"),
            text::bytes(kinds.iter().map(|kind| kind.body_bytes).sum()),
        );
        if http.lines_dropped > 0 {
            let lost = text::plural(http.lines_dropped, "line");
            let _ = writeln!(
                text,
                "access log   {lost} lost: its disk is full or too slow"
            );
        }
    }
    let _ = writeln!(text, "node key     {}", status.node_key);
    if let Some(former) = &status.former_key {
        let _ = writeln!(text, "old key      {}", former.node_key);
        for upstream in &former.needed_by {
            let upstream = text::plain(upstream);
            let _ = writeln!(
                text,
                "             {upstream} knows only the old one; type there: tidecast node admit {}",
                status.node_key
            );
        }
        for upstream in &former.unanswered {
            let upstream = text::plain(upstream);
            let _ = writeln!(text, "             {upstream} has not answered yet");
        }
    }
    text
}
