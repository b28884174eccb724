//! Made-up feeds as producers pack them.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::ValueEnum;
use tidecast_engine::sample::{Day, Feed, Packer, Scale};

use crate::stock_zlib;

/// A producer's encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Producer {
    /// Stock zlib as sigtool calls it: level 9, filtered.
    Sigtool,
    /// Stock zlib, level 6, default strategy.
    Zlib6,
    /// The `gzip` program, level 9.
    GnuGzip,
    /// What the generator has without C.
    BuiltIn,
}

impl Producer {
    pub(crate) fn packer(self) -> Packer {
        let database = match self {
            Self::Sigtool => stock_zlib::database,
            Self::Zlib6 => stock_zlib::plain,
            Self::GnuGzip => gnu_gzip,
            Self::BuiltIn => return Packer::BUILT_IN,
        };
        Packer {
            database,
            cdiff: stock_zlib::cdiff,
        }
    }
}

/// Through the `gzip` on the path, without a name or a time in the header.
fn gnu_gzip(pieces: &[&[u8]], out: &mut dyn Write) -> io::Result<()> {
    let mut gzip = Command::new("gzip")
        .args(["-9", "-n", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::other(format!("gzip cannot be run: {error}")))?;
    let (stdin, stdout) = (gzip.stdin.take(), gzip.stdout.take());
    let (Some(mut stdin), Some(mut stdout)) = (stdin, stdout) else {
        return Err(io::Error::other("gzip was started without pipes"));
    };
    std::thread::scope(|scope| {
        let fed = scope.spawn(move || pieces.iter().try_for_each(|piece| stdin.write_all(piece)));
        io::copy(&mut stdout, out)?;
        let gone = || io::Error::other("the thread that feeds gzip is gone");
        fed.join().unwrap_or_else(|_| Err(gone()))
    })?;
    match gzip.wait()? {
        status if status.success() => Ok(()),
        status => Err(io::Error::other(format!("gzip ended with {status}"))),
    }
}

/// What kind of day to let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Passing {
    /// +120/-4 lines of daily.
    Ordinary,
    /// +2,000/-60 lines of daily.
    Busy,
    /// A third of daily's lines moves into main.
    MainRebuilt,
}

#[derive(clap::Args)]
pub(crate) struct Sample {
    /// Where to; must exist.
    folder: PathBuf,
    /// Size of daily.cvd in million bytes.
    #[arg(long, default_value_t = 2)]
    daily_mb: u32,
    /// Size of main.cvd in million bytes.
    #[arg(long, default_value_t = 1)]
    main_mb: u32,
    /// The days that pass, separated by commas; each leaves its cdiff.
    #[arg(long, value_delimiter = ',', default_value = "ordinary")]
    days: Vec<Passing>,
    /// Who packs.
    #[arg(long, value_enum, default_value = "sigtool")]
    producer: Producer,
    /// Equal seeds give equal feeds.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Instead of the last state alone, a folder for the first state and one for each day: 0, 1, ...
    #[arg(long)]
    each: bool,
}

impl Sample {
    pub(crate) fn write(&self) -> Result<()> {
        let mut feed = Feed::new(
            self.seed,
            Scale::daily_and_main_mb(self.daily_mb, self.main_mb),
        );
        feed.pack_with(self.producer.packer());
        self.write_state(&feed, 0)?;
        for (index, day) in self.days.iter().enumerate() {
            match day {
                Passing::Ordinary => feed.advance(Day::Ordinary)?,
                Passing::Busy => feed.advance(Day::Busy)?,
                Passing::MainRebuilt => feed.rebuild_main(),
            }
            self.write_state(&feed, index + 1)?;
        }
        Ok(())
    }

    fn write_state(&self, feed: &Feed, state: usize) -> Result<()> {
        let folder = match self.each {
            true => self.folder.join(state.to_string()),
            false if state == self.days.len() => self.folder.clone(),
            false => return Ok(()),
        };
        std::fs::create_dir_all(&folder)?;
        feed.write(&folder)
            .with_context(|| format!("write a feed to {}", folder.display()))
    }
}
