//! Which files a verification reads. SPEC §8.11.

use std::collections::BTreeSet;
use std::str::FromStr;

use tidecast_proto::manifest;
use tidecast_proto::name::ReleasePath;

/// Which files are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Extent {
    /// All of them.
    #[default]
    All,
    /// Some, beginning with the first behind `after` by path and going round at the end, so that samples which each begin
    /// where the one before ended cover everything.
    Sample {
        /// How many.
        amount: Amount,
        /// The last path of the sample before.
        after: Option<ReleasePath>,
    },
    /// These.
    Only(BTreeSet<ReleasePath>),
}

/// How much a sample reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many files.
    Files(u64),
    /// Files until so many hundredths of a per cent of the release's bytes are reached, one at least.
    Share(u32),
}

/// Not a number of files and not a percentage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither a number of files, such as 100, nor a percentage of the bytes, such as 5%")]
pub struct AmountError;

impl FromStr for Amount {
    type Err = AmountError;

    /// Reads `100` or `2.5%`.
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let Some(share) = text.strip_suffix('%') else {
            let files = text.parse().map_err(|_| AmountError)?;
            return (files > 0).then_some(Self::Files(files)).ok_or(AmountError);
        };
        let (whole, part) = share.split_once('.').unwrap_or((share, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || part.len() > 2 || !digits(whole) || !digits(part) {
            return Err(AmountError);
        }
        let hundredths = format!("{whole}{part:0<2}");
        match hundredths.parse().map_err(|_| AmountError)? {
            share @ 1..=10_000 => Ok(Self::Share(share)),
            _ => Err(AmountError),
        }
    }
}

impl Extent {
    /// The numbers of the files to read, in reading order.
    pub(super) fn choose(&self, files: &[manifest::File]) -> Vec<usize> {
        match self {
            Self::All => (0..files.len()).collect(),
            Self::Only(paths) => {
                let at = |path| files.binary_search_by(|file| file.path.cmp(path)).ok();
                paths.iter().filter_map(at).collect()
            }
            Self::Sample { amount, after } => {
                let first = after
                    .as_ref()
                    .map_or(0, |after| files.partition_point(|file| file.path <= *after));
                let round = (first..files.len()).chain(0..first);
                match *amount {
                    Amount::Files(count) => round
                        .take(usize::try_from(count).unwrap_or(usize::MAX))
                        .collect(),
                    Amount::Share(share) => {
                        let total: u128 = files.iter().map(|file| u128::from(file.size)).sum();
                        let wanted = total * u128::from(share) / 10_000;
                        let mut chosen = Vec::new();
                        let mut bytes = 0;
                        for at in round {
                            if bytes >= wanted && !chosen.is_empty() {
                                break;
                            }
                            bytes += u128::from(files[at].size);
                            chosen.push(at);
                        }
                        chosen
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::id::FileHash;

    fn files() -> Vec<manifest::File> {
        let file = |(name, size): (&str, u64)| manifest::File {
            path: ReleasePath::new(name).unwrap(),
            size,
            executable: false,
            mtime_s: 0,
            hash: FileHash::of(b""),
            list: None,
            recipe: None,
            database: None,
        };
        let sizes = [("a", 100), ("b", 0), ("c", 700), ("d", 100), ("e", 100)];
        sizes.into_iter().map(file).collect()
    }

    #[test]
    fn samples_in_a_row_cover_every_file_also_where_the_last_one_read_goes_meanwhile() {
        for amount in ["1", "2", "3", "0.01%", "15%", "100%"] {
            for goes in [false, true] {
                let amount: Amount = amount.parse().unwrap();
                let mut files = files();
                let mut after = None;
                let mut read = BTreeSet::new();
                for _ in 0..5 {
                    let chosen = Extent::Sample { amount, after }.choose(&files);
                    let paths: Vec<ReleasePath> =
                        chosen.iter().map(|at| files[*at].path.clone()).collect();
                    after = paths.last().cloned();
                    read.extend(paths);
                    files.retain(|file| !goes || Some(&file.path) != after.as_ref());
                    if files.is_empty() {
                        break;
                    }
                }
                assert_eq!(read.len(), 5, "{amount:?}, {goes}: {read:?}");
            }
        }
    }

    #[test]
    fn a_share_is_reached_by_bytes_and_never_empty() {
        let chosen = |amount: &str, after: Option<&str>| {
            let after = after.map(|path| ReleasePath::new(path).unwrap());
            let amount = amount.parse().unwrap();
            Extent::Sample { amount, after }.choose(&files())
        };
        assert_eq!(chosen("0.01%", None), [0]);
        assert_eq!(chosen("10%", Some("b")), [2]);
        assert_eq!(chosen("75%", Some("b")), [2, 3]);
        assert_eq!(chosen("2", Some("e")), [0, 1]);
        assert_eq!(chosen("100%", Some("d")), [4, 0, 1, 2, 3]);
    }

    #[test]
    fn an_amount_is_files_or_a_percentage() {
        let read = |text: &str| text.parse::<Amount>().ok();
        assert_eq!(read("7"), Some(Amount::Files(7)));
        assert_eq!(read("2.5%"), Some(Amount::Share(250)));
        assert_eq!(read("0.01%"), Some(Amount::Share(1)));
        for text in [
            "0", "0%", "101%", "", "%", "-1", "1.234%", "x", "1%%", "+1%",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
