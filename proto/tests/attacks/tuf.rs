//! The cases of the TUF conformance suite that have a counterpart here, under their names. `tests/TUF.md` has the table.

use tidecast_proto::addition::Vouched;
use tidecast_proto::codec;
use tidecast_proto::extension::Extension;
use tidecast_proto::head::HeadBody;
use tidecast_proto::id::{
    ChunkId, Epoch, FeedId, FileHash, ReleaseNumber, RootVersion, Seq, Timestamp,
};
use tidecast_proto::key::SecretKey;
use tidecast_proto::list::List;
use tidecast_proto::manifest::{ManifestError, SignedManifest};
use tidecast_proto::root::{RootBody, SignedRoot};
use tidecast_proto::signed::SignedError;
use tidecast_proto::trust::{HeadError, Trust, Verdict};

use crate::support::{
    DAY_MS, Feed, HOUR_MS, NOW, envelope, file, key, keys, publics, refusal, resume, sign,
    signature,
};

// Basics

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
    let bytes = codec::encode(&body);
    let all: Vec<_> = feed
        .root_keys
        .iter()
        .map(|key| signature(key, "root", &bytes))
        .collect();
    let signed = SignedRoot::from_bytes(&envelope(&bytes, &all)).unwrap();
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
    let Ok(Verdict::Newer(head)) = trust.accept_head(feed.head(1, 2), NOW) else {
        panic!("a sound head")
    };
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
    let Ok(Verdict::Newer(head)) = trust.accept_head(head, NOW) else {
        panic!("a sound head")
    };
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

// Expiry

#[test]
fn root_expired() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, 1, 1);
    let mut second = feed.next_root();
    second.expires = Timestamp(NOW.0 - DAY_MS);
    trust
        .accept_root(sign(&second, &feed.root_keys[..2]))
        .unwrap();
    assert_eq!(trust.root().version, RootVersion(2), "the root is updated");
    assert!(matches!(
        refusal(&mut trust, feed.head(2, 2)),
        HeadError::RootExpired { .. }
    ));
    assert_eq!(
        trust.installed_release(),
        ReleaseNumber(1),
        "nothing else is"
    );
    let mut third = second;
    (third.version, third.expires) = (RootVersion(3), NOW.plus(DAY_MS));
    trust
        .accept_root(sign(&third, &feed.root_keys[..2]))
        .unwrap();
    assert!(trust.accept_head(feed.head(2, 2), NOW).is_ok());
}

#[test]
fn timestamp_expired() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, 1, 1);
    let old = feed.head_with(2, 2, |head| {
        (head.issued, head.expires) = (
            Timestamp(NOW.0 - 5 * DAY_MS),
            Timestamp(NOW.0 - 5 * DAY_MS + HOUR_MS),
        );
    });
    assert!(matches!(
        refusal(&mut trust, old),
        HeadError::Expired { .. }
    ));
    assert_eq!(trust.seqs()[0].1, Seq(1));
}

#[test]
fn snapshot_expired() {
    // The head is the snapshot too: what it pinned is not fetched by an expired one, though the manifest is sound.
    let feed = Feed::new();
    let mut trust = feed.trust();
    assert!(matches!(
        trust.accept_head(feed.head(1, 2), NOW.plus(HOUR_MS)),
        Err(HeadError::Expired { .. })
    ));
    assert_eq!(trust.installed(), None);
}

#[test]
fn expired_metadata() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, 1, 1);
    let later = NOW.plus(18 * DAY_MS);
    let mut trust = resume(&feed, &[], &trust.to_bytes()).unwrap();
    assert!(trust.is_stale(later), "what is here has expired");
    let head = feed.head_with(2, 2, |head| {
        (head.issued, head.expires) = (later, later.plus(HOUR_MS));
    });
    assert!(matches!(
        trust.accept_head(head, later),
        Ok(Verdict::Newer(_))
    ));
}

// Download

#[test]
fn repository_substitutes_target_file() {
    let feed = Feed::new();
    let manifest = feed
        .manifest(1)
        .verify_stored(feed.trust().root(), &feed.id())
        .unwrap();
    let file = manifest.file("readme.txt").unwrap();
    let list = List::of_small_file(file.hash, file.size).unwrap();
    assert_eq!(list.entries()[0].id, ChunkId::of(b"read me"));
    for other in [&b"malicious data"[..], b"read mf", b"read m", b"read me "] {
        assert_ne!(list.entries()[0].id, ChunkId::of(other));
        assert_ne!(file.hash, FileHash::of(other));
    }
}

#[test]
fn multiple_changes_to_target() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    for number in 1..=11_u64 {
        let mut body = feed.manifest_body(number);
        body.files = vec![file("target.txt", format!("contents {number}").as_bytes())];
        let sound = sign(&body, &feed.release_keys);
        let head = sign(
            &feed.head_body(number, &sound, number),
            &feed.head_keys[..1],
        );
        let Ok(Verdict::Newer(head)) = trust.accept_head(head, NOW) else {
            panic!("a sound head")
        };
        // The file changed, the manifest did not follow.
        body.files[0].hash = FileHash::of(b"malicious");
        let bytes = codec::encode(&body);
        let all: Vec<_> = feed
            .release_keys
            .iter()
            .map(|key| signature(key, "manifest", sound.body()))
            .collect();
        let forged = SignedManifest::from_bytes(&envelope(&bytes, &all)).unwrap();
        assert!(trust.verify_manifest(forged, &head).is_err());
        let manifest = trust
            .verify_manifest(sound, &head)
            .and_then(Vouched::whole)
            .unwrap();
        trust.install(&manifest);
        assert_eq!(trust.installed_release(), ReleaseNumber(number));
    }
}

// Keys

/// Takes `manifest` by a sound head.
fn takes(
    trust: &Trust,
    feed: &Feed,
    manifest: SignedManifest,
    release: u64,
) -> Result<(), ManifestError> {
    let mut trust = trust.clone();
    let head = sign(
        &feed.head_body(900, &manifest, release),
        &feed.head_keys[..1],
    );
    let (Verdict::Newer(head) | Verdict::Current(head)) = trust.accept_head(head, NOW).unwrap();
    trust.verify_manifest(manifest, &head)?.whole().map(|_| ())
}

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
    let bytes = codec::encode(&root);
    let all: Vec<_> = feed
        .root_keys
        .iter()
        .map(|key| signature(key, "root", &bytes))
        .collect();
    let signed = SignedRoot::from_bytes(&envelope(&bytes, &all)).unwrap();
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
    let bytes = codec::encode(&root);
    let all: Vec<_> = feed
        .root_keys
        .iter()
        .map(|key| signature(key, "root", &bytes))
        .collect();
    let signed = SignedRoot::from_bytes(&envelope(&bytes, &all)).unwrap();
    assert!(feed.trust().accept_root(signed).is_err());
    let body = feed.first.body();
    let one = signature(&feed.root_keys[0], "root", body);
    assert!(SignedRoot::from_bytes(&envelope(body, &[one.clone(), one])).is_err());
}

// Rollback

#[test]
fn simple_snapshot_rollback() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, 1, 2);
    // The same head, and an older manifest behind it.
    let Ok(Verdict::Current(head)) = trust.accept_head(feed.head(1, 2), NOW) else {
        panic!("the same head")
    };
    assert!(matches!(
        trust.verify_manifest(feed.manifest(1), &head),
        Err(ManifestError::NotTheHeads { .. })
    ));
    assert_eq!(trust.installed_release(), ReleaseNumber(2));
}

#[test]
fn new_timestamp_version_rollback() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    trust.accept_head(feed.head(2, 1), NOW).unwrap();
    assert!(matches!(
        refusal(&mut trust, feed.head(1, 1)),
        HeadError::Replayed { .. }
    ));
    assert_eq!(trust.seqs()[0].1, Seq(2));
}

#[test]
fn snapshot_rollback() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, 2, 2);
    assert!(matches!(
        refusal(&mut trust, feed.head(3, 1)),
        HeadError::Rollback { .. }
    ));
    assert_eq!(
        (trust.seqs()[0].1, trust.installed_release()),
        (Seq(2), ReleaseNumber(2))
    );
}

#[test]
fn targets_rollback() {
    // The head says 3, the manifest that it names says 1.
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, 2, 2);
    let head = sign(
        &feed.head_body(3, &feed.manifest(1), 3),
        &feed.head_keys[..1],
    );
    let Ok(Verdict::Newer(head)) = trust.accept_head(head, NOW) else {
        panic!("a sound head")
    };
    assert!(matches!(
        trust.verify_manifest(feed.manifest(1), &head),
        Err(ManifestError::WrongRelease { .. })
    ));
}

#[test]
fn new_snapshot_version_mismatch() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    let Ok(Verdict::Newer(head)) = trust.accept_head(feed.head(1, 1), NOW) else {
        panic!("a sound head")
    };
    assert!(matches!(
        trust.verify_manifest(feed.manifest(2), &head),
        Err(ManifestError::NotTheHeads { .. })
    ));
    assert_eq!(trust.installed(), None);
}

/// A thief's head of number 2^63 for release 2^63, then a root of the next epoch without that key.
fn rotated(feed: &Feed) -> (Trust, Vec<SecretKey>) {
    let mut trust = feed.trust();
    feed.install(&mut trust, 1, 2);
    let far = feed.head_with(1 << 63, 2, |head| head.release = ReleaseNumber(1 << 63));
    trust.accept_head(far, NOW).unwrap();
    let fresh = keys(&[21, 29]);
    let mut root = feed.next_root();
    (root.epoch, root.head_keys) = (Epoch(1), publics(&fresh));
    trust
        .accept_root(sign(&root, &feed.root_keys[..2]))
        .unwrap();
    (trust, fresh)
}

fn of_epoch_1(feed: &Feed, seq: u64, release: u64) -> HeadBody {
    HeadBody {
        epoch: Epoch(1),
        root_version: RootVersion(2),
        ..feed.head_body(seq, &feed.manifest(release), release)
    }
}

#[test]
fn new_timestamp_fast_forward_recovery() {
    let feed = Feed::new();
    let (mut trust, fresh) = rotated(&feed);
    // Both the key that stays and the new one count from the beginning.
    for one in &fresh {
        let head = sign(&of_epoch_1(&feed, 1, 2), std::slice::from_ref(one));
        assert!(matches!(
            trust.accept_head(head, NOW),
            Ok(Verdict::Current(_))
        ));
    }
}

#[test]
fn new_snapshot_fast_forward_recovery() {
    let feed = Feed::new();
    let (mut trust, fresh) = rotated(&feed);
    // The far release was only pointed at: the next real one is 3.
    let head = sign(&of_epoch_1(&feed, 1, 3), &fresh[..1]);
    let Ok(Verdict::Newer(head)) = trust.accept_head(head, NOW) else {
        panic!("a sound head")
    };
    let manifest = trust
        .verify_manifest(feed.manifest(3), &head)
        .and_then(Vouched::whole)
        .unwrap();
    trust.install(&manifest);
    assert_eq!(trust.installed_release(), ReleaseNumber(3));
}

#[test]
fn targets_do_not_go_back_by_rotation() {
    let feed = Feed::new();
    let (mut trust, fresh) = rotated(&feed);
    let head = sign(&of_epoch_1(&feed, 1, 1), &fresh[..1]);
    assert!(matches!(
        refusal(&mut trust, head),
        HeadError::Rollback { .. }
    ));
    assert_eq!(trust.installed_release(), ReleaseNumber(2));
}

// Rotation

/// Keys, threshold, who signed, and whether it is taken: the suite's own tables.
type Row = (&'static [u8], u16, &'static [u8], bool);

const ROOTS: [(&str, &[Row]); 15] = [
    (
        "1-of-1-key-rotation",
        &[
            (&[1], 1, &[1], true),
            (&[2], 1, &[2, 1], true),
            (&[2], 1, &[2], true),
        ],
    ),
    (
        "1-of-1-key-rotation-unused-signatures",
        &[
            (&[1], 1, &[3, 1, 4], true),
            (&[2], 1, &[3, 2, 1, 4], true),
            (&[2], 1, &[3, 2, 4], true),
        ],
    ),
    (
        "3-of-5-sign-with-different-keycombos",
        &[
            (&[0, 1, 2, 3, 4], 3, &[0, 2, 4], true),
            (&[0, 1, 2, 3, 4], 3, &[0, 4, 1], true),
            (&[0, 1, 2, 3, 4], 3, &[0, 1, 3], true),
            (&[0, 1, 2, 3, 4], 3, &[0, 1, 3], true),
        ],
    ),
    (
        "3-of-5-one-key-rotated",
        &[
            (&[0, 1, 2, 3, 4], 3, &[0, 2, 4], true),
            (&[0, 1, 3, 4, 5], 3, &[0, 4, 1], true),
        ],
    ),
    (
        "3-of-5-one-key-rotated-with-intermediate-step",
        &[
            (&[0, 1, 2, 3, 4], 3, &[0, 2, 4], true),
            (&[0, 1, 3, 4, 5], 3, &[0, 2, 4, 5], true),
            (&[0, 1, 3, 4, 5], 3, &[0, 4, 5], true),
        ],
    ),
    (
        "3-of-5-all-keys-rotated-with-intermediate-step",
        &[
            (&[0, 1, 2, 3, 4], 3, &[0, 2, 4], true),
            (&[5, 6, 7, 8, 9], 3, &[0, 2, 4, 5, 6, 7], true),
            (&[5, 6, 7, 8, 9], 3, &[5, 6, 7], true),
        ],
    ),
    (
        "1-of-3-threshold-increase-to-2-of-3",
        &[(&[1, 2, 3], 1, &[1], true), (&[1, 2, 3], 2, &[1, 2], true)],
    ),
    (
        "2-of-3-threshold-decrease-to-1-of-3",
        &[
            (&[1, 2, 3], 2, &[1, 2], true),
            (&[1, 2, 3], 1, &[1, 2], true),
            (&[1, 2, 3], 1, &[1], true),
        ],
    ),
    (
        "1-of-2-threshold-increase-to-2-of-2",
        &[(&[1], 1, &[1], true), (&[1, 2], 2, &[1, 2], true)],
    ),
    (
        "1-of-1-key-rotation-fail-not-signed-with-old-key",
        &[(&[1], 1, &[1], true), (&[2], 1, &[2, 3, 4], false)],
    ),
    (
        "1-of-1-key-rotation-fail-not-signed-with-new-key",
        &[(&[1], 1, &[1], true), (&[2], 1, &[1, 3, 4], false)],
    ),
    (
        "3-of-5-one-key-rotate-fails-not-signed-with-3-new-keys",
        &[
            (&[0, 1, 2, 3, 4], 3, &[0, 2, 4], true),
            (&[0, 1, 3, 4, 5], 3, &[0, 2, 4], false),
        ],
    ),
    (
        "3-of-5-one-key-rotate-fails-not-signed-with-3-old-keys",
        &[
            (&[0, 1, 2, 3, 4], 3, &[0, 2, 4], true),
            (&[0, 1, 3, 4, 5], 3, &[0, 4, 5], false),
        ],
    ),
    (
        "1-of-3-threshold-bump-to-2-of-3-fails-new-threshold-not-reached",
        &[(&[1, 2, 3], 1, &[1], true), (&[1, 2, 3], 2, &[2], false)],
    ),
    (
        "2-of-3-threshold-decr-to-1-of-3-fails-old-threshold-not-reached",
        &[(&[1, 2, 3], 2, &[1, 2], true), (&[1, 2, 3], 1, &[1], false)],
    ),
];

const OTHERS: [(&str, Row); 10] = [
    ("1-of-1-key-rotation", (&[2], 1, &[2], true)),
    (
        "1-of-1-key-rotation-unused-signatures",
        (&[1], 1, &[3, 1, 4], true),
    ),
    (
        "1-of-1-key-rotation-fail-not-signed-with-new-key",
        (&[2], 1, &[1, 3, 4], false),
    ),
    (
        "3-of-5-one-key-signature-wrong-not-signed-with-3-expected-keys",
        (&[0, 1, 3, 4, 5], 3, &[0, 2, 4], false),
    ),
    (
        "2-of-5-one-key-signature-missing-threshold-not-reached",
        (&[0, 1, 3, 4, 5], 3, &[0, 4], false),
    ),
    (
        "3-of-5-sign-first-combo",
        (&[0, 1, 2, 3, 4], 3, &[0, 2, 4], true),
    ),
    (
        "3-of-5-sign-second-combo",
        (&[0, 1, 2, 3, 4], 3, &[0, 4, 1], true),
    ),
    (
        "3-of-5-sign-third-combo",
        (&[0, 1, 2, 3, 4], 3, &[0, 1, 3], true),
    ),
    (
        "3-of-5-sign-fourth-combo",
        (&[0, 1, 2, 3, 4], 3, &[1, 2, 3], true),
    ),
    (
        "3-of-5-sign-fifth-combo",
        (&[0, 1, 2, 3, 4], 3, &[2, 3, 4], true),
    ),
];

fn numbered(numbers: &[u8]) -> Vec<SecretKey> {
    let seeds: Vec<u8> = numbers.iter().map(|n| 200 + n).collect();
    keys(&seeds)
}

#[test]
fn root_rotation() {
    for (name, rows) in ROOTS {
        let mut trust: Option<Trust> = None;
        for (version, (set, threshold, signers, good)) in (1..).zip(rows) {
            let mut body = Feed::new().next_root();
            body.version = RootVersion(version);
            (body.root_keys, body.root_threshold) = (publics(&numbered(set)), *threshold);
            let signed: SignedRoot = sign(&body, &numbered(signers));
            let taken = match &mut trust {
                Some(trust) => trust.accept_root(signed).is_ok(),
                None => {
                    trust = Trust::begin(&FeedId(signed.id().0), signed).ok();
                    trust.is_some()
                }
            };
            assert_eq!(taken, *good, "{name}, root {version}");
            let reached = trust.as_ref().map(|trust| trust.root().version.0);
            assert_eq!(
                reached,
                Some(if *good { version } else { version - 1 }),
                "{name}"
            );
        }
    }
}

#[test]
fn non_root_rotations() {
    for (name, (set, threshold, signers, good)) in OTHERS {
        let feed = Feed::new();
        let mut root = feed.next_root();
        root.release_keys = publics(&numbered(set));
        (root.release_threshold, root.added_threshold) = (threshold, threshold);
        let trust = feed.trust_after(&root);
        let manifest = sign(&feed.manifest_body(1), &numbered(signers));
        assert_eq!(takes(&trust, &feed, manifest, 1).is_ok(), good, "{name}");
        // A head takes one key of its set.
        let mut root = feed.next_root();
        root.head_keys = publics(&numbered(set));
        let head = sign(&feed.head_body(1, &feed.manifest(1), 1), &numbered(signers));
        let entitled = signers.iter().any(|one| set.contains(one));
        assert_eq!(
            feed.trust_after(&root).accept_head(head, NOW).is_ok(),
            entitled,
            "{name}"
        );
    }
    assert!(
        takes(
            &Feed::new().trust(),
            &Feed::new(),
            sign(&Feed::new().manifest_body(1), &[key(99)]),
            1
        )
        .is_err()
    );
}

// The table

const TABLE: &str = include_str!("../../../tests/TUF.md");
const HERE: &str = include_str!("tuf.rs");
const SYNC: &str = include_str!("../../../engine/tests/sync.rs");

/// Cases that the suite has in the files named, counting each of a parametrised test's ids that stands in the table.
const CASES: usize = 34;

#[test]
fn every_named_test_exists() {
    let rows = TABLE
        .lines()
        .filter(|line| line.starts_with("| test_") && !line.contains(".py"));
    let (mut cases, mut without) = (0, 0);
    for row in rows {
        let answer = row.split('|').nth(2).unwrap().trim();
        cases += 1;
        if answer.starts_with("no counterpart: ") {
            without += 1;
            continue;
        }
        let name = answer
            .split('`')
            .nth(1)
            .unwrap_or_else(|| panic!("no test: {row}"));
        let source = if answer.contains("engine/tests/sync.rs") {
            SYNC
        } else {
            HERE
        };
        let defined = [
            format!("#[test]\nfn {name}()"),
            format!("\nasync fn {name}()"),
        ];
        assert!(
            defined.iter().any(|defined| source.contains(defined)),
            "{name} does not exist"
        );
    }
    assert_eq!(cases, CASES);
    println!("{cases} cases of the suite, {without} without a counterpart");
    // And nothing here is left out of the table.
    for piece in HERE.split("#[test]\nfn ").skip(1) {
        let name = piece.split('(').next().unwrap();
        assert!(
            name == "every_named_test_exists"
                || TABLE.contains(&format!("`{name}`"))
                || name.contains('{'),
            "{name}"
        );
    }
}
