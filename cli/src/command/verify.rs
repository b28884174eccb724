//! `tidecast verify`.

use std::fmt::Write as _;

use serde::Serialize;
use tidecast_engine::config::{self, Layout, MirrorConfig};
use tidecast_engine::docroot::{VerifyReport, verify_front, verify_readonly};
use tidecast_engine::mirror::MIRROR_CONFIG;

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::progress::Bar;
use crate::shell::Shell;
use crate::text;

/// Faults shown one by one unless all are asked for with -v: a screenful.
const FAULTS_SHOWN: usize = 40;

/// Check every byte of the docroot against the signed manifest.
///
/// Reads only, and may run beside the daemon. Exit status: 0 it is what was signed, 65 it is not, 66 there is
/// nothing to check yet.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {}

/// What was found, for JSON. SPEC §10.4.
#[derive(Debug, Serialize)]
struct Verified {
    clean: bool,
    release: u64,
    manifest: String,
    files: u64,
    bytes: u64,
    fault_count: u64,
    faults: Vec<String>,
}

impl Verify {
    pub(crate) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let path = shell.state.join(MIRROR_CONFIG);
        let config: MirrorConfig = config::load(&path)?;
        let feed = config.feed_id(&path)?;
        let report = {
            let bar = Bar::new(shell);
            verify_readonly(&config.kept_docroot(), &feed, &mut |progress| {
                bar.total(progress.total_bytes);
                bar.at(progress.done_bytes, "verifying");
            })?
        };
        let mut text = render(&report, shell.verbose, &shell.command("sync"));
        let mut faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
        let front = match config.layout {
            Layout::Links => None,
            Layout::Exchange => verify_front(&config.docroot, &config.kept_docroot(), &feed)?,
        };
        if let Some(what) = &front {
            let what = format!("{}: {what}", config.docroot.display());
            let _ = writeln!(
                text,
                "{}\nnext: {}",
                text::plain(&what),
                shell.command("sync")
            );
            faults.push(what);
        }
        let verified = Verified {
            clean: report.is_clean() && front.is_none(),
            release: report.release.0,
            manifest: report.manifest.to_string(),
            files: report.files as u64,
            bytes: report.bytes,
            fault_count: report.fault_count as u64 + u64::from(front.is_some()),
            faults,
        };
        shell.result(&verified, &text)?;
        Ok(if verified.clean { Exit::Ok } else { Exit::Data })
    }
}

fn render(report: &VerifyReport, verbose: bool, sync: &str) -> String {
    let mut text = String::new();
    let shown = if verbose { usize::MAX } else { FAULTS_SHOWN };
    for fault in report.faults.iter().take(shown) {
        let _ = writeln!(text, "  {}", text::plain(&fault.to_string()));
    }
    if let more @ 1.. = report
        .fault_count
        .saturating_sub(shown.min(report.faults.len()))
    {
        let _ = writeln!(text, "  and {more} more");
    }
    let checked = format!(
        "release {}: {}, {} checked",
        report.release,
        text::plural(report.files as u64, "file"),
        text::bytes(report.bytes)
    );
    let _ = if report.is_clean() {
        writeln!(text, "{checked}: exactly what was signed")
    } else {
        writeln!(
            text,
            "{checked}: {}\nnext: {sync}",
            text::plural(report.fault_count as u64, "fault")
        )
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_engine::docroot::Fault;
    use tidecast_proto::id::{ObjectId, ReleaseNumber};

    #[test]
    fn faults_are_named_and_counted_beyond_what_is_listed() {
        let clean = VerifyReport {
            release: ReleaseNumber(2),
            manifest: ObjectId([0; 32]),
            files: 3,
            bytes: 1_000,
            faults: Vec::new(),
            fault_count: 0,
        };
        assert!(render(&clean, false, "tidecast sync").contains("exactly what was signed"));
        let damaged = VerifyReport {
            faults: vec![Fault::Content("daily.cvd".into())],
            fault_count: 5,
            ..clean
        };
        let text = render(&damaged, false, "tidecast sync");
        assert!(text.contains("daily.cvd holds other bytes"), "{text}");
        assert!(text.contains("and 4 more"), "{text}");
        assert!(text.contains("5 faults\nnext: tidecast sync"), "{text}");
    }
}
