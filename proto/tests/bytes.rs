//! Arbitrary and damaged bytes through every reader of this crate: no panic, no second spelling. SPEC §1.2.
mod support;

use proptest::prelude::*;
use support::Feed;
use tidecast_proto::{
    extension::Extension,
    fingerprint,
    head::SignedHead,
    id::{FeedId, ListId, RootVersion},
    key::PublicKey,
    limits,
    list::{List, ListError},
    manifest::SignedManifest,
    name::ReleasePath,
    receipt::SignedReceipt,
    root::SignedRoot,
    trust::Trust,
    wire::{Answer, FrameType, Hello, Refused, Request, Welcome, parse_header},
};

/// Everything in this crate that reads bytes of others.
fn read_everything(bytes: &[u8]) {
    let feed_id = FeedId::of(b"");
    if let Ok(root) = SignedRoot::from_bytes(bytes) {
        assert_eq!(root.to_bytes(), bytes);
        let fingerprint = FeedId(root.id().0);
        if let Ok(mut trust) = Trust::begin(&fingerprint, root.clone()) {
            let _ = trust.accept_root(root);
        }
    }
    if let Ok(manifest) = SignedManifest::from_bytes(bytes) {
        let id = manifest.id();
        let _ = manifest.reopen(&id);
    }
    if let Ok(head) = SignedHead::from_bytes(bytes) {
        assert_eq!(head.to_bytes(), bytes);
    }
    if let Ok(receipt) = SignedReceipt::from_bytes(bytes) {
        assert_eq!(receipt.to_bytes(), bytes);
    }
    for kind in (0..=255).map(FrameType) {
        if let Ok(request) = Request::decode(kind, bytes)
            && bytes.len() <= 1024
        {
            assert_eq!(&request.to_frame()[5..], bytes, "{kind}");
        }
        let _ = Answer::decode(kind, bytes.to_vec());
    }
    if let Some((header, _)) = bytes.split_first_chunk::<5>()
        && let Ok((_, len)) = parse_header(*header)
    {
        assert!(len <= limits::FRAME_BYTES);
    }
    if let Ok(hello) = Hello::decode(bytes) {
        let frame = hello.to_frame().expect("what was read can be written");
        assert_eq!(&frame[5..], bytes);
    }
    let _ = Welcome::decode(bytes);
    let _ = Refused::decode(bytes);
    match List::decode(bytes, ListId::of(bytes), 0) {
        Ok(list) => assert_eq!(list.encode(), bytes),
        Err(ListError::WrongTotal { got, .. }) => {
            let list = List::decode(bytes, ListId::of(bytes), got).expect("only the total was off");
            assert_eq!(list.encode(), bytes);
        }
        Err(_) => (),
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(feed) = fingerprint::parse(&text) {
        assert_eq!(fingerprint::parse(&fingerprint::to_words(&feed)), Ok(feed));
    }
    if let Ok(path) = ReleasePath::new(text.as_ref()) {
        assert_eq!(path.as_str(), text);
        assert!(!path.as_str().split('/').any(|part| part.starts_with('.')));
    }
    let feed = Feed::new();
    if let Ok(Some(trust)) = Trust::resume(&feed.id(), [feed.first.clone()], Some(bytes)) {
        assert_eq!(trust.feed(), &feed.id());
    }
    let _ = PublicKey::from_spki(bytes);
    assert_ne!(feed.id(), feed_id);
}

/// Bytes that are right but for a few: they get further than noise.
fn damaged_seeds() -> Vec<Vec<u8>> {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, 1, 1);
    vec![
        feed.first.to_bytes(),
        feed.manifest(1).to_bytes(),
        feed.head(1, 1).to_bytes(),
        feed.receipt().to_bytes(),
        trust.to_bytes(),
        fingerprint::to_words(&feed.id()).into_bytes(),
        Welcome {
            protocol: 1,
            root_version: RootVersion(1),
            head: Some(feed.head(1, 1).to_bytes()),
            extensions: vec![Extension {
                tag: 1,
                critical: false,
                bytes: b"from the future".to_vec(),
            }],
        }
        .to_frame()[5..]
            .to_vec(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..2048),
    ) {
        read_everything(&bytes);
    }

    #[test]
    fn damaged_objects_are_read_without_a_panic(
        seed in 0_usize..7,
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = damaged_seeds().swap_remove(seed);
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read_everything(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        read_everything(&bytes);
    }
}
