//! A feed of three databases and the days that pass over it.

use std::io;
use std::path::Path;

use super::database::{Change, Database, Member};
use super::signatures::Form;

/// Build time of a new feed's databases: 2026-01-01 09:00 UTC. Fixed, so that equal seeds give
/// equal bytes, and in the past, so that no client sees a database from the future.
const FIRST_BUILT_S: u64 = 1_767_258_000;
/// Real feeds release daily once a day.
const DAY_S: u64 = 86_400;

/// How large a feed is, in lines of its databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// File hashes in `daily`; about 40 packed bytes each.
    pub hash_lines: u32,
    /// Pattern signatures in `daily`; about 80 packed bytes each.
    pub logical_lines: u32,
    /// File hashes in `main`.
    pub main_lines: u32,
}

impl Scale {
    /// A few MB in all, made in a fraction of a second.
    pub const DEMO: Self = Self {
        hash_lines: 30_000,
        logical_lines: 8_000,
        main_lines: 25_000,
    };

    /// A feed whose `.cvd` files are about `mb` million bytes together, two thirds of them `daily`:
    /// real feeds are near 150 (October 2025: 2.1 million signatures in daily, 6.6 million in main).
    #[must_use]
    pub const fn packed_mb(mb: u32) -> Self {
        Self {
            hash_lines: mb * 9_850,
            logical_lines: mb * 4_000,
            main_lines: mb * 9_150,
        }
    }
}

/// How much a day changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Day {
    /// 120 lines added, 4 dropped, one exchanged.
    Ordinary,
    /// 2,000 lines added, 60 dropped, a few exchanged.
    Busy,
}

impl Day {
    fn changes(self) -> [Change; 4] {
        let change = |form, added, dropped, exchanged| Change {
            form,
            added,
            dropped,
            exchanged,
        };
        match self {
            Self::Ordinary => [
                change(Form::Hdb, 20, 0, 0),
                change(Form::Hsb, 76, 3, 0),
                change(Form::Ndb, 4, 0, 0),
                change(Form::Ldb, 20, 1, 1),
            ],
            Self::Busy => [
                change(Form::Hdb, 300, 10, 0),
                change(Form::Hsb, 1_300, 38, 2),
                change(Form::Ndb, 50, 2, 0),
                change(Form::Ldb, 350, 10, 3),
            ],
        }
    }
}

/// `main`, `daily` and `bytecode`, and the cdiffs of every day since it was made.
///
/// Holds the databases opened, in memory: about three times the packed size.
#[derive(Debug, Clone)]
pub struct Feed {
    main: Database,
    daily: Database,
    bytecode: Database,
    cdiffs: Vec<(String, Vec<u8>)>,
}

impl Feed {
    /// A feed on its first day. Equal arguments give equal bytes, everywhere and always.
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
            member("main.mdb", Form::Mdb, scale.main_lines / 2),
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
        }
    }

    /// Version of `daily`, which every [`Self::advance`] raises by one.
    #[must_use]
    pub fn daily_version(&self) -> u32 {
        self.daily.version
    }

    /// Writes every file of the feed into `folder`: `main.cvd`, `daily.cvd`, `bytecode.cvd` and a
    /// `daily-<version>.cdiff` for each day that has passed.
    ///
    /// # Errors
    /// What the file system said; each file is there whole or as it was.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        for (name, bytes) in &self.cdiffs {
            write_whole(folder, name, bytes)?;
        }
        std::thread::scope(|scope| {
            let databases = [&self.main, &self.daily, &self.bytecode];
            let writers = databases.map(|database| scope.spawn(|| database.write(folder)));
            writers.into_iter().try_for_each(|writer| {
                let gone = || io::Error::other("the thread that packs a database is gone");
                writer.join().unwrap_or_else(|_| Err(gone()))
            })
        })
    }

    /// Writes only what the last [`Self::advance`] changed, as a master's folder is updated:
    /// `daily.cvd` and its newest cdiff. Other files keep their times.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_update(&self, folder: &Path) -> io::Result<()> {
        if let Some((name, bytes)) = self.cdiffs.last() {
            write_whole(folder, name, bytes)?;
        }
        self.daily.write(folder)
    }

    /// Lets a day pass: the next version of `daily`, in memory.
    ///
    /// # Errors
    /// None in practice: compressing in memory does not fail.
    pub fn advance(&mut self, day: Day) -> io::Result<()> {
        let cdiff = self.daily.advance(&day.changes(), DAY_S)?;
        let name = format!("daily-{}.cdiff", self.daily.version);
        self.cdiffs.push((name, cdiff));
        Ok(())
    }
}

fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.part"));
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(temporary, folder.join(name))
}
