//! A root that arrives while a release is fetched, and forbids it.

use tidecast_proto::id::{Epoch, ReleaseNumber};
use tidecast_proto::key::SecretKey;
use tidecast_proto::mirror::SyncOutcome;
use tidecast_proto::root::RootBody;

use super::kit::{Feed, Made, NOW, Release, build};
use crate::mirror::work::RootSource;
use crate::mirror::{SyncError, SyncReport};

/// What the second of two releases comes to when a root with this change is accepted between its head and its switch.
async fn switch_after(change: impl FnOnce(&mut RootBody, &Release)) -> Result<(), SyncError> {
    let feed = Feed::new();
    let old = feed.release(1, None, &[("f", Made::plain(b"one"))]);
    let new = feed.release(2, Some(&old), &[("f", Made::plain(b"two"))]);
    let mirror = feed.mirror_at(&old).await;
    let work = mirror.work();
    let nobody = RootSource::Carried(Vec::new().into_iter());
    let (trust, head) = work.judge(&new.head, NOW, nobody).await.unwrap();
    build(&work, &new).await;

    let root = feed.next_root_with(|root| change(root, &new));
    let carried = RootSource::Carried(vec![root].into_iter());
    work.walk_roots(carried).await.unwrap();
    assert_eq!(work.beliefs.root_version().0, 2);

    let mut report = SyncReport::default();
    let switched = work
        .go_live(&trust, &head, NOW, &new.manifest, &mut report)
        .await;
    let (served, release) = match switched {
        Ok(()) => (b"two", 2),
        Err(_) => (b"one", 1),
    };
    assert_eq!(feed.served("f").unwrap(), served);
    assert_eq!(report.switched, switched.is_ok());
    let installed = work
        .beliefs
        .with(tidecast_proto::trust::Trust::installed_release);
    assert_eq!(installed, Some(ReleaseNumber(release)));
    switched
}

#[tokio::test]
async fn a_release_that_a_root_forbids_while_it_is_fetched_is_not_switched_to() {
    type Change = fn(&mut RootBody, &Release);
    let other = || SecretKey::from_seed(&[77; 32]).public();
    let cases: [(&str, Change, &str); 5] = [
        (
            "revoked",
            |root, new| root.revoked_manifests.push(new.manifest.id()),
            "upstream",
        ),
        (
            "floor",
            |root, _| root.release_min = ReleaseNumber(3),
            "upstream",
        ),
        ("epoch", |root, _| root.epoch = Epoch(1), "upstream"),
        (
            "head key",
            |root, _| root.head_keys = vec![SecretKey::from_seed(&[77; 32]).public()],
            "upstream",
        ),
        (
            "release key",
            |root, _| root.release_keys = vec![SecretKey::from_seed(&[77; 32]).public()],
            "feed",
        ),
    ];
    for (what, change, whose) in cases {
        let error = switch_after(change).await.expect_err(what);
        assert_eq!(error.outcome(), SyncOutcome::HeadRefused, "{what}: {error}");
        assert_eq!(error.whose(), whose, "{what}: {error}");
    }
    // One that forbids something else is no hindrance.
    let harmless = |root: &mut RootBody, _: &Release| {
        root.release_keys.push(other());
        root.release_keys.sort_unstable();
    };
    switch_after(harmless).await.unwrap();
}
