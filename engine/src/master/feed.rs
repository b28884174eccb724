//! A feed's birth, and what a master keeps of it. SPEC §7.1 to §7.3.

use std::path::{Path, PathBuf};

use tidecast_proto::ceremony::KeyRole;
use tidecast_proto::chunker::Chunking;
use tidecast_proto::codec::CodecError;
use tidecast_proto::database::VerifyPolicy;
use tidecast_proto::id::{Epoch, FeedId, FeedName, ReleaseNumber, RootVersion, Timestamp};
use tidecast_proto::key::{PublicKey, SecretKey};
use tidecast_proto::root::{self, Root, RootBody, RootError, SignedRoot};

use crate::config::{self, ConfigError, MasterConfig, RetentionConfig};
use crate::durable::FileError;
use crate::keyfile::{self, KeyFileError};
use crate::roots::{self, RootsError};
use crate::store::Retention;

/// A root's life: long enough to be renewed in a calm hour each year.
pub const ROOT_LIFE_MS: u64 = 400 * 24 * 3600 * 1000;

/// A head's life: a frozen mirror is noticed within it.
pub const HEAD_TTL_MS: u64 = 6 * 3600 * 1000;

/// Names of the key files.
pub const ROOT_KEY: &str = "root.key";
/// Signs releases; belongs on the sigmaker's machine.
pub const RELEASE_KEY: &str = "release.key";
/// Signs heads; stays in the master's state.
pub const HEAD_KEY: &str = "head.key";
/// Proves who this node is.
pub const NODE_KEY: &str = "node.key";

/// Why there is no feed to work with.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// Any other file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The chain of roots.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The chain of roots does not hold together.
    #[error("{}: {source}", folder.display())]
    Chain { folder: PathBuf, source: RootError },
    /// There is a feed already.
    #[error("{} already holds a feed; nothing was changed", path.display())]
    Exists { path: PathBuf },
    /// Settings that make no root.
    #[error("cannot make the first root: {0}")]
    Root(#[from] CodecError),
    /// No root at all.
    #[error("{} holds no root", folder.display())]
    NoRoot { folder: PathBuf },
    /// This master has no part in the feed that the roots describe.
    #[error("root {version} does not name this master's {role} key {key}")]
    NotNamed {
        role: KeyRole,
        key: PublicKey,
        version: RootVersion,
    },
    /// The roots given do not follow from each other, or too few keys have signed them.
    #[error("the roots given make no feed: {0}")]
    Given(RootError),
    /// The roots given do not begin with the first.
    #[error("the roots given do not begin with root 1")]
    NoFirst,
}

/// What a new feed is to be.
#[derive(Debug)]
pub struct NewFeed<'a> {
    /// Its name.
    pub name: FeedName,
    /// The master's state folder.
    pub state: &'a Path,
    /// Where root and release keys go; not needed by the master.
    pub keys: &'a Path,
    /// What publishing demands of databases.
    pub verify: VerifyPolicy,
    /// What mirrors' operators call this master.
    pub master_name: String,
    /// `host:port` under which mirrors reach this master.
    pub addresses: Vec<String>,
}

/// Makes a feed: keys, first root, configuration. The configuration is written last, so a feed that was not
/// finished can be made again. Returns the fingerprint that mirrors are told.
///
/// # Errors
/// [`FeedError`]; no existing key or feed is ever replaced.
pub fn init(new: NewFeed<'_>, now: Timestamp) -> Result<FeedId, FeedError> {
    let path = new.state.join(MASTER_CONFIG);
    if path.exists() {
        return Err(FeedError::Exists { path });
    }
    for folder in [new.state, new.keys] {
        private_folder(folder)?;
    }
    let key_in = |folder: &Path, name: &str| -> Result<PublicKey, FeedError> {
        Ok(keyfile::load_or_generate(&folder.join(name))?.public())
    };
    let root_key = keyfile::load_or_generate(&new.keys.join(ROOT_KEY))?;
    let body = RootBody {
        version: RootVersion(1),
        epoch: Epoch(0),
        feed: new.name.clone(),
        expires: now.plus(ROOT_LIFE_MS),
        root_keys: vec![root_key.public()],
        root_threshold: 1,
        release_keys: vec![key_in(new.keys, RELEASE_KEY)?],
        release_threshold: 1,
        added_threshold: 1,
        head_keys: vec![key_in(new.state, HEAD_KEY)?],
        head_ttl_max_ms: HEAD_TTL_MS,
        masters: vec![root::Master {
            name: new.master_name,
            node_key: key_in(new.state, NODE_KEY)?,
            addresses: new.addresses,
        }],
        chunking: Chunking::default(),
        revoked_manifests: Vec::new(),
        release_min: ReleaseNumber(0),
        extensions: Vec::new(),
    };
    let root = SignedRoot::sign(&body, &[&root_key])?;
    roots::store(&new.state.join(ROOTS), body.version, &root)?;
    let feed = FeedId(root.id().0);
    write_config(new.state, &new.name, feed, new.verify)?;
    Ok(feed)
}

/// Makes a master of a feed whose roots were made elsewhere: the first master after a ceremony, or one more. `state`
/// holds the head and node keys that the newest root names. Returns the fingerprint.
///
/// # Errors
/// [`FeedError`]; no existing feed is ever replaced, and the configuration is written last.
pub fn init_from_roots(
    state: &Path,
    roots: Vec<SignedRoot>,
    verify: VerifyPolicy,
) -> Result<FeedId, FeedError> {
    let path = state.join(MASTER_CONFIG);
    if path.exists() {
        return Err(FeedError::Exists { path });
    }
    let folder = state.join(ROOTS);
    let feed = roots
        .first()
        .map(|first| FeedId(first.id().0))
        .ok_or(FeedError::NoFirst)?;
    let newest = roots::follow(roots.clone(), &feed)
        .map_err(FeedError::Given)?
        .ok_or(FeedError::NoFirst)?;
    for (role, file) in [(KeyRole::Head, HEAD_KEY), (KeyRole::Node, NODE_KEY)] {
        let key = keyfile::load(&state.join(file))?.public();
        if !newest.names(role, &key) {
            return Err(FeedError::NotNamed {
                role,
                key,
                version: newest.version,
            });
        }
    }
    for (version, root) in (1..).zip(&roots) {
        roots::store(&folder, RootVersion(version), root)?;
    }
    write_config(state, &newest.feed, feed, verify)?;
    Ok(feed)
}

fn write_config(
    state: &Path,
    name: &FeedName,
    feed: FeedId,
    verify: VerifyPolicy,
) -> Result<(), FeedError> {
    let config = MasterConfig {
        feed: name.to_string(),
        fingerprint: feed.to_string(),
        verify: config::policy_word(verify).into(),
        listen: None,
        http: None,
        metrics: None,
        retention: RetentionConfig::default(),
    };
    Ok(config::store(
        &state.join(MASTER_CONFIG),
        &config,
        "A tidecast master. Mirrors are told the fingerprint.",
    )?)
}

/// The configuration's name in the state folder: what makes a folder a master's.
pub const MASTER_CONFIG: &str = "master.toml";
/// The folder of roots in the state folder.
pub const ROOTS: &str = "roots";

/// A folder that only its owner can look into.
pub(crate) fn private_folder(folder: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(FileError::at("create folder", folder))
}

/// A feed as its master keeps it.
#[derive(Debug)]
pub struct Feed {
    /// The state folder.
    pub state: PathBuf,
    /// The configuration.
    pub config: MasterConfig,
    /// The fingerprint.
    pub id: FeedId,
    /// The newest root.
    pub root: Root,
    /// Every root as it is sent, the first at 0.
    pub roots: Vec<Vec<u8>>,
    /// What publishing demands of databases.
    pub verify: VerifyPolicy,
    /// What the store keeps.
    pub retention: Retention,
}

impl Feed {
    /// Reads what [`init`] made.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn load(state: &Path) -> Result<Self, FeedError> {
        let path = state.join(MASTER_CONFIG);
        let config: MasterConfig = config::load(&path)?;
        config.feed_name(&path)?;
        let (id, verify) = (config.feed_id(&path)?, config.policy(&path)?);
        let folder = state.join(ROOTS);
        let signed = roots::load(&folder)?;
        let bytes = signed.iter().map(SignedRoot::to_bytes).collect();
        let chain = |source| FeedError::Chain {
            folder: folder.clone(),
            source,
        };
        let root = roots::follow(signed, &id)
            .map_err(chain)?
            .ok_or_else(|| FeedError::NoRoot {
                folder: folder.clone(),
            })?;
        let retention = config.retention(&path, root.head_ttl_max_ms)?;
        Ok(Self {
            state: state.to_owned(),
            retention,
            config,
            id,
            root,
            roots: bytes,
            verify,
        })
    }

    /// The key this node shows in TLS.
    ///
    /// # Errors
    /// [`FeedError::Key`].
    pub fn node_key(&self) -> Result<SecretKey, FeedError> {
        Ok(keyfile::load(&self.state.join(NODE_KEY))?)
    }

    /// The key that signs heads.
    ///
    /// # Errors
    /// [`FeedError::Key`].
    pub fn head_key(&self) -> Result<SecretKey, FeedError> {
        Ok(keyfile::load(&self.state.join(HEAD_KEY))?)
    }

    /// Where the release store lies.
    #[must_use]
    pub fn store_folder(&self) -> PathBuf {
        self.state.join("store")
    }

    /// Where publishing remembers what it has read.
    #[must_use]
    pub fn publish_cache(&self) -> PathBuf {
        self.state.join("publish.cache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_feed<'a>(state: &'a Path, keys: &'a Path) -> NewFeed<'a> {
        NewFeed {
            name: FeedName::new("clamav").unwrap(),
            state,
            keys,
            verify: VerifyPolicy::Genuine,
            master_name: "master".into(),
            addresses: vec!["master.example.org:4873".into()],
        }
    }

    #[test]
    fn a_new_feed_loads_and_its_release_key_is_not_on_the_master() {
        let folder = tempfile::tempdir().unwrap();
        let (state, keys) = (folder.path().join("state"), folder.path().join("keys"));
        let id = init(new_feed(&state, &keys), Timestamp(1)).unwrap();
        let feed = Feed::load(&state).unwrap();
        assert_eq!(feed.id, id);
        assert!(feed.root.names_master(&feed.node_key().unwrap().public()));
        assert!(keys.join(ROOT_KEY).exists() && keys.join(RELEASE_KEY).exists());
        assert!(!state.join(ROOT_KEY).exists() && !state.join(RELEASE_KEY).exists());
    }

    #[test]
    fn a_feed_is_never_made_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let (state, keys) = (folder.path().join("state"), folder.path().join("keys"));
        let id = init(new_feed(&state, &keys), Timestamp(1)).unwrap();
        assert!(matches!(
            init(new_feed(&state, &keys), Timestamp(2)),
            Err(FeedError::Exists { .. })
        ));
        assert_eq!(Feed::load(&state).unwrap().id, id);
    }

    #[test]
    fn a_changed_root_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (state, keys) = (folder.path().join("state"), folder.path().join("keys"));
        init(new_feed(&state, &keys), Timestamp(1)).unwrap();
        let path = state.join("roots/1.root");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(Feed::load(&state).is_err());
    }
}
