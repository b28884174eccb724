//! `tidecast sync`.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use tidecast_engine::clock::{Clock as _, SystemClock};
use tidecast_engine::config::{self, MirrorConfig};
use tidecast_engine::control::{self, ControlError};
use tidecast_engine::mirror::{
    self, MIRROR_CONFIG, MirrorStatus, SyncFailure, SyncPlan, SyncReport,
};
use tidecast_proto::name::ReleasePath;

use crate::diagnosis;
use crate::exit::{self, Exit};
use crate::failure::{Failure, Outcome};
use crate::progress::Bar;
use crate::shell::Shell;
use crate::text;

/// Files of each kind that `-n` lists one by one unless more is asked for with -v.
const FILES_LISTED: usize = 40;

/// Bring the docroot to the newest release, once.
///
/// Fetches only what is not on disk yet, then switches the docroot in one step; local_* stays. While the mirror
/// daemon runs, it is asked to do it. Exit status: 0 installed or already current, 1 held (`tidecast hold`) while a
/// newer release is out, 69 no upstream answered, 74 the
/// disk, 77 not admitted; 75 instead of 69 or 77 when what is served is stale by now: nobody vouches for it any more.
#[derive(Debug, clap::Args)]
pub(crate) struct Sync {
    /// Say exactly what would be fetched, added, changed and removed, and write nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Upstream to ask before those in the configuration.
    #[arg(long, value_name = "HOST:PORT")]
    upstream: Option<String>,
}

impl Sync {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let path = shell.state.join(MIRROR_CONFIG);
        let mut config: MirrorConfig = config::load(&path)?;
        config.feed_id(&path)?;
        let named = self.upstream.is_some();
        config.upstreams.splice(0..0, self.upstream);
        if self.dry_run {
            let plan = mirror::plan(&shell.state, &config, Arc::new(SystemClock)).await?;
            let text = render_plan(&plan, shell.verbose);
            shell.result(&plan, &text)?;
            return Ok(Exit::Ok);
        }
        if named
            && control::ask(&shell.state, &control::Command::Status)
                .await
                .is_ok()
        {
            return Err(Failure::usage(
                "the mirror daemon runs and asks the upstreams of its configuration",
            )
            .hint("leave --upstream out, or stop the daemon first"));
        }
        let report = match ask_daemon(&shell.state).await? {
            Some(report) => report,
            None => sync(shell, config, Vec::new()).await?,
        };
        let mut text = render(&report);
        // A master that has no release any more has no fresh head either.
        let stale = staleness(&shell.state);
        if let Some(stale) = &stale {
            text.push_str(&format!("{stale}\n"));
        }
        shell.result(&report, &text)?;
        Ok(if stale.is_some() {
            Exit::Temporary
        } else if report.reason == "held" {
            Exit::General
        } else {
            Exit::Ok
        })
    }
}

/// That nobody vouches for what is served any more, as far as the state on disk tells.
fn staleness(state: &Path) -> Option<String> {
    let config: MirrorConfig = config::load(&state.join(MIRROR_CONFIG)).ok()?;
    let now = SystemClock.now();
    let status = mirror::status_on_disk(state, &config, now).ok()?;
    let since = status.stale_since_ms.filter(|_| status.release > 0)?;
    let ago = text::ago(since, now.0);
    Some(format!(
        "stale: nobody vouches for release {} any more, since {ago}; it is served on",
        status.release
    ))
}

/// A failure that is not of this machine; one that left the docroot stale says so first.
fn without_fresh_head(state: &Path, mut failure: Failure) -> Failure {
    if let Some(stale) = staleness(state) {
        failure.exit = Exit::Temporary;
        failure.causes.push(stale);
    }
    failure
}

/// Whether it is this machine that could not do its part.
fn is_of_this_machine(whose: &str) -> bool {
    matches!(whose, "disk" | "tidecast")
}

/// What the running daemon made of it; `None` when none runs.
pub(super) async fn ask_daemon(state: &Path) -> Result<Option<SyncReport>, Failure> {
    match control::ask(state, &control::Command::Sync).await {
        Ok(value) => serde_json::from_value(value)
            .map(Some)
            .map_err(|error| Failure::new(Exit::Internal, format!("the daemon's answer: {error}"))),
        Err(ControlError::NotRunning { .. }) => Ok(None),
        Err(ControlError::Failed(what)) => Err(explain(state, what).await),
        Err(error) => Err(error.into()),
    }
}

/// A failure the daemon told in words, with the exit code and the advice that its status gives away.
async fn explain(state: &Path, what: String) -> Failure {
    let what = what.trim_end_matches([':', ' ']);
    let status = match control::ask(state, &control::Command::Status).await {
        Ok(value) => serde_json::from_value::<MirrorStatus>(value).ok(),
        Err(_) => None,
    };
    let Some(status) = status else {
        return Failure::new(Exit::General, what);
    };
    if status.connection.state == "pending" {
        let failure =
            Failure::new(Exit::NoPermission, what).hint(diagnosis::admit_hint(&status.node_key));
        return without_fresh_head(state, failure);
    }
    let Some(fault) = status.last_error else {
        return Failure::new(Exit::Temporary, what);
    };
    let upstream = &status.connection.upstream;
    let hint = match fault.whose.as_str() {
        "network" => exit::unanswered(upstream),
        _ => fault.advice,
    };
    let mut failure = Failure::new(diagnosis::exit_of(&fault.whose), what).hint(hint);
    if !what.contains(&fault.what) {
        failure.causes.push(format!("{upstream}: {}", fault.what));
    }
    if is_of_this_machine(&fault.whose) {
        return failure;
    }
    without_fresh_head(state, failure)
}

/// Syncs in this process; `doubted` files are read again before they are believed.
pub(super) async fn sync(
    shell: &Shell<'_>,
    config: MirrorConfig,
    doubted: Vec<ReleasePath>,
) -> Result<SyncReport, Failure> {
    let (mirror, recovery) = mirror::Mirror::open(&shell.state, config, Arc::new(SystemClock))
        .map_err(SyncFailure::from)?;
    if !doubted.is_empty() {
        mirror.doubt(doubted).await.map_err(SyncFailure::Sync)?;
    }
    let bar = Bar::new(shell);
    let mut progress = mirror.progress();
    let showing = async {
        while progress.changed().await.is_ok() {
            let now = *progress.borrow_and_update();
            if now.release > 0 {
                bar.total(now.fetch_bytes);
                bar.at(now.fetched_bytes, &format!("release {}", now.release));
            }
        }
        // The mirror is gone; the sync's own end decides.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = mirror.sync_once() => {
            let mut report = result.map_err(|failure| {
                let ours = match &failure {
                    SyncFailure::Sync(error) => is_of_this_machine(error.whose()),
                    SyncFailure::Mirror(_) | SyncFailure::Interrupted => true,
                    _ => false,
                };
                let failure = Failure::from(failure);
                if ours {
                    return failure;
                }
                without_fresh_head(&shell.state, failure)
            })?;
            if !recovery.is_clean() {
                report.warnings.insert(0, format!("the docroot was put right: {recovery}"));
            }
            Ok(report)
        }
        () = showing => Err(Failure::new(Exit::Internal, "the sync ended without a word")),
    }
}

/// What a sync or an import came to, for people.
pub(crate) fn render(report: &SyncReport) -> String {
    let mut text = String::new();
    let traffic = format!(
        "{} received, {} sent, {:.2} s",
        text::bytes(report.received_bytes),
        text::bytes(report.sent_bytes),
        report.seconds
    );
    let _ = match report.reason.as_str() {
        "no_release" => writeln!(text, "the feed has no release yet ({traffic})"),
        "current" => writeln!(text, "release {} is the newest ({traffic})", report.to),
        "held" => writeln!(text, "release {} stays ({traffic})", report.to),
        "prepared" => writeln!(
            text,
            "a newer release is fetched and waits for its word to switch; release {} stays ({traffic})",
            report.from
        ),
        _ => {
            let from = match report.from {
                0 => "nothing".into(),
                from if from == report.to => "damaged files".into(),
                from => format!("release {from}"),
            };
            writeln!(
                text,
                "release {} instead of {from}: {} changed, {} removed\n{traffic}; {} of the changed files were here already",
                report.to,
                report.files_changed,
                report.files_removed,
                text::bytes(report.reused_bytes),
            )
        }
    };
    for file in report.files.iter().take(FILES_LISTED) {
        let _ = writeln!(
            text,
            "  {}  {} ({})  {} for {}",
            file.path,
            file.road,
            file.reason,
            text::bytes(file.received_bytes),
            text::bytes(file.bytes)
        );
    }
    if let more @ 1.. = report.files.len().saturating_sub(FILES_LISTED) {
        let _ = writeln!(text, "  and {more} more");
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "warning: {}", text::plain(warning));
    }
    text
}

fn render_plan(plan: &SyncPlan, verbose: bool) -> String {
    let mut text = render_changes(plan, verbose);
    if let (Some(hold), true) = (&plan.hold, plan.to > plan.from) {
        let _ = match hold.reason.as_str() {
            "" => writeln!(text, "HELD: none of this is done before `tidecast unhold`"),
            reason => writeln!(
                text,
                "HELD ({}): none of this is done before `tidecast unhold`",
                text::plain(reason)
            ),
        };
    }
    text
}

fn render_changes(plan: &SyncPlan, verbose: bool) -> String {
    match plan.reason.as_str() {
        "no_release" => return "the feed has no release yet: nothing would be done\n".into(),
        "current" => {
            return format!("release {} is the newest: nothing would be done\n", plan.to);
        }
        _ => {}
    }
    let mut text = match plan.from {
        0 => format!("release {} would be installed\n", plan.to),
        from => format!("release {} would replace release {from}\n", plan.to),
    };
    for line in plan.notes.lines() {
        let _ = writeln!(text, "  | {}", text::plain(line));
    }
    let most = if verbose { usize::MAX } else { FILES_LISTED };
    for (sign, files) in [
        ('+', &plan.added),
        ('~', &plan.changed),
        ('-', &plan.removed),
    ] {
        for (path, bytes) in files.iter().take(most) {
            let _ = writeln!(text, "  {sign} {path}  {}", text::bytes(*bytes));
        }
        if let more @ 1.. = files.len().saturating_sub(most) {
            let _ = writeln!(text, "  {sign} and {more} more (-v lists all)");
        }
    }
    if let Some(bytes) = plan.bundle_bytes {
        let _ = writeln!(text, "a bundle of {} leads there", text::bytes(bytes));
    }
    for file in plan.files.iter().take(most) {
        let cost = match file.road.as_str() {
            "bundle" => String::new(),
            _ => format!("  {}", text::bytes(file.received_bytes)),
        };
        let _ = writeln!(
            text,
            "  {}  {} ({}){cost} for {}",
            file.path,
            file.road,
            file.reason,
            text::bytes(file.bytes)
        );
    }
    let _ = writeln!(
        text,
        "{} added, {} changed, {} removed, {} unchanged\n{} to fetch before compression, {} here already; {} of disk needed meanwhile",
        plan.added.len(),
        plan.changed.len(),
        plan.removed.len(),
        plan.unchanged,
        text::bytes(plan.fetch_bytes),
        text::bytes(plan.reuse_bytes),
        text::bytes(plan.disk_bytes),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_engine::mirror::FileRoad;

    #[test]
    fn a_sync_is_told_in_two_lines() {
        let report = SyncReport {
            from: 1,
            to: 2,
            received_bytes: 139_565,
            sent_bytes: 4_000,
            reused_bytes: 64_000_000,
            files_changed: 2,
            seconds: 0.5,
            switched: true,
            reason: "update".into(),
            files: vec![FileRoad {
                path: "daily.cvd".into(),
                road: "bundle".into(),
                reason: "in_bundle".into(),
                bytes: 64_700_000,
                received_bytes: 7_900,
            }],
            ..SyncReport::default()
        };
        let text = render(&report);
        assert!(
            text.contains("  daily.cvd  bundle (in_bundle)  7.90 kB for 64.7 MB\n"),
            "{text}"
        );
        assert!(
            text.starts_with(
                "release 2 instead of release 1: 2 changed, 0 removed\n140 kB received"
            ),
            "{text}"
        );
        let current = SyncReport {
            to: 2,
            reason: "current".into(),
            ..report
        };
        assert!(render(&current).starts_with("release 2 is the newest"));
    }

    #[test]
    fn a_plan_names_every_kind_of_change() {
        let plan = SyncPlan {
            from: 1,
            to: 2,
            notes: "one\ntwo".into(),
            added: vec![("a".into(), 1)],
            changed: vec![("b".into(), 2_000)],
            removed: vec![("c".into(), 3); FILES_LISTED + 1],
            unchanged: 5,
            reason: "update".into(),
            ..SyncPlan::default()
        };
        let text = render_plan(&plan, false);
        for part in [
            "  | two\n",
            "  + a  1 B\n",
            "  ~ b  2.00 kB\n",
            "  - and 1 more",
            "5 unchanged",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!render_plan(&plan, true).contains("more"));
    }
}
