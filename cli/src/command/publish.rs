//! `tidecast publish`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tidecast_engine::clock::{Clock as _, SystemClock};
use tidecast_engine::control::{self, ControlError};
use tidecast_engine::master::{Feed, RELEASE_KEY};
use tidecast_engine::publish::{
    self, Change, ChangeKind, Progress, PublishError, PublishReport, PublishRequest,
};
use tidecast_engine::store::explain::FileOpening;
use tidecast_engine::store::{StoreError, StoreWriter};
use tidecast_proto::limits;
use tidecast_proto::manifest::Flags;

use super::unused_number::Number;
use super::{explain, gc};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::progress::Bar;
use crate::shell::{self, Shell};
use crate::text;
use crate::unlock::Unlock;

/// Changes listed one by one unless more is asked for with -v: a screenful.
pub(crate) const CHANGES_LISTED: usize = 40;

/// Make a release out of a folder, and announce it.
///
/// The whole folder becomes the release, whatever was in the one before; earlier releases stay as they are. A
/// running master announces it at once. Where several sigmakers must sign, use `release propose`. Exit status: 0
/// published or nothing had changed, 1 a release of that number was announced already, 65 the folder cannot be a
/// release, 66 it is missing, empty or a single file, 75 it changed meanwhile, 77 release keys are missing.
#[derive(Debug, clap::Args)]
pub(crate) struct Publish {
    /// The folder.
    tree: PathBuf,
    /// The folder with the release key.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    unlock: Unlock,
    /// A text that goes into the release as its change log.
    #[arg(long, value_name = "FILE")]
    notes: Option<PathBuf>,
    /// Let this release drop more than half of the files of the one before.
    #[arg(long)]
    allow_shrink: bool,
    /// Let a database go back to an older version; clients ignore or mishandle that.
    #[arg(long)]
    allow_database_rollback: bool,
    /// Make a release although nothing has changed.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    number: Number,
}

/// A release as JSON shows it. SPEC §10.4.
#[derive(Debug, Serialize)]
struct Published<'a> {
    release: u64,
    files: u64,
    changed: u64,
    removed: u64,
    new_bytes: u64,
    seconds: f64,
    created: bool,
    manifest: String,
    total_bytes: u64,
    read_bytes: u64,
    unchanged: u64,
    announced: bool,
    changes: Vec<ChangeLine<'a>>,
    expired: u64,
    freed_bytes: u64,
    openings: Vec<&'a FileOpening>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle_bytes: Option<u64>,
    warnings: &'a [String],
}

/// A difference between two releases as JSON shows it.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeLine<'a> {
    path: &'a str,
    kind: &'static str,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_version: Option<u64>,
}

/// What was removed afterwards because its time had come.
#[derive(Debug, Default)]
struct Collected {
    expired: u64,
    freed_bytes: u64,
}

/// Whether mirrors hear of it now.
#[derive(Debug)]
pub(crate) enum Announced {
    Yes,
    NoMaster,
    Refused(String),
}

impl Publish {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let feed = Feed::load(&shell.state)?;
        let needed = usize::from(feed.root.release_threshold);
        if needed > 1 {
            // Said before anybody looks for a key that would not be enough.
            return Err(PublishError::TooFewKeys {
                usable: 1,
                needed,
                given: 1,
            }
            .into());
        }
        let mut writer = StoreWriter::open(&feed.store_folder())?;
        self.number.check(shell, &feed, writer.store()).await?;
        let mut report = self.publish(&feed, &mut writer, shell)?;
        let announced = announce(shell).await;
        // Mirrors hear of the release first; and it stands whatever becomes of older ones.
        let collected = match collect_if_due(&mut writer, &feed, &mut report.warnings).await {
            Ok(collected) => collected,
            Err(error) => {
                let gc = shell.command("gc");
                let warning = format!("nothing old was removed, `{gc}` says more: {error}");
                report.warnings.push(warning);
                Collected::default()
            }
        };
        let object = object(&report, &announced, &collected);
        let text = render(&report, &announced, &collected, shell);
        shell.result(&object, &text)?;
        Ok(Exit::Ok)
    }

    fn publish(
        &self,
        feed: &Feed,
        writer: &mut StoreWriter,
        shell: &Shell<'_>,
    ) -> Result<PublishReport, Failure> {
        let notes = notes(self.notes.as_deref())?;
        let keys = self
            .keys
            .clone()
            .unwrap_or_else(|| shell::default_keys(shell));
        let key = self.unlock.load(&keys.join(RELEASE_KEY))?;
        let request = PublishRequest {
            tree: &self.tree,
            root: &feed.root,
            feed: feed.id,
            keys: std::slice::from_ref(&key),
            verify: feed.verify,
            notes,
            flags: Flags {
                allow_shrink: self.allow_shrink,
                allow_database_rollback: self.allow_database_rollback,
            },
            cache: &feed.publish_cache(),
            now: SystemClock.now(),
            even_if_unchanged: self.force,
            above: self.number.above(),
        };
        let bar = Bar::new(shell);
        Ok(publish::publish(writer, &request, &mut watch(&bar))?)
    }
}

/// Shows on `bar` how far publishing is.
pub(crate) fn watch(bar: &Bar) -> impl FnMut(Progress<'_>) {
    let mut done_bytes = 0_u64;
    move |progress| match progress {
        Progress::Walked { bytes, .. } => bar.total(bytes),
        Progress::Reading { path, read_bytes } => {
            bar.at(done_bytes.saturating_add(read_bytes), path.as_str());
        }
        Progress::Opening { path, size } => {
            bar.at(done_bytes.saturating_add(size), &format!("opening {path}"));
        }
        Progress::Done { path, size } => {
            done_bytes = done_bytes.saturating_add(size);
            bar.at(done_bytes, path.as_str());
        }
        Progress::Sealing => bar.at(done_bytes, "sealing"),
        _ => {}
    }
}

/// Has the running master look at the store again.
pub(crate) async fn announce(shell: &Shell<'_>) -> Announced {
    match control::ask(&shell.state, &control::Command::Reload).await {
        Ok(_) => Announced::Yes,
        Err(ControlError::NotRunning { .. }) => Announced::NoMaster,
        Err(error) => Announced::Refused(error.to_string()),
    }
}

/// The text in a file of notes; empty where none is named.
pub(crate) fn notes(path: Option<&Path>) -> Result<String, Failure> {
    use std::io::Read as _;
    let Some(path) = path else {
        return Ok(String::new());
    };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| {
            // One byte more than allowed, so that too long notes are noticed, not cut.
            file.take(limits::NOTES_BYTES as u64 + 1)
                .read_to_string(&mut text)
        })
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => Failure::new(
                Exit::Data,
                format!("the notes in {} are not UTF-8", path.display()),
            ),
            _ => Failure::file("read the notes in", path, &error),
        })?;
    Ok(text)
}

impl Announced {
    /// Whether mirrors hear of it now, for people.
    pub(crate) fn text(&self, shell: &Shell<'_>) -> String {
        match self {
            Self::Yes => "announced to the mirrors\n".into(),
            Self::NoMaster => format!(
                "no master runs on this state: mirrors hear of it when `{}` does\n",
                shell.command("master")
            ),
            Self::Refused(why) => {
                format!("warning: the running master did not take it up: {why}\n")
            }
        }
    }
}

/// Removes what is old enough, if anything has become so since the last time.
async fn collect_if_due(
    writer: &mut StoreWriter,
    feed: &Feed,
    warnings: &mut Vec<String>,
) -> Result<Collected, StoreError> {
    let now = SystemClock.now();
    if !writer.store().gc_is_due(&feed.retention, now)? {
        return Ok(Collected::default());
    }
    let (_, collected) = gc::collect(writer, feed, now).await?;
    warnings.extend(collected.problems.iter().map(ToString::to_string));
    Ok(Collected {
        expired: collected.releases.len() as u64,
        freed_bytes: collected.freed_bytes(),
    })
}

fn object<'a>(
    report: &'a PublishReport,
    announced: &Announced,
    collected: &Collected,
) -> Published<'a> {
    Published {
        release: report.release.0,
        files: report.files as u64,
        changed: report.changed() as u64,
        removed: report.removed() as u64,
        new_bytes: report.new_bytes,
        seconds: report.seconds,
        created: report.created,
        manifest: report.manifest.to_string(),
        total_bytes: report.total_bytes,
        read_bytes: report.read_bytes,
        unchanged: report.unchanged as u64,
        announced: matches!(announced, Announced::Yes),
        changes: report.changes.iter().map(change_line).collect(),
        expired: collected.expired,
        freed_bytes: collected.freed_bytes,
        openings: changed_openings(report).collect(),
        bundle_bytes: report.bundle.as_ref().map(|bundle| bundle.bytes),
        warnings: &report.warnings,
    }
}

/// The streams of what changed; of the rest they were told when it did.
fn changed_openings(report: &PublishReport) -> impl Iterator<Item = &FileOpening> {
    let changed = |file: &&FileOpening| {
        let path = |change: &Change| change.path.as_str().cmp(&file.path);
        report.changes.binary_search_by(path).is_ok()
    };
    report.openings.iter().filter(changed)
}

pub(crate) fn change_line(change: &Change) -> ChangeLine<'_> {
    let versions = change.database.as_ref();
    ChangeLine {
        path: change.path.as_str(),
        kind: match change.kind {
            ChangeKind::Added => "added",
            ChangeKind::Changed => "changed",
            ChangeKind::Removed => "removed",
        },
        bytes: change.size,
        old_version: versions.and_then(|versions| versions.old),
        new_version: versions.and_then(|versions| versions.new),
    }
}

fn render(
    report: &PublishReport,
    announced: &Announced,
    collected: &Collected,
    shell: &Shell<'_>,
) -> String {
    let mut text = String::new();
    if report.created {
        let listed = if shell.verbose {
            report.changes.len()
        } else {
            CHANGES_LISTED
        };
        for change in report.changes.iter().take(listed) {
            text.push_str(&change_text(change));
        }
        if let more @ 1.. = report.changes.len().saturating_sub(listed) {
            let _ = writeln!(
                text,
                "  and {} (-v lists all)",
                text::plural(more as u64, "more change")
            );
        }
        let _ = writeln!(
            text,
            "release {}: {}, {}; {} changed, {} removed; {} new in the store, {:.2} s",
            report.release,
            text::plural(report.files as u64, "file"),
            text::bytes(report.total_bytes),
            report.changed(),
            report.removed(),
            text::bytes(report.new_bytes),
            report.seconds,
        );
        if let Some(bundle) = &report.bundle {
            let bytes = text::bytes(bundle.bytes);
            let _ = writeln!(text, "from the release before it is {bytes} to a mirror");
        }
        not_opened(report, listed, &mut text);
    } else {
        let _ = writeln!(
            text,
            "nothing has changed: release {} holds the same {}",
            report.release,
            text::plural(report.files as u64, "file")
        );
    }
    if collected.freed_bytes > 0 {
        let _ = writeln!(
            text,
            "{} expired, {} are free",
            text::plural(collected.expired, "old release"),
            text::bytes(collected.freed_bytes)
        );
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text.push_str(&announced.text(shell));
    text
}

/// One line for each changed file that mirrors must fetch as it is although it holds streams.
fn not_opened(report: &PublishReport, listed: usize, text: &mut String) {
    let closed = |file: &&FileOpening| file.opening.opened.is_none();
    let mut files = changed_openings(report).filter(closed);
    for file in files.by_ref().take(listed) {
        let Some(first) = file.opening.closed.first() else {
            continue;
        };
        let why = explain::closed_text(first, file.bytes);
        let _ = writeln!(text, "  {}  not opened: {why}", file.path);
    }
    if let more @ 1.. = files.count() {
        let more = text::plural(more as u64, "more file");
        let _ = writeln!(text, "  and {more} not opened (-v lists all)");
    }
}

/// A change in a line of its own.
pub(crate) fn change_text(change: &Change) -> String {
    let sign = match change.kind {
        ChangeKind::Added => '+',
        ChangeKind::Changed => '~',
        ChangeKind::Removed => '-',
    };
    let version = match change.database.as_ref().map(|d| (d.old, d.new)) {
        Some((Some(old), Some(new))) if old != new => format!("  version {old} -> {new}"),
        Some((_, Some(version))) | Some((Some(version), None)) => format!("  version {version}"),
        _ => String::new(),
    };
    format!(
        "  {sign} {}  {}{version}\n",
        change.path,
        text::bytes(change.size)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_engine::publish::DatabaseChange;
    use tidecast_engine::store::explain::{Closed, ClosedReason, Opening};
    use tidecast_proto::id::{ObjectId, ReleaseNumber};
    use tidecast_proto::name::ReleasePath;

    fn report() -> PublishReport {
        PublishReport {
            release: ReleaseNumber(7),
            manifest: ObjectId([0; 32]),
            created: true,
            files: 3,
            total_bytes: 64_700_000,
            changes: vec![Change {
                path: ReleasePath::new("daily.cvd").unwrap(),
                kind: ChangeKind::Changed,
                size: 64_498_254,
                database: Some(DatabaseChange {
                    name: "daily".into(),
                    old: Some(27_900),
                    new: Some(27_901),
                }),
            }],
            unchanged: 2,
            new_bytes: 139_565,
            read_bytes: 64_498_254,
            seconds: 1.5,
            openings: vec![FileOpening {
                path: "daily.cvd".into(),
                bytes: 64_498_254,
                opening: Opening {
                    opened: None,
                    closed: vec![Closed {
                        stream_at: 512,
                        reason: ClosedReason::Damaged {
                            at: 700,
                            why: "stream is cut".into(),
                        },
                    }],
                },
            }],
            bundle: None,
            warnings: vec!["daily.cld.sign has no database".into()],
        }
    }

    fn shell(out: &mut Vec<u8>) -> Shell<'_> {
        Shell {
            state: "/state".into(),
            state_named: true,
            json: false,
            quiet: false,
            verbose: false,
            out,
        }
    }

    #[test]
    fn what_changed_is_shown_with_versions() {
        let mut out = Vec::new();
        let text = render(
            &report(),
            &Announced::NoMaster,
            &Collected::default(),
            &shell(&mut out),
        );
        assert!(
            text.contains("  ~ daily.cvd  64.5 MB  version 27900 -> 27901\n"),
            "{text}"
        );
        assert!(
            text.contains("release 7: 3 files, 64.7 MB; 1 changed, 0 removed; 140 kB new"),
            "{text}"
        );
        assert!(text.contains("warning: daily.cld.sign"), "{text}");
        let closed = "  daily.cvd  not opened: its stream is damaged at byte 700: stream is cut\n";
        assert!(text.contains(closed), "{text}");
        assert!(text.contains("`tidecast --state /state master`"), "{text}");
    }

    #[test]
    fn a_long_list_of_changes_is_cut_and_says_so() {
        let mut report = report();
        report.changes = vec![report.changes[0].clone(); CHANGES_LISTED + 2];
        let mut out = Vec::new();
        let text = render(
            &report,
            &Announced::Yes,
            &Collected::default(),
            &shell(&mut out),
        );
        assert!(text.contains("and 2 more changes"), "{text}");
        assert_eq!(text.matches("  ~ ").count(), CHANGES_LISTED);
    }

    #[test]
    fn json_holds_counts_and_every_change() {
        let report = report();
        let value =
            serde_json::to_value(object(&report, &Announced::Yes, &Collected::default())).unwrap();
        for (field, number) in [
            ("release", 7),
            ("files", 3),
            ("changed", 1),
            ("removed", 0),
            ("new_bytes", 139_565),
        ] {
            assert_eq!(value[field], number, "{field}");
        }
        assert!(value["seconds"].is_number());
        assert_eq!(value["changes"][0]["new_version"], 27_901);
        assert_eq!(value["announced"], true);
        assert_eq!(value["openings"][0]["closed"][0]["at"], 700);
    }
}
