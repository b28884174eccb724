//! Text that people, tools and peers write.

use std::path::Path;

use tidecast_engine::config::{self, MasterConfig, MirrorConfig};
use tidecast_engine::control::Command;
use tidecast_engine::keyfile;
use tidecast_engine::master::{MasterStatus, Nodes};
use tidecast_engine::mirror::{MirrorStatus, SyncReport};
use tidecast_engine::store::explain::Explanation;
use tidecast_proto::fingerprint;
use tidecast_proto::id::{FeedName, ObjectId};
use tidecast_proto::key::PublicKey;
use tidecast_proto::limits;
use tidecast_proto::name::ReleasePath;
use tidecast_proto::session::Admission;

use crate::memory;

/// Paths, feed names, fingerprints, ids and keys. A path leads nowhere but below a docroot, and to nothing of the operator's.
pub fn text(bytes: &[u8]) {
    if let Ok(key) = PublicKey::from_spki(bytes) {
        assert_eq!(key.to_spki(), bytes);
    }
    let Ok(text) = core::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(path) = ReleasePath::new(text) {
        assert_eq!(path.as_str(), text);
        assert!(text.len() <= limits::PATH_BYTES);
        assert!(
            text.split('/').all(|part| !part.is_empty()
                && !part.starts_with('.')
                && !part.starts_with("local_"))
        );
        assert!(path.top() != "timestamp");
    }
    if let Ok(name) = FeedName::new(text) {
        assert!(!name.as_str().starts_with(['.', '-', '_']));
    }
    if let Ok(feed) = fingerprint::parse(text) {
        assert_eq!(fingerprint::parse(&fingerprint::to_words(&feed)), Ok(feed));
    }
    if let Ok(id) = text.parse::<ObjectId>() {
        assert!(id.to_string().eq_ignore_ascii_case(text));
    }
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
}

/// Reads `bytes` as the file of a `T`, and what it writes of that.
fn configured<T>(bytes: &[u8]) -> Option<T>
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let file = memory::file(bytes);
    let config: T = match config::load(&memory::path(&file)) {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return None;
        }
    };
    if let Ok(text) = toml::to_string(&config) {
        let file = memory::file(text.as_bytes());
        assert_eq!(
            config::load::<T>(&memory::path(&file)).expect("our own"),
            config
        );
    }
    Some(config)
}

/// A mirror's configuration.
pub fn mirror_toml(bytes: &[u8]) {
    if let Some(config) = configured::<MirrorConfig>(bytes) {
        let id = config.feed_id(Path::new("mirror.toml"));
        assert!(id.is_err() || !config.upstreams.is_empty());
    }
}

/// A master's configuration.
pub fn master_toml(bytes: &[u8]) {
    if let Some(config) = configured::<MasterConfig>(bytes) {
        let path = Path::new("master.toml");
        let _ = (
            config.feed_name(path),
            config.policy(path),
            config.feed_id(path),
        );
        if let Ok(retention) = config.retention(path, 6 * 3600 * 1000) {
            assert!((2..=retention.releases_max).contains(&retention.releases_min));
            assert!(retention.age_ms > 0 && retention.whole_releases > 0);
        }
    }
}

/// The list of nodes: who is in it is admitted or revoked, as it says.
pub fn nodes(bytes: &[u8]) {
    if let Ok(nodes) = Nodes::parse(bytes, Path::new("nodes.json")) {
        for (key, node) in &nodes.0 {
            let admitted = nodes.admission(key) == Admission::Admitted;
            assert_eq!(admitted, node.admitted);
        }
    }
}

/// A line on the control socket: what is a command is written as one.
pub fn control(bytes: &[u8]) {
    if let Ok(command) = serde_json::from_slice::<Command>(bytes) {
        let line = serde_json::to_vec(&command).expect("it was one");
        assert!(!line.contains(&b'\n'));
        let again: Command = serde_json::from_slice(&line).expect("our own");
        assert_eq!(again, command);
    }
}

/// Whether `bytes` read as a `T` that is written and read again.
fn answered<T>(bytes: &[u8])
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    if let Ok(answer) = serde_json::from_slice::<T>(bytes)
        && let Ok(text) = serde_json::to_vec(&answer)
    {
        assert!(serde_json::from_slice::<T>(&text).is_ok());
    }
}

/// What a daemon answers a command.
pub fn status(bytes: &[u8]) {
    answered::<MirrorStatus>(bytes);
    answered::<MasterStatus>(bytes);
    answered::<SyncReport>(bytes);
}

/// Why a release costs what it costs.
pub fn explain(bytes: &[u8]) {
    answered::<Explanation>(bytes);
}

/// A key's file, private, public or under a passphrase, which is not asked for: what opening it would cost is judged before.
pub fn keyfile(bytes: &[u8]) {
    let file = memory::file(bytes);
    let path = memory::path(&file);
    let found = keyfile::find(&path);
    match keyfile::load(&path) {
        Ok(key) => {
            assert!(matches!(found, Ok(keyfile::Found::Key(_))));
            let pem = keyfile::public_pem(&key.public()).expect("a key");
            let public = memory::file(pem.as_bytes());
            let public = keyfile::find_public(&memory::path(&public)).expect("our own");
            assert_eq!(public, Some(key.public()));
        }
        Err(error) => {
            assert!(!matches!(found, Ok(keyfile::Found::Key(_))));
            assert!(!error.to_string().is_empty());
        }
    }
    let _ = keyfile::find_public(&path);
}
