//! What each rule alone refuses: the case where every other rule is content. Taking any one check away makes one of
//! these fail; the mutated fields and replays of the other modules lean on it.

use tidecast_proto::head::HeadBody;
use tidecast_proto::id::{Epoch, FeedId, FeedName, ObjectId, ReleaseNumber, Seq, Timestamp};
use tidecast_proto::manifest::{ManifestBody, ManifestError};
use tidecast_proto::root::{RootBody, RootError};
use tidecast_proto::trust::{HeadError, Verdict};

use crate::support::{Feed, HOUR_MS, NOW, publics, sign};

#[test]
fn each_rule_of_the_next_root_refuses_alone() {
    let feed = Feed::new();
    let mut second = feed.next_root();
    (second.epoch, second.release_min) = (Epoch(2), ReleaseNumber(3));
    let trust = feed.trust_after(&second);
    let offer = |change: &dyn Fn(&mut RootBody), signers: &[usize]| {
        let mut body = second.clone();
        body.version.0 = 3;
        change(&mut body);
        let signers: Vec<_> = signers
            .iter()
            .map(|at| feed.root_keys[*at].clone())
            .collect();
        trust.clone().accept_root(sign(&body, &signers))
    };
    assert_eq!(offer(&|_| (), &[0, 2]), Ok(()));
    let refused = |change: &dyn Fn(&mut RootBody)| offer(change, &[0, 1]).unwrap_err();
    assert!(matches!(
        refused(&|root| root.version.0 = 2),
        RootError::WrongVersion { .. }
    ));
    assert!(matches!(
        refused(&|root| root.version.0 = 4),
        RootError::WrongVersion { .. }
    ));
    assert!(matches!(
        refused(&|root| root.feed = FeedName::new("other").unwrap()),
        RootError::WrongFeed { .. }
    ));
    assert!(matches!(
        refused(&|root| root.epoch = Epoch(1)),
        RootError::GoesBack { field: "epoch", .. }
    ));
    assert!(matches!(
        refused(&|root| root.release_min = ReleaseNumber(2)),
        RootError::GoesBack {
            field: "release_min",
            ..
        }
    ));
    assert_eq!(
        refused(&|root| root.chunking.seed = 1),
        RootError::ChunkingChanged
    );
    // Enough of its own keys, too few of the old ones, and the other way round.
    let strangers = crate::support::keys(&[91, 92, 93]);
    let own = |root: &mut RootBody| root.root_keys = publics(&strangers);
    let mut body = second.clone();
    body.version.0 = 3;
    own(&mut body);
    let both = |old: usize, new: usize| {
        let mut signers = feed.root_keys[..old].to_vec();
        signers.extend(strangers[..new].iter().cloned());
        trust.clone().accept_root(sign(&body, &signers))
    };
    assert!(both(2, 2).is_ok());
    assert!(matches!(both(1, 3), Err(RootError::Signed(_))));
    assert!(matches!(both(3, 1), Err(RootError::Signed(_))));
}

#[test]
fn each_rule_of_a_head_refuses_alone() {
    let feed = Feed::new();
    let mut root = feed.next_root();
    (root.epoch, root.release_min) = (Epoch(1), ReleaseNumber(2));
    root.revoked_manifests = vec![feed.manifest(9).id()];
    let mut trust = feed.trust_after(&root);
    let sound = |seq, release: u64| HeadBody {
        epoch: Epoch(1),
        ..feed.head_body(seq, &feed.manifest(release), release)
    };
    let Ok(Verdict::Newer(head)) = trust.accept_head(sign(&sound(5, 5), &feed.head_keys[..1]), NOW)
    else {
        panic!("a sound head")
    };
    let manifest = trust
        .verify_manifest(feed.manifest(5), &head)
        .and_then(tidecast_proto::addition::Vouched::whole)
        .unwrap();
    trust.install(&manifest);
    let offer = |change: &dyn Fn(&mut HeadBody), now: Timestamp| {
        let mut body = sound(6, 6);
        change(&mut body);
        trust
            .clone()
            .accept_head(sign(&body, &feed.head_keys[..1]), now)
            .map(|_| ())
    };
    assert_eq!(offer(&|_| (), NOW), Ok(()));
    let refused = |change: &dyn Fn(&mut HeadBody)| offer(change, NOW).unwrap_err();
    assert!(matches!(
        refused(&|head| head.feed = FeedId::of(b"x")),
        HeadError::WrongFeed { .. }
    ));
    assert!(matches!(
        refused(&|head| head.epoch = Epoch(0)),
        HeadError::WrongEpoch { .. }
    ));
    assert!(matches!(
        refused(&|head| head.epoch = Epoch(2)),
        HeadError::WrongEpoch { .. }
    ));
    assert!(matches!(
        refused(&|head| head.root_version.0 = 3),
        HeadError::NewerRoot { .. }
    ));
    assert!(matches!(
        refused(&|head| head.seq = Seq(4)),
        HeadError::Replayed { .. }
    ));
    assert!(matches!(
        refused(&|head| head.seq = Seq(5)),
        HeadError::Equivocation { .. }
    ));
    assert!(matches!(
        refused(&|head| (head.issued, head.expires) = (NOW.plus(600_001), NOW.plus(600_002))),
        HeadError::FromTheFuture { .. }
    ));
    assert!(matches!(
        refused(&|head| (head.issued, head.expires) = (Timestamp(NOW.0 - 1), NOW)),
        HeadError::Expired { .. }
    ));
    assert!(matches!(
        refused(&|head| head.expires = NOW.plus(6 * HOUR_MS + 1)),
        HeadError::LivesTooLong { .. }
    ));
    assert!(matches!(
        refused(&|head| head.release = ReleaseNumber(1)),
        HeadError::BelowFloor { .. }
    ));
    assert!(matches!(
        refused(&|head| head.manifest = feed.manifest(9).id()),
        HeadError::Revoked(_)
    ));
    assert!(matches!(
        refused(&|head| head.release = ReleaseNumber(4)),
        HeadError::Rollback { .. }
    ));
    assert!(matches!(
        refused(&|head| head.release = ReleaseNumber(5)),
        HeadError::OtherManifest { .. }
    ));
    assert!(matches!(
        offer(&|_| (), root.expires),
        Err(HeadError::RootExpired { .. })
    ));
}

#[test]
fn each_rule_of_a_manifest_refuses_alone() {
    let feed = Feed::new();
    let mut root = feed.next_root();
    root.release_min = ReleaseNumber(3);
    let bad = ManifestBody {
        notes: "revoked".into(),
        ..feed.manifest_body(6)
    };
    root.revoked_manifests = vec![sign(&bad, &feed.release_keys).id()];
    let trust = feed.trust_after(&root);
    // The head that names exactly this manifest, by a thief of a head key: no rule of heads is in the way of these.
    let offer = |body: &ManifestBody, head_release: u64| {
        let signed = sign(body, &feed.release_keys);
        let mut head = feed.head_body(1, &signed, head_release.max(3));
        head.release = ReleaseNumber(head_release);
        let head = sign(&head, &feed.head_keys[..1]);
        let mut before = feed.trust();
        let (Verdict::Newer(head) | Verdict::Current(head)) =
            before.accept_head(head, NOW).unwrap();
        trust.verify_manifest(signed, &head).map(|_| ())
    };
    let sound = feed.manifest_body(6);
    assert_eq!(offer(&sound, 6), Ok(()));
    let with = |change: &dyn Fn(&mut ManifestBody)| {
        let mut body = sound.clone();
        change(&mut body);
        offer(&body, 6).unwrap_err()
    };
    assert!(matches!(
        with(&|m| m.feed = FeedId::of(b"x")),
        ManifestError::WrongFeed { .. }
    ));
    assert!(matches!(
        with(&|m| m.epoch_min = Epoch(1)),
        ManifestError::Epoch { .. }
    ));
    assert!(matches!(
        with(&|m| m.release = ReleaseNumber(7)),
        ManifestError::WrongRelease { .. }
    ));
    assert!(matches!(
        offer(&feed.manifest_body(2), 2),
        Err(ManifestError::BelowFloor { .. })
    ));
    assert!(matches!(offer(&bad, 6), Err(ManifestError::Revoked(_))));
    // Another manifest, and another length, than the head says.
    let head = |change: &dyn Fn(&mut HeadBody)| {
        let mut body = feed.head_body(1, &feed.manifest(6), 6);
        change(&mut body);
        let mut trust = feed.trust();
        let (Verdict::Newer(head) | Verdict::Current(head)) = trust
            .accept_head(sign(&body, &feed.head_keys[..1]), NOW)
            .unwrap();
        trust.verify_manifest(feed.manifest(6), &head).map(|_| ())
    };
    assert!(head(&|_| ()).is_ok());
    assert!(matches!(
        head(&|h| h.manifest = ObjectId::of(b"x")),
        Err(ManifestError::NotTheHeads { .. })
    ));
    assert!(matches!(
        head(&|h| h.manifest_bytes += 1),
        Err(ManifestError::NotTheHeads { .. })
    ));
}

#[test]
fn each_number_of_a_body_is_judged_when_it_is_opened() {
    let feed = Feed::new();
    let opens = |change: &dyn Fn(&mut RootBody)| {
        let mut body = feed.next_root();
        change(&mut body);
        let bytes = tidecast_proto::codec::encode(&body);
        let all: Vec<_> = feed
            .root_keys
            .iter()
            .map(|key| crate::support::signature(key, "root", &bytes))
            .collect();
        let signed =
            tidecast_proto::root::SignedRoot::from_bytes(&crate::support::envelope(&bytes, &all))
                .unwrap();
        feed.trust().accept_root(signed).is_ok()
    };
    assert!(opens(&|_| ()));
    assert!(!opens(&|root| root.head_ttl_max_ms = 0));
    assert!(!opens(&|root| root.chunking.min = 1));
    assert!(!opens(&|root| root.masters[0].name = "a\nb".into()));
    assert!(!opens(
        &|root| root.masters[0].addresses = vec!["x".into(); 9]
    ));
    assert!(!opens(
        &|root| root.masters[0].addresses = vec!["\u{1b}[2J".into()]
    ));
    assert!(!opens(
        &|root| root.revoked_manifests = vec![ObjectId([1; 32]), ObjectId([1; 32])]
    ));
    assert!(!opens(
        &|root| root.revoked_manifests = (0..129_u8).map(|n| ObjectId([n; 32])).collect()
    ));
}
