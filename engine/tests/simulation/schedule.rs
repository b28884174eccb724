//! What goes wrong, and when: all of it follows from the seed.

use crate::chance::Chance;
use crate::feed::MASTERS;

pub(crate) const MIRRORS: usize = 8;

/// Mirrors, as they are called in the simulated network.
pub(crate) const MIRROR_NAMES: [&str; MIRRORS] = [
    "mirror-a", "mirror-b", "mirror-c", "mirror-d", "mirror-e", "mirror-f", "mirror-g", "mirror-h",
];

/// Hostile hosts.
pub(crate) const THIEVES: [&str; 2] = ["thief", "crook"];

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 24 * 60 * MINUTE;

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    /// Sigmakers sign a release; the first master has it.
    Publish,
    /// The second master gets what it lacks.
    Replicate,
    /// Nothing gets through between two hosts.
    Partition(&'static str, &'static str),
    /// Nothing gets through from the first to the second.
    OneWay(&'static str, &'static str),
    /// Both again.
    Repair(&'static str, &'static str),
    /// One datagram in so many is lost, doubled, damaged; 0 for none.
    Weather(u64, u64, u64),
    /// What crosses between two hosts takes so long, in milliseconds.
    Latency(&'static str, &'static str, u64),
    /// Killed.
    Crash(&'static str),
    /// Told to stop.
    Stop(&'static str),
    /// Started again.
    Start(&'static str),
    /// Its clock is wrong by so much, in milliseconds.
    Clock(&'static str, i64),
    /// A root of a new epoch replaces the keys of a master; both start again with it.
    Replace(usize),
    /// A root like the one before; both masters start again with it.
    Renew,
}

/// What a hostile host has stolen, and how it behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThiefPlan {
    /// The master whose node key it has, if any.
    pub(crate) node_of: Option<usize>,
    /// Whether it also has that master's head key.
    pub(crate) head_key: bool,
    /// How many answers in a hundred are what a master would have said.
    pub(crate) honest: u64,
    /// From when on it shows a world in which nothing new happens, in milliseconds.
    pub(crate) freezes_ms: Option<u64>,
}

/// The plan of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// How far the simulation goes at once, in milliseconds.
    pub(crate) tick_ms: u64,
    /// How long each job on a mirror's disk takes, in milliseconds.
    pub(crate) disk_ms: u64,
    /// In order of time, in milliseconds.
    pub(crate) happenings: Vec<(u64, Happening)>,
    pub(crate) thieves: [ThiefPlan; 2],
    /// Whom each mirror asks, in order.
    pub(crate) upstreams: Vec<Vec<&'static str>>,
    /// Where each mirror is not admitted from the beginning, if anywhere.
    pub(crate) not_admitted: Vec<Option<usize>>,
    /// When everything is put right.
    pub(crate) heal_ms: u64,
    /// Masters that must have new keys by then.
    pub(crate) compromised: [bool; 2],
    /// Whether a master's clock was ahead: mirrors may have believed it.
    pub(crate) time_was_forged: bool,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::of(seed, "plan");
        let chance = &mut chance;
        let heal_ms = chance.between(3 * MINUTE, 9 * MINUTE);
        let thieves = [thief(chance, heal_ms), thief(chance, heal_ms)];
        let mut plan = Self {
            tick_ms: *chance.pick(&[20, 50, 50, 100]),
            disk_ms: *chance.pick(&[0, 10, 40]),
            happenings: Vec::new(),
            thieves,
            upstreams: (0..MIRRORS).map(|_| upstreams(chance)).collect(),
            not_admitted: (0..MIRRORS)
                .map(|_| chance.one_in(5).then(|| chance.index(MASTERS.len())))
                .collect(),
            heal_ms,
            compromised: [false; 2],
            time_was_forged: false,
        };
        for thief in thieves {
            if let (Some(master), true) = (thief.node_of, thief.head_key) {
                plan.compromised[master] = true;
            }
        }
        plan.publishing(chance);
        plan.network(chance);
        plan.crashes(chance);
        plan.clocks(chance);
        plan.roots(chance);
        plan.happenings.sort_by_key(|(at, _)| *at);
        plan
    }

    fn at(&mut self, ms: u64, what: Happening) {
        if ms < self.heal_ms {
            self.happenings.push((ms, what));
        }
    }

    fn publishing(&mut self, chance: &mut Chance) {
        for number in 0..chance.between(2, 6) {
            let at = match number {
                0 if !chance.one_in(4) => 0,
                _ => chance.below(self.heal_ms),
            };
            self.at(at, Happening::Publish);
            let lag = *chance.pick(&[0, 0, 0, 5 * SECOND, MINUTE, 4 * MINUTE]);
            self.at(at + lag, Happening::Replicate);
        }
    }

    fn network(&mut self, chance: &mut Chance) {
        let all = hosts();
        for _ in 0..chance.below(4) {
            let odds = [0, 0, 3, 5, 10, 30, 100];
            let (lost, doubled, damaged) = (
                *chance.pick(&odds),
                *chance.pick(&odds),
                *chance.pick(&odds),
            );
            let at = chance.below(self.heal_ms);
            self.at(at, Happening::Weather(lost, doubled, damaged));
        }
        for _ in 0..chance.below(10) {
            let (a, b) = pair(chance, &all);
            let from = chance.below(self.heal_ms);
            let what = if chance.one_in(3) {
                Happening::OneWay(a, b)
            } else {
                Happening::Partition(a, b)
            };
            self.at(from, what);
            let length = chance.between(SECOND, 3 * MINUTE);
            self.at(from + length, Happening::Repair(a, b));
        }
        if chance.one_in(3) {
            // A host nobody reaches.
            let alone = *chance.pick(&all);
            let from = chance.below(self.heal_ms);
            let length = chance.between(10 * SECOND, 3 * MINUTE);
            for other in all.iter().filter(|other| **other != alone) {
                self.at(from, Happening::Partition(alone, other));
                self.at(from + length, Happening::Repair(alone, other));
            }
        }
        for _ in 0..chance.below(5) {
            let (a, b) = pair(chance, &all);
            let at = chance.below(self.heal_ms);
            let latency = *chance.pick(&[5, 50, 300, 1_500]);
            self.at(at, Happening::Latency(a, b, latency));
        }
    }

    fn crashes(&mut self, chance: &mut Chance) {
        for _ in 0..chance.between(2, 12) {
            let host = match chance.below(8) {
                0 => *chance.pick(&MASTERS),
                1 => *chance.pick(&THIEVES),
                _ => *chance.pick(&MIRROR_NAMES),
            };
            let at = match chance.below(2) {
                0 => chance.below(self.heal_ms),
                // While something is going on: shortly after a release.
                _ => {
                    let releases = self.happenings.iter();
                    let releases: Vec<_> = releases
                        .filter(|(_, what)| *what == Happening::Publish)
                        .map(|(at, _)| *at)
                        .collect();
                    match releases.as_slice() {
                        [] => chance.below(self.heal_ms),
                        some => *chance.pick(some) + chance.below(3 * SECOND),
                    }
                }
            };
            let what = if chance.one_in(4) && !THIEVES.contains(&host) {
                Happening::Stop(host)
            } else {
                Happening::Crash(host)
            };
            self.at(at, what);
            let pause = *chance.pick(&[SECOND / 10, 2 * SECOND, 30 * SECOND, 2 * MINUTE]);
            self.at(at + pause, Happening::Start(host));
        }
    }

    fn clocks(&mut self, chance: &mut Chance) {
        for _ in 0..chance.below(5) {
            let master = chance.one_in(4);
            let host = if master {
                *chance.pick(&MASTERS)
            } else {
                *chance.pick(&MIRROR_NAMES)
            };
            let size = *chance.pick(&[2 * SECOND, 4 * MINUTE, 20 * MINUTE, 3 * DAY, 500 * DAY]);
            let size = i64::try_from(size).unwrap();
            let ahead = if chance.one_in(2) { size } else { -size };
            self.time_was_forged |= master && ahead > 0;
            let from = chance.below(self.heal_ms);
            self.at(from, Happening::Clock(host, ahead));
            let length = chance.between(SECOND, 4 * MINUTE);
            self.at(from + length, Happening::Clock(host, 0));
        }
    }

    fn roots(&mut self, chance: &mut Chance) {
        if chance.one_in(3) {
            let at = chance.below(self.heal_ms);
            self.at(at, Happening::Renew);
        }
        for master in 0..MASTERS.len() {
            if chance.one_in(if self.compromised[master] { 2 } else { 8 }) {
                let at = chance.below(self.heal_ms);
                self.at(at, Happening::Replace(master));
            }
        }
    }

    /// How many happenings there are of a kind.
    pub(crate) fn count(&self, which: fn(&Happening) -> bool) -> u64 {
        self.happenings
            .iter()
            .filter(|(_, what)| which(what))
            .count() as u64
    }
}

fn thief(chance: &mut Chance, heal_ms: u64) -> ThiefPlan {
    let node_of = (!chance.one_in(4)).then(|| chance.index(MASTERS.len()));
    let freezes = node_of.is_some() && chance.one_in(3);
    ThiefPlan {
        freezes_ms: freezes.then(|| chance.below(heal_ms)),
        node_of,
        head_key: node_of.is_some() && chance.one_in(2),
        honest: *chance.pick(&[0, 30, 60, 80, 90, 97]),
    }
}

/// Both masters and at least one of the hostile hosts, in any order.
fn upstreams(chance: &mut Chance) -> Vec<&'static str> {
    let mut upstreams = MASTERS.to_vec();
    let thief = chance.index(THIEVES.len());
    upstreams.push(THIEVES[thief]);
    if chance.one_in(2) {
        upstreams.push(THIEVES[1 - thief]);
    }
    chance.shuffle(&mut upstreams);
    if chance.one_in(2) {
        // Asked first, and gone back to.
        let first = upstreams.iter().position(|name| THIEVES.contains(name));
        upstreams.swap(0, first.unwrap_or(0));
    }
    upstreams
}

/// Every host.
pub(crate) fn hosts() -> Vec<&'static str> {
    [&MASTERS[..], &MIRROR_NAMES[..], &THIEVES[..]].concat()
}

fn pair(chance: &mut Chance, all: &[&'static str]) -> (&'static str, &'static str) {
    let a = chance.index(all.len());
    let b = (a + 1 + chance.index(all.len() - 1)) % all.len();
    (all[a], all[b])
}
