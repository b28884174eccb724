//! Making roots: drafts, differences, signatures, second thoughts. SPEC §3.2, §7.3.
mod support;

use support::{DAY_MS, Feed, NOW, key, keys, publics, sign};
use tidecast_proto::{
    ceremony::{
        Concern, DraftError, EpochChange, KeyChanges, KeyRole, MasterChange, Quorum, RootChange,
        RootChanges, changes_between, concerns,
    },
    id::{Epoch, ObjectId, ReleaseNumber, RootVersion},
    root::{Master, RootBody, SignedRoot},
};

fn first(feed: &Feed) -> RootBody {
    feed.first.draft().expect("a root")
}

fn next(feed: &Feed, changes: &RootChanges) -> Result<RootBody, DraftError> {
    first(feed).next(changes, NOW.plus(400 * DAY_MS))
}

fn add(keys: &[tidecast_proto::key::PublicKey]) -> KeyChanges {
    KeyChanges {
        add: keys.to_vec(),
        ..KeyChanges::default()
    }
}

fn remove(keys: &[tidecast_proto::key::PublicKey]) -> KeyChanges {
    KeyChanges {
        remove: keys.to_vec(),
        ..KeyChanges::default()
    }
}

/// A root that changes something of everything, as [`first`] is followed by it.
fn all_changed(feed: &Feed) -> RootChanges {
    RootChanges {
        root: KeyChanges {
            add: vec![key(41).public()],
            remove: vec![feed.root_keys[2].public()],
            threshold: Some(3),
        },
        release: add(&[key(42).public()]),
        added_threshold: Some(2),
        head: KeyChanges {
            add: vec![key(43).public()],
            remove: vec![feed.head_keys[0].public()],
            threshold: None,
        },
        masters: vec![
            MasterChange::Key("one".into(), key(44).public()),
            MasterChange::Addresses("one".into(), vec!["new.example.org:4873".into()]),
            MasterChange::Set(Master {
                name: "two".into(),
                node_key: key(45).public(),
                addresses: Vec::new(),
            }),
        ],
        epoch: EpochChange::WithHeadKeys,
        head_ttl_max_ms: Some(1_000),
        revoke: vec![ObjectId::of(b"withdrawn")],
        release_min: Some(ReleaseNumber(7)),
    }
}

#[test]
fn a_draft_that_changes_everything_is_followed_by_mirrors_once_both_sets_have_signed() {
    let feed = Feed::new();
    let body = next(&feed, &all_changed(&feed)).expect("legal");
    assert_eq!(body.version, RootVersion(2));
    assert_eq!(body.epoch, Epoch(1));
    let mut signed = SignedRoot::sign(&body, &[]).expect("legal");
    let previous = first(&feed);
    let open = |signed: &SignedRoot| {
        let state = signed.signatures(Some(&previous)).expect("a root");
        (
            state.old.as_ref().map_or(9, Quorum::missing),
            state.own.missing(),
            feed.trust().accept_root(signed.clone()).is_ok(),
        )
    };
    assert_eq!(open(&signed), (2, 3, false));
    // A key of neither set, and one that goes.
    signed.add_signature(&key(99));
    assert_eq!(open(&signed), (2, 3, false));
    signed.add_signature(&feed.root_keys[2]);
    assert_eq!(open(&signed), (1, 3, false));
    signed.add_signature(&feed.root_keys[0]);
    assert_eq!(open(&signed), (0, 2, false));
    signed.add_signature(&feed.root_keys[1]);
    assert_eq!(open(&signed), (0, 1, false));
    signed.add_signature(&key(41));
    assert_eq!(open(&signed), (0, 0, true));
    let state = signed.signatures(Some(&previous)).expect("a root");
    assert_eq!(state.idle, [key(99).public()]);
    assert!(state.complete());
}

#[test]
fn every_difference_is_told_and_nothing_else() {
    let feed = Feed::new();
    let old = first(&feed);
    let new = next(&feed, &all_changed(&feed)).expect("legal");
    let told: Vec<String> = changes_between(&old, &new)
        .iter()
        .map(ToString::to_string)
        .collect();
    for part in [
        "- root key",
        "+ root key",
        "~ root signatures needed: 2 -> 3",
        "+ release key",
        "~ addition signatures needed: 1 -> 2",
        "- head key",
        "+ head key",
        "~ master \"one\" node key",
        "~ master \"one\" addresses: master.example.org:4873 -> new.example.org:4873",
        "+ master \"two\"",
        "~ epoch: 0 -> 1",
        "~ longest life of a head: 21600 s -> 1 s",
        "~ lowest release accepted: 0 -> 7",
        "+ revoked manifest",
    ] {
        let count = told.iter().filter(|line| line.starts_with(part)).count();
        assert_eq!(count, 1, "{part}: {told:#?}");
    }
    assert_eq!(told.len(), 14, "{told:#?}");
    let same = next(&feed, &RootChanges::default()).expect("legal");
    assert_eq!(changes_between(&old, &same), []);
    let back = changes_between(&new, &old);
    assert!(back.iter().any(|c| matches!(c, RootChange::Unrevoked(_))));
    assert!(
        back.iter()
            .any(|c| matches!(c, RootChange::MasterRemoved(_)))
    );
}

#[test]
fn what_no_root_can_be_is_refused_by_name() {
    let feed = Feed::new();
    let there = feed.release_keys[0].public();
    let refused = |changes: RootChanges| next(&feed, &changes).expect_err("must be refused");
    let release = |release| RootChanges {
        release,
        ..RootChanges::default()
    };
    let (role, strange) = (KeyRole::Release, key(99).public());
    assert_eq!(
        refused(release(add(&[there]))),
        DraftError::KeyIsThere { role, key: there }
    );
    assert_eq!(
        refused(release(remove(&[strange]))),
        DraftError::NoSuchKey { role, key: strange }
    );
    // Two must sign and one is left.
    let error = refused(release(remove(&[there]))).to_string();
    assert!(
        error.contains("release_keys") && error.contains("threshold"),
        "{error}"
    );
    let masters = |change| RootChanges {
        masters: vec![change],
        ..RootChanges::default()
    };
    assert!(matches!(
        refused(masters(MasterChange::Remove("nine".into()))),
        DraftError::NoSuchMaster { .. }
    ));
    let twin = MasterChange::Set(Master {
        name: "two".into(),
        node_key: feed.node.public(),
        addresses: Vec::new(),
    });
    assert!(matches!(
        refused(masters(twin)),
        DraftError::SharedKey { .. }
    ));
    let mut high = first(&feed);
    high.release_min = ReleaseNumber(5);
    let low = RootChanges {
        release_min: Some(ReleaseNumber(4)),
        ..RootChanges::default()
    };
    assert!(matches!(
        high.next(&low, NOW),
        Err(DraftError::FloorGoesBack { .. })
    ));
    let no_head = RootChanges {
        head: remove(&publics(&feed.head_keys)),
        ..RootChanges::default()
    };
    assert!(refused(no_head).to_string().contains("head_keys"));
}

#[test]
fn taking_a_head_key_away_raises_the_epoch_unless_told_otherwise() {
    let feed = Feed::new();
    let epoch = |removes: usize, epoch| {
        let changes = RootChanges {
            head: remove(&publics(&feed.head_keys[..removes])),
            epoch,
            ..RootChanges::default()
        };
        next(&feed, &changes).expect("legal").epoch.0
    };
    assert_eq!(epoch(1, EpochChange::WithHeadKeys), 1);
    assert_eq!(epoch(0, EpochChange::WithHeadKeys), 0);
    assert_eq!(epoch(1, EpochChange::Keep), 0);
    assert_eq!(epoch(0, EpochChange::Raise), 1);
}

#[test]
fn copies_signed_apart_are_put_together_and_take_nothing_else_along() {
    let feed = Feed::new();
    let body = next(&feed, &RootChanges::default()).expect("legal");
    let entitled = publics(&feed.root_keys);
    let mut mine = sign(&body, &feed.root_keys[..1]);
    let mut theirs = sign(&body, &feed.root_keys[1..2]);
    theirs.add_signature(&key(99));
    assert!(mine.gather(&theirs, &entitled));
    assert_eq!(mine.signers().count(), 2);
    assert!(feed.trust().accept_root(mine.clone()).is_ok());
    let other = next(&feed, &all_changed(&feed)).expect("legal");
    assert!(!mine.gather(&sign(&other, &feed.root_keys), &entitled));
    assert_eq!(mine.signers().count(), 2);
}

#[test]
fn what_is_legal_and_seldom_meant_is_said() {
    let feed = Feed::new();
    let old = first(&feed);
    let now = NOW;
    let said = |changes: RootChanges, expires| {
        let new = old.next(&changes, expires).expect("legal");
        concerns(Some(&old), &new, now)
    };
    let year = NOW.plus(400 * DAY_MS);
    let usual = [Concern::AllAreNeeded {
        role: KeyRole::Release,
        keys: 2,
    }];
    assert_eq!(said(RootChanges::default(), year), usual);

    let root_threshold = |threshold| RootChanges {
        root: KeyChanges {
            threshold: Some(threshold),
            ..KeyChanges::default()
        },
        ..RootChanges::default()
    };
    let (role, keys) = (KeyRole::Root, 3);
    assert!(said(root_threshold(1), year).contains(&Concern::OneIsEnough { role, keys }));
    assert!(said(root_threshold(3), year).contains(&Concern::AllAreNeeded { role, keys }));

    let leave = RootChanges {
        root: KeyChanges {
            add: publics(&support::keys(&[41, 42])),
            remove: publics(&feed.root_keys[..2]),
            threshold: None,
        },
        ..RootChanges::default()
    };
    let leavers = Concern::LeaversMustSign {
        needed: 2,
        staying: 1,
    };
    assert!(said(leave, year).contains(&leavers));

    let quiet = RootChanges {
        head: remove(&publics(&feed.head_keys[..1])),
        epoch: EpochChange::Keep,
        ..RootChanges::default()
    };
    assert!(said(quiet, year).contains(&Concern::EpochKept { removed: 1 }));

    let short = said(RootChanges::default(), NOW.plus(3 * DAY_MS));
    assert!(short.contains(&Concern::ShortLife { days: 3 }));
    assert!(short.contains(&Concern::ExpiresEarlier));
    let long = said(RootChanges::default(), NOW.plus(5_000 * DAY_MS));
    assert!(long.contains(&Concern::LongLife { days: 5_000 }));

    let alone = RootChanges {
        masters: vec![MasterChange::Remove("one".into())],
        ..RootChanges::default()
    };
    assert!(said(alone, year).contains(&Concern::NoMaster));

    let replaced = RootChanges {
        release: KeyChanges {
            add: publics(&support::keys(&[51, 52])),
            remove: publics(&feed.release_keys),
            threshold: None,
        },
        ..RootChanges::default()
    };
    assert!(said(replaced, year).contains(&Concern::ReleaseKeysReplaced));

    let double = RootChanges {
        release: add(&[feed.root_keys[0].public()]),
        ..RootChanges::default()
    };
    let double = said(double, year);
    assert!(
        double.iter().any(|c| matches!(c, Concern::TwoRoles { .. })),
        "{double:?}"
    );
    // Every one of them is a sentence of its own.
    for concern in double {
        assert!(concern.to_string().len() > 20, "{concern:?}");
    }
}

#[test]
fn a_threshold_of_one_key_of_one_is_the_feeds_end_when_it_is_lost() {
    let feed = Feed::new();
    let mut alone = first(&feed);
    alone.root_keys = publics(&keys(&[1]));
    alone.root_threshold = 1;
    let said = concerns(None, &alone, NOW);
    assert!(
        said.iter()
            .any(|c| c.to_string().contains("this feed ends")),
        "{said:?}"
    );
}
