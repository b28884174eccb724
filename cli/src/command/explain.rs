//! `tidecast explain`.

use std::fmt::Write as _;

use serde::Serialize;
use tidecast_engine::master::Feed;
use tidecast_engine::store::Store;
use tidecast_engine::store::explain::{Closed, ClosedReason, Opened, Opening, RoadBytes, RoadName};
use tidecast_engine::store::explained::{self, Explained, ExplainedFile, FileChange};
use tidecast_proto::id::ReleaseNumber;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::Shell;
use crate::{suggestion, text};

/// Files shown one by one unless more is asked for with -v: a screenful or two.
const FILES_SHOWN: usize = 40;

/// Say why a release costs what it costs, file by file.
///
/// Which files are links to the release before, which are rebuilt from their opened content, and of those that are not,
/// which byte stands in the way. Without PATH, files that are links are counted only (-v lists all). Reads the
/// master's store and may run beside the daemon. Exit status: 0 explained, 65 what was kept of it is damaged, 66 there is no
/// such release or file.
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// The release's number.
    release: u64,
    /// One file of it.
    path: Option<String>,
}

/// A release as JSON shows it. SPEC §10.4.
#[derive(Debug, Serialize)]
struct Object<'a> {
    release: u64,
    previous: Option<u64>,
    openings_known: bool,
    roads_known: bool,
    files: Vec<FileObject<'a>>,
}

#[derive(Debug, Serialize)]
struct FileObject<'a> {
    path: &'a str,
    bytes: u64,
    change: &'static str,
    #[serde(flatten)]
    opening: &'a Opening,
    #[serde(skip_serializing_if = "Option::is_none")]
    road: Option<RoadObject<'a>>,
}

#[derive(Debug, Serialize)]
struct RoadObject<'a> {
    road: RoadName,
    reused_bytes: u64,
    run_bytes: u64,
    literal_bytes: u64,
    reason: &'a str,
}

impl Explain {
    pub(crate) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let feed = Feed::load(&shell.state)?;
        let store = Store::open(&feed.store_folder())?;
        let mut explained = explained::of(&store, ReleaseNumber(self.release))?;
        if let Some(path) = &self.path {
            keep_only(&mut explained, path)?;
        }
        let one = self.path.is_some();
        let text = render(&explained, one, shell.verbose);
        shell.result(&object(&explained), &text)?;
        Ok(Exit::Ok)
    }
}

/// Leaves the one file that was asked for.
fn keep_only(explained: &mut Explained, path: &str) -> Result<(), Failure> {
    if explained.files.iter().all(|file| file.path != path) {
        let what = format!(
            "release {} has no file {}",
            explained.release,
            text::plain(path)
        );
        let failure = Failure::new(Exit::NoInput, what);
        let paths = explained.files.iter().map(|file| file.path.as_str());
        return Err(match suggestion::nearest(path, paths) {
            Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
            None => failure.hint(format!(
                "`tidecast explain {} -v` lists its files",
                explained.release
            )),
        });
    }
    explained.files.retain(|file| file.path == path);
    Ok(())
}

fn object(explained: &Explained) -> Object<'_> {
    Object {
        release: explained.release.0,
        previous: explained.previous.map(|previous| previous.0),
        openings_known: explained.openings_known,
        roads_known: explained.roads_known,
        files: explained.files.iter().map(file_object).collect(),
    }
}

fn file_object(file: &ExplainedFile) -> FileObject<'_> {
    FileObject {
        path: &file.path,
        bytes: file.bytes,
        change: file.change.code(),
        opening: &file.opening,
        road: file.road.as_ref().map(|road| RoadObject {
            road: road.road,
            reused_bytes: road.reused_bytes,
            run_bytes: road.run_bytes,
            literal_bytes: road.literal_bytes,
            reason: &road.reason,
        }),
    }
}

fn render(explained: &Explained, one: bool, verbose: bool) -> String {
    let mut text = String::new();
    if !one {
        summary(explained, &mut text);
    }
    let (mut shown, mut more) = (0_usize, 0_u64);
    for file in &explained.files {
        if !one && !verbose && file.change == FileChange::Linked {
            continue;
        }
        if !one && !verbose && shown == FILES_SHOWN {
            more += 1;
            continue;
        }
        shown += 1;
        let change = match file.change {
            FileChange::Linked => "linked to the release before",
            FileChange::Changed => "changed",
            FileChange::Added => "new",
        };
        let size = text::bytes(file.bytes);
        let _ = writeln!(text, "  {}  {size}, {change}", file.path);
        opening_lines(file, explained.openings_known, &mut text);
        if let Some(road) = &file.road {
            let _ = writeln!(text, "    {}", road_text(road));
        }
    }
    if more > 0 {
        let more = text::plural(more, "more file");
        let _ = writeln!(text, "  and {more} (-v lists all)");
    }
    text
}

fn summary(explained: &Explained, text: &mut String) {
    let files = &explained.files;
    let bytes = files.iter().map(|file| file.bytes).sum();
    let linked = files
        .iter()
        .filter(|file| file.change == FileChange::Linked);
    let linked = linked.count();
    let after = match explained.previous {
        Some(previous) => format!(" after {previous}"),
        None => String::new(),
    };
    let _ = writeln!(
        text,
        "release {}{after}: {}, {}; {} new or changed, {} linked",
        explained.release,
        text::plural(files.len() as u64, "file"),
        text::bytes(bytes),
        text::count((files.len() - linked) as u64),
        text::count(linked as u64),
    );
    if !explained.roads_known && explained.previous.is_some() {
        text.push_str("the bundle from the release before was not built yet: no roads are known\n");
    }
}

fn opening_lines(file: &ExplainedFile, known: bool, text: &mut String) {
    if let Some(opened) = &file.opening.opened {
        let _ = writeln!(text, "    {}", opened_text(opened));
    }
    for closed in &file.opening.closed {
        let kept = match file.opening.opened {
            Some(_) => format!(
                "a stream at byte {} stays closed",
                text::count(closed.stream_at)
            ),
            None => "not opened".to_owned(),
        };
        let _ = writeln!(text, "    {kept}: {}", closed_text(closed, file.bytes));
    }
    if file.opening == Opening::default() {
        let why = match known {
            true => "holds no gzip stream",
            false => "nothing was written down about its streams",
        };
        let _ = writeln!(text, "    {why}");
    }
}

fn opened_text(opened: &Opened) -> String {
    let mut text = format!(
        "opened: {} in {}",
        text::bytes(opened.opened_bytes),
        text::plural(opened.segments, "segment"),
    );
    for streams in &opened.streams {
        let count = match streams.count {
            1 => String::new(),
            count => format!("{} of ", text::plural(count, "stream")),
        };
        let _ = write!(text, "; {count}{}", streams.parameters);
    }
    text
}

/// Why a stream of a file of `bytes` bytes stays closed.
pub(crate) fn closed_text(closed: &Closed, bytes: u64) -> String {
    match &closed.reason {
        ClosedReason::Differs {
            at,
            affected_bytes,
            nearest,
        } => format!(
            "differs first at byte {} of {} ({} of the file from there on; nearest is {nearest})",
            text::count(*at),
            text::count(bytes),
            share(*affected_bytes, bytes),
        ),
        ClosedReason::Damaged { at, why } => {
            let at = text::count(*at);
            format!("its stream is damaged at byte {at}: {}", text::plain(why))
        }
        ClosedReason::Limit { why } => text::plain(why),
        _ => "for a reason that a later version knows".to_owned(),
    }
}

/// A part of a file in per cent.
fn share(part: u64, whole: u64) -> String {
    let tenths = u128::from(part) * 1000 / u128::from(whole.max(1));
    format!("{}.{} %", tenths / 10, tenths % 10)
}

fn road_text(road: &RoadBytes) -> String {
    let name = match road.road {
        RoadName::Unchanged => "unchanged",
        RoadName::Runs => "runs",
        RoadName::Whole => "whole",
    };
    format!(
        "road {name} ({}): {} reused, {} in runs, {} in chunks and lists",
        text::plain(&road.reason),
        text::bytes(road.reused_bytes),
        text::bytes(road.run_bytes),
        text::bytes(road.literal_bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_engine::store::explain::{StrategyName, Streams, ZlibParameters};

    const NEAREST: ZlibParameters = ZlibParameters {
        level: 9,
        strategy: StrategyName::Filtered,
        memory_level: 8,
    };

    fn file(path: &str, change: FileChange, opening: Opening) -> ExplainedFile {
        ExplainedFile {
            path: path.into(),
            bytes: 61_000_000,
            change,
            opening,
            road: None,
        }
    }

    fn explained() -> Explained {
        let opened = Opening {
            opened: Some(Opened {
                opened_bytes: 175_000_000,
                segments: 3,
                streams: vec![Streams {
                    parameters: NEAREST,
                    count: 1,
                    packed_bytes: 60_999_000,
                }],
            }),
            closed: Vec::new(),
        };
        let closed = Opening {
            opened: None,
            closed: vec![Closed {
                stream_at: 512,
                reason: ClosedReason::Differs {
                    at: 1_234_567,
                    affected_bytes: 59_765_000,
                    nearest: NEAREST,
                },
            }],
        };
        let mut daily = file("daily.cvd", FileChange::Changed, opened);
        daily.road = Some(RoadBytes {
            path: "daily.cvd".into(),
            road: RoadName::Runs,
            reused_bytes: 174_000_000,
            run_bytes: 1_348,
            literal_bytes: 900,
            reason: "opened".into(),
        });
        Explained {
            release: ReleaseNumber(8),
            previous: Some(ReleaseNumber(7)),
            openings_known: true,
            roads_known: true,
            files: vec![
                daily,
                file("main.cvd", FileChange::Linked, Opening::default()),
                file("other.gz", FileChange::Added, closed),
            ],
        }
    }

    #[test]
    fn every_changed_file_says_whether_it_opens_and_how_it_travels() {
        let text = render(&explained(), false, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "release 8 after 7: 3 files, 183 MB; 2 new or changed, 1 linked",
                "  daily.cvd  61.0 MB, changed",
                "    opened: 175 MB in 3 segments; level 9, filtered, memLevel 8",
                "    road runs (opened): 174 MB reused, 1.35 kB in runs, 900 B in chunks and lists",
                "  other.gz  61.0 MB, new",
                "    not opened: differs first at byte 1,234,567 of 61,000,000 (97.9 % of the file from there on; nearest is level 9, filtered, memLevel 8)",
            ]
        );
        assert!(render(&explained(), false, true).contains("main.cvd"));
    }

    #[test]
    fn a_mistyped_path_is_answered_with_the_likely_one() {
        let mut explained = explained();
        let failure = keep_only(&mut explained, "dayly.cvd").unwrap_err();
        assert_eq!(failure.exit, Exit::NoInput);
        assert_eq!(failure.hint.as_deref(), Some("did you mean `daily.cvd`?"));
        let failure = keep_only(&mut explained, "zzz").unwrap_err();
        assert_eq!(
            failure.hint.as_deref(),
            Some("`tidecast explain 8 -v` lists its files")
        );
        keep_only(&mut explained, "main.cvd").unwrap();
        let text = render(&explained, true, false);
        assert_eq!(
            text,
            "  main.cvd  61.0 MB, linked to the release before\n    holds no gzip stream\n"
        );
    }

    #[test]
    fn json_holds_every_file_with_its_streams_and_road() {
        let explained = explained();
        let value = serde_json::to_value(object(&explained)).unwrap();
        assert_eq!(
            (&value["release"], &value["previous"]),
            (&8.into(), &7.into())
        );
        assert_eq!(value["files"][0]["opened"]["opened_bytes"], 175_000_000);
        assert_eq!(value["files"][0]["road"]["run_bytes"], 1_348);
        assert_eq!(value["files"][1]["change"], "linked");
        assert_eq!(value["files"][2]["closed"][0]["reason"], "differs");
    }
}
