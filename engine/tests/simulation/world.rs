//! One run: the network is built, things happen to it, everything is put right, and every mirror must get there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tidecast_engine::blocking::Blocking;
use tidecast_engine::config::MirrorConfig;
use tidecast_engine::master::{Master, newest_head};
use tidecast_engine::mirror::{self, DiskMode, Mirror, Surroundings};
use tidecast_proto::id::ReleaseNumber;
use tidecast_proto::key::SecretKey;
use tokio::sync::Notify;
use turmoil::Sim;

use crate::chance::Chance;
use crate::clock::{EPOCH_MS, Elapsed, HostClock};
use crate::docroots::{Docroot, inventory, listing};
use crate::feed::{MASTERS, SimFeed, write_key};
use crate::forgery::Forger;
use crate::network::{HostNetwork, Weather};
use crate::schedule::{Happening, MIRROR_NAMES, MIRRORS, Plan, THIEVES, hosts};
use crate::thief::{Loot, Tally, Thief};
use crate::trace;

/// By then every mirror must be there, in milliseconds after everything was put right: a mirror that was led astray last
/// notices when its head expires, at the poll after that, and asks its other upstreams then.
const CONVERGE_MS: u64 = 30 * 60 * 1000;

/// How long a run goes on when all are there.
const AFTERWARDS_MS: u64 = 30 * 1000;

/// How often every file of every docroot is looked at although nothing was switched.
const WHOLE_LOOK_MS: u64 = 60 * 1000;

/// What a run came to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// A hash of all that happened.
    pub(crate) trace: String,
    /// From putting right to the last mirror's arrival.
    pub(crate) converged_ms: u64,
    /// Simulated time in all.
    pub(crate) elapsed_ms: u64,
    pub(crate) releases: u64,
    pub(crate) switches: u64,
    pub(crate) crashes: u64,
    pub(crate) partitions: u64,
    pub(crate) clock_jumps: u64,
    pub(crate) roots: u64,
    pub(crate) attacks: BTreeMap<String, u64>,
}

/// A host that can be told to stop, with what runs on it.
#[derive(Debug)]
struct Daemon<T> {
    stop: Arc<Notify>,
    running: Arc<Mutex<Weak<T>>>,
}

impl<T> Default for Daemon<T> {
    fn default() -> Self {
        Self {
            stop: Arc::default(),
            running: Arc::default(),
        }
    }
}

impl<T> Clone for Daemon<T> {
    fn clone(&self) -> Self {
        Self {
            stop: self.stop.clone(),
            running: self.running.clone(),
        }
    }
}

impl<T> Daemon<T> {
    fn runs(&self, what: &Arc<T>) {
        *self.running.lock().unwrap() = Arc::downgrade(what);
    }

    fn running(&self) -> Option<Arc<T>> {
        self.running.lock().unwrap().upgrade()
    }
}

/// The network of one seed.
struct World {
    seed: u64,
    folder: PathBuf,
    plan: Plan,
    elapsed: Elapsed,
    clocks: BTreeMap<&'static str, HostClock>,
    weather: Arc<Weather>,
    feed: SimFeed,
    loot: Arc<Mutex<Loot>>,
    tally: Tally,
    masters: Vec<Daemon<Master>>,
    mirrors: Vec<Daemon<Mirror>>,
    docroots: Vec<Docroot>,
    outside: Vec<(String, Vec<u8>)>,
}

/// Runs one seed in `folder`, which must not exist and is gone afterwards.
pub(crate) fn run(seed: u64, folder: &Path) -> Result<Outcome, String> {
    let _ = fs::remove_dir_all(folder);
    let elapsed = Elapsed::default();
    trace::begin(&elapsed, &folder.to_string_lossy());
    let ended = tracing::subscriber::with_default(trace::EngineLog, || {
        let mut world = World::new(seed, folder, &elapsed);
        let mut sim = world.build();
        let ended = world.live(&mut sim);
        ended.map_err(|why| format!("{why}\n{}", world.describe()))
    });
    let trace = trace::end();
    let _ = fs::remove_dir_all(folder);
    ended.map(|outcome| Outcome { trace, ..outcome })
}

impl World {
    fn new(seed: u64, folder: &Path, elapsed: &Elapsed) -> Self {
        fs::create_dir_all(folder.join("outside")).unwrap();
        fs::write(folder.join("outside/file"), b"not the mirrors'").unwrap();
        let feed = SimFeed::new(folder, seed, elapsed.now());
        let docroots = MIRROR_NAMES.map(|name| Docroot::new(folder.join(name).join("docroot")));
        let world = Self {
            seed,
            plan: Plan::new(seed),
            clocks: hosts()
                .into_iter()
                .map(|name| (name, HostClock::new(elapsed)))
                .collect(),
            elapsed: elapsed.clone(),
            weather: Arc::default(),
            feed,
            loot: Arc::default(),
            tally: Tally::default(),
            masters: MASTERS.map(|_| Daemon::default()).into(),
            mirrors: MIRROR_NAMES.map(|_| Daemon::default()).into(),
            docroots: docroots.into(),
            outside: inventory(&folder.join("outside")),
            folder: folder.to_owned(),
        };
        for (index, name) in MIRROR_NAMES.iter().enumerate() {
            let state = world.mirror_state(name);
            fs::create_dir_all(&state).unwrap();
            write_key(&state.join(mirror::NODE_KEY), &world.node_seed(name));
            for master in 0..MASTERS.len() {
                if world.plan.not_admitted[index] != Some(master) {
                    world.admit(master, name);
                }
            }
        }
        world
    }

    fn mirror_state(&self, name: &str) -> PathBuf {
        self.folder.join(name).join("state")
    }

    fn node_seed(&self, name: &str) -> [u8; 32] {
        Chance::of(self.seed, name).seed()
    }

    fn admit(&self, master: usize, mirror: &str) {
        let key = SecretKey::from_seed(&self.node_seed(mirror)).public();
        self.feed.admit(master, key, self.elapsed.now());
    }

    fn network(&self, name: &str) -> HostNetwork {
        HostNetwork::new(name, &self.weather, self.seed)
    }

    fn build(&mut self) -> Sim<'static> {
        let mut builder = turmoil::Builder::new();
        builder
            .rng_seed(self.seed)
            .epoch(UNIX_EPOCH + Duration::from_millis(EPOCH_MS))
            .tick_duration(Duration::from_millis(self.plan.tick_ms))
            .simulation_duration(Duration::from_secs(24 * 3600))
            .udp_capacity(4096)
            .enable_random_order();
        let mut sim = builder.build();
        for index in 0..MASTERS.len() {
            self.add_master(&mut sim, index);
        }
        for index in 0..MIRRORS {
            self.add_mirror(&mut sim, index);
        }
        for index in 0..THIEVES.len() {
            self.add_thief(&mut sim, index);
        }
        sim
    }

    fn add_master(&self, sim: &mut Sim<'_>, index: usize) {
        let name = MASTERS[index];
        let (state, clock) = (self.feed.state(index), self.clocks[name].clone());
        let (network, daemon) = (Arc::new(self.network(name)), self.masters[index].clone());
        sim.host(name, move || {
            let (state, clock) = (state.clone(), Arc::new(clock.clone()));
            let (network, daemon) = (network.clone(), daemon.clone());
            async move {
                let master = Arc::new(Master::open_in(&state, clock, Blocking::Inline)?);
                daemon.runs(&master);
                let endpoint = master.listen(network.bind(4873)?)?;
                master.serve(endpoint, daemon.stop.notified()).await;
                Ok(())
            }
        });
    }

    fn add_mirror(&self, sim: &mut Sim<'_>, index: usize) {
        let name = MIRROR_NAMES[index];
        let (state, clock) = (self.mirror_state(name), self.clocks[name].clone());
        let (network, daemon) = (Arc::new(self.network(name)), self.mirrors[index].clone());
        let config = MirrorConfig {
            fingerprint: self.feed.id.to_string(),
            upstreams: self.plan.upstreams[index]
                .iter()
                .map(ToString::to_string)
                .collect(),
            docroot: self.folder.join(name).join("docroot"),
            name: name.into(),
            grace_s: 60,
            scrub_s: 0,
            ..MirrorConfig::default()
        };
        let disk = DiskMode::Inline(Duration::from_millis(self.plan.disk_ms));
        let jitter = RefCell::new(Chance::of(self.seed, &format!("jitter {name}")));
        sim.host(name, move || {
            let (state, config, daemon) = (state.clone(), config.clone(), daemon.clone());
            let surroundings = Surroundings {
                clock: Arc::new(clock.clone()),
                network: network.clone(),
                disk,
                jitter: Some(jitter.borrow_mut().next()),
            };
            async move {
                let (mirror, _) = Mirror::open_in(&state, config, surroundings)?;
                daemon.runs(&mirror);
                mirror.run(daemon.stop.notified()).await;
                Ok(())
            }
        });
    }

    fn add_thief(&self, sim: &mut Sim<'_>, index: usize) {
        let name = THIEVES[index];
        let plan = self.plan.thieves[index];
        let mut chance = Chance::of(self.seed, name);
        let own = SecretKey::from_seed(&chance.seed());
        let keys = plan.node_of.map(|master| &self.feed.masters[master]);
        let node_key = keys.map_or(own, |keys| SecretKey::from_seed(&keys.node));
        let stolen = keys.filter(|_| plan.head_key);
        let forger = stolen
            .map(|keys| Forger::new(self.feed.id, SecretKey::from_seed(&keys.head), &mut chance));
        let thief = Arc::new(Thief {
            name: name.into(),
            network: self.network(name),
            clock: self.clocks[name].clone(),
            node_key,
            loot: self.loot.clone(),
            store_folder: self.feed.state(0).join("store"),
            store: OnceLock::new(),
            honest: plan.honest,
            freezes_ms: plan.freezes_ms,
            frozen: OnceLock::new(),
            chance: Mutex::new(chance),
            forger,
            tally: self.tally.clone(),
        });
        sim.host(name, move || thief.clone().run());
    }

    /// From the first moment to the last.
    fn live(&mut self, sim: &mut Sim<'_>) -> Result<Outcome, String> {
        let happenings = std::mem::take(&mut self.plan.happenings);
        let mut coming = happenings.iter().peekable();
        while self.elapsed.ms() < self.plan.heal_ms {
            while let Some((_, what)) = coming.next_if(|(at, _)| *at <= self.elapsed.ms()) {
                self.happen(sim, *what);
            }
            self.step(sim)?;
        }
        self.plan.happenings = happenings;
        self.heal(sim)?;
        let healed = self.elapsed.ms();
        while !self.has_converged() {
            if self.elapsed.ms() > healed + CONVERGE_MS {
                return Err("not every mirror has the newest release".into());
            }
            self.step(sim)?;
        }
        let converged_ms = self.elapsed.ms() - healed;
        trace::note("world", format_args!("converged after {converged_ms} ms"));
        let end = self.elapsed.ms() + AFTERWARDS_MS;
        while self.elapsed.ms() < end {
            self.step(sim)?;
        }
        self.look(true)?;
        self.look_around()?;
        Ok(Outcome {
            converged_ms,
            elapsed_ms: self.elapsed.ms(),
            releases: self.feed.releases.len() as u64,
            switches: self.docroots.iter().map(|docroot| docroot.switches).sum(),
            crashes: self
                .plan
                .count(|h| matches!(h, Happening::Crash(_) | Happening::Stop(_))),
            partitions: self
                .plan
                .count(|h| matches!(h, Happening::Partition(..) | Happening::OneWay(..))),
            clock_jumps: self
                .plan
                .count(|h| matches!(h, Happening::Clock(_, ms) if *ms != 0)),
            roots: self.feed.roots.len() as u64,
            attacks: self.attacks(),
            ..Outcome::default()
        })
    }

    fn attacks(&self) -> BTreeMap<String, u64> {
        let tally = self.tally.lock().unwrap();
        tally
            .iter()
            .map(|(what, count)| ((*what).to_owned(), *count))
            .collect()
    }

    fn step(&mut self, sim: &mut Sim<'_>) -> Result<(), String> {
        sim.step()
            .map_err(|error| format!("a node ended: {error}"))?;
        let before = self.elapsed.ms();
        let now = before + self.plan.tick_ms;
        self.elapsed.set(now);
        let whole = now / WHOLE_LOOK_MS != before / WHOLE_LOOK_MS;
        if now / 1000 != before / 1000 {
            self.overhear();
        }
        self.look(whole)
    }

    fn look(&mut self, whole: bool) -> Result<(), String> {
        for (docroot, name) in self.docroots.iter_mut().zip(MIRROR_NAMES) {
            let before = docroot.release;
            docroot
                .look(&self.feed, whole)
                .map_err(|why| format!("{name}: {why}"))?;
            if docroot.release != before {
                trace::note(name, format_args!("serves release {}", docroot.release));
            }
        }
        Ok(())
    }

    /// Whether anything was written where nothing belongs.
    fn look_around(&self) -> Result<(), String> {
        if inventory(&self.folder.join("outside")) != self.outside {
            return Err("something was written outside of every docroot".into());
        }
        let mut known: Vec<_> = MASTERS.iter().chain(&MIRROR_NAMES).copied().collect();
        known.extend(["outside", "trees"]);
        known.sort_unstable();
        if listing(&self.folder) != known {
            return Err(format!(
                "beside the docroots lie {:?}",
                listing(&self.folder)
            ));
        }
        for name in MIRROR_NAMES {
            let found = listing(&self.folder.join(name));
            if found != ["docroot", "state"] {
                return Err(format!("beside {name}'s docroot lie {found:?}"));
            }
        }
        Ok(())
    }

    fn has_converged(&self) -> bool {
        let newest = self.feed.newest();
        self.docroots
            .iter()
            .all(|docroot| docroot.release == newest)
    }

    fn happen(&mut self, sim: &mut Sim<'_>, what: Happening) {
        trace::note("world", format_args!("{what:?}"));
        match what {
            Happening::Publish => {
                self.feed.publish(self.elapsed.now());
                self.reload(0);
            }
            Happening::Replicate => {
                self.feed.bring_to(1);
                self.reload(1);
            }
            Happening::Partition(a, b) => sim.partition(a, b),
            Happening::OneWay(a, b) => sim.partition_oneway(a, b),
            Happening::Repair(a, b) => sim.repair(a, b),
            Happening::Weather(lost, doubled, damaged) => self.weather.set(lost, doubled, damaged),
            Happening::Latency(a, b, ms) => sim.set_link_latency(a, b, Duration::from_millis(ms)),
            Happening::Crash(host) => sim.crash(host),
            Happening::Stop(host) => self.stop(host),
            Happening::Start(host) => {
                if !sim.is_host_running(host) {
                    sim.bounce(host);
                }
            }
            Happening::Clock(host, ahead_ms) => self.clocks[host].jump(ahead_ms),
            Happening::Replace(master) => {
                self.feed.rotate(Some(master), true, self.elapsed.now());
                self.restart_masters(sim);
            }
            Happening::Renew => {
                self.feed.rotate(None, false, self.elapsed.now());
                self.restart_masters(sim);
            }
        }
    }

    fn stop(&self, host: &str) {
        let masters = MASTERS
            .iter()
            .zip(self.masters.iter().map(|daemon| &daemon.stop));
        let mirrors = MIRROR_NAMES
            .iter()
            .zip(self.mirrors.iter().map(|daemon| &daemon.stop));
        let found = masters.chain(mirrors).find(|(name, _)| **name == host);
        if let Some((_, stop)) = found {
            stop.notify_waiters();
        }
    }

    /// What the control socket of a master would be told after a change.
    fn reload(&self, master: usize) {
        if let Some(running) = self.masters[master].running() {
            running.reload().unwrap();
        }
        self.overhear();
    }

    fn restart_masters(&mut self, sim: &mut Sim<'_>) {
        for name in MASTERS {
            if sim.is_host_running(name) {
                sim.bounce(name);
            }
        }
        self.overhear();
    }

    /// Thieves learn what is public.
    fn overhear(&self) {
        let mut loot = self.loot.lock().unwrap();
        loot.roots = self
            .feed
            .roots
            .iter()
            .map(tidecast_proto::root::SignedRoot::to_bytes)
            .collect();
        let releases = self.feed.releases.iter();
        loot.releases = releases
            .map(|r| (ReleaseNumber(r.number), r.manifest))
            .collect();
        for master in 0..MASTERS.len() {
            if let Some(head) = newest_head(&self.feed.state(master)).unwrap()
                && !loot.heads.contains(&head)
            {
                loot.heads.push(head);
            }
        }
    }

    /// Puts everything right: links, weather, clocks, hosts, replication, admissions; whoever's keys were stolen gets new
    /// ones. Hostile hosts go on. One more release follows.
    fn heal(&mut self, sim: &mut Sim<'_>) -> Result<(), String> {
        trace::note("world", format_args!("everything is put right"));
        let all = hosts();
        for (index, a) in all.iter().enumerate() {
            for b in &all[index + 1..] {
                sim.repair(*a, *b);
                sim.set_link_latency(*a, *b, Duration::from_millis(30));
            }
        }
        self.weather.set(0, 0, 0);
        for clock in self.clocks.values() {
            clock.jump(0);
        }
        for master in 0..MASTERS.len() {
            for mirror in MIRROR_NAMES {
                self.admit(master, mirror);
            }
        }
        for master in 0..MASTERS.len() {
            if self.plan.compromised[master] {
                self.feed.rotate(Some(master), true, self.elapsed.now());
            }
        }
        if self.plan.time_was_forged && self.plan.compromised == [false; 2] {
            self.feed.rotate(None, true, self.elapsed.now());
        }
        for host in all {
            if MASTERS.contains(&host) || !sim.is_host_running(host) {
                sim.bounce(host);
            }
        }
        self.step(sim)?;
        self.feed.publish(self.elapsed.now());
        self.feed.bring_to(1);
        self.reload(0);
        self.reload(1);
        Ok(())
    }

    /// How things stand, for a run that failed.
    fn describe(&self) -> String {
        let mut lines = vec![format!(
            "at {:.1} s of {:.1} s before healing; newest release {}; thieves {:?}",
            seconds(self.elapsed.ms()),
            seconds(self.plan.heal_ms),
            self.feed.newest(),
            self.plan.thieves,
        )];
        for (index, name) in MIRROR_NAMES.iter().enumerate() {
            let error = self.mirrors[index].running().map(|mirror| {
                let status = mirror.status();
                let at = format!("{} {}", status.connection.state, status.connection.upstream);
                (at, status.stale, status.last_error.map(|error| error.what))
            });
            lines.push(format!(
                "{name}: release {}, upstreams {:?}, {error:?}",
                self.docroots[index].release, self.plan.upstreams[index]
            ));
        }
        lines.join("\n")
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
