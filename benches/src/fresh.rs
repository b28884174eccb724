//! A fresh copy, and a look at a tree where nothing has changed: both beside rsync.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::Bench;
use crate::process::Daemon;
use crate::report::{Row, Target};
use crate::rsync::Rsync;
use crate::tidecast::{Mirror, Site};

/// A tree published by a master and served by an rsync daemon, on one file system.
pub(crate) struct Arena<'a> {
    bench: &'a Bench,
    folder: tempfile::TempDir,
    pub(crate) site: Site,
    pub(crate) master: Daemon,
    rsync: Rsync,
}

/// The numbers of one side, run by run.
#[derive(Default)]
struct Side {
    wall_s: Vec<f64>,
    client_cpu_s: Vec<f64>,
    server_cpu_s: Vec<f64>,
    bytes: Vec<f64>,
}

impl<'a> Arena<'a> {
    /// Lets `make` fill a tree, publishes it and starts both servers.
    pub(crate) fn set_up(bench: &'a Bench, make: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let folder = bench.folder()?;
        let tree = folder.path().join("tree");
        std::fs::create_dir(&tree)?;
        make(&tree)?;
        let site = Site::create(&bench.tidecast, folder.path())?;
        site.publish(&tree)?;
        let master = site.master()?;
        let rsync = Rsync::serve(&bench.rsync, &tree, folder.path())?;
        Ok(Self {
            bench,
            folder,
            site,
            master,
            rsync,
        })
    }

    /// Fresh copies, in turns, each into a folder of its own. Nothing is deleted between them: ext4 searches long for
    /// inodes that were not just freed, and whoever comes after a deletion would pay for it.
    pub(crate) fn fresh(&self, scenario: &str, targets: bool) -> Result<Vec<Row>> {
        let (mut ours, mut theirs) = (Side::default(), Side::default());
        for run in 0..self.bench.runs {
            let mirror = self.site.join(&format!("fresh-{run}"))?;
            let copy = self.folder.path().join(format!("copy-{run}"));
            std::fs::create_dir(&copy)?;
            self.in_turns(run, &mut ours, &mirror, &mut theirs, &copy, true)?;
        }
        let mut rows = rows(scenario, ours, theirs);
        if targets {
            let at_most = [1.0, 1.5, 0.75].map(Target::RatioAtMost);
            for (row, target) in rows.iter_mut().zip(at_most) {
                row.target = Some(target);
            }
        }
        Ok(rows)
    }

    /// Looks at an unchanged tree, each time with a new connection.
    pub(crate) fn unchanged(&self, scenario: &str) -> Result<Vec<Row>> {
        let mirror = self.site.join("unchanged")?;
        let copy = self.folder.path().join("copy");
        std::fs::create_dir(&copy)?;
        mirror.sync()?;
        self.rsync.copy(&copy)?;
        let (mut ours, mut theirs) = (Side::default(), Side::default());
        for run in 0..self.bench.runs {
            self.in_turns(run, &mut ours, &mirror, &mut theirs, &copy, false)?;
        }
        mirror.remove()?;
        std::fs::remove_dir_all(&copy)?;
        Ok(rows(scenario, ours, theirs))
    }

    /// Bytes of rsync's for one look at an unchanged tree, for comparison with a held connection's.
    pub(crate) fn rsync_unchanged_bytes(&self) -> Result<f64> {
        let copy = self.folder.path().join("copy");
        std::fs::create_dir_all(&copy)?;
        self.rsync.copy(&copy)?;
        Ok(self.rsync.copy(&copy)?.bytes)
    }

    fn in_turns(
        &self,
        run: usize,
        ours: &mut Side,
        mirror: &Mirror,
        theirs: &mut Side,
        copy: &Path,
        switches: bool,
    ) -> Result<()> {
        // Whoever goes first finds the machine warmer or colder: they alternate.
        if run.is_multiple_of(2) {
            self.sync(ours, mirror, switches)?;
            self.copy(theirs, copy)
        } else {
            self.copy(theirs, copy)?;
            self.sync(ours, mirror, switches)
        }
    }

    fn sync(&self, side: &mut Side, mirror: &Mirror, switches: bool) -> Result<()> {
        settle()?;
        let before = self.master.cpu_s()?;
        let synced = mirror.sync()?;
        ensure!(
            synced.switched == switches,
            "sync --json said switched: {}",
            synced.switched
        );
        side.server_cpu_s.push(self.master.cpu_s()? - before);
        side.wall_s.push(synced.finished.wall_s);
        side.client_cpu_s.push(synced.finished.cpu_s);
        side.bytes.push(synced.bytes);
        Ok(())
    }

    fn copy(&self, side: &mut Side, destination: &Path) -> Result<()> {
        settle()?;
        let copied = self.rsync.copy(destination)?;
        side.server_cpu_s.push(copied.daemon_cpu_s);
        side.wall_s.push(copied.finished.wall_s);
        side.client_cpu_s.push(copied.finished.cpu_s);
        side.bytes.push(copied.bytes);
        Ok(())
    }
}

/// Lets the disk finish what earlier runs left, so that nobody syncs somebody else's data.
fn settle() -> Result<()> {
    crate::process::run(&mut Command::new("sync")).map(drop)
}

fn rows(scenario: &str, ours: Side, theirs: Side) -> Vec<Row> {
    let row = |metric, unit, ours, theirs| Row::new(scenario, metric, unit, ours).beside(theirs);
    vec![
        row("wall, whole process", "s", ours.wall_s, theirs.wall_s),
        row("client CPU", "s", ours.client_cpu_s, theirs.client_cpu_s),
        row(
            "server CPU (mean)",
            "s",
            ours.server_cpu_s,
            theirs.server_cpu_s,
        )
        .coarse(),
        row("bytes both ways, payload", "B", ours.bytes, theirs.bytes),
    ]
}
