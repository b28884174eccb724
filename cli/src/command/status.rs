//! `tidecast status`.

use std::fmt::Write as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidecast_engine::config::{self, MirrorConfig};
use tidecast_engine::control::{self, ControlError};
use tidecast_engine::docroot;
use tidecast_engine::http::KindSnapshot;
use tidecast_engine::keyfile;
use tidecast_engine::master::{Feed, MasterStatus, Nodes, ReleaseStatus};
use tidecast_engine::mirror::{MIRROR_CONFIG, MirrorStatus, NODE_KEY};
use tidecast_engine::store::Store;

use super::node;
use crate::diagnosis::{self, Diagnosis};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::mirror_daemon::MirrorReport;
use crate::shell::{Role, Shell, now_ms};
use crate::text;

/// Say how this master or mirror is, whose fault it is if it is not well, and what to type next.
///
/// Asks the running daemon; when none runs, says so and shows what is on disk. Exit status: 0 whatever it says,
/// 78 there is neither master nor mirror.
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
        match shell.role()? {
            Role::Master => {
                let (status, daemon) = match ask(shell).await? {
                    Some(status) => (status, true),
                    None => (master_on_disk(shell)?, false),
                };
                let diagnosis = diagnosis::of_master(&status, daemon, now, command);
                let text = master_text(&status, daemon, &diagnosis, now);
                let judged = Judged {
                    status,
                    daemon,
                    diagnosis,
                };
                shell.result(&judged, &text)?;
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
                let judged = Judged {
                    status: report,
                    daemon,
                    diagnosis,
                };
                shell.result(&judged, &text)?;
            }
        }
        Ok(Exit::Ok)
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

fn master_on_disk(shell: &Shell<'_>) -> Result<MasterStatus, Failure> {
    let feed = Feed::load(&shell.state)?;
    let folder = feed.store_folder();
    let newest = if folder.exists() {
        Store::open(&folder)?.newest()
    } else {
        None
    };
    Ok(MasterStatus {
        role: "master".into(),
        feed: feed.config.feed.clone(),
        fingerprint: feed.id.to_string(),
        node_key: feed.node_key()?.public().to_string(),
        root_version: feed.root.version.0,
        root_expires_ms: feed.root.expires.0,
        started_ms: 0,
        newest: newest.map(|newest| ReleaseStatus {
            release: newest.release.0,
            manifest: newest.manifest.to_string(),
            // Heads are signed by the daemon, and none runs.
            head_issued_ms: 0,
            head_expires_ms: 0,
        }),
        heads: Default::default(),
        nodes: node::listed(&Nodes::load(&shell.state)?),
    })
}

fn mirror_on_disk(shell: &Shell<'_>) -> Result<MirrorStatus, Failure> {
    let path = shell.state.join(MIRROR_CONFIG);
    let config: MirrorConfig = config::load(&path)?;
    let feed = config.feed_id(&path)?;
    let live = if config.docroot.exists() {
        docroot::peek(&config.docroot, &feed)?
    } else {
        None
    };
    let mut status = MirrorStatus {
        role: "mirror".into(),
        fingerprint: feed.to_string(),
        node_key: keyfile::load(&shell.state.join(NODE_KEY))?
            .public()
            .to_string(),
        docroot: config.docroot.display().to_string(),
        release: live.map_or(0, |live| live.manifest.release.0),
        ..MirrorStatus::default()
    };
    status.connection.state = "down".into();
    status.connection.upstream = config.upstreams.into_iter().next().unwrap_or_default();
    Ok(status)
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
    text.push('\n');
    text.push_str(&node::render(&status.nodes, daemon, now));
    text
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
    text
}
