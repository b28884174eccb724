//! `tidecast audit`.

use std::fmt::Write as _;

use serde::Serialize;
use tidecast_engine::audit::{AuditError, AuditReport, FINDINGS_LISTED, audit};
use tidecast_engine::clock::{Clock as _, SystemClock};

use crate::exit::{Diagnose, Exit};
use crate::failure::Outcome;
use crate::shell::Shell;
use crate::text;

/// Findings shown unless all are asked for with -v: the first says where to begin.
const FINDINGS_SHOWN: usize = 10;

/// Replay what this master announced, or what this mirror came to believe, and say whether every step was authorised.
///
/// Roots are walked from the fingerprint; every head, release and installation is held against the root of its time.
/// Reads only, and may run beside the daemon; the files themselves are checked by `verify`. Exit status: 0 all was
/// authorised, 65 something was not, 78 there is neither master nor mirror.
#[derive(Debug, clap::Args)]
pub(crate) struct Audit {}

/// What was found, for JSON. SPEC §10.4.
#[derive(Debug, Serialize)]
struct Audited<'a> {
    role: &'static str,
    authorised: bool,
    roots: u64,
    heads: u64,
    releases: u64,
    installs: u64,
    notes: &'a [String],
    finding_count: u64,
    findings: Vec<Line<'a>>,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(rename = "where")]
    place: &'a str,
    what: &'a str,
    advice: &'a str,
}

impl Audit {
    pub(crate) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let report = audit(&shell.state, SystemClock.now())?;
        let audited = Audited {
            role: report.role,
            authorised: report.is_authorised(),
            roots: report.roots,
            heads: report.heads,
            releases: report.releases,
            installs: report.installs,
            notes: &report.notes,
            finding_count: report.finding_count,
            findings: report
                .findings
                .iter()
                .map(|finding| Line {
                    place: &finding.place,
                    what: &finding.what,
                    advice: &finding.advice,
                })
                .collect(),
        };
        let text = render(&report, shell.verbose);
        shell.result(&audited, &text)?;
        Ok(if report.is_authorised() {
            Exit::Ok
        } else {
            Exit::Data
        })
    }
}

fn render(report: &AuditReport, verbose: bool) -> String {
    let mut text = String::new();
    if verbose {
        for step in &report.steps {
            let _ = writeln!(text, "  {}", text::plain(step));
        }
    }
    for note in &report.notes {
        let _ = writeln!(text, "note: {}", text::plain(note));
    }
    let shown = if verbose {
        FINDINGS_LISTED
    } else {
        FINDINGS_SHOWN
    };
    for finding in report.findings.iter().take(shown) {
        let _ = writeln!(
            text,
            "not authorised: {}\n  where   {}\n  advice  {}",
            text::plain(&finding.what),
            text::plain(&finding.place),
            text::plain(&finding.advice)
        );
    }
    let listed = report.findings.len().min(shown) as u64;
    if let more @ 1.. = report.finding_count.saturating_sub(listed) {
        let _ = writeln!(text, "  and {more} more");
    }
    let mut replayed = vec![text::plural(report.roots, "root")];
    if report.role == "master" {
        replayed.push(text::plural(report.heads, "head"));
        replayed.push(text::plural(report.releases, "release"));
    } else {
        replayed.push(text::plural(report.installs, "installation"));
    }
    let replayed = replayed.join(", ");
    let _ = match report.finding_count {
        0 => writeln!(text, "{replayed}: every step was authorised"),
        count => writeln!(
            text,
            "{replayed} were authorised, {} not",
            text::plural(count, "step")
        ),
    };
    text
}

impl Diagnose for AuditError {
    fn exit(&self) -> Exit {
        match self {
            Self::Config(error) => error.exit(),
            Self::File(error) => error.exit(),
            _ => Exit::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::File(error) => error.hint(),
            _ => Some("name the state folder with --state".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_engine::audit::Finding;

    #[test]
    fn the_first_unauthorised_step_is_named_with_where_and_what_to_do() {
        let clean = AuditReport {
            role: "master",
            roots: 2,
            heads: 30,
            releases: 3,
            steps: vec!["root 1".into()],
            notes: vec!["releases 1-2 are no longer in the store".into()],
            ..AuditReport::default()
        };
        let told = render(&clean, false);
        assert!(told.ends_with("2 roots, 30 heads, 3 releases: every step was authorised\n"));
        assert!(told.starts_with("note: releases 1-2"));
        assert!(render(&clean, true).starts_with("  root 1\n"));
        let finding = Finding {
            place: "heads.log, record 7".into(),
            what: "number 3 after number 4".into(),
            advice: "replace the key".into(),
        };
        let found = AuditReport {
            findings: vec![finding; 12],
            finding_count: 200,
            ..clean
        };
        let told = render(&found, false);
        for part in [
            "not authorised: number 3 after number 4",
            "where   heads.log, record 7",
            "advice  replace the key",
            "and 190 more",
            "200 steps not",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}
