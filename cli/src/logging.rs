//! Log lines on stderr: text for people, JSON for programs.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Names a filter in tracing's own notation, instead of -v and -q.
const FILTER_VARIABLE: &str = "TIDECAST_LOG";

/// What is logged at which of -q, nothing, -v, -vv.
pub(crate) fn filter(quiet: bool, verbose: u8, daemon: bool) -> &'static str {
    match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) if daemon => "warn,tidecast=info,tidecast_engine=info",
        // A command says in its result or its error what went wrong; twice would be once too often.
        (false, 0) => "error",
        (false, 1) => "warn,tidecast=debug,tidecast_engine=debug",
        (false, _) => "debug,tidecast=trace,tidecast_engine=trace",
    }
}

/// Starts logging; to be called once.
pub(crate) fn start(format: LogFormat, default: &str) {
    let filter =
        EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second subscriber is refused, and then the first one does.
    let _ = match format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            let lines = lines
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(false);
            // The journal stamps lines itself.
            if std::env::var_os("JOURNAL_STREAM").is_some() {
                lines.without_time().try_init()
            } else {
                lines.with_timer(SystemTime).try_init()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_tells_what_happens_and_a_command_only_its_result() {
        assert_eq!(filter(false, 0, false), "error");
        assert!(filter(false, 0, true).contains("tidecast_engine=info"));
        assert_eq!(filter(true, 0, true), "error");
    }
}
