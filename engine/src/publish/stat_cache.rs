//! What the last publish learned of each file, so that unchanged ones are not read again. SPEC §7.10.
//!
//! Advisory: a cache that is missing, damaged or of another feed costs time and nothing else.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use tidecast_proto::{
    chunker::Chunking,
    codec,
    database::VerifyPolicy,
    id::{FeedId, FileHash, ListId, RecipeId, Timestamp},
    limits,
    manifest::Database,
    name::ReleasePath,
};

use super::stamp::{Moment, Stamp};
use super::tree::Found;
use crate::durable::{self, Access, FileError};
use crate::store::explain::Opening;

/// The first bytes of a cache of this version.
const HEAD: &[u8; 16] = b"tidecast stat 2\n";

/// Longest entry: a path, a database's name, what became of the streams (a few lines), and under 250 bytes of numbers.
const ENTRY_BYTES: usize = limits::PATH_BYTES + limits::NAME_BYTES + OPENING_BYTES + 256;

/// Longest text about the streams of one file: a few kinds of parameters and closed streams, under 200 bytes each.
const OPENING_BYTES: usize = 4 * 1024;

/// What the entries are only good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) feed: FeedId,
    /// Another chunking cuts other chunks.
    pub(crate) chunking: Chunking,
    /// What was only half checked must be checked again.
    pub(crate) verify: VerifyPolicy,
}

/// What reading a file came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) stamp: Stamp,
    /// When the reading began, or earlier.
    pub(super) looked_at: Timestamp,
    pub(super) hash: FileHash,
    pub(super) list: Option<ListId>,
    pub(super) recipe: Option<RecipeId>,
    /// What became of its streams, to be told again with every release that holds the file.
    pub(super) opening: Opening,
    pub(super) database: Option<Database>,
}

#[derive(Debug, Default)]
pub(crate) struct StatCache {
    entries: HashMap<ReleasePath, Entry>,
}

impl StatCache {
    /// The cache at `path`, empty when it is not there or made for something else; and what to say when it is
    /// damaged.
    pub(super) fn load(path: &Path, identity: &Identity) -> (Self, Option<String>) {
        let reading = match File::open(path) {
            Ok(file) => Self::read(BufReader::new(file), identity),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.to_string()),
        };
        match reading {
            Ok(cache) => (cache, None),
            Err(why) => {
                let warning = format!("{}: {why}: every file is read again", path.display());
                (Self::default(), Some(warning))
            }
        }
    }

    pub(crate) fn read(mut reader: impl Read, identity: &Identity) -> Result<Self, String> {
        let damaged = |_| "damaged".to_owned();
        let mut hasher = blake3::Hasher::new();
        let mut head = vec![0; HEAD.len() + identity.to_bytes().len() + 4];
        reader.read_exact(&mut head).map_err(damaged)?;
        hasher.update(&head);
        let (numbers, count) = head.split_at(head.len() - 4);
        if numbers != [HEAD.as_slice(), &identity.to_bytes()].concat() {
            // Made by another version, or under other rules: not damage.
            return Ok(Self::default());
        }
        let count = count.try_into().map(u32::from_le_bytes).unwrap_or(0);
        let mut cache = Self::default();
        let mut buffer = Vec::new();
        for _ in 0..count {
            let mut len = [0; 4];
            reader.read_exact(&mut len).map_err(damaged)?;
            hasher.update(&len);
            let len = u32::from_le_bytes(len) as usize;
            if len > ENTRY_BYTES {
                return Err("damaged".to_owned());
            }
            buffer.resize(len, 0);
            reader.read_exact(&mut buffer).map_err(damaged)?;
            hasher.update(&buffer);
            let record = codec::decode_exact::<Record>("stat entry", &buffer, ENTRY_BYTES)
                .map_err(|e| e.to_string())?;
            let (path, entry) = Entry::from_record(record).ok_or("damaged")?;
            cache.entries.insert(path, entry);
        }
        let mut hash = [0; 32];
        reader.read_exact(&mut hash).map_err(damaged)?;
        let ends = reader.read(&mut [0]).map_err(damaged)? == 0;
        if hasher.finalize() != hash || !ends {
            return Err("damaged".to_owned());
        }
        Ok(cache)
    }

    /// Writes the cache: head, identity, count, 4 LE; each entry with its length, 4 LE, before it; BLAKE3 of all that.
    pub(super) fn save(&self, path: &Path, identity: &Identity) -> Result<(), FileError> {
        durable::write(path, &self.encode(identity), Access::OwnerOnly)
    }

    pub(crate) fn encode(&self, identity: &Identity) -> Vec<u8> {
        let mut bytes = HEAD.to_vec();
        bytes.extend_from_slice(&identity.to_bytes());
        // A release has at most a million files.
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&count.to_le_bytes());
        for (path, entry) in &self.entries {
            let entry = codec::encode(&entry.to_record(path));
            let len = u32::try_from(entry.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&entry);
        }
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        bytes
    }

    /// What is known of `found`, when it is certain that it has not been written since.
    pub(super) fn take(&mut self, found: &Found) -> Option<Entry> {
        self.entries
            .remove(&found.path)
            .filter(|entry| entry.stamp == found.stamp && !entry.stamp.is_racy(entry.looked_at))
    }

    /// Whether nothing is left in it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn insert(&mut self, path: ReleasePath, entry: Entry) {
        self.entries.insert(path, entry);
    }
}

impl Identity {
    /// Feed, 32 bytes; chunking as in a root, 21; policy, 1.
    fn to_bytes(self) -> Vec<u8> {
        let policy = match self.verify {
            VerifyPolicy::Genuine => 0_u8,
            VerifyPolicy::Header => 1,
            VerifyPolicy::None => 2,
        };
        codec::encode(&(self.feed, self.chunking, policy))
    }
}

/// An entry in its encoding: path, stamp (size, mtime, ctime, inode, device), when looked at, content,
/// and what became of its streams in the JSON of SPEC §7.13 (empty: it holds none).
type Record = (
    ReleasePath,
    (u64, (i64, u32), (i64, u32), u64, u64),
    Timestamp,
    FileHash,
    Option<ListId>,
    Option<RecipeId>,
    String,
    Option<Database>,
);

impl Entry {
    fn to_record(&self, path: &ReleasePath) -> Record {
        let Stamp {
            size,
            mtime,
            ctime,
            inode,
            device,
        } = self.stamp;
        (
            path.clone(),
            (
                size,
                (mtime.s, mtime.ns),
                (ctime.s, ctime.ns),
                inode,
                device,
            ),
            self.looked_at,
            self.hash,
            self.list,
            self.recipe,
            self.opening_text(),
            self.database.clone(),
        )
    }

    fn opening_text(&self) -> String {
        if self.opening == Opening::default() {
            return String::new();
        }
        // A few numbers and short texts always make JSON.
        serde_json::to_string(&self.opening).unwrap_or_default()
    }

    /// `None` when the text is not JSON of this version.
    fn from_record(record: Record) -> Option<(ReleasePath, Self)> {
        let (path, stamp, looked_at, hash, list, recipe, opening, database) = record;
        let (size, mtime, ctime, inode, device) = stamp;
        let opening = match opening.as_str() {
            "" => Opening::default(),
            text => serde_json::from_str(text).ok()?,
        };
        let moment = |(s, ns)| Moment { s, ns };
        let stamp = Stamp {
            size,
            mtime: moment(mtime),
            ctime: moment(ctime),
            inode,
            device,
        };
        let entry = Self {
            stamp,
            looked_at,
            hash,
            list,
            recipe,
            opening,
            database,
        };
        Some((path, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::explain::{Closed, ClosedReason};

    fn identity() -> Identity {
        Identity {
            feed: FeedId([1; 32]),
            chunking: Chunking::default(),
            verify: VerifyPolicy::Genuine,
        }
    }

    fn found() -> Found {
        let moment = Moment { s: 100, ns: 5 };
        Found {
            path: ReleasePath::new("a/daily.cvd").unwrap(),
            stamp: Stamp {
                size: 3,
                mtime: moment,
                ctime: moment,
                inode: 7,
                device: 8,
            },
            executable: false,
        }
    }

    fn entry(looked_at: u64) -> Entry {
        Entry {
            stamp: found().stamp,
            looked_at: Timestamp(looked_at),
            hash: FileHash([2; 32]),
            list: Some(ListId([3; 32])),
            recipe: Some(RecipeId([4; 32])),
            opening: Opening {
                opened: None,
                closed: vec![Closed {
                    stream_at: 512,
                    reason: ClosedReason::Damaged {
                        at: 700,
                        why: "cut".into(),
                    },
                }],
            },
            database: Some(Database {
                name: "daily".into(),
                version: 5,
                build_time_s: 6,
            }),
        }
    }

    fn saved(folder: &Path, looked_at: u64) -> std::path::PathBuf {
        let mut cache = StatCache::default();
        cache.insert(found().path, entry(looked_at));
        let path = folder.join("cache");
        cache.save(&path, &identity()).unwrap();
        path
    }

    #[test]
    fn an_entry_reads_back_for_the_same_stamp_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = saved(folder.path(), 200_000);
        let load = || {
            let (cache, warning) = StatCache::load(&path, &identity());
            assert_eq!(warning, None);
            cache
        };
        assert_eq!(load().take(&found()), Some(entry(200_000)));
        let touched: [fn(&mut Stamp); 5] = [
            |s| s.size += 1,
            |s| s.mtime.ns += 1,
            |s| s.ctime.ns += 1,
            |s| s.inode += 1,
            |s| s.device += 1,
        ];
        for touch in touched {
            let mut other = found();
            touch(&mut other.stamp);
            assert_eq!(load().take(&other), None);
        }
    }

    #[test]
    fn a_file_written_within_two_seconds_of_the_look_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = saved(folder.path(), 102_900);
        let (mut cache, _) = StatCache::load(&path, &identity());
        assert_eq!(cache.take(&found()), None);
    }

    #[test]
    fn damage_anywhere_is_said_and_the_cache_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = saved(folder.path(), 200_000);
        let good = std::fs::read(&path).unwrap();
        let head = HEAD.len() + identity().to_bytes().len();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            let (cache, warning) = StatCache::load(&path, &identity());
            assert!(cache.entries.is_empty(), "byte {at}");
            assert_eq!(warning.is_some(), at >= head, "byte {at}");
        }
        for len in 0..good.len() {
            std::fs::write(&path, &good[..len]).unwrap();
            let (cache, warning) = StatCache::load(&path, &identity());
            assert!(cache.entries.is_empty() && warning.is_some(), "{len}");
        }
    }

    #[test]
    fn a_cache_made_under_other_rules_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = saved(folder.path(), 200_000);
        let stricter = Identity {
            verify: VerifyPolicy::Header,
            ..identity()
        };
        let (cache, warning) = StatCache::load(&path, &stricter);
        assert!(cache.entries.is_empty() && warning.is_none());
    }
}
