//! What an audit has found so far.

use crate::durable::FileError;

/// Unauthorised steps that are told one by one; beyond that many the list says nothing new.
pub const FINDINGS_LISTED: usize = 100;

/// Something nobody was entitled to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, and the record in it.
    pub place: String,
    /// What is so.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// What a replay came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// `master` or `mirror`.
    pub role: &'static str,
    /// Roots that were walked.
    pub roots: u64,
    /// Releases whose manifests were checked.
    pub releases: u64,
    /// Heads that a master signed.
    pub heads: u64,
    /// Releases that a mirror installed.
    pub installs: u64,
    /// Every step that was authorised, in order.
    pub steps: Vec<String>,
    /// What somebody should know.
    pub notes: Vec<String>,
    /// The first unauthorised steps, in order.
    pub findings: Vec<Finding>,
    /// All of them.
    pub finding_count: u64,
}

impl AuditReport {
    /// Whether every step was.
    #[must_use]
    pub fn is_authorised(&self) -> bool {
        self.finding_count == 0
    }
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) report: AuditReport,
}

/// Why a file cannot be judged.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nobody can say.
    Disk(FileError),
    /// It is not what was written.
    Wrong(String),
}

impl Ledger {
    pub(super) fn good(&mut self, step: String) {
        self.report.steps.push(step);
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.report.notes.push(note.into());
    }

    pub(super) fn wrong(
        &mut self,
        place: impl Into<String>,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.report.finding_count += 1;
        if self.report.findings.len() < FINDINGS_LISTED {
            self.report.findings.push(Finding {
                place: place.into(),
                what: what.into(),
                advice: advice.into(),
            });
        }
    }
}
