//! `test_keys.py`: sets of keys and thresholds.

use tidecast_proto::id::RootVersion;
use tidecast_proto::manifest::ManifestError;
use tidecast_proto::root::{RootBody, SignedRoot};
use tidecast_proto::signed::SignedError;

use super::takes;
use crate::support::{Feed, envelope, keys, publics, sign, sign_unchecked, signature};

#[test]
fn root_has_keys_but_not_snapshot() {
    let feed = Feed::new();
    let set = keys(&[11, 12, 13, 14, 15]);
    let mut root = feed.next_root();
    root.release_keys = publics(&set);
    root.release_threshold = 5;
    let trust = feed.trust_after(&root);
    let body = feed.manifest_body(1);
    let refused = takes(&trust, &feed, sign(&body, &set[..4]), 1).unwrap_err();
    assert!(matches!(
        refused,
        ManifestError::Signed(SignedError::TooFewSignatures {
            good: 4,
            needed: 5,
            ..
        })
    ));
    assert_eq!(
        trust.root().version,
        RootVersion(2),
        "the root is updated, the release is not"
    );
    assert!(takes(&trust, &feed, sign(&body, &set), 1).is_ok());
}

#[test]
fn snapshot_threshold() {
    let feed = Feed::new();
    let mut root = feed.next_root();
    root.release_threshold = 6;
    // More than there are keys: no such root is taken at all.
    let signed: SignedRoot = sign_unchecked(&root, &feed.root_keys);
    assert!(feed.trust().accept_root(signed).is_err());
    assert!(
        takes(
            &feed.trust(),
            &feed,
            sign(&feed.manifest_body(1), &feed.release_keys[..1]),
            1
        )
        .is_err()
    );
}

#[test]
fn duplicate_keys_root() {
    let feed = Feed::new();
    let mut root: RootBody = feed.next_root();
    root.release_keys = vec![root.release_keys[0]; 10];
    root.release_threshold = 6;
    let signed: SignedRoot = sign_unchecked(&root, &feed.root_keys);
    assert!(feed.trust().accept_root(signed).is_err());
    let body = feed.first.body();
    let one = signature(&feed.root_keys[0], "root", body);
    assert!(SignedRoot::from_bytes(&envelope(body, &[one.clone(), one])).is_err());
}
