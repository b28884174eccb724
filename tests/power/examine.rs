//! One power cut: what a web server finds when it is up before the mirror, and what the mirror makes of it.

use super::disk::Dice;
use super::file_system::SECTOR_BYTES;
use super::releases::LAST;
use super::story::{Reported, Story};

/// How far a cut is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// To the mirror's own recovery.
    Recovery,
    /// On to a second cut during that, and to a sync to the newest release.
    Newest,
}

/// How many cuts there were and what was wrong after which.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cuts: usize,
    pub(crate) again: usize,
    pub(crate) synced: usize,
    /// By number of the cut.
    pub(crate) bad: Vec<(u64, String)>,
}

/// Recovery by one of the two programs that do it.
#[derive(Debug, Clone, Copy)]
enum By {
    Daemon,
    /// That nobody answers.
    Sync,
}

impl Story {
    /// Cuts the power once, as `seed` says, and examines what is left; `Err` is what it was, and what is wrong.
    pub(crate) fn cut(&mut self, seed: u64, depth: Depth, tally: &mut Tally) -> Result<(), String> {
        let (at, cut) = self.disk.disk.cut_story(self.span(), SECTOR_BYTES, seed);
        tally.cuts += 1;
        let mut dice = Dice::new(!seed);
        // It looks for somebody for seconds.
        let by = match dice.below(40) {
            0 => By::Sync,
            _ => By::Daemon,
        };
        let looked = self.mounted(|story| {
            story.examine(at)?;
            story.recover(by, at)
        });
        looked.map_err(|why| format!("cut at {cut}: {why}"))?;
        if depth == Depth::Recovery {
            return Ok(());
        }
        let again = self.disk.disk.cut_again(SECTOR_BYTES, seed);
        tally.again += 1;
        let looked = self.mounted(|story| {
            story.examine(at)?;
            story.recover(By::Daemon, at)?;
            if let Some(world) = &mut story.world {
                world.restart_master();
            }
            let synced = story.to_newest();
            if let Some(world) = &mut story.world {
                world.stop_master();
            }
            synced
        });
        looked.map_err(|why| format!("cut at {cut}, and in recovery {by:?} at {again}: {why}"))?;
        tally.synced += 1;
        Ok(())
    }

    fn mounted(
        &mut self,
        what: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        self.disk.mount()?;
        let result = what(self);
        self.disk.unmount();
        result
    }

    /// What must hold before and after a recovery; returns the release shown.
    fn holds(&self, reported: &Reported<'_>) -> Result<u64, String> {
        let shown = self.mirror.shown()?;
        if shown < reported.release {
            return Err(format!(
                "release {} was reported, {shown} is shown",
                reported.release
            ));
        }
        let beliefs = self.mirror.beliefs()?;
        if let Some(before) = reported.beliefs {
            beliefs.not_below(before)?;
        }
        self.mirror.operators(&reported.files)?;
        Ok(shown)
    }

    /// Before tidecast runs: web servers may be up first.
    fn examine(&self, at: usize) -> Result<(), String> {
        let reported = self.reported(at);
        self.holds(&reported)
            .map_err(|why| format!("before recovery: {why}"))?;
        self.mirror
            .audited()
            .map_err(|why| format!("before recovery: {why}"))
    }

    fn recover(&mut self, by: By, at: usize) -> Result<(), String> {
        let reported = self.reported(at);
        let said = match by {
            By::Daemon => {
                let mut daemon = self.mirror.start();
                let said = daemon.started["release"].as_u64();
                daemon.kill();
                said
            }
            By::Sync => {
                let ran = self.mirror.run(&["sync", "--json"]);
                // Nobody answers, and what is served may be stale.
                if ![69, 75].contains(&ran.code) {
                    return Err(format!("sync without an upstream: {ran:?}"));
                }
                None
            }
        };
        let after = || {
            let shown = self.holds(&reported)?;
            if said.is_some_and(|said| said != shown) {
                return Err(format!("the daemon says {said:?}, {shown} is shown"));
            }
            if self.mirror.damaged_log() {
                return Err("trust.log was found damaged".to_owned());
            }
            self.mirror.audited()
        };
        after().map_err(|why| format!("after recovery by {by:?}: {why}"))
    }

    /// The mirror goes on as if nothing had been.
    fn to_newest(&self) -> Result<(), String> {
        let synced = self.mirror.run(&["sync", "--json"]);
        if synced.code != 0 {
            return Err(format!("the next sync: {synced:?}"));
        }
        let shown = self.mirror.shown()?;
        if shown != LAST {
            return Err(format!("the next sync leaves release {shown}"));
        }
        let verified = self.mirror.run(&["verify", "--json"]);
        if verified.code != 0 {
            return Err(format!("verify: {verified:?}"));
        }
        Ok(())
    }
}
