//! `tidecast demo`: the whole story on one machine, with real processes.

mod rsync;
mod stage;
mod story;

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::Shell;
use crate::signals::Stop;
use crate::text;
use rsync::RsyncRun;

/// Longest the story may take; slow machines need some seconds, and a hang must not look like one.
const PATIENCE: Duration = Duration::from_secs(120);

/// Watch a master and three mirrors at work, on this machine, in a temporary folder.
///
/// Makes keys and a made-up feed of a few MB, publishes it, starts a master and three mirrors as processes of
/// their own, publishes an ordinary day's update, downloads it over HTTP, and prints what crossed the wire; beside
/// it the same update by rsync, if rsync is installed. Everything listens on 127.0.0.1 only and is gone afterwards.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Leave everything running, and print where, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// What one mirror did.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct MirrorResult {
    mirror: String,
    /// Whether it serves release 2, its download equals the master's file, and `local_logo.png` is what it was.
    switched: bool,
    release: u64,
    /// UDP payload received for the update.
    bytes: u64,
    /// UDP payload sent for it.
    sent_bytes: u64,
    /// From the beginning of `publish` to this mirror's switch.
    seconds: f64,
    /// From the first byte of the update at this mirror to its switch.
    sync_seconds: f64,
    download_equal: bool,
    local_kept: bool,
    url: String,
    pid: u32,
    /// The same update by rsync, where it is installed.
    rsync_bytes: Option<u64>,
    rsync_seconds: Option<f64>,
}

impl Demo {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let stop = Stop::on_signal()?;
        let told = !shell.json && !shell.quiet;
        // Steps are told as they happen; in JSON only the results are.
        let tell = move |step: &str| {
            if told {
                println!("{step}");
            }
        };
        // Whatever ends the story drops its stage, and with it every process and the folder.
        let (stage, results, rsync) = tokio::select! {
            result = tokio::time::timeout(PATIENCE, story::play(&tell)) => result.map_err(|_| {
                Failure::new(Exit::Temporary, format!("the demo did not end within {} s", PATIENCE.as_secs()))
            })??,
            () = stop.clone().asked() => {
                return Err(Failure::new(Exit::General, "interrupted; everything was cleaned up"));
            }
        };
        for result in &results {
            if shell.json {
                shell.result(result, "")?;
            }
        }
        if !shell.json {
            let text = render(&results, &rsync);
            shell.print(&text)?;
        }
        if self.keep {
            shell.note(&stage.places(&results));
            stop.asked().await;
        }
        drop(stage);
        let all = results.iter().all(|result| result.switched);
        Ok(if all { Exit::Ok } else { Exit::General })
    }
}

fn render(results: &[MirrorResult], rsync: &Result<RsyncRun, String>) -> String {
    let yes_no = |yes| if yes { "yes" } else { "NO" }.to_owned();
    let mut rows: Vec<Vec<String>> = results
        .iter()
        .map(|result| {
            vec![
                result.mirror.clone(),
                text::count(result.bytes),
                text::count(result.sent_bytes),
                format!("{:.2}", result.seconds),
                yes_no(result.switched),
                yes_no(result.download_equal),
                yes_no(result.local_kept),
            ]
        })
        .collect();
    if let Ok(rsync) = rsync {
        rows.push(vec![
            "rsync".into(),
            text::count(rsync.received_bytes),
            text::count(rsync.sent_bytes),
            format!("{:.2}", rsync.seconds),
            "-".into(),
            "-".into(),
            "-".into(),
        ]);
    }
    let headings = [
        "update by",
        "bytes in",
        "bytes out",
        "seconds",
        "switched",
        "download equal",
        "local_logo.png kept",
    ];
    let mut text = String::from("\n");
    text.push_str(&text::table(&headings, &[false, true, true, true], &rows));
    text.push_str("seconds: from the beginning of `publish`, signing included, to the switch; rsync: its own run only\n");
    if let Err(why) = rsync {
        let _ = writeln!(text, "{why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> MirrorResult {
        MirrorResult {
            mirror: "mirror1".into(),
            switched: true,
            release: 2,
            bytes: 1_234_567,
            sent_bytes: 8_000,
            seconds: 0.25,
            sync_seconds: 0.1,
            download_equal: true,
            local_kept: false,
            url: "http://127.0.0.1:1/".into(),
            pid: 1,
            rsync_bytes: None,
            rsync_seconds: None,
        }
    }

    #[test]
    fn the_table_shows_bytes_in_full_and_what_went_wrong_in_capitals() {
        let text = render(&[result()], &Err("rsync is not installed".into()));
        assert!(text.contains("1,234,567"), "{text}");
        assert!(text.contains("NO"), "{text}");
        assert!(text.ends_with("rsync is not installed\n"), "{text}");
    }

    #[test]
    fn json_tells_whether_it_switched() {
        let value = serde_json::to_value(result()).unwrap();
        assert_eq!(value["switched"], true);
        assert!(value["rsync_bytes"].is_null());
    }
}
