//! The `tidecast` command: arguments, rendering, exit codes. What it does, `tidecast-engine` does.

mod args;
mod command;
mod daemon;
mod diagnosis;
mod exit;
mod failure;
mod logging;
mod manual;
mod messages;
mod mirror_daemon;
mod progress;
mod secrecy;
mod shell;
mod signals;
mod suggestion;
mod text;
mod unlock;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use args::Args;
use exit::Exit;
use failure::{Failure, Outcome};

/// Threads that run tasks: connections and timers. Hashing and writing have threads of their own.
const WORKERS: usize = 2;

/// What may still run when a command has ended gets this long to end as well.
const FAREWELL: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return refuse_arguments(&error),
    };
    let json = args.global.json;
    match run(args) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            report(&failure, json);
            failure.exit.into()
        }
    }
}

fn run(args: Args) -> Outcome {
    let filter = logging::filter(
        args.global.quiet,
        args.global.verbose,
        args.command.is_daemon(),
    );
    logging::start(args.global.log_format, filter);
    secrecy::keep_memory_private();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, format!("cannot start: {error}")))?;
    let mut stdout = std::io::stdout();
    let mut shell = args.global.shell(&mut stdout);
    let outcome = runtime.block_on(args.command.run(&mut shell));
    runtime.shutdown_timeout(FAREWELL);
    outcome.map_err(|failure| {
        if shell.state_named {
            failure.on_state(&shell.state)
        } else {
            failure
        }
    })
}

fn report(failure: &Failure, json: bool) {
    if json {
        eprint!("{}", failure.json());
    } else {
        eprint!("{}", failure.text());
    }
}

/// Arguments that do not parse, and the help somebody asked for.
fn refuse_arguments(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if json && error.use_stderr() {
        let text = error.to_string();
        let what = text.lines().next().unwrap_or_default();
        let failure = Failure::usage(what.trim_start_matches("error: ")).hint("see --help");
        report(&failure, true);
        return failure.exit.into();
    }
    // Nobody reads: as good as printed.
    let _ = error.print();
    let exit = if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Ok
    };
    exit.into()
}
