//! tidecast measured beside rsync and other tools that send differences, on this machine.
//!
//! Every number is printed with its unit and, where one was promised, its target. Sides run in turns
//! on one file system, both sync what they write to disk, and processor time is that of whole
//! processes. Bytes are UDP's and TCP's payload unless a row says otherwise. Other work on the
//! machine changes the numbers: ratios less than times.

mod daily;
mod datagrams;
mod fanout;
mod fresh;
mod listeners;
mod process;
mod publishing;
mod report;
mod rsync;
mod samples;
mod stock_zlib;
mod tidecast;
mod web;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;
use tempfile::TempDir;
use tidecast_engine::sample::{self, Day, Feed, Scale};

use daily::Daily;
use fresh::Arena;
use report::{Report, Row};
use samples::Sample;

/// Measures tidecast beside rsync and other tools that send differences.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Everything on loopback: fresh copies, unchanged trees, many mirrors, publishing, memory.
    Local(Local),
    /// What updates cost, day by day, beside rsync, casync, zsync, zchunk and bita.
    Daily(Daily),
    /// Write a made-up feed into a folder, with updates, to look at it.
    Sample(Sample),
}

#[derive(clap::Args)]
struct Local {
    #[command(flatten)]
    machine: Machine,
    /// Only these, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Scenario>,
}

/// What is measured, where, and how often.
#[derive(clap::Args)]
struct Machine {
    /// Times each scenario runs; medians are shown.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// The tidecast to measure; otherwise the one beside this program.
    #[arg(long, value_name = "PATH")]
    tidecast: Option<PathBuf>,
    /// The rsync to measure against.
    #[arg(long, value_name = "PATH", default_value = "rsync")]
    rsync: PathBuf,
    /// Where scratch data goes, on the file system to be measured; several GB.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Also write every number of every run here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Machine {
    fn bench(&self) -> Result<Bench> {
        let tidecast = match &self.tidecast {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("tidecast"),
        };
        let load = std::fs::read_to_string("/proc/loadavg")?;
        Ok(Bench {
            runs: usize::from(self.runs),
            parent: self.folder.clone().unwrap_or_else(std::env::temp_dir),
            rsync: self.rsync.clone(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            tidecast,
        })
    }

    fn write_json(&self, report: &impl Serialize) -> Result<()> {
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(report)?;
            std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// 60 MB in one file, fresh.
    One,
    /// 60 MB of databases, cdiffs and small files, fresh.
    Mixed,
    /// 50,000 small files, fresh and unchanged.
    Many,
    /// 10 and 1,000 files, unchanged.
    Unchanged,
    /// 60 connected mirrors: memory and announcements.
    Fanout,
    /// Speed of publishing.
    Publish,
    /// Memory while 400 MB move.
    Memory,
}

/// What every scenario needs.
pub(crate) struct Bench {
    pub(crate) tidecast: PathBuf,
    pub(crate) rsync: PathBuf,
    pub(crate) runs: usize,
    /// Processes that wanted to run, averaged over the minute before.
    pub(crate) load: String,
    parent: PathBuf,
}

impl Bench {
    /// A scratch folder, removed when dropped.
    pub(crate) fn folder(&self) -> Result<TempDir> {
        let made = tempfile::Builder::new()
            .prefix("tidecast-bench")
            .tempdir_in(&self.parent);
        made.with_context(|| format!("make a folder in {}", self.parent.display()))
    }

    /// A folder that stays, for what takes long to make.
    pub(crate) fn kept(&self, name: &str) -> Result<PathBuf> {
        let folder = self.parent.join("tidecast-bench-kept").join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder.canonicalize()?)
    }
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Local(local) => measure(&local),
        What::Daily(daily) => daily.measure(),
        What::Sample(sample) => sample.write(),
    }
}

fn measure(local: &Local) -> Result<()> {
    let bench = local.machine.bench()?;
    let versions = (
        tidecast::version(&bench.tidecast)?,
        rsync::version(&bench.rsync)?,
    );
    let mut rows = Vec::new();
    for scenario in Scenario::value_variants() {
        if local.only.is_empty() || local.only.contains(scenario) {
            eprintln!("measuring: {scenario:?}");
            rows.extend(run(&bench, *scenario).with_context(|| format!("{scenario:?}"))?);
        }
    }
    ensure!(!rows.is_empty(), "nothing was measured");
    let report = Report {
        tidecast: versions.0,
        rsync: versions.1,
        processors: std::thread::available_parallelism()?.get(),
        load: bench.load.clone(),
        runs: bench.runs,
        rows: &rows,
    };
    println!(
        "{} beside {}; {} processors, load {}; medians of {}\n",
        report.tidecast, report.rsync, report.processors, report.load, report.runs
    );
    print!("{}", report::table(&rows));
    local.machine.write_json(&report)
}

fn run(bench: &Bench, scenario: Scenario) -> Result<Vec<Row>> {
    match scenario {
        Scenario::One => Arena::set_up(bench, |tree| {
            Ok(sample::incompressible(
                &tree.join("daily.bin"),
                60_000_000,
                1,
            )?)
        })?
        .fresh("fresh, 60 MB in one file", true),
        Scenario::Mixed => {
            Arena::set_up(bench, mixed)?.fresh("fresh, 60 MB in databases and 300 files", true)
        }
        Scenario::Many => {
            let arena = Arena::set_up(bench, fanout::small_files(50_000))?;
            let mut rows = arena.fresh("fresh, 50,000 small files", false)?;
            rows.extend(unchanged(bench, &arena, "nothing new, 50,000 files")?);
            Ok(rows)
        }
        Scenario::Unchanged => {
            let mut rows = Vec::new();
            for (count, name) in [
                (10, "nothing new, 10 files"),
                (1_000, "nothing new, 1,000 files"),
            ] {
                let arena = Arena::set_up(bench, fanout::small_files(count))?;
                rows.extend(unchanged(bench, &arena, name)?);
            }
            Ok(rows)
        }
        Scenario::Fanout => fanout::fanout(bench),
        Scenario::Publish => {
            let mut rows = publishing::speed(bench, 400)?;
            rows.extend(publishing::unchanged(bench)?);
            Ok(rows)
        }
        Scenario::Memory => publishing::memory(bench, 400),
    }
}

fn unchanged(bench: &Bench, arena: &Arena<'_>, name: &str) -> Result<Vec<Row>> {
    let mut rows = arena.unchanged(name)?;
    rows.extend(fanout::held_poll(bench, arena, name)?);
    Ok(rows)
}

/// What a docroot looks like: databases, some days' cdiffs, and a web site's small files.
fn mixed(tree: &Path) -> Result<()> {
    let mut feed = Feed::new(2, Scale::packed_mb(59));
    for _ in 0..5 {
        feed.advance(Day::Ordinary)?;
    }
    feed.write(tree)?;
    Ok(sample::small_files(tree, 300, 2)?)
}
