//! Roots, walked one by one, and what a mirror believes after a restart. SPEC §3.2, §3.7.
mod support;

use support::{DAY_MS, Feed, HOUR_MS, NOW, key, publics, refusal, resume, sign, sign_unchecked};
use tidecast_proto::{
    id::{Epoch, FeedId, FeedName, ReleaseNumber, RootVersion, Timestamp},
    limits,
    root::{RootBody, RootError},
    root_expiry::{ExpiryLevel, ExpiryWarning},
    trust::{HeadError, Trust, Verdict},
};

fn accept(feed: &Feed, next: &RootBody) -> Result<(), RootError> {
    feed.trust().accept_root(sign(next, &feed.root_keys[..2]))
}

#[test]
fn a_wrong_fingerprint_is_refused() {
    let feed = Feed::new();
    let other = FeedId::of(b"mistyped");
    let refused = Trust::begin(&other, feed.first.clone()).unwrap_err();
    assert_eq!(
        refused,
        RootError::WrongFingerprint {
            got: feed.id(),
            expected: other
        }
    );
}

#[test]
fn a_feed_does_not_begin_with_a_later_root() {
    let feed = Feed::new();
    let second = sign(&feed.next_root(), &feed.root_keys[..2]);
    let fingerprint = FeedId(second.id().0);
    assert!(matches!(
        second.verify_first(&fingerprint),
        Err(RootError::WrongVersion { .. })
    ));
}

#[test]
fn roots_are_walked_without_a_gap() {
    let feed = Feed::new();
    for version in [0, 1, 3, u64::MAX] {
        let mut next = feed.next_root();
        next.version = RootVersion(version);
        let signed = sign_unchecked(&next, &feed.root_keys);
        assert!(feed.trust().accept_root(signed).is_err(), "{version}");
    }
    assert!(accept(&feed, &feed.next_root()).is_ok());
}

#[test]
fn a_new_set_of_root_keys_needs_the_old_set_and_itself() {
    let feed = Feed::new();
    let new_keys = support::keys(&[41, 42, 43]);
    let mut next = feed.next_root();
    next.root_keys = publics(&new_keys);
    let all = |parts: &[&[tidecast_proto::key::SecretKey]]| sign(&next, &parts.concat());
    for (signers, good) in [
        (all(&[&feed.root_keys[..2], &new_keys[..2]]), true),
        (all(&[&feed.root_keys[..2], &new_keys[..1]]), false),
        (all(&[&feed.root_keys[..1], &new_keys[..2]]), false),
        (all(&[&feed.root_keys]), false),
        (all(&[&new_keys]), false),
    ] {
        assert_eq!(feed.trust().accept_root(signers).is_ok(), good);
    }
}

#[test]
fn a_root_keeps_feed_and_chunking_and_goes_back_in_nothing() {
    let feed = Feed::new();
    let mut high = feed.next_root();
    (high.epoch, high.release_min) = (Epoch(4), ReleaseNumber(4));
    type Change = fn(&mut RootBody);
    let changes: [(&str, Change); 4] = [
        ("feed", |root| {
            root.feed = FeedName::new("other").expect("legal");
        }),
        ("chunking", |root| root.chunking.seed = 1),
        ("epoch", |root| root.epoch = Epoch(3)),
        ("release_min", |root| root.release_min = ReleaseNumber(3)),
    ];
    for (what, change) in changes {
        let mut trust = feed.trust_after(&high);
        let before = trust.to_bytes();
        let mut next = RootBody {
            version: RootVersion(3),
            ..high.clone()
        };
        change(&mut next);
        let refused = trust.accept_root(sign(&next, &feed.root_keys));
        assert!(refused.is_err(), "{what}");
        assert_eq!(trust.to_bytes(), before, "{what}");
    }
}

#[test]
fn past_its_expiry_a_root_accepts_nothing_but_its_successor() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    let later = NOW.plus(400 * DAY_MS);
    let fresh = feed.head_with(1, 1, |head| {
        head.issued = later;
        head.expires = later.plus(HOUR_MS);
        head.root_version = RootVersion(1);
    });
    assert_eq!(
        trust.accept_head(fresh.clone(), later).unwrap_err(),
        HeadError::RootExpired {
            version: RootVersion(1)
        }
    );
    assert!(trust.is_stale(later));
    let mut next = feed.next_root();
    next.expires = later.plus(DAY_MS);
    trust
        .accept_root(sign(&next, &feed.root_keys))
        .expect("walked past expiry");
    assert!(trust.accept_head(fresh, later).is_ok());
}

#[test]
fn a_new_epoch_forgets_heads_and_time_but_never_the_release() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, u64::MAX, 3);
    let mut next = feed.next_root();
    next.epoch = Epoch(1);
    trust
        .accept_root(sign(&next, &feed.root_keys))
        .expect("good");
    assert!(trust.seqs().is_empty());
    assert_eq!(trust.now(Timestamp(5)), Timestamp(5));
    assert_eq!(trust.installed_release(), ReleaseNumber(3));
    assert!(matches!(
        refusal(&mut trust, feed.head(1, 4)),
        HeadError::WrongEpoch { .. }
    ));
    let low = feed.head_with(1, 2, |head| head.epoch = Epoch(1));
    assert!(matches!(
        refusal(&mut trust, low),
        HeadError::Rollback { .. }
    ));
    let head = feed.head_with(1, 4, |head| head.epoch = Epoch(1));
    assert!(matches!(
        trust.accept_head(head, NOW),
        Ok(Verdict::Newer(_))
    ));
}

#[test]
fn a_new_root_of_the_same_epoch_keeps_the_numbers() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    trust.accept_head(feed.head(9, 1), NOW).expect("good");
    trust
        .accept_root(sign(&feed.next_root(), &feed.root_keys))
        .expect("good");
    assert!(matches!(
        refusal(&mut trust, feed.head(8, 1)),
        HeadError::Replayed { .. }
    ));
}

#[test]
fn what_was_believed_is_believed_after_a_restart() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, 5, 2);
    let bytes = trust.to_bytes();
    let mut trust = resume(&feed, &[], &bytes).expect("undamaged");
    assert_eq!(trust.to_bytes(), bytes);
    assert_eq!(trust.installed_release(), ReleaseNumber(2));
    assert!(matches!(
        trust.accept_head(feed.head(5, 2), NOW),
        Ok(Verdict::Current(_))
    ));
    assert!(matches!(
        refusal(&mut trust, feed.head(4, 2)),
        HeadError::Replayed { .. }
    ));
}

#[test]
fn nothing_stored_is_no_trust_and_roots_alone_are_enough() {
    let feed = Feed::new();
    let none = Trust::resume(&feed.id(), [], None).expect("nothing is wrong");
    assert!(none.is_none());
    let joined = Trust::resume(&feed.id(), [feed.first.clone()], None).expect("good");
    assert_eq!(joined.expect("begun").to_bytes(), feed.trust().to_bytes());
}

#[test]
fn counters_that_are_damaged_or_of_another_feed_are_refused() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, 5, 2);
    let bytes = trust.to_bytes();
    for len in 0..bytes.len() {
        assert!(resume(&feed, &[], &bytes[..len]).is_err(), "{len} bytes");
    }
    assert!(resume(&feed, &[], &[&bytes[..], &[0]].concat()).is_err());
    // The head is signed: no bit of it can change unnoticed.
    let head = feed.head(5, 2).to_bytes();
    let at = bytes
        .windows(head.len())
        .position(|window| window == head)
        .expect("the head is kept");
    let mut damaged = bytes.clone();
    for bit in at * 8..(at + head.len()) * 8 {
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(resume(&feed, &[], &damaged).is_err(), "bit {bit}");
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
    let other = FeedId::of(b"another feed");
    let mut foreign = bytes.clone();
    foreign[..32].copy_from_slice(&other.0);
    let error = resume(&feed, &[], &foreign).unwrap_err().to_string();
    assert!(error.contains("another feed"), "{error}");
}

#[test]
fn counters_that_speak_of_a_missing_root_are_refused() {
    let feed = Feed::new();
    let second = sign(&feed.next_root(), &feed.root_keys);
    let mut trust = feed.trust();
    trust.accept_root(second.clone()).expect("good");
    let bytes = trust.to_bytes();
    let error = resume(&feed, &[], &bytes).unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
    assert!(resume(&feed, &[second], &bytes).is_ok());
}

#[test]
fn a_crash_between_storing_a_root_and_the_counters_loses_nothing() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, u64::MAX, 2);
    let before = trust.to_bytes();
    let mut next = feed.next_root();
    next.epoch = Epoch(1);
    next.head_keys.remove(0);
    let signed = sign(&next, &feed.root_keys);
    trust.accept_root(signed.clone()).expect("good");
    let resumed = resume(&feed, &[signed], &before).expect("an older counter file is legal");
    assert_eq!(resumed.to_bytes(), trust.to_bytes());
    assert_eq!(resumed.installed_release(), ReleaseNumber(2));
}

#[test]
fn a_forged_root_in_the_state_folder_is_noticed() {
    let feed = Feed::new();
    let forged = sign(&feed.next_root(), &[key(99)]);
    assert!(resume(&feed, &[forged], &feed.trust().to_bytes()).is_err());
}

#[test]
fn the_largest_counters_fit_their_limit() {
    let feed = Feed::new();
    let seeds: Vec<u8> = (100..132).collect();
    let heads = support::keys(&seeds);
    let mut next = feed.next_root();
    next.head_keys = publics(&heads);
    let mut trust = feed.trust_after(&next);
    for head_key in &heads {
        for (seq, release) in [(1, 1), (1, 2), (2, 3)] {
            let mut body = feed.head_body(seq, &feed.manifest(release), release);
            body.extensions = vec![tidecast_proto::extension::Extension {
                tag: 1,
                critical: false,
                bytes: vec![0; 700],
            }];
            let _ = trust.accept_head(sign(&body, std::slice::from_ref(head_key)), NOW);
        }
    }
    assert_eq!(trust.equivocators().count(), limits::KEYS_PER_ROLE);
    let bytes = trust.to_bytes();
    assert!(bytes.len() <= Trust::BYTES_MAX, "{}", bytes.len());
    let second = sign(&next, &feed.root_keys[..2]);
    assert!(resume(&feed, &[second], &bytes).is_ok());
}

#[test]
fn a_root_that_expires_warns_90_30_and_7_days_ahead_and_when_it_has() {
    let mut root = Feed::new().next_root();
    root.expires = NOW.plus(400 * DAY_MS);
    let at = |left_ms: u64| root.expiry_warning(Timestamp(root.expires.0 - left_ms));
    let warning = |days, level| Some(ExpiryWarning { days, level });
    for (left_ms, expected) in [
        (400 * DAY_MS, None),
        (90 * DAY_MS + 1, None),
        (90 * DAY_MS, warning(90, ExpiryLevel::Notice)),
        (30 * DAY_MS + 1, warning(30, ExpiryLevel::Notice)),
        (30 * DAY_MS, warning(30, ExpiryLevel::Warning)),
        (7 * DAY_MS + 1, warning(7, ExpiryLevel::Warning)),
        (7 * DAY_MS, warning(7, ExpiryLevel::Alarm)),
        (1, warning(0, ExpiryLevel::Alarm)),
        (0, warning(0, ExpiryLevel::Expired)),
    ] {
        assert_eq!(at(left_ms), expected, "{left_ms} ms left");
    }
    assert_eq!(
        root.expiry_warning(Timestamp(u64::MAX)),
        warning(0, ExpiryLevel::Expired)
    );
}
