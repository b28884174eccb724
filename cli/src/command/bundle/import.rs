//! `tidecast bundle import`.

use std::path::PathBuf;
use std::sync::Arc;

use tidecast_engine::clock::SystemClock;
use tidecast_engine::config::{self, MirrorConfig};
use tidecast_engine::control::{self, Command, ControlError};
use tidecast_engine::mirror::{ImportError, MIRROR_CONFIG, Mirror, SyncReport};
use tidecast_proto::id::Timestamp;

use crate::command::sync::render;
use crate::diagnosis;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::Shell;

/// Install a release from a bundle that was carried here.
///
/// It is checked as if it had come over the network: keys, head, manifest and every byte; local_* stays. A bundle starts
/// from the release this mirror holds. While the mirror daemon runs, it is asked to do it. Exit status: 0 installed or
/// already current, 1 held (`tidecast hold`), 65 not acceptable or damaged, 66 no such file, 74 the disk.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The bundle, made by `tidecast bundle export` on a master.
    file: PathBuf,
    /// What time it is, where this machine's clock cannot be trusted: as 2026-11-21T21:38:25Z, or in seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Timestamp>,
}

impl Import {
    pub(crate) async fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let path = shell.state.join(MIRROR_CONFIG);
        let config: MirrorConfig = config::load(&path)?;
        config.feed_id(&path)?;
        let file = std::path::absolute(&self.file)
            .map_err(|error| Failure::file("find", &self.file, &error))?;
        let command = Command::Import {
            path: file.clone(),
            at_ms: self.at.map(|at| at.0),
        };
        let report: SyncReport = match control::ask(&shell.state, &command).await {
            Ok(value) => serde_json::from_value(value).map_err(|error| {
                Failure::new(Exit::Internal, format!("the daemon's answer: {error}"))
            })?,
            Err(ControlError::NotRunning { .. }) => {
                let (mirror, _) = Mirror::open(&shell.state, config, Arc::new(SystemClock))
                    .map_err(ImportError::from)?;
                let mut report = mirror.import(&file, self.at).await?;
                report.warnings.extend(mirror.follow_up().await);
                report
            }
            Err(ControlError::FailedFor { what, kind }) => {
                return Err(Failure::new(diagnosis::exit_of_kind(&kind), what));
            }
            Err(ControlError::Failed(what)) => return Err(Failure::new(Exit::Data, what)),
            Err(error) => return Err(error.into()),
        };
        let text = render(&report);
        shell.result(&report, &text)?;
        Ok(Exit::Ok)
    }
}

/// Seconds since 1970, or a moment in the form of RFC 3339.
fn moment(text: &str) -> Result<Timestamp, String> {
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => Some(seconds),
        Err(_) => rfc3339(text),
    };
    seconds
        .and_then(|seconds| seconds.checked_mul(1000))
        .map(Timestamp)
        .ok_or_else(|| "say 2026-11-21T21:38:25Z, or seconds since 1970".into())
}

/// RFC 3339 §5.6, to the second.
fn rfc3339(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        let all = digits.bytes().all(|byte| byte.is_ascii_digit());
        if all { digits.parse().ok() } else { None }
    };
    let separators = [
        (4, b"--"),
        (7, b"--"),
        (10, b"Tt"),
        (13, b"::"),
        (16, b"::"),
    ];
    let bytes = text.as_bytes();
    if !separators
        .iter()
        .all(|(at, either)| bytes.get(*at).is_some_and(|byte| either.contains(byte)))
    {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let fits = (1..=12).contains(&month)
        && (1..=days_in).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    let rest = text.get(19..)?;
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            Some(rest).filter(|rest| rest.len() < fraction.len())?
        }
        None => rest,
    };
    let east_s = match rest.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - rest.len();
            let (hours, minutes) = (number(at + 1..at + 3)?, number(at + 4..at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 3600 + minutes * 60;
            if *sign == b'+' { offset } else { -offset }
        }
        _ => return None,
    };
    // Days since 1970: years begin in March, so that the leap day is the last.
    let shifted = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted.div_euclid(4) - shifted.div_euclid(100)
        + shifted.div_euclid(400)
        + day_of_year
        - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - east_s;
    if fits {
        u64::try_from(seconds).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_s_refusal_has_the_exit_code_that_the_help_says() {
        for (kind, exit) in [
            ("no_input", Exit::NoInput),
            ("content", Exit::Data),
            ("feed", Exit::Data),
            ("disk", Exit::Io),
            ("held", Exit::General),
        ] {
            assert_eq!(diagnosis::exit_of_kind(kind), exit, "{kind}");
        }
    }

    #[test]
    fn a_moment_is_seconds_or_rfc_3339() {
        for (text, seconds) in [
            ("0", 0),
            ("1795300705", 1_795_300_705),
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-21T21:38:25Z", 1_795_297_105),
            ("2026-11-21t22:38:25.5+01:00", 1_795_297_105),
            ("2026-11-21T16:08:25-05:30", 1_795_297_105),
        ] {
            assert_eq!(moment(text), Ok(Timestamp(seconds * 1000)), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "-1",
            "2026-11-21",
            "2026-11-21T21:38:25",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T21:38:25+1:00",
            "1969-12-31T23:59:59Z",
            "2026-11-21T21:38:25.Z",
            "99999999999999999999",
        ] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
