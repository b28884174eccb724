//! Text that people and peers type: paths, feed names, fingerprints, ids, keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::{
    fingerprint,
    id::{FeedName, ObjectId},
    key::PublicKey,
    name::ReleasePath,
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = PublicKey::from_spki(bytes) {
        assert_eq!(key.to_spki(), bytes);
    }
    let Ok(text) = core::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(path) = ReleasePath::new(text) {
        assert_eq!(path.as_str(), text);
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
    let _ = text.parse::<ObjectId>();
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
});
