//! The other tools, each as its own manual says.
//!
//! What a tool moves for one step:
//! - rsync: the whole tree from a daemon into a copy of the old one; bytes as `--stats` counts them, both ways.
//! - casync, zsync, zchunk, bita: each changed database from a web server that counts TCP payload both ways, with the old
//!   file (for zchunk: its old container) as the seed. New files come on top with their own length and no overhead:
//!   these tools do not carry trees.
//!
//! Processor time is that of the receiving processes until the file lies there; what the sender prepares once (indexes,
//! chunk stores, containers) and what a mirror kept from last time is made before the clock runs. Every file that
//! comes out is compared with what it should be.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::states::copy_tree;
use super::step::{Step, write_opened};
use crate::process::{Finished, run};
use crate::rsync::Rsync;
use crate::tidecast::lossless;
use crate::web::{Web, ensure_equal};

/// What the old file is called where a tool finds it, and the new one where it is put.
const OLD: &str = "old";
const RESULT: &str = "result";

/// A tool that mirrors could use instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Rsync,
    RsyncZstd,
    Casync,
    Zsync,
    Zchunk,
    Bita,
}

/// What one update cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Payload both ways.
    pub(crate) bytes: f64,
    /// Of the receiving side.
    pub(crate) cpu_s: f64,
    pub(crate) wall_s: f64,
}

impl Cost {
    fn add(&mut self, finished: &Finished) {
        self.cpu_s += finished.cpu_s;
        self.wall_s += finished.wall_s;
    }
}

impl Peer {
    pub(crate) const ALL: [Self; 6] = [
        Self::Rsync,
        Self::RsyncZstd,
        Self::Casync,
        Self::Zsync,
        Self::Zchunk,
        Self::Bita,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rsync => "rsync",
            Self::RsyncZstd => "rsync -z --zc=zstd",
            Self::Casync => "casync",
            Self::Zsync => "zsync",
            Self::Zchunk => "zchunk",
            Self::Bita => "bita",
        }
    }

    /// The programs it takes.
    pub(crate) fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Rsync | Self::RsyncZstd => &["rsync"],
            Self::Casync => &["casync"],
            Self::Zsync => &["zsync", "zsyncmake"],
            Self::Zchunk => &["zck", "zckdl", "unzck"],
            Self::Bita => &["bita"],
        }
    }

    /// What its program says its version is; an error when it cannot be run.
    pub(crate) fn version(self, rsync: &Path) -> Result<String> {
        let program = match self {
            Self::Rsync | Self::RsyncZstd => rsync,
            other => Path::new(other.programs()[0]),
        };
        version(
            program,
            if self == Self::Zsync {
                "-V"
            } else {
                "--version"
            },
        )
    }

    /// Lets it do the step `runs` times, in `folder`.
    pub(crate) fn measure(
        self,
        step: &Step,
        rsync: &Path,
        runs: usize,
        folder: &Path,
    ) -> Result<Vec<Cost>> {
        match self {
            Self::Rsync => by_rsync(&[], step, rsync, runs, folder),
            Self::RsyncZstd => by_rsync(&["-z", "--zc=zstd"], step, rsync, runs, folder),
            _ => self.over_http(step, runs, folder),
        }
    }

    fn over_http(self, step: &Step, runs: usize, folder: &Path) -> Result<Vec<Cost>> {
        let served = folder.join("served");
        for database in &step.databases {
            let served = served.join(database);
            fs::create_dir_all(&served)?;
            self.prepare(&step.new.join(database), &served)?;
        }
        let web = Web::serve(&served)?;
        (0..runs)
            .map(|run| {
                let mut cost = Cost {
                    bytes: lossless(step.cdiff_bytes),
                    ..Cost::default()
                };
                for database in &step.databases {
                    let own = folder.join(format!("{database}-{run}"));
                    fs::create_dir(&own)?;
                    self.keep(&step.old.join(database), &own)?;
                    let before = web.bytes();
                    for mut command in self.fetch(&web, database, &own) {
                        cost.add(&run_in(&mut command, &own)?);
                    }
                    cost.bytes += lossless(web.bytes() - before);
                    ensure_equal(&own.join(RESULT), &step.new.join(database))?;
                    fs::remove_dir_all(own)?;
                }
                Ok(cost)
            })
            .collect()
    }

    /// What the sender makes of a file, once.
    fn prepare(self, file: &Path, folder: &Path) -> Result<()> {
        let mut command = Command::new(self.programs()[0]);
        match self {
            Self::Casync => command
                .args(["make", "--store=store.castr", "new.caibx"])
                .arg(file),
            Self::Zsync => {
                fs::copy(file, folder.join("new"))?;
                command = Command::new("zsyncmake");
                command.args(["-u", "new", "-o", "new.zsync", "new"])
            }
            Self::Zchunk => command.args(["-o", "new.zck"]).arg(file),
            Self::Bita => return bita_archive(file, folder),
            Self::Rsync | Self::RsyncZstd => return Ok(()),
        };
        run_in(&mut command, folder).map(drop)
    }

    /// What the mirror has from last time.
    fn keep(self, file: &Path, own: &Path) -> Result<()> {
        if self == Self::Zchunk {
            self.prepare(file, own)?;
            fs::rename(own.join("new.zck"), own.join(OLD))?;
        } else {
            fs::copy(file, own.join(OLD))?;
        }
        Ok(())
    }

    /// What the mirror runs, in its own folder.
    fn fetch(self, web: &Web, database: &str, own: &Path) -> Vec<Command> {
        let command = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        };
        let url = |file: &str| web.url(&format!("{database}/{file}"));
        let old = own.join(OLD).to_string_lossy().into_owned();
        match self {
            Self::Casync => vec![command(
                "casync",
                &[
                    "extract",
                    &format!("--store={}", url("store.castr")),
                    &format!("--seed={old}"),
                    &url("new.caibx"),
                    RESULT,
                ],
            )],
            Self::Zsync => vec![command(
                "zsync",
                &["-q", "-i", &old, "-o", RESULT, &url("new.zsync")],
            )],
            // It names what comes out after the container.
            Self::Zchunk => vec![
                command("zckdl", &["-q", "-s", &old, &url("new.zck")]),
                command("unzck", &["new.zck"]),
                command("mv", &["new", RESULT]),
            ],
            Self::Bita => vec![command(
                "bita",
                &["clone", "--seed", &old, &url("new.cba"), RESULT],
            )],
            Self::Rsync | Self::RsyncZstd => Vec::new(),
        }
    }
}

/// Lets bita make an archive, until it is whole: 0.15 now and then ends before the last bytes are written.
fn bita_archive(file: &Path, folder: &Path) -> Result<()> {
    /// It happens more often than not on small files.
    const ATTEMPTS: usize = 20;
    for _ in 0..ATTEMPTS {
        let mut compress = Command::new("bita");
        compress
            .args(["compress", "--force-create", "-i"])
            .arg(file)
            .arg("new.cba");
        run_in(&mut compress, folder)?;
        let mut clone = Command::new("bita");
        clone.args(["clone", "--force-create", "new.cba", "check"]);
        if run_in(&mut clone, folder).is_ok() && ensure_equal(&folder.join("check"), file).is_ok() {
            return Ok(fs::remove_file(folder.join("check"))?);
        }
    }
    bail!("bita made {ATTEMPTS} broken archives of {}", file.display())
}

fn by_rsync(
    options: &[&str],
    step: &Step,
    program: &Path,
    runs: usize,
    folder: &Path,
) -> Result<Vec<Cost>> {
    let server = Rsync::serve(program, &step.new, folder)?;
    (0..runs)
        .map(|run| {
            let copy = folder.join(format!("copy-{run}"));
            copy_tree(None, &step.old, &copy)?;
            let copied = server.copy_with(options, &copy)?;
            for database in &step.databases {
                ensure_equal(&copy.join(database), &step.new.join(database))?;
            }
            fs::remove_dir_all(copy)?;
            Ok(Cost {
                bytes: copied.bytes,
                cpu_s: copied.finished.cpu_s,
                wall_s: copied.finished.wall_s,
            })
        })
        .collect()
}

fn run_in(command: &mut Command, folder: &Path) -> Result<Finished> {
    run(command.current_dir(folder))
}

/// The first line a program says about its version.
pub(crate) fn version(program: &Path, option: &str) -> Result<String> {
    let output = Command::new(program)
        .arg(option)
        .output()
        .with_context(|| format!("{} cannot be run", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| !line.trim().is_empty());
    Ok(line.unwrap_or("unknown version").trim().to_owned())
}

/// Bytes of `zstd -19 --long --patch-from` between the opened old and new databases: nearly the information itself. It is a floor and no tool: the packed file cannot be made of it by zstd. Measured once
/// for each pair of trees and kept beside them, for the compressor is deterministic and slow.
pub(crate) fn patch_bytes(step: &Step) -> Result<u64> {
    let kept = step.new.with_extension(format!(
        "patch-from-{}",
        step.old.file_name().unwrap_or_default().to_string_lossy()
    ));
    if let Ok(text) = fs::read_to_string(&kept) {
        return Ok(text.trim().parse()?);
    }
    eprintln!("  zstd -19 --long --patch-from, once: minutes");
    let folder = tempfile::tempdir_in(step.new.parent().unwrap_or(Path::new(".")))?;
    for (state, name) in [(&step.old, "old"), (&step.new, "new")] {
        // All in one: lines may move from one database to another.
        let mut all = File::create(folder.path().join(name))?;
        for database in &step.databases {
            write_opened(&state.join(database), &mut all)?;
        }
    }
    let mut command = Command::new("zstd");
    // 2^31 is the longest window there is; zstd takes what the files need.
    command
        .args(["-q", "-f", "-19", "--long=31", "--patch-from=old", "new"])
        .args(["-o", "patch"]);
    run_in(&mut command, folder.path())?;
    let bytes = fs::metadata(folder.path().join("patch"))?.len();
    fs::write(kept, bytes.to_string())?;
    Ok(bytes)
}
