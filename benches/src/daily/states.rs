//! The trees between which updates are measured, made once and kept.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tidecast_engine::sample::{Day, Feed, Scale};

use crate::samples::Producer;

/// One seed for all: scenarios of one scale start from one tree.
const SEED: u64 = 4873;
/// Size of `main.cvd` where it does not change, in million bytes: it only has to be there.
const MAIN_MB: u32 = 5;
/// The scale at which the generator is fingerprinted.
const TINY: Scale = Scale {
    hash_lines: 200,
    logical_lines: 100,
    main_lines: 50,
};

/// What happens between two states.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// A day passes.
    Day(Day),
    /// A day passes on which a third of daily moves to main.
    MainRebuilt,
    /// The newest version is packed again, by another encoder.
    Repacked(Producer),
}

/// A feed's first state and what happens to it.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    /// Names the folder.
    pub(crate) name: &'static str,
    pub(crate) daily_mb: u32,
    pub(crate) main_mb: u32,
    pub(crate) events: Vec<Event>,
}

impl Course {
    /// With a `main.cvd` that only has to be there.
    pub(crate) fn new(name: &'static str, daily_mb: u32, events: Vec<Event>) -> Self {
        Self {
            name,
            daily_mb,
            main_mb: MAIN_MB,
            events,
        }
    }

    /// The trees before the first event and after each, below `folder`; made unless they are there already.
    pub(crate) fn states(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let name = format!(
            "{}-{}-{}-{}",
            self.name,
            self.daily_mb,
            self.main_mb,
            self.events.len()
        );
        let folder = folder.join(name);
        let states: Vec<_> = (0..=self.events.len())
            .map(|state| folder.join(state.to_string()))
            .collect();
        let done = folder.join("fingerprint");
        let fingerprint = self.fingerprint()?;
        if fs::read_to_string(&done).is_ok_and(|text| text == fingerprint) {
            return Ok(states);
        }
        eprintln!("  making {} trees in {}", states.len(), folder.display());
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        self.write(&states)?;
        fs::write(done, fingerprint)?;
        Ok(states)
    }

    fn write(&self, states: &[PathBuf]) -> Result<()> {
        let scale = Scale::daily_and_main_mb(self.daily_mb, self.main_mb);
        let mut feed = Feed::new(SEED, scale);
        feed.pack_with(Producer::Sigtool.packer());
        fs::create_dir_all(&states[0])?;
        feed.write(&states[0])?;
        for (event, pair) in self.events.iter().zip(states.windows(2)) {
            happen(&mut feed, *event)?;
            fs::create_dir_all(&pair[1])?;
            // What does not change is the same file, times and all; what changes replaces the link.
            for entry in fs::read_dir(&pair[0])? {
                let entry = entry?;
                fs::hard_link(entry.path(), pair[1].join(entry.file_name()))?;
            }
            feed.write_update(&pair[1])?;
        }
        Ok(())
    }

    /// Equal as long as the generator, its packers and the course make the same bytes.
    fn fingerprint(&self) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        let folder = tempfile::tempdir()?;
        let mut feed = Feed::new(SEED, TINY);
        feed.pack_with(Producer::Sigtool.packer());
        feed.write(folder.path())?;
        for event in &self.events {
            happen(&mut feed, *event)?;
            feed.write_update(folder.path())?;
            fs::read(folder.path().join("daily.cvd"))?.hash(&mut hasher);
        }
        fs::read(folder.path().join("main.cvd"))?.hash(&mut hasher);
        Ok(format!("{:016x}", hasher.finish()))
    }
}

fn happen(feed: &mut Feed, event: Event) -> Result<()> {
    match event {
        Event::Day(day) => feed.advance(day)?,
        Event::MainRebuilt => feed.rebuild_main(),
        Event::Repacked(producer) => feed.pack_with(producer.packer()),
    }
    Ok(())
}

/// Makes `to` a copy of the tree `from`, times included, and leaves files alone that it took from `before` and that are
/// the same in both, as an operator's folder is updated.
pub(crate) fn copy_tree(before: Option<&Path>, from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let meta = entry.metadata()?;
        let same = before.and_then(|before| fs::metadata(before.join(&name)).ok());
        if same.is_some_and(|same| same.ino() == meta.ino()) {
            continue;
        }
        let (target, temporary) = (to.join(&name), to.join(".copying"));
        fs::copy(entry.path(), &temporary)
            .with_context(|| format!("copy {}", entry.path().display()))?;
        let file = File::options().write(true).open(&temporary)?;
        file.set_modified(meta.modified()?)?;
        fs::rename(&temporary, &target)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_made_once_and_share_what_does_not_change() {
        let folder = tempfile::tempdir().unwrap();
        let events = vec![Event::Day(Day::Ordinary), Event::Repacked(Producer::Zlib6)];
        let course = Course {
            main_mb: 1,
            ..Course::new("test", 1, events)
        };
        let states = course.states(folder.path()).unwrap();
        let of = |state: usize, name: &str| fs::metadata(states[state].join(name)).unwrap();
        assert_eq!(of(0, "main.cvd").ino(), of(2, "main.cvd").ino());
        assert_ne!(of(0, "daily.cvd").ino(), of(1, "daily.cvd").ino());
        assert_ne!(of(1, "daily.cvd").len(), of(2, "daily.cvd").len());
        assert!(!states[0].join("daily-27901.cdiff").exists());
        assert_eq!(
            of(1, "daily-27901.cdiff").ino(),
            of(2, "daily-27901.cdiff").ino()
        );
        let made = of(2, "daily.cvd").ino();
        assert_eq!(course.states(folder.path()).unwrap(), states);
        assert_eq!(of(2, "daily.cvd").ino(), made);
    }
}
