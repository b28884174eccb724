//! tidecast's own side: one mirror that is always connected, and one that comes by.
//!
//! Both dial through a relay that counts datagrams, each through its own. The held mirror's figures run from before the
//! publishing command until the master has its receipt and the last acknowledgement has passed; its processor time is
//! what `/proc` says of the daemon meanwhile. The other one's are those of a whole `tidecast sync`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tidecast_engine::control;
use tidecast_engine::master::MasterStatus;

use super::peers::Cost;
use super::states::copy_tree;
use super::step::Step;
use crate::Bench;
use crate::datagrams::Relay;
use crate::process::Daemon;
use crate::tidecast::{Mirror, Site, lossless};
use crate::web::ensure_equal;

/// How long a release may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(300);
/// How often the master is asked.
const LOOK: Duration = Duration::from_millis(20);
/// Silence after the last thing that happens: acknowledgements leave within 25 ms (RFC 9000, `max_ack_delay`), and
/// connections finish finding the path's packet size.
const REST: Duration = Duration::from_secs(1);

/// What one step cost in one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Update {
    pub(crate) held: Cost,
    pub(crate) held_anon_mib: f64,
    pub(crate) fresh: Cost,
    pub(crate) fresh_anon_mib: f64,
    /// What `sync` itself says it moved.
    pub(crate) fresh_bytes_told: f64,
    pub(crate) publish_cpu_s: f64,
    pub(crate) publish_anon_mib: f64,
}

/// A feed whose releases are the states of a course, one after the other.
struct Feed {
    site: Site,
    tree: PathBuf,
    master: Daemon,
    release: u64,
}

/// What publishing the next state cost.
struct Publishing {
    cpu_s: f64,
    anon_mib: f64,
}

impl Feed {
    /// With `first` as release 1.
    fn new(bench: &Bench, first: &Path, folder: &Path) -> Result<Self> {
        let tree = folder.join("tree");
        copy_tree(None, first, &tree)?;
        let site = Site::create(&bench.tidecast, folder)?;
        site.publish(&tree)?;
        let master = site.master()?;
        Ok(Self {
            site,
            tree,
            master,
            release: 1,
        })
    }

    fn publish(&mut self, old: &Path, new: &Path) -> Result<Publishing> {
        copy_tree(Some(old), new, &self.tree)?;
        let published = self.site.publish(&self.tree)?;
        self.release += 1;
        ensure!(
            published.release == Some(self.release),
            "publishing {} made release {:?}, not {}",
            new.display(),
            published.release,
            self.release
        );
        Ok(Publishing {
            cpu_s: published.finished.cpu_s,
            anon_mib: lossless(published.finished.peak_anon_kib) / 1024.0,
        })
    }

    fn status(&self) -> Result<MasterStatus> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let state = self.site.state();
        let asked = runtime.block_on(control::ask(&state, &control::Command::Status))?;
        Ok(serde_json::from_value(asked)?)
    }

    /// Waits for the receipt of the newest release, and says how long after its announcement the mirror had switched.
    fn receipt(&mut self, mirror: &Mirror) -> Result<f64> {
        let start = Instant::now();
        while start.elapsed() < ARRIVAL {
            ensure!(self.master.is_running(), "the master has ended");
            let status = self.status()?;
            let issued = status.newest.map_or(0, |newest| newest.head_issued_ms);
            let mut nodes = status.nodes.into_iter();
            let node = nodes.find(|node| node.node_key == mirror.node_key);
            if let Some(node) = node
                && node.release == Some(self.release)
            {
                let switched = node.switched_ms.context("a receipt without a time")?;
                return Ok(lossless(switched.saturating_sub(issued)) / 1e3);
            }
            std::thread::sleep(LOOK);
        }
        bail!(
            "no receipt for release {} came in {ARRIVAL:?}",
            self.release
        )
    }
}

/// Walks through the steps, which must follow each other, and says what each cost.
pub(crate) fn follow(bench: &Bench, steps: &[Step]) -> Result<Vec<Update>> {
    let folder = bench.folder()?;
    let first = steps.first().context("no step to measure")?;
    let mut feed = Feed::new(bench, &first.old, folder.path())?;
    let relays = [Relay::to(feed.site.address)?, Relay::to(feed.site.address)?];
    let held = feed.site.join_through(relays[0].address(), "held")?;
    let fresh = feed.site.join_through(relays[1].address(), "fresh")?;
    fresh.sync()?;
    let daemon = held.daemon()?;
    feed.receipt(&held)?;
    let mut updates = Vec::new();
    for step in steps {
        std::thread::sleep(REST);
        let (bytes, cpu_s) = (relays[0].bytes(), daemon.cpu_s()?);
        let (arrived, held_anon_kib) = daemon.peak_anon_kib(|| {
            let publishing = feed.publish(&step.old, &step.new)?;
            let wall_s = feed.receipt(&held)?;
            std::thread::sleep(REST);
            Ok::<_, anyhow::Error>((publishing, wall_s))
        });
        let (publishing, wall_s) = arrived?;
        let held_cost = Cost {
            bytes: lossless(relays[0].bytes() - bytes),
            cpu_s: daemon.cpu_s()? - cpu_s,
            wall_s,
        };
        let bytes = relays[1].bytes();
        let synced = fresh.sync()?;
        ensure!(
            synced.switched,
            "sync did not switch to release {}",
            feed.release
        );
        std::thread::sleep(REST);
        for database in &step.databases {
            for mirror in [&held, &fresh] {
                ensure_equal(&mirror.served(database), &step.new.join(database))?;
            }
        }
        updates.push(Update {
            held: held_cost,
            held_anon_mib: lossless(held_anon_kib) / 1024.0,
            fresh: Cost {
                bytes: lossless(relays[1].bytes() - bytes),
                cpu_s: synced.finished.cpu_s,
                wall_s: synced.finished.wall_s,
            },
            fresh_anon_mib: lossless(synced.finished.peak_anon_kib) / 1024.0,
            fresh_bytes_told: synced.bytes,
            publish_cpu_s: publishing.cpu_s,
            publish_anon_mib: publishing.anon_mib,
        });
    }
    Ok(updates)
}

/// What being many releases behind cost.
pub(crate) struct Behind {
    /// One `sync` over all of them, by one mirror for each run.
    pub(crate) together: Vec<Cost>,
    /// A mirror that took each as it came: the sum.
    pub(crate) singly: Cost,
}

/// Publishes the states one after the other; a held mirror follows, and others that have only the first then sync.
pub(crate) fn behind(bench: &Bench, states: &[PathBuf]) -> Result<Behind> {
    let folder = bench.folder()?;
    let (first, last) = match states {
        [first, .., last] => (first, last),
        _ => bail!("too few states to be behind"),
    };
    let mut feed = Feed::new(bench, first, folder.path())?;
    let relays = [Relay::to(feed.site.address)?, Relay::to(feed.site.address)?];
    let held = feed.site.join_through(relays[0].address(), "held")?;
    let late = (0..bench.runs)
        .map(|run| {
            let mirror = feed
                .site
                .join_through(relays[1].address(), &format!("late-{run}"))?;
            mirror.sync()?;
            Ok(mirror)
        })
        .collect::<Result<Vec<_>>>()?;
    let daemon = held.daemon()?;
    feed.receipt(&held)?;
    std::thread::sleep(REST);
    let (bytes, cpu_s) = (relays[0].bytes(), daemon.cpu_s()?);
    let mut wall_s = 0.0;
    for pair in states.windows(2) {
        feed.publish(&pair[0], &pair[1])?;
        wall_s += feed.receipt(&held)?;
    }
    std::thread::sleep(REST);
    let singly = Cost {
        bytes: lossless(relays[0].bytes() - bytes),
        cpu_s: daemon.cpu_s()? - cpu_s,
        wall_s,
    };
    let mut together = Vec::new();
    for mirror in &late {
        let bytes = relays[1].bytes();
        let synced = mirror.sync()?;
        std::thread::sleep(REST);
        ensure_equal(&mirror.served("daily.cvd"), &last.join("daily.cvd"))?;
        together.push(Cost {
            bytes: lossless(relays[1].bytes() - bytes),
            cpu_s: synced.finished.cpu_s,
            wall_s: synced.finished.wall_s,
        });
    }
    Ok(Behind { together, singly })
}
