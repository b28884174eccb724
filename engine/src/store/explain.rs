//! Why a release costs what it costs: which of its files open, and by which road each reaches a mirror. SPEC §7.13.
//!
//! One JSON file per release, `explain/<N>.json`. Advisory: it is read by people through `tidecast explain`, nothing
//! is decided by it, and one that is missing or damaged costs only the explanation.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidecast_proto::deflate::{Parameters, Strategy};
use tidecast_proto::id::ReleaseNumber;

use crate::durable::{self, Access, FileError};

/// The folder of explanations in a store.
pub const EXPLAIN: &str = "explain";

/// Longest explanation that is read, in bytes: a million files at some 250 bytes each.
const EXPLAIN_BYTES: usize = 256 * 1024 * 1024;

/// Why an explanation cannot be given. The release itself is untouched.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// The disk or its permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// Damaged, or written by a later version.
    #[error("{}: {source}", path.display())]
    Malformed {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// What is known about a release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Files in which a deflate stream was found, by path. A file that is not listed holds none.
    #[serde(default)]
    pub openings: Vec<FileOpening>,
    /// The road of each file from the release before to this one, by path; `None` until the bundle was built. A file
    /// that is not listed is unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roads: Option<Vec<RoadBytes>>,
}

/// What became of the deflate streams of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOpening {
    /// Which file.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// What became of its streams.
    #[serde(flatten)]
    pub opening: Opening,
}

/// What became of the deflate streams of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Set when the file has a recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<Opened>,
    /// The streams that stay closed, in order; at most [`CLOSED_LISTED`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<Closed>,
}

/// Most closed streams that are told of one file: the first ones say what there is to know.
pub const CLOSED_LISTED: usize = 4;

/// Most different parameters that are told of one file.
pub const STREAMS_LISTED: usize = 8;

/// A file that is rebuilt from its opened content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Bytes of its opened content.
    pub opened_bytes: u64,
    /// Segments of its recipe.
    pub segments: u64,
    /// How its streams were made, most bytes first; at most [`STREAMS_LISTED`] kinds.
    pub streams: Vec<Streams>,
}

/// Streams of one file that were made alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// How.
    #[serde(flatten)]
    pub parameters: ZlibParameters,
    /// How many.
    pub count: u64,
    /// Their bytes in the file.
    pub packed_bytes: u64,
}

/// zlib's parameters, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZlibParameters {
    /// 1 to 9.
    pub level: u8,
    /// The matcher.
    pub strategy: StrategyName,
    /// zlib's memLevel, 1 to 9.
    pub memory_level: u8,
}

/// zlib's strategies by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented at `deflate::Strategy`")]
pub enum StrategyName {
    Default,
    Filtered,
    Huffman,
    Rle,
    Fixed,
}

/// A stream that cannot be rebuilt; its bytes are kept as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Where in the file the deflate stream begins.
    pub stream_at: u64,
    /// Why.
    #[serde(flatten)]
    pub reason: ClosedReason,
}

/// Why a stream cannot be rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClosedReason {
    /// Another program than stock zlib made it.
    Differs {
        /// Where in the file the first byte differs from what zlib makes of the same content.
        at: u64,
        /// Bytes of the file from there to the end of the stream: what zlib would make otherwise.
        affected_bytes: u64,
        /// What zlib would have to be told to come nearest.
        nearest: ZlibParameters,
    },
    /// It is no sound deflate stream.
    Damaged {
        /// Where in the file.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// It holds more, or there are more of them, than is worth opening.
    Limit {
        /// Which limit, and how much it is.
        why: String,
    },
}

/// How one file reaches a mirror that has the release before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoadBytes {
    /// Which file.
    pub path: String,
    /// The road.
    pub road: RoadName,
    /// Bytes of content that the mirror has already.
    pub reused_bytes: u64,
    /// Bytes of runs that cross the wire.
    pub run_bytes: u64,
    /// Bytes of whole chunks, lists and recipes that cross the wire.
    pub literal_bytes: u64,
    /// Why this road: the planner's code.
    pub reason: String,
}

/// The roads a file may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoadName {
    /// The mirror has it: a link.
    Unchanged,
    /// Rebuilt from what the mirror has and from runs.
    Runs,
    /// Chunk by chunk as it is.
    Whole,
}

impl From<Parameters> for ZlibParameters {
    fn from(parameters: Parameters) -> Self {
        Self {
            level: parameters.level(),
            strategy: match parameters.strategy() {
                Strategy::Default => StrategyName::Default,
                Strategy::Filtered => StrategyName::Filtered,
                Strategy::Huffman => StrategyName::Huffman,
                Strategy::Rle => StrategyName::Rle,
                Strategy::Fixed => StrategyName::Fixed,
            },
            memory_level: parameters.memory_level(),
        }
    }
}

impl std::fmt::Display for ZlibParameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let strategy = match self.strategy {
            StrategyName::Default => "default",
            StrategyName::Filtered => "filtered",
            StrategyName::Huffman => "huffman",
            StrategyName::Rle => "rle",
            StrategyName::Fixed => "fixed",
        };
        let (level, memory_level) = (self.level, self.memory_level);
        write!(f, "level {level}, {strategy}, memLevel {memory_level}")
    }
}

/// Where the explanation of a release lies.
#[must_use]
pub fn path_of(store: &Path, release: ReleaseNumber) -> PathBuf {
    store.join(EXPLAIN).join(format!("{release}.json"))
}

/// The explanation of a release; `None` when there is none.
///
/// # Errors
/// [`ExplainError`].
pub fn load(store: &Path, release: ReleaseNumber) -> Result<Option<Explanation>, ExplainError> {
    let path = path_of(store, release);
    let Some(bytes) = durable::read_optional(&path, EXPLAIN_BYTES)? else {
        return Ok(None);
    };
    let explanation = serde_json::from_slice(&bytes)
        .map_err(|source| ExplainError::Malformed { path, source })?;
    Ok(Some(explanation))
}

/// Writes the explanation of a new release. Call as the store's one writer.
///
/// # Errors
/// [`ExplainError`]; what was there before stays.
pub fn save(
    store: &Path,
    release: ReleaseNumber,
    explanation: &Explanation,
) -> Result<(), ExplainError> {
    let path = path_of(store, release);
    let folder = store.join(EXPLAIN);
    std::fs::create_dir_all(&folder).map_err(FileError::at("create", &folder))?;
    let bytes = serde_json::to_vec(explanation).map_err(|source| ExplainError::Malformed {
        path: path.clone(),
        source,
    })?;
    Ok(durable::write(&path, &bytes, Access::Everyone)?)
}

/// Adds to the explanation of `release` by which road each file comes from the release before. Call as the store's
/// one writer. A damaged explanation is replaced by one that knows the roads only.
///
/// # Errors
/// [`ExplainError`]; what was there before stays.
pub fn save_roads(
    store: &Path,
    release: ReleaseNumber,
    roads: &[RoadBytes],
) -> Result<(), ExplainError> {
    let mut explanation = match load(store, release) {
        Ok(found) => found.unwrap_or_default(),
        Err(ExplainError::Malformed { .. }) => Explanation::default(),
        Err(error) => return Err(error),
    };
    explanation.roads = Some(roads.to_vec());
    save(store, release, &explanation)
}

/// Removes the explanation of a release that goes; none is fine.
///
/// # Errors
/// [`FileError`].
pub fn remove(store: &Path, release: ReleaseNumber) -> Result<(), FileError> {
    let path = path_of(store, release);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::at("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: ReleaseNumber = ReleaseNumber(7);

    fn openings() -> Vec<FileOpening> {
        let opened = Opening {
            opened: Some(Opened {
                opened_bytes: 1_000,
                segments: 3,
                streams: vec![Streams {
                    parameters: Parameters::SIGTOOL.into(),
                    count: 1,
                    packed_bytes: 300,
                }],
            }),
            closed: Vec::new(),
        };
        let reasons = [
            ClosedReason::Differs {
                at: 1_234,
                affected_bytes: 99,
                nearest: Parameters::SIGTOOL.into(),
            },
            ClosedReason::Damaged {
                at: 5,
                why: "unknown block type".into(),
            },
            ClosedReason::Limit {
                why: "it holds more than 2147483647 bytes".into(),
            },
        ];
        let closed = Opening {
            opened: None,
            closed: reasons
                .map(|reason| Closed {
                    stream_at: 10,
                    reason,
                })
                .to_vec(),
        };
        [("daily.cvd", opened), ("x.gz", closed)]
            .map(|(path, opening)| FileOpening {
                path: path.into(),
                bytes: 400,
                opening,
            })
            .to_vec()
    }

    fn road() -> RoadBytes {
        RoadBytes {
            path: "daily.cvd".into(),
            road: RoadName::Runs,
            reused_bytes: 900,
            run_bytes: 12,
            literal_bytes: 0,
            reason: "opened".into(),
        }
    }

    #[test]
    fn openings_and_roads_read_back_whichever_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path();
        assert_eq!(load(store, RELEASE).unwrap(), None);
        let explanation = Explanation {
            openings: openings(),
            roads: None,
        };
        save(store, RELEASE, &explanation).unwrap();
        assert_eq!(load(store, RELEASE).unwrap(), Some(explanation.clone()));
        save_roads(store, RELEASE, &[road()]).unwrap();
        let with_roads = Explanation {
            roads: Some(vec![road()]),
            ..explanation
        };
        assert_eq!(load(store, RELEASE).unwrap(), Some(with_roads));

        let other = ReleaseNumber(8);
        save_roads(store, other, &[road()]).unwrap();
        assert_eq!(load(store, other).unwrap().unwrap().openings, []);
        remove(store, RELEASE).unwrap();
        remove(store, RELEASE).unwrap();
        assert_eq!(load(store, RELEASE).unwrap(), None);
    }

    #[test]
    fn damage_is_an_error_for_readers_and_none_for_the_writer_of_roads() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path();
        save(store, RELEASE, &Explanation::default()).unwrap();
        std::fs::write(path_of(store, RELEASE), b"{\"openings\":[").unwrap();
        assert!(matches!(
            load(store, RELEASE),
            Err(ExplainError::Malformed { .. })
        ));
        save_roads(store, RELEASE, &[road()]).unwrap();
        assert_eq!(
            load(store, RELEASE).unwrap().unwrap().roads,
            Some(vec![road()])
        );
    }

    #[test]
    fn the_json_is_that_of_the_specification() {
        let explanation = Explanation {
            openings: openings(),
            roads: Some(vec![road()]),
        };
        let value = serde_json::to_value(explanation).unwrap();
        assert_eq!(
            value["openings"][0],
            serde_json::json!({
                "path": "daily.cvd", "bytes": 400,
                "opened": {
                    "opened_bytes": 1000, "segments": 3,
                    "streams": [{
                        "level": 9, "strategy": "filtered", "memory_level": 8, "count": 1,
                        "packed_bytes": 300,
                    }],
                },
            })
        );
        assert_eq!(
            value["openings"][1]["closed"][1],
            serde_json::json!({
                "stream_at": 10, "reason": "damaged", "at": 5, "why": "unknown block type",
            })
        );
        assert_eq!(
            value["roads"][0],
            serde_json::json!({
                "path": "daily.cvd", "road": "runs", "reused_bytes": 900, "run_bytes": 12,
                "literal_bytes": 0, "reason": "opened",
            })
        );
    }
}
