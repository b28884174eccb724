//! A feed of three databases and the days that pass over it.

use std::io;
use std::path::Path;

use super::database::{Database, Member};
use super::day::Day;
use super::pack::Packer;
use super::scale::Scale;
use super::signatures::Form;

/// Build time of a new feed's databases: 2026-01-01 09:00 UTC. Fixed, so that equal seeds give
/// equal bytes, and in the past, so that no client sees a database from the future.
const FIRST_BUILT_S: u64 = 1_767_258_000;
/// Real feeds release daily once a day.
const DAY_S: u64 = 86_400;

/// `main`, `daily` and `bytecode`, and the cdiffs of every day since it was made.
///
/// Holds the databases opened, in memory: about three times the packed size.
#[derive(Debug, Clone)]
pub struct Feed {
    main: Database,
    daily: Database,
    bytecode: Database,
    cdiffs: Vec<(String, Vec<u8>)>,
    packer: Packer,
    /// Whether the last step changed `main` too.
    main_is_new: bool,
}

impl Feed {
    /// A feed on its first day, packed by [`Packer::BUILT_IN`]. Equal arguments give equal bytes, everywhere and always.
    #[must_use]
    pub fn new(seed: u64, scale: Scale) -> Self {
        let member = |name: &str, form, lines| Member::new(seed, name, form, lines);
        let database = |name, version, members| Database {
            name,
            version,
            built_s: FIRST_BUILT_S,
            members,
            seed,
        };
        let daily = vec![
            member("daily.ign2", Form::Ign2, 40),
            member("daily.hdb", Form::Hdb, scale.hash_lines / 5),
            member("daily.hsb", Form::Hsb, scale.hash_lines / 2),
            member("daily.mdb", Form::Mdb, scale.hash_lines * 3 / 10),
            member("daily.ndb", Form::Ndb, scale.logical_lines / 10),
            member("daily.ldb", Form::Ldb, scale.logical_lines * 9 / 10),
        ];
        let main = vec![
            member("main.hdb", Form::Hdb, scale.main_lines / 4),
            member("main.hsb", Form::Hsb, scale.main_lines / 4),
            member("main.mdb", Form::Mdb, scale.main_lines * 2 / 5),
            member("main.ndb", Form::Ndb, scale.main_lines / 20),
            member("main.ldb", Form::Ldb, scale.main_lines / 20),
        ];
        let bytecode = (0..80)
            .map(|program| member(&format!("{}.cbc", 3_986_187 + program), Form::Cbc, 90))
            .chain([member("last.hdb", Form::Hdb, 1)])
            .collect();
        Self {
            main: database("main", 62, main),
            daily: database("daily", 27_900, daily),
            bytecode: database("bytecode", 339, bytecode),
            cdiffs: Vec::new(),
            packer: Packer::BUILT_IN,
            main_is_new: false,
        }
    }

    /// From now on `packer` packs what is written and what days add. The contents and the versions stay: to write a
    /// version again is what a producer does who has changed the encoder.
    pub fn pack_with(&mut self, packer: Packer) {
        self.packer = packer;
    }

    /// Version of `daily`, which every [`Self::advance`] raises by one.
    #[must_use]
    pub fn daily_version(&self) -> u32 {
        self.daily.version
    }

    /// Writes every file of the feed into `folder`: `main.cvd`, `daily.cvd`, `bytecode.cvd` and the
    /// `<database>-<version>.cdiff` of each day that has passed.
    ///
    /// # Errors
    /// What the file system said; each file is there whole or as it was.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        for (name, bytes) in &self.cdiffs {
            write_whole(folder, name, bytes)?;
        }
        self.write_databases(&[&self.main, &self.daily, &self.bytecode], folder)
    }

    /// Writes only what the last [`Self::advance`] or [`Self::rebuild_main`] changed, as a master's folder is
    /// updated: the databases and their newest cdiffs. Other files keep their times.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_update(&self, folder: &Path) -> io::Result<()> {
        let changed: &[&Database] = match self.main_is_new {
            true => &[&self.main, &self.daily],
            false => &[&self.daily],
        };
        for database in changed {
            let newest = database.cdiff_name();
            for (name, bytes) in self.cdiffs.iter().filter(|(name, _)| *name == newest) {
                write_whole(folder, name, bytes)?;
            }
        }
        self.write_databases(changed, folder)
    }

    fn write_databases(&self, databases: &[&Database], folder: &Path) -> io::Result<()> {
        std::thread::scope(|scope| {
            let packer = self.packer;
            let writers: Vec<_> = databases
                .iter()
                .map(|&database| scope.spawn(move || database.write(folder, packer)))
                .collect();
            writers.into_iter().try_for_each(|writer| {
                let gone = || io::Error::other("the thread that packs a database is gone");
                writer.join().unwrap_or_else(|_| Err(gone()))
            })
        })
    }

    /// Lets a day pass: the next version of `daily`, in memory.
    ///
    /// The counts of `day` are exact where members have more than twice as many lines as it drops.
    ///
    /// # Errors
    /// Those of the packer; none in practice when it works in memory.
    pub fn advance(&mut self, day: Day) -> io::Result<()> {
        let cdiff = self.daily.advance(&day.changes(), DAY_S, self.packer)?;
        self.cdiffs.push((self.daily.cdiff_name(), cdiff));
        self.main_is_new = false;
        Ok(())
    }

    /// Lets a day pass on which `main` is rebuilt: the oldest third of `daily`'s signatures, which stands at the
    /// fronts of its members, moves to the ends of `main`'s. Both get a new version.
    ///
    /// Both cdiffs are empty files, by which ClamAV tells clients to take the whole database
    /// (<https://github.com/Cisco-Talos/clamav/pull/308>, made when `main` was last rebuilt): a script would have to
    /// spell every moved line, and `MOVE` works within one database only.
    pub fn rebuild_main(&mut self) {
        self.daily.move_third_to(&mut self.main, DAY_S);
        for database in [&self.main, &self.daily] {
            self.cdiffs.push((database.cdiff_name(), Vec::new()));
        }
        self.main_is_new = true;
    }
}

/// Replaces a file in one step; an equal one keeps its times.
fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    if std::fs::read(folder.join(name)).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let temporary = folder.join(format!("{name}.part"));
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(temporary, folder.join(name))
}
