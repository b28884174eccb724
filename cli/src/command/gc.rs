//! `tidecast gc`, and what `publish` collects by itself.

use std::fmt::Write as _;

use serde::Serialize;
use tidecast_engine::clock::{Clock as _, SystemClock};
use tidecast_engine::control;
use tidecast_engine::master::Feed;
use tidecast_engine::store::{
    Collection, ExpiredBy, Fate, GcPlan, GcProblem, GcReport, KeptFor, Retention, Store,
    StoreError, StoreWriter, Verdict,
};
use tidecast_proto::id::Timestamp;

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::shell::Shell;
use crate::text;

/// Remove releases that are old enough, and what only they needed.
///
/// `publish` does the same when there is something to do. How much of the past stays is set in the table `retention`
/// of master.toml. Exit status: 0 done, 65 something in the store is damaged, 74 the disk is too full to do all of
/// it, 75 somebody publishes.
#[derive(Debug, clap::Args)]
pub(crate) struct Gc {
    /// Say exactly what would be removed and what stays and why, and write nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// What goes and what stays as JSON shows it. SPEC §10.4.
#[derive(Debug, Serialize)]
struct Collected {
    dry_run: bool,
    releases: Vec<ReleaseLine>,
    dead_packs: u64,
    dead_bytes: u64,
    sparse_packs: u64,
    sparse_bytes: u64,
    sparse_live_bytes: u64,
    kept_packs: u64,
    kept_bytes: u64,
    bundles: u64,
    bundle_bytes: u64,
    freed_bytes: u64,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ReleaseLine {
    release: u64,
    kept: bool,
    why: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_ms: Option<u64>,
}

impl Gc {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let feed = Feed::load(&shell.state)?;
        let now = SystemClock.now();
        let (plan, report) = if self.dry_run {
            let store = Store::open(&feed.store_folder())?;
            (store.plan_gc(&feed.retention, now)?, None)
        } else {
            let mut writer = StoreWriter::open(&feed.store_folder())?;
            let (plan, report) = collect(&mut writer, &feed, now).await?;
            (plan, Some(report))
        };
        let object = object(&plan, report.as_ref());
        let text = render(&plan, report.as_ref(), &feed.retention);
        shell.result(&object, &text)?;
        Ok(report.map_or(Exit::Ok, |report| exit_of(&report.problems)))
    }
}

/// Collects, telling a running master after each part to let go of what was removed: it has it mapped, and until
/// then the disk does not have that room.
pub(super) async fn collect(
    writer: &mut StoreWriter,
    feed: &Feed,
    now: Timestamp,
) -> Result<(GcPlan, GcReport), StoreError> {
    let mut collection = Collection::begin(writer, &feed.retention, now)?;
    let plan = collection.plan().clone();
    if !plan.is_empty() {
        while collection.advance()? {
            // None may run, and one that cannot look now will within the hour.
            let _ = control::ask(&feed.state, &control::Command::Reload).await;
        }
        let _ = control::ask(&feed.state, &control::Command::Reload).await;
    } else {
        while collection.advance()? {}
    }
    Ok((plan, collection.finish()))
}

fn exit_of(problems: &[GcProblem]) -> Exit {
    let damaged = |problem: &GcProblem| matches!(problem, GcProblem::Damaged { .. });
    match problems {
        [] => Exit::Ok,
        some if some.iter().any(damaged) => Exit::Data,
        _ => Exit::Io,
    }
}

fn object(plan: &GcPlan, report: Option<&GcReport>) -> Collected {
    let problems = report.map_or(&[][..], |report| &report.problems);
    Collected {
        dry_run: report.is_none(),
        releases: plan.releases.iter().map(line).collect(),
        dead_packs: plan.dead_packs.count as u64,
        dead_bytes: plan.dead_packs.bytes,
        sparse_packs: plan.sparse_packs.count as u64,
        sparse_bytes: plan.sparse_packs.bytes,
        sparse_live_bytes: plan.sparse_live_bytes,
        kept_packs: plan.kept_packs.count as u64,
        kept_bytes: plan.kept_packs.bytes,
        bundles: plan.bundles.count as u64,
        bundle_bytes: plan.bundles.bytes,
        freed_bytes: report.map_or(plan.freed_bytes(), GcReport::freed_bytes),
        problems: problems.iter().map(ToString::to_string).collect(),
    }
}

fn line(verdict: &Verdict) -> ReleaseLine {
    let (kept, why, whole) = match verdict.fate {
        Fate::Kept { why, whole } => (true, why.code(), Some(whole)),
        Fate::Expired(by) => (false, by.code(), None),
    };
    ReleaseLine {
        release: verdict.release.0,
        kept,
        why,
        whole,
        replaced_ms: verdict.replaced.map(|at| at.0),
    }
}

fn render(plan: &GcPlan, report: Option<&GcReport>, retention: &Retention) -> String {
    let dry = report.is_none();
    let mut text = String::new();
    let why = |verdict: &Verdict| reason(verdict.fate, retention, dry);
    for group in plan.releases.chunk_by(|a, b| why(a) == why(b)) {
        let _ = writeln!(text, "{}: {}", range(group), why(&group[0]));
    }
    let opened = |verdict: &&Verdict| matches!(verdict.fate, Fate::Kept { whole: false, .. });
    let opened: Vec<Verdict> = plan.releases.iter().filter(opened).copied().collect();
    if !opened.is_empty() {
        let _ = writeln!(
            text,
            "{}: files that can be rebuilt from their opened content are kept opened only",
            range(&opened)
        );
    }
    let go = if dry { "would go" } else { "gone" };
    for (files, noun, what) in [
        (plan.dead_packs, "pack", "nothing in them is needed"),
        (plan.bundles, "bundle", "they can be made again"),
    ] {
        if files.count > 0 {
            let count = text::plural(files.count as u64, noun);
            let bytes = text::bytes(files.bytes);
            let _ = writeln!(text, "{count} ({bytes}) {go}: {what}");
        }
    }
    if plan.sparse_packs.count > 0 {
        let _ = writeln!(
            text,
            "{} ({}) {}: {} of it needed",
            text::plural(plan.sparse_packs.count as u64, "pack"),
            text::bytes(plan.sparse_packs.bytes),
            if dry { "would be replaced" } else { "replaced" },
            text::bytes(plan.sparse_live_bytes),
        );
    }
    let _ = writeln!(
        text,
        "{} ({}) stay",
        text::plural(plan.kept_packs.count as u64, "pack"),
        text::bytes(plan.kept_packs.bytes)
    );
    let problems = report.map_or(&[][..], |report| &report.problems);
    for problem in problems {
        let _ = writeln!(text, "warning: {problem}\n  {}", problem.advice());
    }
    let _ = match report {
        None if plan.is_empty() => writeln!(text, "nothing to do"),
        None => writeln!(
            text,
            "{} would be free; nothing was changed",
            text::bytes(plan.freed_bytes())
        ),
        Some(_) if plan.is_empty() => writeln!(text, "nothing to do"),
        Some(report) => writeln!(text, "{} are free", text::bytes(report.freed_bytes())),
    };
    text
}

/// What happened to a release and why.
fn reason(fate: Fate, retention: &Retention, dry: bool) -> String {
    let go = if dry { "would go" } else { "gone" };
    let age = text::span(retention.age_ms);
    match fate {
        Fate::Expired(ExpiredBy::Age) => format!("{go}, replaced more than {age} ago"),
        Fate::Expired(ExpiredBy::Count) => {
            format!("{go}, {} newer ones stay", retention.releases_max)
        }
        Fate::Kept { why, .. } => match why {
            KeptFor::Newest => "stays, the newest".into(),
            KeptFor::Head => "stays, a head may still point there".into(),
            KeptFor::Count => format!("stays, among the newest {}", retention.releases_min),
            KeptFor::Anchor => "stays, a later one that stays adds to it".into(),
            KeptFor::Age => format!("stays, replaced less than {age} ago"),
        },
    }
}

/// The first and the last of some releases.
fn range(group: &[Verdict]) -> String {
    match group {
        [] => String::new(),
        [one] => format!("release {}", one.release),
        [first, .., last] => format!("releases {} to {}", first.release, last.release),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_engine::store::Files;
    use tidecast_proto::id::ReleaseNumber;

    const RETENTION: Retention = Retention {
        age_ms: 90 * 86_400_000,
        releases_min: 2,
        releases_max: 500,
        whole_releases: 1,
        hold_ms: 0,
        pack_grace_ms: 0,
        bundle_cache_bytes: 0,
    };

    fn plan() -> GcPlan {
        let kept = |why, whole| Fate::Kept { why, whole };
        let fates = [
            Fate::Expired(ExpiredBy::Age),
            Fate::Expired(ExpiredBy::Age),
            kept(KeptFor::Age, false),
            kept(KeptFor::Count, false),
            kept(KeptFor::Newest, true),
        ];
        let verdict = |(number, fate): (u64, Fate)| Verdict {
            release: ReleaseNumber(number),
            replaced: (number < 5).then_some(Timestamp(number)),
            fate,
        };
        let packs = |count, bytes| Files { count, bytes };
        GcPlan {
            releases: (1..).zip(fates).map(verdict).collect(),
            expired: packs(2, 1_000),
            dead_packs: packs(1, 64_000_000),
            sparse_packs: packs(2, 100_000_000),
            sparse_live_bytes: 12_000_000,
            kept_packs: packs(9, 500_000_000),
            new_packs: Files::default(),
            bundles: Files::default(),
        }
    }

    #[test]
    fn what_goes_and_what_stays_is_told_with_its_reason() {
        let text = render(&plan(), None, &RETENTION);
        assert_eq!(
            text,
            "releases 1 to 2: would go, replaced more than 90 days ago\n\
             release 3: stays, replaced less than 90 days ago\n\
             release 4: stays, among the newest 2\n\
             release 5: stays, the newest\n\
             releases 3 to 4: files that can be rebuilt from their opened content are kept opened only\n\
             1 pack (64.0 MB) would go: nothing in them is needed\n\
             2 packs (100 MB) would be replaced: 12.0 MB of it needed\n\
             9 packs (500 MB) stay\n\
             152 MB would be free; nothing was changed\n"
        );
    }

    #[test]
    fn what_could_not_be_done_is_told_and_decides_how_it_ends() {
        let damaged = GcProblem::Damaged {
            pack: "/store/packs/x.pack".into(),
            kind: "chunk",
            id: tidecast_proto::id::ObjectId([0; 32]),
        };
        let full = GcProblem::NoRoom {
            packs: 2,
            what: "disk full".into(),
        };
        assert_eq!(exit_of(&[]), Exit::Ok);
        assert_eq!(exit_of(std::slice::from_ref(&full)), Exit::Io);
        let problems = vec![full, damaged];
        assert_eq!(exit_of(&problems), Exit::Data);
        let report = GcReport {
            problems,
            ..GcReport::default()
        };
        let text = render(&plan(), Some(&report), &RETENTION);
        for part in [
            "releases 1 to 2: gone",
            "warning: no room to replace 2 packs",
            "warning: /store/packs/x.pack is damaged and was left alone",
            "0 B are free",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let value = serde_json::to_value(object(&plan(), Some(&report))).unwrap();
        assert_eq!(value["dry_run"], false);
        assert_eq!(value["problems"].as_array().unwrap().len(), 2);
        assert_eq!(value["releases"][0]["kept"], false);
        assert_eq!(value["releases"][4]["why"], "newest");
        assert!(value["releases"][4]["replaced_ms"].is_null());
    }
}
