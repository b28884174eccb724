//! What a release costs the one who makes it, and what moving a large file costs in memory.

use anyhow::{Result, ensure};
use tidecast_engine::sample;

use crate::Bench;
use crate::report::{Row, Target};
use crate::tidecast::{Site, lossless};

/// Files of the large unchanged tree.
const MANY_FILES: u32 = 50_000;
/// Memory promised while something large moves.
const ANON_MIB_MAX: f64 = 64.0;

/// First publishing of random data in `mb` million bytes, into a new feed each time.
pub(crate) fn speed(bench: &Bench, mb: u32) -> Result<Vec<Row>> {
    let folder = bench.folder()?;
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree)?;
    sample::incompressible(&tree.join("large.bin"), u64::from(mb) * 1_000_000, 3)?;
    let (mut rate, mut cpu, mut peak) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..bench.runs {
        let home = folder.path().join(format!("feed-{run}"));
        std::fs::create_dir(&home)?;
        let published = Site::create(&bench.tidecast, &home)?.publish(&tree)?;
        rate.push(f64::from(mb) / published.finished.wall_s);
        cpu.push(published.finished.cpu_s * 1e3 / f64::from(mb));
        peak.push(lossless(published.finished.peak_anon_kib) / 1024.0);
        std::fs::remove_dir_all(home)?;
    }
    let name = format!("publish one file of {mb} MB");
    Ok(vec![
        Row::new(&name, "speed, durable on disk", "MB/s", rate),
        Row::new(&name, "CPU", "ms/MB", cpu),
        Row::new(&name, "publisher's peak RssAnon", "MiB", peak),
    ])
}

/// Publishing 50,000 small files, and again when nothing has changed.
pub(crate) fn unchanged(bench: &Bench) -> Result<Vec<Row>> {
    let folder = bench.folder()?;
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree)?;
    sample::small_files(&tree, MANY_FILES, 1)?;
    let site = Site::create(&bench.tidecast, folder.path())?;
    let first = site.publish(&tree)?;
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let again = site.publish(&tree)?;
        ensure!(
            again.release == first.release || again.release.is_none(),
            "publishing an unchanged tree made release {:?} after {:?}",
            again.release,
            first.release
        );
        wall.push(again.finished.wall_s);
        cpu.push(again.finished.cpu_s);
    }
    let name = "publish 50,000 files";
    Ok(vec![
        Row::new(name, "first time, wall", "s", vec![first.finished.wall_s]),
        Row::new(name, "first time, CPU", "s", vec![first.finished.cpu_s]),
        Row::new(name, "unchanged, wall", "s", wall),
        Row::new(name, "unchanged, CPU", "s", cpu),
    ])
}

/// Memory of both ends while a file of `mb` million bytes moves.
pub(crate) fn memory(bench: &Bench, mb: u32) -> Result<Vec<Row>> {
    let folder = bench.folder()?;
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree)?;
    sample::incompressible(&tree.join("large.bin"), u64::from(mb) * 1_000_000, 4)?;
    let site = Site::create(&bench.tidecast, folder.path())?;
    site.publish(&tree)?;
    let (mut master_mib, mut mirror_mib) = (Vec::new(), Vec::new());
    for run in 0..bench.runs {
        let master = site.master()?;
        let mirror = site.join(&format!("memory-{run}"))?;
        let (synced, peak) = master.peak_anon_kib(|| mirror.sync());
        let synced = synced?;
        ensure!(
            synced.switched
                && mirror.served("large.bin").metadata()?.len() == u64::from(mb) * 1_000_000,
            "the large file did not arrive whole"
        );
        master_mib.push(lossless(peak) / 1024.0);
        mirror_mib.push(lossless(synced.finished.peak_anon_kib) / 1024.0);
        mirror.remove()?;
    }
    let name = format!("moving one file of {mb} MB");
    let most = Target::AtMost(ANON_MIB_MAX);
    Ok(vec![
        Row::new(&name, "master's peak RssAnon", "MiB", master_mib).target(most),
        Row::new(&name, "mirror's peak RssAnon", "MiB", mirror_mib).target(most),
    ])
}
