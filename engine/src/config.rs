//! Configuration files: TOML, unknown fields refused with line and column. SPEC §7.1, §8.1.

mod after;
mod layout;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tidecast_proto::database::VerifyPolicy;
use tidecast_proto::fingerprint;
use tidecast_proto::id::{FeedId, FeedName};

use crate::durable::{self, Access, FileError};
pub use after::{ClamdAddress, HookConfig};
pub use layout::Layout;

use crate::store::{HOLD_MARGIN_MS, PACK_GRACE_MS, Retention};

/// Longest configuration file that is read, in bytes.
const CONFIG_BYTES: usize = 256 * 1024;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// A master's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MasterConfig {
    /// The feed's name.
    pub feed: String,
    /// The feed's fingerprint, 64 hex digits.
    pub fingerprint: String,
    /// What publishing demands of databases: `genuine`, `header` or `none`.
    #[serde(default = "genuine")]
    pub verify: String,
    /// Where mirrors connect, UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Where health and status are served over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// Where metrics are served over HTTP; nowhere without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// How much of the past is kept.
    #[serde(default, skip_serializing_if = "RetentionConfig::is_default")]
    pub retention: RetentionConfig,
}

/// How much of the past a master keeps: the table `retention` of its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// How long a release stays after it was replaced, in days.
    pub days: u64,
    /// So many of the newest stay whatever their age.
    pub releases_min: usize,
    /// Beyond so many, releases go whatever their age.
    pub releases_max: usize,
    /// So many of the newest keep files whole that can be rebuilt from their opened content.
    pub whole_releases: usize,
    /// Most bytes of cached bundles.
    pub bundle_cache_bytes: u64,
}

/// Longest time a release can be kept by its age, in days: 100 years, far from any overflow.
const RETENTION_DAYS: u64 = 36_500;

/// Most releases that may be kept: each costs two open maps and a line in every listing.
const RETENTION_RELEASES: usize = 10_000;

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            days: 90,
            // A month of a feed that publishes daily, however rarely another one does.
            releases_min: 30,
            // Some five a day for 90 days.
            releases_max: 500,
            // A mirror that begins while two more releases appear still gets whole files.
            whole_releases: 3,
            bundle_cache_bytes: 1024 * 1024 * 1024,
        }
    }
}

impl MasterConfig {
    /// Most bytes of bundles that are kept ready.
    #[must_use]
    pub fn bundle_cache_bytes(&self) -> u64 {
        self.retention.bundle_cache_bytes
    }
}

impl RetentionConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn genuine() -> String {
    "genuine".into()
}

/// A mirror's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorConfig {
    /// The feed's fingerprint: 64 hex digits, or 24 words.
    pub fingerprint: String,
    /// `host` or `host:port`, best first.
    pub upstreams: Vec<String>,
    /// The folder web clients see.
    pub docroot: PathBuf,
    /// Whether web clients see links there, or a plain folder.
    #[serde(default, skip_serializing_if = "Layout::is_default")]
    pub layout: Layout,
    /// What the operator calls this mirror.
    #[serde(default)]
    pub name: String,
    /// How to reach the operator.
    #[serde(default)]
    pub contact: String,
    /// Host names under which clients reach it.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Where the built-in web server listens; none without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// Where it writes its access log, in Apache's combined form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<PathBuf>,
    /// Where metrics are served over HTTP; nowhere without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// How long the tree before the live one is kept, in seconds.
    #[serde(default = "grace_s")]
    pub grace_s: u64,
    /// Within how long every byte of the docroot is read once to see whether it rots, in seconds; 0 for never.
    #[serde(default = "scrub_s")]
    pub scrub_s: u64,
    /// The clamd that is to load each new release: the path of its socket, or `host:port`; none without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clamd: Option<String>,
    /// What runs after each switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookConfig>,
}

impl Default for MirrorConfig {
    /// With all that has a default; fingerprint, upstreams and docroot have none.
    fn default() -> Self {
        Self {
            fingerprint: String::new(),
            upstreams: Vec::new(),
            docroot: PathBuf::new(),
            layout: Layout::default(),
            name: String::new(),
            contact: String::new(),
            hosts: Vec::new(),
            http: None,
            access_log: None,
            metrics: None,
            grace_s: GRACE_S,
            scrub_s: SCRUB_S,
            clamd: None,
            hook: None,
        }
    }
}

/// How long a replaced tree stays unless somebody says otherwise, in seconds: a whole main.cvd at 2 Mbit/s.
pub const GRACE_S: u64 = 600;

fn grace_s() -> u64 {
    GRACE_S
}

/// Within how long everything is read once unless somebody says otherwise, in seconds: 30 days, as distributions scrub
/// their arrays. A docroot of 1 GB then costs 400 bytes a second.
pub const SCRUB_S: u64 = 30 * 24 * 3600;

fn scrub_s() -> u64 {
    SCRUB_S
}

/// Why a configuration cannot be used. Nothing was changed.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The disk or its permissions.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is none.
    #[error("no configuration at {}", path.display())]
    Missing { path: PathBuf },
    /// Not TOML, or a field that does not exist; the message shows the line.
    #[error("{}: {source}", path.display())]
    Syntax {
        path: PathBuf,
        source: Box<toml::de::Error>,
    },
    /// A value that cannot be.
    #[error("{}: {field}: {why}", path.display())]
    Value {
        path: PathBuf,
        field: &'static str,
        why: String,
    },
}

/// Reads a configuration.
///
/// # Errors
/// [`ConfigError`]; whoever wrote the file is at fault.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let bytes =
        durable::read_optional(path, CONFIG_BYTES)?.ok_or_else(|| ConfigError::Missing {
            path: path.to_owned(),
        })?;
    toml::from_slice(&bytes).map_err(|source| ConfigError::Syntax {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// Writes a configuration below a line that says what it is.
///
/// # Errors
/// [`ConfigError`].
pub fn store<T: Serialize>(path: &Path, config: &T, title: &str) -> Result<(), ConfigError> {
    let text = toml::to_string(config).map_err(|error| ConfigError::Value {
        path: path.to_owned(),
        field: "configuration",
        why: error.to_string(),
    })?;
    durable::write(
        path,
        format!("# {title}\n{text}").as_bytes(),
        Access::Everyone,
    )?;
    Ok(())
}

/// The word a policy has in configurations and on the command line.
#[must_use]
pub fn policy_word(policy: VerifyPolicy) -> &'static str {
    match policy {
        VerifyPolicy::Genuine => "genuine",
        VerifyPolicy::Header => "header",
        VerifyPolicy::None => "none",
    }
}

/// Reads such a word.
#[must_use]
pub fn parse_policy(word: &str) -> Option<VerifyPolicy> {
    [
        VerifyPolicy::Genuine,
        VerifyPolicy::Header,
        VerifyPolicy::None,
    ]
    .into_iter()
    .find(|policy| policy_word(*policy) == word)
}

impl MasterConfig {
    /// The feed's name, checked.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn feed_name(&self, path: &Path) -> Result<FeedName, ConfigError> {
        FeedName::new(&self.feed).map_err(|why| ConfigError::Value {
            path: path.to_owned(),
            field: "feed",
            why: why.to_string(),
        })
    }

    /// The policy, checked.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn policy(&self, path: &Path) -> Result<VerifyPolicy, ConfigError> {
        parse_policy(&self.verify).ok_or_else(|| ConfigError::Value {
            path: path.to_owned(),
            field: "verify",
            why: format!(
                "{:?} is none of \"genuine\", \"header\", \"none\"",
                self.verify
            ),
        })
    }

    /// What is kept, checked; heads live `head_ttl_ms`.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn retention(&self, path: &Path, head_ttl_ms: u64) -> Result<Retention, ConfigError> {
        let config = &self.retention;
        let within = |field, value: u64, least: u64, most: u64| match value {
            value if (least..=most).contains(&value) => Ok(()),
            value => Err(ConfigError::Value {
                path: path.to_owned(),
                field,
                why: format!("{value} is not between {least} and {most}"),
            }),
        };
        let (least, most) = (config.releases_min as u64, config.releases_max as u64);
        let bound = RETENTION_RELEASES as u64;
        within("retention.days", config.days, 1, RETENTION_DAYS)?;
        // The release before the newest is what most mirrors' updates start from.
        within("retention.releases_min", least, 2, bound)?;
        within("retention.releases_max", most, least, bound)?;
        let whole = config.whole_releases as u64;
        within("retention.whole_releases", whole, 1, bound)?;
        Ok(Retention {
            age_ms: config.days * DAY_MS,
            releases_min: config.releases_min,
            releases_max: config.releases_max,
            whole_releases: config.whole_releases,
            hold_ms: head_ttl_ms.saturating_add(HOLD_MARGIN_MS),
            pack_grace_ms: PACK_GRACE_MS,
            bundle_cache_bytes: config.bundle_cache_bytes,
        })
    }

    /// The fingerprint, checked.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn feed_id(&self, path: &Path) -> Result<FeedId, ConfigError> {
        parse_fingerprint(&self.fingerprint, path)
    }
}

impl MirrorConfig {
    /// The fingerprint, checked.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn feed_id(&self, path: &Path) -> Result<FeedId, ConfigError> {
        if self.upstreams.is_empty() {
            return Err(ConfigError::Value {
                path: path.to_owned(),
                field: "upstreams",
                why: "name at least one master, for example \"master.example.org:4873\"".into(),
            });
        }
        parse_fingerprint(&self.fingerprint, path)
    }
}

fn parse_fingerprint(text: &str, path: &Path) -> Result<FeedId, ConfigError> {
    fingerprint::parse(text).map_err(|error| ConfigError::Value {
        path: path.to_owned(),
        field: "fingerprint",
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_named_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mirror.toml");
        std::fs::write(&path, "fingerprint = \"x\"\nupstream = []\n").unwrap();
        let error = load::<MirrorConfig>(&path).unwrap_err().to_string();
        assert!(error.contains("line 2, column 1"), "{error}");
        assert!(
            error.contains("`upstream`") && error.contains("`upstreams`"),
            "{error}"
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.toml");
        let config = MasterConfig {
            feed: "clamav".into(),
            fingerprint: FeedId::of(b"x").to_string(),
            verify: "header".into(),
            listen: Some(([127, 0, 0, 1], 4873).into()),
            http: None,
            metrics: Some(([127, 0, 0, 1], 9873).into()),
            retention: RetentionConfig {
                days: 7,
                ..RetentionConfig::default()
            },
        };
        store(&path, &config, "a master").unwrap();
        assert_eq!(load::<MasterConfig>(&path).unwrap(), config);
        assert_eq!(config.policy(&path).unwrap(), VerifyPolicy::Header);
        assert_eq!(config.feed_id(&path).unwrap(), FeedId::of(b"x"));
    }

    fn master(retention: &str) -> Result<Retention, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.toml");
        let text = format!("feed = \"t\"\nfingerprint = \"x\"\n{retention}");
        std::fs::write(&path, text).unwrap();
        load::<MasterConfig>(&path)?.retention(&path, 1_000)
    }

    #[test]
    fn what_is_not_said_about_keeping_has_its_default() {
        let some = master("[retention]\nreleases_min = 7\n").unwrap();
        let none = master("").unwrap();
        assert_eq!(
            some,
            Retention {
                releases_min: 7,
                ..none
            }
        );
        assert_eq!(none.age_ms, 90 * DAY_MS);
        assert!(none.hold_ms > 1_000);
    }

    #[test]
    fn keeping_too_little_or_nonsense_is_refused_by_name() {
        for (line, part) in [
            ("days = 0", "retention.days: 0 is not between 1 and 36500"),
            ("days = 36501", "retention.days"),
            (
                "releases_min = 1",
                "retention.releases_min: 1 is not between 2",
            ),
            (
                "releases_max = 29",
                "retention.releases_max: 29 is not between 30",
            ),
            ("whole_releases = 0", "retention.whole_releases"),
            ("days = -1", "line 4"),
            ("day = 1", "`days`"),
        ] {
            let error = master(&format!("[retention]\n{line}\n")).unwrap_err();
            assert!(error.to_string().contains(part), "{line}: {error}");
        }
    }
}
