//! Row "replay": every object of a feed's life again and again, in every order, with crashes on either side of every
//! durable write. What is believed never goes back.

use std::collections::BTreeMap;

use tidecast_proto::addition::Vouched;
use tidecast_proto::head::SignedHead;
use tidecast_proto::id::{Epoch, ReleaseNumber, RootVersion, Seq, Timestamp};
use tidecast_proto::key::PublicKey;
use tidecast_proto::manifest::{Manifest, SignedManifest};
use tidecast_proto::root::SignedRoot;
use tidecast_proto::trust::{Trust, Verdict};

use crate::life::{Life, REVOKED};
use crate::rng::Rng;
use crate::series::{Tally, cases, run};
use crate::support::{HOUR_MS, NOW};

/// Objects offered in one sequence.
const STEPS: usize = 40;

/// What lies on a mirror's disk (SPEC §8.2): root files one by one, the counters, and what is live. Each changes whole or
/// not at all, because each is a rename.
#[derive(Clone)]
struct Disk {
    roots: Vec<SignedRoot>,
    counters: Option<Vec<u8>>,
    live: Option<Manifest>,
}

/// The process is gone; the disk is as it was then.
struct Killed;

struct Mirror<'a> {
    life: &'a Life,
    disk: Disk,
    trust: Trust,
    now: Timestamp,
    /// Once in so many durable writes it is killed, before or after the write.
    killed_once_in: usize,
}

impl Mirror<'_> {
    fn write(
        &mut self,
        rng: &mut Rng,
        tally: &mut Tally,
        write: impl FnOnce(&mut Disk),
    ) -> Result<(), Killed> {
        let killed = rng.once_in(self.killed_once_in);
        let before = rng.once_in(2);
        if killed && before {
            tally.outcome("killed before a write");
            return Err(Killed);
        }
        write(&mut self.disk);
        if killed {
            tally.outcome("killed after a write");
            return Err(Killed);
        }
        Ok(())
    }

    fn keep_counters(
        &mut self,
        trust: Trust,
        rng: &mut Rng,
        tally: &mut Tally,
    ) -> Result<(), Killed> {
        let bytes = trust.to_bytes();
        assert!(
            bytes.len() <= Trust::BYTES_MAX,
            "{} bytes of counters",
            bytes.len()
        );
        self.write(rng, tally, |disk| disk.counters = Some(bytes))?;
        self.trust = trust;
        Ok(())
    }

    fn offer_root(
        &mut self,
        root: &SignedRoot,
        rng: &mut Rng,
        tally: &mut Tally,
    ) -> Result<(), Killed> {
        let mut trust = self.trust.clone();
        if let Err(error) = trust.accept_root(root.clone()) {
            tally.refused(&error);
            return Ok(());
        }
        tally.outcome("root accepted");
        // As `mirror::memory` writes: the root's own file, then the counters.
        self.write(rng, tally, |disk| disk.roots.push(root.clone()))?;
        self.keep_counters(trust, rng, tally)
    }

    /// A head, and behind it whatever manifest and anchor the upstream likes to send.
    fn offer_head(
        &mut self,
        head: &SignedHead,
        rng: &mut Rng,
        tally: &mut Tally,
    ) -> Result<(), Killed> {
        let mut trust = self.trust.clone();
        let verdict = trust.accept_head(head.clone(), trust.now(self.now));
        if trust.to_bytes() != self.trust.to_bytes() {
            self.keep_counters(trust, rng, tally)?;
        }
        let head = match verdict {
            Err(error) => {
                tally.refused(&error);
                return Ok(());
            }
            Ok(Verdict::Newer(head) | Verdict::Current(head)) => head,
        };
        tally.outcome("head accepted");
        let any = &rng.pick(&self.life.releases).manifest;
        let sent = match self.life.with_id(head.manifest) {
            Some(named) if !rng.once_in(4) => named,
            _ => any,
        };
        let Some(manifest) = self.judge(sent.clone(), &head, rng, tally) else {
            return Ok(());
        };
        if self
            .disk
            .live
            .as_ref()
            .is_some_and(|live| live.id() == manifest.id())
        {
            return Ok(());
        }
        if let Some(live) = &self.disk.live
            && let Err(error) = manifest.check_replaces(live)
        {
            tally.refused(&error);
            return Ok(());
        }
        let mut trust = self.trust.clone();
        trust.install(&manifest);
        self.keep_counters(trust, rng, tally)?;
        tally.outcome("switched");
        self.write(rng, tally, |disk| disk.live = Some(manifest))
    }

    fn judge(
        &self,
        sent: SignedManifest,
        head: &tidecast_proto::head::Head,
        rng: &mut Rng,
        tally: &mut Tally,
    ) -> Option<Manifest> {
        let added = match self.trust.verify_manifest(sent, head) {
            Ok(Vouched::Whole(manifest)) => return Some(manifest),
            Ok(Vouched::Addition(addition)) => {
                let any = &rng.pick(&self.life.releases).manifest;
                let anchor = self
                    .life
                    .with_id(addition.anchor().manifest)
                    .filter(|_| !rng.once_in(4));
                self.trust
                    .verify_addition(addition, anchor.unwrap_or(any).clone())
            }
            Err(error) => Err(error),
        };
        added
            .map(|added| added.manifest)
            .map_err(|error| tally.refused(&error))
            .ok()
    }

    /// What a process finds when it starts.
    fn restart(&mut self) {
        let Disk {
            roots, counters, ..
        } = self.disk.clone();
        let resumed = Trust::resume(&self.life.id, roots, counters.as_deref());
        self.trust = resumed
            .expect("what was written reads back")
            .expect("there is a root");
    }
}

/// What must never go back.
#[derive(Clone, Default)]
struct Seen {
    root: RootVersion,
    epoch: Epoch,
    installed: ReleaseNumber,
    anchored: ReleaseNumber,
    live: ReleaseNumber,
    daily: u64,
    seqs: BTreeMap<PublicKey, Seq>,
    issued_floor: Timestamp,
    evidence: usize,
}

impl Seen {
    fn of(trust: &Trust, disk: &Disk) -> Self {
        let live = disk.live.as_ref();
        Self {
            root: trust.root().version,
            epoch: trust.root().epoch,
            installed: trust.installed_release(),
            anchored: trust.installed().map_or(ReleaseNumber(0), |i| i.anchored),
            live: live.map_or(ReleaseNumber(0), |live| live.release),
            daily: live
                .and_then(|live| Some(live.file("daily.cvd")?.database.as_ref()?.version))
                .unwrap_or(0),
            seqs: trust.seqs().into_iter().collect(),
            issued_floor: trust.now(Timestamp(0)),
            evidence: trust.equivocators().count() + trust.contested().count(),
        }
    }

    /// Compares with what was durable or acted on before.
    fn check_follows(&self, before: &Self, life: &Life, disk: &Disk) {
        assert!(self.root >= before.root, "the root went back");
        assert!(self.epoch >= before.epoch);
        assert!(
            self.installed >= before.installed,
            "the release counter went back"
        );
        assert!(
            self.anchored >= before.anchored,
            "the anchored number went back"
        );
        assert!(self.anchored <= self.installed);
        assert!(self.live >= before.live, "the docroot went back");
        assert!(
            self.live <= self.installed,
            "live before its counter was durable"
        );
        if self.epoch == before.epoch {
            for (key, seq) in &before.seqs {
                // No root of this life takes a head key away without a new epoch.
                assert!(self.seqs.get(key) >= Some(seq), "a head's number went back");
            }
            assert!(
                self.issued_floor >= before.issued_floor,
                "the floor of time went back"
            );
            assert!(self.evidence >= before.evidence, "evidence was lost");
        }
        if let Some(live) = &disk.live {
            let number = live.release.0;
            let revoked = self.root >= RootVersion(3)
                && before.root >= RootVersion(3)
                && before.live < live.release;
            assert!(
                !(revoked && number == REVOKED && live.id() == life.release(REVOKED).id()),
                "a revoked release was installed"
            );
            let floor = life.roots.len() == 5
                && before.root == RootVersion(5)
                && before.live < live.release;
            assert!(
                !floor || number >= 5,
                "a release below the floor was installed"
            );
            // Release 8 may go back, and may be the first one a mirror sees after 7.
            assert!(
                self.daily >= before.daily || number >= 8,
                "a database went back without a flag"
            );
            // What release 5 removed does not come back on a mirror that had it, or what goes back to it.
            if before.anchored >= ReleaseNumber(5) && live.release > before.live {
                assert!(
                    live.file("readme.txt").is_none(),
                    "what a whole release removed came back"
                );
            }
        }
    }
}

fn sequence(life: &Life, rng: &mut Rng, tally: &mut Tally) {
    let disk = Disk {
        roots: vec![life.roots[0].clone()],
        counters: None,
        live: None,
    };
    let mut mirror = Mirror {
        life,
        trust: life.trust(1),
        disk,
        now: NOW,
        killed_once_in: *rng.pick(&[3, 8, 20, 1000]),
    };
    let mut seen = Seen::default();
    let (mut walked, mut installed) = (1, 0);
    for _ in 0..STEPS {
        let done = match rng.below(10) {
            0 | 1 => {
                let root = rng.pick(&life.roots).clone();
                tally.tried("roots offered");
                mirror.offer_root(&root, rng, tally)
            }
            2 => {
                // Honest progress now and then, or little would ever be accepted.
                let next = life.roots.get(mirror.disk.roots.len()).cloned();
                next.map_or(Ok(()), |root| mirror.offer_root(&root, rng, tally))
            }
            3 => {
                mirror.restart();
                tally.tried("restarts");
                Ok(())
            }
            4 => {
                // A clock that jumps, forward a little and back as far as it goes.
                mirror.now = *rng.pick(&[
                    Timestamp(0),
                    NOW,
                    NOW.plus(10),
                    NOW.plus(HOUR_MS / 2),
                    NOW.plus(100 * HOUR_MS),
                ]);
                Ok(())
            }
            _ => {
                let head = rng.pick(&life.heads).clone();
                tally.tried("heads offered");
                mirror.offer_head(&head, rng, tally)
            }
        };
        if let Err(Killed) = done {
            mirror.restart();
            tally.tried("kills");
        }
        let now = Seen::of(&mirror.trust, &mirror.disk);
        now.check_follows(&seen, life, &mirror.disk);
        // A restart at any moment brings what is believed now, not something older.
        if rng.once_in(16) {
            let before = mirror.trust.clone();
            mirror.restart();
            let again = Seen::of(&mirror.trust, &mirror.disk);
            again.check_follows(&now, life, &mirror.disk);
            mirror.trust = before;
        }
        walked = walked.max(mirror.trust.root().version.0);
        installed = installed.max(mirror.trust.installed_release().0);
        seen = now;
    }
    tally.outcome(&format!("sequences that ended at root {walked}"));
    tally.outcome(&format!("sequences that ended at release {installed:>2}"));
}

#[test]
fn nothing_goes_back_whatever_comes_again_in_whatever_order() {
    let life = Life::new(40);
    let name = "nothing_goes_back_whatever_comes_again_in_whatever_order";
    let count = cases(250, 10_000);
    let tally = run(name, count, |rng, tally| sequence(&life, rng, tally));
    println!(
        "  {} objects and events in sequences of {STEPS}, 0 regressions",
        count * STEPS as u64
    );
    if std::env::var_os("TIDECAST_CASE").is_none() {
        assert!(
            tally.count("switched") > count / 2,
            "the sequences get somewhere"
        );
        assert!(tally.count("killed") > count / 2);
    }
}
