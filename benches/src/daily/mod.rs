//! What updates cost: tidecast and its peers on days of a feed, beside each other.

mod figures;
mod ours;
mod peers;
mod promises;
mod states;
mod step;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use tidecast_engine::sample::Day;

use figures::{Figure, Line, Measured, Report};
use ours::Update;
use peers::{Cost, Peer};
use promises::{Promise, figures_of};
use states::{Course, Event};
use step::Step;

use crate::samples::Producer;
use crate::tidecast::lossless;
use crate::{Bench, Machine};

/// Releases a mirror has missed in the scenario of that name.
const BEHIND: u16 = 30;

/// Measures updates.
#[derive(clap::Args)]
pub(crate) struct Daily {
    #[command(flatten)]
    machine: Machine,
    /// Only these, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Size of daily.cvd in million bytes, busy days excepted: 48, or less if this is less.
    #[arg(long, default_value_t = 62, value_parser = clap::value_parser!(u32).range(1..))]
    daily_mb: u32,
    /// Releases to be behind.
    #[arg(long, default_value_t = BEHIND, value_parser = clap::value_parser!(u16).range(1..))]
    behind: u16,
    /// Without the other tools.
    #[arg(long)]
    alone: bool,
    /// Without tidecast.
    #[arg(long)]
    peers_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// +120/-4 lines.
    Ordinary,
    /// +2,000/-60 lines.
    Busy,
    /// Many ordinary days at once.
    Behind,
    /// A third of daily's lines moves into main.
    MainRebuilt,
    /// The same content from zlib level 6, then from GNU gzip; the day after each.
    Encoder,
    /// Ordinary days of 50 and 400 MB, opened.
    Memory,
}

/// Opened million bytes per packed one in made-up feeds.
const OPENED_RATIO: f64 = 2.81;

impl Daily {
    pub(crate) fn measure(&self) -> Result<()> {
        let bench = self.machine.bench()?;
        let tools = self.tools(&bench);
        let tidecast = crate::tidecast::version(&bench.tidecast)?;
        let processors = std::thread::available_parallelism()?.get();
        println!(
            "{tidecast}; {processors} processors, load {} at the beginning; medians of {}",
            bench.load, bench.runs
        );
        for (tool, version) in &tools {
            println!("  {tool}: {version}");
        }
        println!();
        let mut measured = Vec::new();
        for scenario in Scenario::value_variants() {
            if self.only.is_empty() || self.only.contains(scenario) {
                eprintln!("measuring: {scenario:?}");
                let done = self.scenario(&bench, *scenario);
                measured.extend(done.with_context(|| format!("{scenario:?}"))?);
            }
        }
        self.machine.write_json(&Report {
            tidecast,
            tools,
            processors,
            load: bench.load,
            runs: bench.runs,
            steps: &measured,
        })
    }

    /// Every peer with its version, or why it is not there.
    fn tools(&self, bench: &Bench) -> Vec<(String, String)> {
        let mut tools = Vec::new();
        if self.alone {
            return tools;
        }
        let zstd = peers::version(Path::new("zstd"), "--version");
        let zstd = zstd.unwrap_or_else(|error| format!("ABSENT: {error:#}"));
        tools.push(("zstd, for the floor".to_owned(), zstd));
        for peer in Peer::ALL {
            let said = match peer.version(&bench.rsync) {
                Ok(version) => version,
                Err(error) => {
                    eprintln!(
                        "ABSENT: {}: {error:#}; see benches/install-peers",
                        peer.name()
                    );
                    format!("ABSENT: {error:#}")
                }
            };
            tools.push((peer.name().to_owned(), said));
        }
        tools
    }

    fn scenario(&self, bench: &Bench, scenario: Scenario) -> Result<Vec<Measured>> {
        let trees = bench.kept("trees")?;
        let day = Event::Day(Day::Ordinary);
        let sigtool = Producer::Sigtool;
        match scenario {
            Scenario::Ordinary => {
                let states = Course::new("ordinary", self.daily_mb, vec![day]).states(&trees)?;
                let step = Step::between("ordinary day", &states[0], &states[1], sigtool)?;
                let cdiff = lossless(step.cdiff_bytes);
                let promise = Promise {
                    held: Some(cdiff + 5_000.0),
                    fresh: Some(cdiff + 17_000.0),
                    cpu: true,
                };
                self.steps(bench, &[(step, promise)], true)
            }
            Scenario::Busy => {
                let mb = self.daily_mb.min(48);
                let states = Course::new("busy", mb, vec![Event::Day(Day::Busy)]).states(&trees)?;
                let step = Step::between("busy day", &states[0], &states[1], sigtool)?;
                let promise = Promise {
                    held: Some(lossless(step.cdiff_bytes) + 14_000.0),
                    fresh: None,
                    cpu: true,
                };
                self.steps(bench, &[(step, promise)], true)
            }
            Scenario::Behind => {
                let events = vec![day; usize::from(self.behind)];
                let states = Course::new("behind", self.daily_mb, events).states(&trees)?;
                Ok(vec![self.behind(bench, &states)?])
            }
            Scenario::MainRebuilt => {
                let course = Course {
                    main_mb: self.daily_mb,
                    ..Course::new("main-rebuilt", self.daily_mb, vec![Event::MainRebuilt])
                };
                let states = course.states(&trees)?;
                let step = Step::between("main rebuilt", &states[0], &states[1], sigtool)?;
                let promise = Promise {
                    held: Some(lossless(step.database_bytes) / 10.0),
                    ..Promise::default()
                };
                self.steps(bench, &[(step, promise)], true)
            }
            Scenario::Encoder => {
                let changes = [
                    (Producer::Zlib6, "zlib level 6"),
                    (Producer::GnuGzip, "GNU gzip"),
                ];
                let events = changes.map(|(producer, _)| [Event::Repacked(producer), day]);
                let events = events.concat();
                let states = Course::new("encoder", self.daily_mb, events).states(&trees)?;
                let mut steps = Vec::new();
                for (pairs, (producer, name)) in states[1..].chunks(2).zip(changes) {
                    let before = &states[steps.len()];
                    let (change, after) = (&pairs[0], &pairs[1]);
                    let named = |what: &str| format!("{what} {name}");
                    let (once, next) = (named("same content from"), named("the day after, from"));
                    steps.push(Step::between(&once, before, change, producer)?);
                    steps.push(Step::between(&next, change, after, producer)?);
                }
                let steps: Vec<_> = steps.into_iter().map(|s| (s, Promise::default())).collect();
                self.steps(bench, &steps, true)
            }
            Scenario::Memory => {
                let mut measured = Vec::new();
                for (name, opened_mb) in [("opened-50", 50.0), ("opened-400", 400.0)] {
                    let mb = packed_mb(opened_mb);
                    let states = Course::new(name, mb, vec![day]).states(&trees)?;
                    let title = format!("ordinary day, {opened_mb} MB opened");
                    let step = Step::between(&title, &states[0], &states[1], sigtool)?;
                    measured.extend(self.steps(bench, &[(step, Promise::default())], false)?);
                }
                Ok(measured)
            }
        }
    }

    /// Steps that follow each other, in one feed.
    fn steps(
        &self,
        bench: &Bench,
        steps: &[(Step, Promise)],
        peers: bool,
    ) -> Result<Vec<Measured>> {
        let plain: Vec<_> = steps.iter().map(|(step, _)| step.clone()).collect();
        let mut runs: Vec<Vec<(Update, f64)>> = vec![Vec::new(); steps.len()];
        if !self.peers_only {
            for run in 0..bench.runs {
                eprintln!("  tidecast, run {}", run + 1);
                let updates = ours::follow(bench, &plain)?;
                for ((of_step, update), step) in runs.iter_mut().zip(updates).zip(&plain) {
                    of_step.push((update, step.stock_deflate_cpu_s()?));
                }
            }
        }
        let mut measured = Vec::new();
        for ((step, promise), updates) in steps.iter().zip(runs) {
            let costs = |of: fn(&Update) -> Cost| -> Vec<Cost> {
                updates.iter().map(|(update, _)| of(update)).collect()
            };
            let mut lines = Vec::new();
            let mut figures = Vec::new();
            if !updates.is_empty() {
                lines.push(Line::new("tidecast, held connection", &costs(|u| u.held)));
                lines.push(Line::new("tidecast sync", &costs(|u| u.fresh)));
                figures = figures_of(step, *promise, &updates);
            }
            if peers && !self.alone {
                lines.extend(self.peers(bench, step)?);
            }
            measured.push(shown(step, lines, figures)?);
        }
        Ok(measured)
    }

    fn peers(&self, bench: &Bench, step: &Step) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for peer in Peer::ALL {
            if let Err(error) = peer.version(&bench.rsync) {
                lines.push(Line::absent(peer.name(), first_line(&error)));
                continue;
            }
            eprintln!("  {}", peer.name());
            let folder = bench.folder()?;
            let costs = peer.measure(step, &bench.rsync, bench.runs, folder.path());
            lines.push(match costs {
                Ok(costs) => Line::new(peer.name(), &costs),
                // One that fails shall not hide what the others do.
                Err(error) => {
                    eprintln!("FAILED: {}: {error:#}", peer.name());
                    Line::absent(peer.name(), first_line(&error))
                }
            });
        }
        lines.push(match peers::patch_bytes(step) {
            Ok(bytes) => {
                let bytes = lossless(bytes + step.cdiff_bytes);
                Line::bytes("floor: zstd -19 --patch-from, opened", bytes)
            }
            Err(error) => Line::absent("floor: zstd", first_line(&error)),
        });
        Ok(lines)
    }

    fn behind(&self, bench: &Bench, states: &[PathBuf]) -> Result<Measured> {
        let (first, last) = (&states[0], &states[states.len() - 1]);
        let name = format!("{} releases behind", states.len() - 1);
        let step = Step::between(&name, first, last, Producer::Sigtool)?;
        let (mut lines, mut figures) = (Vec::new(), Vec::new());
        if !self.peers_only {
            eprintln!("  tidecast");
            let behind = ours::behind(bench, states)?;
            let bytes = |costs: &[Cost]| costs.iter().map(|cost| cost.bytes).collect();
            let together = || Figure::new("bytes of one sync", "B", bytes(&behind.together));
            let mut against_sum = together().at_most(behind.singly.bytes);
            against_sum.what += ", against the sum of single ones";
            figures.push(against_sum);
            match peers::patch_bytes(&step) {
                Ok(patch) => {
                    let most = 1.5 * lossless(patch) + lossless(step.cdiff_bytes);
                    let mut against_floor = together().at_most(most);
                    against_floor.what += ", against 1.5x the floor and the cdiffs";
                    figures.push(against_floor);
                }
                Err(error) => eprintln!("ABSENT: the floor: {error:#}"),
            }
            lines.push(Line::new("tidecast sync, all at once", &behind.together));
            lines.push(Line::new(
                "tidecast, held, the sum of all",
                &[behind.singly],
            ));
        }
        if !self.alone {
            lines.extend(self.peers(bench, &step)?);
        }
        shown(&step, lines, figures)
    }
}

/// An error for a cell of a table; all of it goes to stderr.
fn first_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.lines().next().unwrap_or_default().to_owned()
}

/// Prints what was measured as soon as it is known: the next scenario may take long.
fn shown(step: &Step, lines: Vec<Line>, figures: Vec<Figure>) -> Result<Measured> {
    let measured = Measured {
        step: step.describe()?,
        lines,
        figures,
    };
    let whole = lossless(step.database_bytes + step.cdiff_bytes);
    print!("{}", measured.table(whole));
    Ok(measured)
}

/// The scale that opens to about `opened_mb`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small positive number"
)]
fn packed_mb(opened_mb: f64) -> u32 {
    (opened_mb / OPENED_RATIO).round() as u32
}
