//! `test_basic.py`: first contact, refreshing, and what does not fit its head.

use tidecast_proto::codec;
use tidecast_proto::extension::Extension;
use tidecast_proto::id::{FeedId, ReleaseNumber, RootVersion, Seq};
use tidecast_proto::manifest::ManifestError;
use tidecast_proto::root::SignedRoot;
use tidecast_proto::trust::{HeadError, Trust, Verdict};

use crate::support::{
    Feed, NOW, envelope, newer, refusal, resume, sign, sign_unchecked, signature,
};

#[test]
fn basic_init_and_refresh() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    assert!(
        trust.accept_root(feed.first.clone()).is_err(),
        "root 1 is asked for once"
    );
    feed.install(&mut trust, 1, 1);
    assert_eq!(
        (trust.root().version, trust.installed_release()),
        (RootVersion(1), ReleaseNumber(1))
    );
    assert!(matches!(
        trust.accept_head(feed.head(1, 1), NOW),
        Ok(Verdict::Current(_))
    ));
}

#[test]
fn invalid_initial_root() {
    let feed = Feed::new();
    let mut body = feed.next_root();
    body.version = RootVersion(0);
    let signed: SignedRoot = sign_unchecked(&body, &feed.root_keys);
    // Even if it is what the operator's fingerprint names.
    let id = FeedId(signed.id().0);
    assert!(Trust::begin(&id, signed).is_err());
}

#[test]
fn unsigned_initial_root() {
    let feed = Feed::new();
    let body = feed.first.body();
    for count in 0..2 {
        let mut all: Vec<_> = feed.root_keys[..2]
            .iter()
            .map(|key| signature(key, "root", body))
            .collect();
        all[count].signature.0[40] ^= 1;
        let signed = SignedRoot::from_bytes(&envelope(body, &all)).unwrap();
        assert!(Trust::begin(&feed.id(), signed).is_err());
    }
    let signed = SignedRoot::from_bytes(&envelope(body, &[])).unwrap();
    assert!(Trust::begin(&feed.id(), signed).is_err());
}

#[test]
fn timestamp_content_changes() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, 7, 1);
    let changed = feed.head_with(7, 1, |head| head.release = ReleaseNumber(100));
    assert!(matches!(
        refusal(&mut trust, changed),
        HeadError::Equivocation { .. }
    ));
    assert_eq!(trust.installed_release(), ReleaseNumber(1));
}

#[test]
fn timestamp_eq_versions_check() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    trust.accept_head(feed.head(7, 1), NOW).unwrap();
    let kept = |trust: &Trust| {
        trust
            .equivocators()
            .next()
            .map(|(_, evidence)| evidence.first.clone())
    };
    refusal(&mut trust, feed.head(7, 2));
    // The first one is what is kept, the other stands beside it as evidence, also after a restart.
    assert_eq!(kept(&trust), Some(feed.head(7, 1).to_bytes()));
    let trust = resume(&feed, &[], &trust.to_bytes()).unwrap();
    assert_eq!(kept(&trust), Some(feed.head(7, 1).to_bytes()));
    assert_eq!(trust.seqs()[0].1, Seq(7));
}

#[test]
fn new_targets_hash_mismatch() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    let head = newer(&mut trust, feed.head(1, 2));
    let mut body = feed.manifest_body(2);
    body.notes = "other contents, the same number".into();
    let refused = trust
        .verify_manifest(sign(&body, &feed.release_keys), &head)
        .unwrap_err();
    assert!(matches!(refused, ManifestError::NotTheHeads { .. }));
}

#[test]
fn new_targets_version_mismatch() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    let head = feed.head_with(1, 2, |head| head.release = ReleaseNumber(3));
    let head = newer(&mut trust, head);
    let refused = trust.verify_manifest(feed.manifest(2), &head).unwrap_err();
    assert!(matches!(refused, ManifestError::WrongRelease { .. }));
}

#[test]
fn custom_fields() {
    let feed = Feed::new();
    let mut root = feed.next_root();
    root.extensions = vec![Extension {
        tag: 900,
        critical: false,
        bytes: b"value".to_vec(),
    }];
    let signed = sign(&root, &feed.root_keys[..2]);
    let mut trust = feed.trust();
    trust.accept_root(signed.clone()).unwrap();
    // What is not understood is signed all the same, and handed on as it was.
    assert_eq!(trust.root().to_bytes(), signed.to_bytes());
    root.extensions[0].bytes[0] ^= 1;
    let all: Vec<_> = feed
        .root_keys
        .iter()
        .map(|key| signature(key, "root", signed.body()))
        .collect();
    let forged = SignedRoot::from_bytes(&envelope(&codec::encode(&root), &all)).unwrap();
    assert!(feed.trust().accept_root(forged).is_err());
}
