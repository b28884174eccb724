//! Configuration files: TOML, unknown fields refused with line and column. SPEC §7.1, §8.1.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tidecast_proto::database::VerifyPolicy;
use tidecast_proto::fingerprint;
use tidecast_proto::id::{FeedId, FeedName};

use crate::durable::{self, Access, FileError};

/// Longest configuration file that is read, in bytes.
const CONFIG_BYTES: usize = 256 * 1024;

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
    /// Most bundles that are kept ready, in megabytes; 1,024 without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_cache_mb: Option<u64>,
}

impl MasterConfig {
    /// Most bytes of bundles that are kept ready.
    #[must_use]
    pub fn bundle_cache_bytes(&self) -> u64 {
        let set = self
            .bundle_cache_mb
            .map(|mb| mb.saturating_mul(1024 * 1024));
        set.unwrap_or(crate::bundle::CACHE_BYTES)
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
    /// How long the tree before the live one is kept, in seconds.
    #[serde(default = "grace_s")]
    pub grace_s: u64,
}

/// How long a replaced tree stays unless somebody says otherwise, in seconds: a whole main.cvd at 2 Mbit/s.
pub const GRACE_S: u64 = 600;

fn grace_s() -> u64 {
    GRACE_S
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
            bundle_cache_mb: None,
        };
        store(&path, &config, "a master").unwrap();
        assert_eq!(load::<MasterConfig>(&path).unwrap(), config);
        assert_eq!(config.policy(&path).unwrap(), VerifyPolicy::Header);
        assert_eq!(config.feed_id(&path).unwrap(), FeedId::of(b"x"));
    }
}
