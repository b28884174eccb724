//! `test_rollback.py`: nothing goes back, and a stolen number is recovered from.

use tidecast_proto::addition::Vouched;
use tidecast_proto::head::HeadBody;
use tidecast_proto::id::{Epoch, ReleaseNumber, RootVersion, Seq};
use tidecast_proto::key::SecretKey;
use tidecast_proto::manifest::ManifestError;
use tidecast_proto::trust::{HeadError, Trust, Verdict};

use crate::support::{Feed, NOW, keys, newer, publics, refusal, sign};

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
    let head = newer(&mut trust, head);
    assert!(matches!(
        trust.verify_manifest(feed.manifest(1), &head),
        Err(ManifestError::WrongRelease { .. })
    ));
}

#[test]
fn new_snapshot_version_mismatch() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    let head = newer(&mut trust, feed.head(1, 1));
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
    let head = newer(&mut trust, head);
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
