//! `test_expiration.py`: roots and heads past their time.

use tidecast_proto::id::{ReleaseNumber, RootVersion, Seq, Timestamp};
use tidecast_proto::trust::{HeadError, Verdict};

use crate::support::{DAY_MS, Feed, HOUR_MS, NOW, refusal, resume, sign};

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
