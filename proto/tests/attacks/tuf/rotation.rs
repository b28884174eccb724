//! `test_updater_key_rotations.py`: the suite's tables of keys, thresholds and signatures.

use tidecast_proto::id::{FeedId, RootVersion};
use tidecast_proto::key::SecretKey;
use tidecast_proto::root::SignedRoot;
use tidecast_proto::trust::Trust;

use super::takes;
use crate::support::{Feed, NOW, key, keys, publics, sign};

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
