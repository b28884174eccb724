//! `tidecast verify`.

use std::fmt::Write as _;
use std::num::NonZeroU64;

use serde::Serialize;
use tidecast_engine::config::{self, Layout, MirrorConfig};
use tidecast_engine::docroot::{
    Amount, Damage, Extent, Fault, Verification, VerifyReport, verify, verify_front,
};
use tidecast_engine::mirror::{self, MIRROR_CONFIG};
use tidecast_proto::id::FeedId;
use tidecast_proto::name::ReleasePath;

use super::heal::{self, Healed};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::progress::Bar;
use crate::shell::Shell;
use crate::text;

/// Faults shown one by one unless all are asked for with -v: a screenful.
const FAULTS_SHOWN: usize = 40;

/// Files named one by one in JSON, damaged or read.
const FILES_NAMED: usize = 1000;

/// Check every byte of the docroot against the signed manifest.
///
/// Reads only, and may run beside the daemon; with --heal, what is damaged is mended from the upstreams, of which only the
/// damaged chunks are fetched: by the daemon where one runs. Files are read from the disk, not from memory, where the
/// system allows. Exit status: 0 it is what was signed, or is again; 65 it is not; 66 there is nothing to check yet; with
/// --heal also those of sync.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Read only so many files, or files of so many per cent of the bytes, such as 5%; the next sample goes on where this
    /// one ends. Names are all checked.
    #[arg(long, value_name = "N|PERCENT%")]
    sample: Option<Amount>,
    /// Read at most so many bytes a second, such as 500k or 20M.
    #[arg(long, value_name = "BYTES/S", value_parser = rate)]
    rate: Option<NonZeroU64>,
    /// Mend what is damaged.
    #[arg(long)]
    heal: bool,
}

fn rate(text: &str) -> Result<NonZeroU64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    let number: NonZeroU64 = digits
        .parse()
        .map_err(|_| "a number of bytes above 0, with k, M or G behind it or without")?;
    let factor = NonZeroU64::new(factor).unwrap_or(NonZeroU64::MIN);
    number.checked_mul(factor).ok_or("too large".into())
}

/// What was found, for JSON. SPEC §10.4.
#[derive(Debug, Serialize)]
struct Verified<'a> {
    clean: bool,
    release: u64,
    manifest: String,
    release_files: u64,
    files: u64,
    bytes: u64,
    fault_count: u64,
    faults: Vec<String>,
    damaged_files: u64,
    bad_chunks: u64,
    bad_bytes: u64,
    damaged: Vec<Damaged<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healed: Option<&'a Healed>,
}

#[derive(Debug, Serialize)]
struct Damaged<'a> {
    path: &'a str,
    bytes: u64,
    chunks: Option<u64>,
    bad_chunks: Option<u64>,
    bad_bytes: u64,
}

impl<'a> Damaged<'a> {
    fn of(damage: &'a Damage) -> Self {
        Self {
            path: damage.path.as_str(),
            bytes: damage.bytes,
            chunks: damage.chunks,
            bad_chunks: damage.bad_chunks,
            bad_bytes: damage.bad_bytes,
        }
    }
}

impl Verify {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let path = shell.state.join(MIRROR_CONFIG);
        let config: MirrorConfig = config::load(&path)?;
        let feed = config.feed_id(&path)?;
        let extent = match self.sample {
            None => Extent::All,
            Some(amount) => Extent::Sample {
                amount,
                after: mirror::sampled_to(&shell.state)?,
            },
        };
        let verification = Verification {
            extent,
            bytes_per_s: self.rate,
        };
        let report = {
            let bar = Bar::new(shell);
            verify(
                &config.kept_docroot(),
                &feed,
                &verification,
                &mut |progress| {
                    bar.total(progress.total_bytes);
                    bar.at(progress.done_bytes, "verifying");
                },
            )?
        };
        if self.sample.is_some()
            && let Some(last) = report.read.last()
        {
            // What was found matters more than where the next one begins.
            if let Err(error) = mirror::note_sampled(&shell.state, last) {
                shell.note(&format!(
                    "warning: the next sample begins where this one did: {error}"
                ));
            }
        }
        let front = front_fault(&config, &feed)?;
        let clean = report.is_clean() && front.is_none();
        let healed = if self.heal && !clean {
            Some(heal::heal(shell, config.clone(), &feed, &report).await?)
        } else {
            None
        };
        self.show(shell, &report, front, healed.as_ref())?;
        let clean = match healed {
            Some(healed) => healed.clean && front_fault(&config, &feed)?.is_none(),
            None => clean,
        };
        Ok(if clean { Exit::Ok } else { Exit::Data })
    }

    fn show(
        &self,
        shell: &mut Shell<'_>,
        report: &VerifyReport,
        front: Option<String>,
        healed: Option<&Healed>,
    ) -> Result<(), Failure> {
        let mut text = render(report, self.sample.is_some(), shell.verbose);
        let fault_count = report.fault_count as u64 + u64::from(front.is_some());
        let mut faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
        if let Some(front) = front {
            let _ = writeln!(text, "{}", text::plain(&front));
            faults.push(front);
        }
        match healed {
            Some(healed) => text.push_str(&healed.text()),
            None if fault_count == 0 => {}
            None => {
                let _ = writeln!(text, "next: {}", shell.command("verify --heal"));
            }
        }
        let read = report.read.iter().map(ReleasePath::as_str);
        let verified = Verified {
            clean: fault_count == 0,
            release: report.release.0,
            manifest: report.manifest.to_string(),
            release_files: report.release_files as u64,
            files: report.files as u64,
            bytes: report.bytes,
            fault_count,
            faults,
            damaged_files: report.damaged.len() as u64,
            bad_chunks: report.bad_chunks(),
            bad_bytes: report.bad_bytes(),
            damaged: report
                .damaged
                .iter()
                .take(FILES_NAMED)
                .map(Damaged::of)
                .collect(),
            read: self.sample.map(|_| read.take(FILES_NAMED).collect()),
            healed,
        };
        shell.result(&verified, &text)
    }
}

/// What is wrong with the docroot itself where it is not the folder that is kept (SPEC §8.16).
fn front_fault(config: &MirrorConfig, feed: &FeedId) -> Result<Option<String>, Failure> {
    Ok(match config.layout {
        Layout::Links => None,
        Layout::Exchange => verify_front(&config.docroot, &config.kept_docroot(), feed)?
            .map(|what| format!("{}: {what}", config.docroot.display())),
    })
}

/// How much of a file is damaged, in words.
fn extent_of(damage: &Damage) -> String {
    match (damage.bad_chunks, damage.chunks) {
        (Some(bad), Some(chunks)) => format!(
            "{} of {} damaged, {} of {}",
            text::count(bad),
            text::plural(chunks, "chunk"),
            text::bytes(damage.bad_bytes),
            text::bytes(damage.bytes)
        ),
        _ => format!(
            "{}; its list of chunks is not here",
            text::bytes(damage.bytes)
        ),
    }
}

fn render(report: &VerifyReport, sample: bool, verbose: bool) -> String {
    let mut text = String::new();
    let shown = if verbose { usize::MAX } else { FAULTS_SHOWN };
    let mut damaged = report.damaged.iter();
    for fault in report.faults.iter().take(shown) {
        let line = text::plain(&fault.to_string());
        // In the order of the files, as the faults are.
        let damage = match fault {
            Fault::Content(_) | Fault::Unreadable(_) => damaged.next(),
            _ => None,
        };
        let _ = match damage {
            Some(damage) => writeln!(text, "  {line} ({})", extent_of(damage)),
            None => writeln!(text, "  {line}"),
        };
    }
    if let more @ 1.. = report
        .fault_count
        .saturating_sub(shown.min(report.faults.len()))
    {
        let _ = writeln!(text, "  and {more} more");
    }
    if sample && let (Some(first), Some(last)) = (report.read.first(), report.read.last()) {
        if verbose {
            for path in &report.read {
                let _ = writeln!(text, "  read {path}");
            }
        }
        let _ = writeln!(
            text,
            "read {} of {}, from {first} to {last}; the next sample goes on from there",
            text::count(report.files as u64),
            text::plural(report.release_files as u64, "file"),
        );
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
        let faults = text::plural(report.fault_count as u64, "fault");
        let bad = match report.bad_chunks() {
            0 => String::new(),
            chunks => format!(
                "; {} damaged, {}",
                text::plural(chunks, "chunk"),
                text::bytes(report.bad_bytes())
            ),
        };
        writeln!(text, "{checked}: {faults}{bad}")
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::id::{ObjectId, ReleaseNumber};
    use tidecast_proto::name::ReleasePath;

    fn report() -> VerifyReport {
        let path = |name| ReleasePath::new(name).unwrap();
        VerifyReport {
            release: ReleaseNumber(2),
            manifest: ObjectId([0; 32]),
            release_files: 9,
            files: 3,
            bytes: 1_000,
            read: vec![path("a"), path("daily.cvd"), path("main.cvd")],
            damaged: Vec::new(),
            faults: Vec::new(),
            fault_count: 0,
        }
    }

    #[test]
    fn faults_are_named_and_counted_beyond_what_is_listed() {
        assert!(render(&report(), false, false).contains("exactly what was signed"));
        let damage = |name, chunks: Option<u64>| Damage {
            path: ReleasePath::new(name).unwrap(),
            bytes: 1_000_000,
            chunks,
            bad_chunks: chunks.map(|_| 3),
            bad_bytes: 196_608,
        };
        let damaged = VerifyReport {
            faults: vec![
                Fault::Missing("a".into()),
                Fault::Content("daily.cvd".into()),
                Fault::Unreadable("main.cvd".into()),
            ],
            damaged: vec![damage("daily.cvd", Some(16)), damage("main.cvd", None)],
            fault_count: 5,
            ..report()
        };
        let text = render(&damaged, false, false);
        for part in [
            "  a is missing\n",
            "daily.cvd holds other bytes than were signed (3 of 16 chunks damaged, 197 kB of 1.00 MB)",
            "main.cvd cannot be read from the disk (1.00 MB; its list of chunks is not here)",
            "and 2 more",
            "5 faults; 4 chunks damaged, 393 kB\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_sample_says_what_it_read() {
        let text = render(&report(), true, false);
        let part = "read 3 of 9 files, from a to main.cvd; the next sample goes on from there\n";
        assert!(text.contains(part), "{text}");
        assert!(render(&report(), true, true).contains("  read daily.cvd\n"));
        assert!(!render(&report(), false, true).contains("read a"));
    }

    #[test]
    fn a_rate_is_bytes_with_a_decimal_unit() {
        let bytes = |text| rate(text).map(NonZeroU64::get);
        assert_eq!(bytes("1500"), Ok(1500));
        assert_eq!(bytes("20M"), Ok(20_000_000));
        for text in ["0", "", "k", "-1", "1.5M", "none", "20000000000000G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
