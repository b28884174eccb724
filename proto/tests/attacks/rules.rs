//! What each rule alone refuses: the case where every other rule is content. Taking any one check away makes one of
//! these fail; the mutated fields and replays of the other modules lean on it.

use tidecast_proto::extension::Extension;
use tidecast_proto::head::{HeadBody, SignedHead};
use tidecast_proto::id::{
    ChunkId, Epoch, FeedId, FeedName, ListId, ObjectId, RecipeId, ReleaseNumber, Seq, Timestamp,
};
use tidecast_proto::list::{Entry, List};
use tidecast_proto::manifest::{ManifestBody, ManifestError};
use tidecast_proto::recipe::{Recipe, RecipeBody, Segment};
use tidecast_proto::root::{RootBody, RootError};
use tidecast_proto::trust::{HeadError, Trust, Verdict};

use crate::support::{Feed, HOUR_MS, NOW, file, newer, publics, sign, sign_unchecked};

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
    let head = newer(&mut trust, sign(&sound(5, 5), &feed.head_keys[..1]));
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
        let signed = sign_unchecked(&body, &feed.root_keys);
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

#[test]
fn a_first_root_is_the_one_the_fingerprint_names() {
    let feed = Feed::new();
    let mut other = feed.next_root();
    other.version.0 = 1;
    other.epoch = Epoch(5);
    let other = sign(&other, &feed.root_keys[..2]);
    let id = FeedId(other.id().0);
    assert!(Trust::begin(&feed.id(), other.clone()).is_err());
    assert!(Trust::begin(&id, feed.first.clone()).is_err());
    assert!(Trust::begin(&id, other).is_ok());
    let second = sign(&feed.next_root(), &feed.root_keys[..2]);
    assert!(
        Trust::begin(&FeedId(second.id().0), second).is_err(),
        "no feed begins with root 2"
    );
}

#[test]
fn a_key_that_is_only_named_is_not_looked_at() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    let body = tidecast_proto::codec::encode(&feed.head_body(u64::MAX, &feed.manifest(1), 1));
    let good = crate::support::signature(&feed.head_keys[0], "head", &body);
    let mut named = good.clone();
    named.key = feed.head_keys[1].public();
    let bytes = crate::support::envelope(&body, &[good, named]);
    trust
        .accept_head(SignedHead::from_bytes(&bytes).unwrap(), NOW)
        .unwrap();
    assert_eq!(trust.seqs(), [(feed.head_keys[0].public(), Seq(u64::MAX))]);
}

#[test]
fn a_new_epoch_counts_from_the_beginning_also_for_a_key_that_stays() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    trust.accept_head(feed.head(1 << 63, 1), NOW).unwrap();
    let mut root = feed.next_root();
    root.epoch = Epoch(1);
    trust
        .accept_root(sign(&root, &feed.root_keys[..2]))
        .unwrap();
    assert!(trust.seqs().is_empty());
    let head = feed.head_with(1, 1, |head| head.epoch = Epoch(1));
    assert!(trust.accept_head(head, NOW).is_ok());
}

#[test]
fn what_must_be_understood_and_is_not_refuses_every_object() {
    let feed = Feed::new();
    let critical = || {
        vec![Extension {
            tag: 1,
            critical: true,
            bytes: Vec::new(),
        }]
    };
    let mut root = feed.next_root();
    root.extensions = critical();
    assert!(
        feed.trust()
            .accept_root(sign(&root, &feed.root_keys))
            .is_err()
    );
    let head = feed.head_with(1, 1, |head| head.extensions = critical());
    assert!(feed.trust().accept_head(head, NOW).is_err());
    let mut manifest = feed.manifest_body(1);
    manifest.extensions = critical();
    let signed = sign(&manifest, &feed.release_keys);
    assert!(signed.vouch(feed.trust().root(), &feed.id()).is_err());
    let mut receipt = feed.receipt_body();
    receipt.extensions = critical();
    let signed = sign(&receipt, std::slice::from_ref(&feed.node));
    assert!(signed.verify(&feed.node.public(), &feed.id()).is_err());
}

#[test]
fn a_receipt_of_another_feed_and_a_head_without_a_life_are_refused() {
    let feed = Feed::new();
    let mut receipt = feed.receipt_body();
    receipt.feed = FeedId::of(b"x");
    let signed = sign(&receipt, std::slice::from_ref(&feed.node));
    assert!(signed.verify(&feed.node.public(), &feed.id()).is_err());
    let mut head = feed.head_body(1, &feed.manifest(1), 1);
    (head.issued, head.expires) = (NOW.plus(10), NOW.plus(10));
    let body = tidecast_proto::codec::encode(&head);
    let signature = crate::support::signature(&feed.head_keys[0], "head", &body);
    let signed = SignedHead::from_bytes(&crate::support::envelope(&body, &[signature])).unwrap();
    assert!(feed.trust().accept_head(signed, NOW).is_err());
}

#[test]
fn counters_are_taken_up_only_with_the_feed_and_the_roots_they_speak_of() {
    let feed = Feed::new();
    let second = sign(&feed.next_root(), &feed.root_keys[..2]);
    let mut trust = feed.trust();
    trust.accept_root(second.clone()).unwrap();
    feed.install(&mut trust, 4, 4);
    let bytes = trust.to_bytes();
    let later = std::slice::from_ref(&second);
    let again = crate::support::resume(&feed, later, &bytes).unwrap();
    assert_eq!(
        (again.to_bytes(), again.installed()),
        (bytes.clone(), trust.installed())
    );
    assert_eq!(
        again.now(Timestamp(0)),
        NOW,
        "the floor of time holds after a restart"
    );
    assert!(
        crate::support::resume(&feed, &[], &bytes).is_err(),
        "root 2 is missing"
    );
    // The first field is the feed.
    let mut foreign = bytes.clone();
    foreign[0] ^= 1;
    assert!(crate::support::resume(&feed, later, &foreign).is_err());
}

#[test]
fn an_issued_moment_ahead_of_us_does_not_drag_our_time_along_nor_is_it_forgotten() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    let ahead = feed.head_with(1, 1, |head| head.issued = NOW.plus(60_000));
    trust.accept_head(ahead, NOW).unwrap();
    assert_eq!(trust.now(Timestamp(0)), NOW);
    let behind = feed.head_with(2, 1, |head| head.issued = Timestamp(NOW.0 - 1000));
    trust.accept_head(behind, NOW).unwrap();
    assert_eq!(trust.now(Timestamp(0)), NOW);
}

#[test]
fn an_installed_manifest_comes_again_only_as_itself_and_an_older_one_lowers_nothing() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, 4, 4);
    let Ok(Verdict::Current(head)) = trust.accept_head(feed.head(4, 4), NOW) else {
        panic!("the same head")
    };
    assert!(trust.verify_manifest(feed.manifest(4), &head).is_ok());
    assert!(trust.verify_manifest(feed.manifest(3), &head).is_err());
    let mut weak = feed.manifest_body(4);
    weak.notes = "Release 4\n".into();
    assert!(
        trust
            .verify_manifest(sign(&weak, &feed.release_keys[..1]), &head)
            .is_err()
    );
    let three = feed
        .manifest(3)
        .verify_stored(trust.root(), &feed.id())
        .unwrap();
    trust.install(&three);
    assert_eq!(trust.installed_release(), ReleaseNumber(4));
    // A head that was accepted before, and its manifest after a newer one was installed.
    let mut before = feed.trust();
    let Ok(Verdict::Newer(old)) = before.accept_head(feed.head(3, 3), NOW) else {
        panic!("a sound head")
    };
    let late = trust.verify_manifest(feed.manifest(3), &old);
    assert!(matches!(late, Err(ManifestError::Rollback { .. })));
    let stored = sign(&feed.manifest_body(3), &feed.release_keys[..1]);
    assert!(
        stored.verify_stored(trust.root(), &feed.id()).is_err(),
        "too few signed"
    );
}

#[test]
fn lists_and_recipes_are_their_ids_and_add_up() {
    let list = List::new(vec![Entry {
        id: ChunkId([1; 32]),
        len: 5,
    }])
    .unwrap();
    assert!(List::decode(&list.encode(), list.id(), 5).is_ok());
    assert!(List::decode(&list.encode(), ListId([0; 32]), 5).is_err());
    assert!(List::decode(&list.encode(), list.id(), 6).is_err());
    let segments = vec![Segment::Literal(vec![1; 7])];
    let recipe = Recipe::new(RecipeBody {
        opened: list.id(),
        segments,
    })
    .unwrap();
    assert!(Recipe::decode(&recipe.encode(), recipe.id(), 7).is_ok());
    assert!(Recipe::decode(&recipe.encode(), RecipeId([0; 32]), 7).is_err());
    assert!(Recipe::decode(&recipe.encode(), recipe.id(), 8).is_err());
    // One spelling, and nothing behind it.
    let mut longer = list.encode();
    longer.push(0);
    assert!(List::decode(&longer, ListId::of(&longer), 5).is_err());
}

#[test]
fn a_release_has_one_order_and_names_that_can_stand_beside_each_other() {
    let feed = Feed::new();
    let opens = |change: &dyn Fn(&mut ManifestBody)| {
        let mut body = feed.manifest_body(1);
        change(&mut body);
        let signed = sign_unchecked(&body, &feed.release_keys);
        signed.vouch(feed.trust().root(), &feed.id()).is_ok()
    };
    assert!(opens(&|_| ()));
    assert!(!opens(&|m| m.files.reverse()));
    assert!(!opens(&|m| m.files.push(m.files[1].clone())));
    assert!(!opens(&|m| m.files.push(file("readme.txt/x", b""))));
    assert!(!opens(&|m| m.files[0].size = 262_145));
    assert!(
        !opens(&|m| m.files[0].size = 0),
        "an empty file has the hash of nothing"
    );
    assert!(!opens(&|m| m.notes = "\u{1b}[2J".into()));
    assert!(!opens(&|m| m.release = ReleaseNumber(0)));
}
