//! What a mirror believes: heads, roots and counters, honest and otherwise. SPEC §3.7.
mod support;

use support::{DAY_MS, Feed, HOUR_MS, NOW, envelope, key, publics, refusal, sign, signature};
use tidecast_proto::{
    codec,
    head::{HeadBody, Phase, SignedHead},
    id::{Epoch, FeedId, FeedName, ObjectId, ReleaseNumber, RootVersion, Seq, Timestamp},
    limits,
    manifest::ManifestError,
    root::{RootBody, RootError, SignedRoot},
    signed::SignedError,
    trust::{HeadError, Trust, Verdict},
};

// Heads

#[test]
fn a_release_is_found_installed_and_vouched_for_again() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    assert!(trust.is_stale(NOW), "no head yet");
    feed.install(&mut trust, 1, 1);
    assert_eq!(trust.installed_release(), ReleaseNumber(1));
    assert!(!trust.is_stale(NOW));
    assert!(trust.is_stale(NOW.plus(HOUR_MS)), "the head ran out");
    let again = trust.accept_head(feed.head(2, 1), NOW);
    assert!(matches!(again, Ok(Verdict::Current(_))));
    feed.install(&mut trust, 3, 2);
    assert_eq!(trust.installed_release(), ReleaseNumber(2));
    assert_eq!(
        trust.seqs(),
        [(feed.head_keys[0].public(), Seq(3))],
        "what a Hello carries"
    );
}

#[test]
fn a_head_alone_never_raises_the_release() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    let far = feed.head_with(1, 1, |head| head.release = ReleaseNumber(u64::MAX));
    assert!(matches!(trust.accept_head(far, NOW), Ok(Verdict::Newer(_))));
    assert_eq!(trust.installed(), None);
    feed.install(&mut trust, 2, 1);
    assert_eq!(trust.installed_release(), ReleaseNumber(1));
}

#[test]
fn a_head_of_another_feed_is_refused() {
    let feed = Feed::new();
    let other = FeedId::of(b"another feed");
    let head = feed.head_with(1, 1, |head| head.feed = other);
    assert_eq!(
        refusal(&mut feed.trust(), head),
        HeadError::WrongFeed {
            got: other,
            expected: feed.id()
        }
    );
}

#[test]
fn a_head_that_no_head_key_signed_is_refused() {
    let feed = Feed::new();
    let body = feed.head_body(1, &feed.manifest(1), 1);
    for signers in [&feed.release_keys, &feed.root_keys, &vec![key(99)]] {
        let refused = refusal(&mut feed.trust(), sign(&body, signers));
        assert!(matches!(
            refused,
            HeadError::Signed(SignedError::TooFewSignatures { good: 0, .. })
        ));
    }
}

#[test]
fn the_life_of_a_head_is_judged_to_the_millisecond() {
    let feed = Feed::new();
    let judge = |issued: u64, expires: u64| {
        let head = feed.head_with(1, 1, |head| {
            head.issued = Timestamp(issued);
            head.expires = Timestamp(expires);
        });
        feed.trust().accept_head(head, NOW)
    };
    let (now, skew) = (NOW.0, limits::CLOCK_SKEW_MS as u64);
    assert!(judge(now - HOUR_MS, now + 1).is_ok());
    assert!(matches!(
        judge(now - HOUR_MS, now),
        Err(HeadError::Expired { .. })
    ));
    assert!(judge(now + skew, now + skew + 1).is_ok());
    assert!(matches!(
        judge(now + skew + 1, now + skew + 2),
        Err(HeadError::FromTheFuture { .. })
    ));
    assert!(judge(now, now + 6 * HOUR_MS).is_ok());
    assert!(matches!(
        judge(now, now + 6 * HOUR_MS + 1),
        Err(HeadError::LivesTooLong { .. })
    ));
    assert!(matches!(
        judge(0, u64::MAX),
        Err(HeadError::LivesTooLong { .. })
    ));
}

#[test]
fn a_head_that_ends_before_it_begins_or_has_an_unknown_phase_is_refused() {
    let feed = Feed::new();
    let changes: [fn(&mut HeadBody); 4] = [
        |head| head.expires = head.issued,
        |head| head.expires = Timestamp(0),
        |head| head.phase = Phase(2),
        |head| head.release = ReleaseNumber(0),
    ];
    for change in changes {
        let mut body = feed.head_body(1, &feed.manifest(1), 1);
        change(&mut body);
        let body = codec::encode(&body);
        let signed = envelope(&body, &[signature(&feed.head_keys[0], "head", &body)]);
        let head = SignedHead::from_bytes(&signed).expect("well formed");
        assert!(matches!(
            refusal(&mut feed.trust(), head),
            HeadError::Signed(SignedError::Codec(_))
        ));
    }
}

#[test]
fn a_head_of_another_epoch_or_a_newer_root_is_refused() {
    let feed = Feed::new();
    let head = feed.head_with(1, 1, |head| head.epoch = Epoch(1));
    assert!(matches!(
        refusal(&mut feed.trust(), head),
        HeadError::WrongEpoch { .. }
    ));
    let head = feed.head_with(1, 1, |head| head.root_version = RootVersion(2));
    assert_eq!(
        refusal(&mut feed.trust(), head),
        HeadError::NewerRoot {
            got: RootVersion(2),
            have: RootVersion(1)
        }
    );
}

#[test]
fn an_older_release_or_another_manifest_of_this_one_is_refused() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, 5, 5);
    assert_eq!(
        refusal(&mut trust, feed.head(6, 4)),
        HeadError::Rollback {
            got: ReleaseNumber(4),
            have: ReleaseNumber(5)
        }
    );
    let other = feed.head_with(6, 5, |head| head.manifest = ObjectId::of(b"other"));
    assert!(matches!(
        refusal(&mut trust, other),
        HeadError::OtherManifest { .. }
    ));
    assert_eq!(trust.seqs()[0].1, Seq(5), "refused heads move nothing");
}

#[test]
fn a_manifest_that_is_not_newer_than_the_installed_one_is_refused() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    let verdict = trust.accept_head(feed.head(1, 1), NOW).expect("good");
    feed.install(&mut trust, 2, 2);
    let refused = trust.verify_manifest(feed.manifest(1), verdict.head());
    assert_eq!(
        refused.unwrap_err(),
        ManifestError::Rollback {
            got: ReleaseNumber(1),
            have: ReleaseNumber(2)
        }
    );
    let older = feed
        .manifest(1)
        .verify_stored(trust.root(), &feed.id())
        .expect("good by itself");
    trust.install(&older);
    assert_eq!(trust.installed_release(), ReleaseNumber(2));
}

#[test]
fn a_release_below_the_floor_or_revoked_is_refused_by_its_head() {
    let feed = Feed::new();
    let mut next = feed.next_root();
    next.release_min = ReleaseNumber(3);
    next.revoked_manifests = vec![feed.manifest(3).id()];
    let mut trust = feed.trust_after(&next);
    assert_eq!(
        refusal(&mut trust, feed.head(1, 2)),
        HeadError::BelowFloor {
            got: ReleaseNumber(2),
            floor: ReleaseNumber(3)
        }
    );
    assert_eq!(
        refusal(&mut trust, feed.head(1, 3)),
        HeadError::Revoked(feed.manifest(3).id())
    );
    assert!(trust.accept_head(feed.head(1, 4), NOW).is_ok());
}

#[test]
fn our_clock_is_never_believed_to_be_before_the_last_head() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    trust.accept_head(feed.head(1, 1), NOW).expect("good");
    assert_eq!(trust.now(Timestamp(5)), NOW);
    assert_eq!(trust.now(NOW.plus(1)), NOW.plus(1));
    // A head from ahead of us must not drag our time with it.
    let ahead = feed.head_with(2, 1, |head| head.issued = NOW.plus(60_000));
    trust.accept_head(ahead, NOW).expect("within the skew");
    assert_eq!(trust.now(Timestamp(0)), NOW);
    let bytes = trust.to_bytes();
    let trust = resume(&feed, &[], &bytes).expect("undamaged");
    assert_eq!(trust.now(Timestamp(0)), NOW);
}

// Numbers and equivocation

#[test]
fn a_replayed_number_is_refused_and_the_same_head_again_resumes() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    trust.accept_head(feed.head(7, 1), NOW).expect("good");
    assert!(matches!(
        trust.accept_head(feed.head(7, 1), NOW),
        Ok(Verdict::Newer(_))
    ));
    assert_eq!(
        refusal(&mut trust, feed.head(6, 1)),
        HeadError::Replayed {
            key: feed.head_keys[0].public(),
            got: Seq(6),
            have: Seq(7)
        }
    );
}

#[test]
fn numbers_are_kept_for_each_key_apart() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    trust.accept_head(feed.head(9, 1), NOW).expect("good");
    let body = feed.head_body(2, &feed.manifest(1), 1);
    let second = sign(&body, &feed.head_keys[1..]);
    assert!(trust.accept_head(second, NOW).is_ok());
    let both = sign(&feed.head_body(9, &feed.manifest(1), 1), &feed.head_keys);
    assert!(
        trust.accept_head(both, NOW).is_ok(),
        "one more signature under the same body"
    );
    assert_eq!(
        trust.seqs(),
        publics(&feed.head_keys)
            .into_iter()
            .map(|key| (key, Seq(9)))
            .collect::<Vec<_>>()
    );
}

#[test]
fn naming_another_key_beside_a_bad_signature_does_not_move_its_number() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    let body = codec::encode(&feed.head_body(u64::MAX, &feed.manifest(1), 1));
    // The thief of key 0 names key 1 too, with key 0's signature.
    let good = signature(&feed.head_keys[0], "head", &body);
    let mut framed = good.clone();
    framed.key = feed.head_keys[1].public();
    let bytes = envelope(&body, &[good, framed]);
    let head = SignedHead::from_bytes(&bytes).expect("well formed");
    trust.accept_head(head, NOW).expect("key 0 signed well");
    assert_eq!(trust.seqs(), [(feed.head_keys[0].public(), Seq(u64::MAX))]);
    let honest = sign(
        &feed.head_body(1, &feed.manifest(1), 1),
        &feed.head_keys[1..],
    );
    assert!(trust.accept_head(honest, NOW).is_ok());
}

/// Two different heads under number 1, the second one not accepted.
fn equivocate(feed: &Feed, trust: &mut Trust) -> (SignedHead, SignedHead) {
    let (first, second) = (feed.head(1, 1), feed.head(1, 2));
    trust.accept_head(first.clone(), NOW).expect("good");
    assert_eq!(
        refusal(trust, second.clone()),
        HeadError::Equivocation {
            key: feed.head_keys[0].public(),
            seq: Seq(1)
        }
    );
    (first, second)
}

#[test]
fn two_heads_under_one_number_are_kept_as_evidence_over_restarts_and_later_heads() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    let (first, second) = equivocate(&feed, &mut trust);
    let proves = |trust: &Trust| {
        let all: Vec<_> = trust.equivocators().collect();
        let [(key, evidence)] = all[..] else {
            panic!("{} keys", all.len())
        };
        assert_eq!(key, feed.head_keys[0].public());
        assert_eq!(evidence.seq, Seq(1));
        assert_eq!(evidence.first, first.to_bytes());
        assert_eq!(evidence.second, second.to_bytes());
    };
    proves(&trust);
    let mut trust = resume(&feed, &[], &trust.to_bytes()).expect("undamaged");
    proves(&trust);
    // Neither of the two is believed any more, nor handed on.
    assert!(refusal(&mut trust, first.clone()).is_equivocation());
    assert!(refusal(&mut trust, second.clone()).is_equivocation());
    assert!(refusal(&mut trust, feed.head(1, 3)).is_equivocation());
    assert!(trust.newest_head().is_none());
    assert!(trust.is_stale(NOW));
    // A later number is another statement; what happened stays known.
    trust.accept_head(feed.head(2, 3), NOW).expect("a new one");
    proves(&trust);
    assert!(trust.newest_head().is_some());
    proves(&resume(&feed, &[], &trust.to_bytes()).expect("undamaged"));
}

#[test]
fn a_second_head_under_one_number_is_evidence_whatever_it_points_at() {
    let feed = Feed::new();
    for change in [
        (|head| head.release = ReleaseNumber(1)) as fn(&mut HeadBody),
        |head| head.manifest = ObjectId::of(b"other"),
        |head| head.expires = NOW,
        |head| head.issued = NOW.plus(HOUR_MS - 1),
    ] {
        let mut trust = feed.trust();
        feed.install(&mut trust, 5, 2);
        let rival = feed.head_with(5, 2, |head| {
            head.issued = Timestamp(NOW.0 - HOUR_MS);
            change(head);
        });
        assert!(refusal(&mut trust, rival).is_equivocation());
        assert_eq!(trust.equivocators().count(), 1);
    }
}

trait IsEquivocation {
    fn is_equivocation(&self) -> bool;
}

impl IsEquivocation for HeadError {
    fn is_equivocation(&self) -> bool {
        matches!(self, HeadError::Equivocation { .. })
    }
}

#[test]
fn a_root_without_the_key_forgets_its_head_and_its_evidence() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    equivocate(&feed, &mut trust);
    let mut next = feed.next_root();
    next.head_keys.remove(0);
    trust
        .accept_root(sign(&next, &feed.root_keys[..2]))
        .expect("good");
    assert_eq!(trust.equivocators().count(), 0);
    assert!(trust.seqs().is_empty());
    assert!(matches!(
        refusal(&mut trust, feed.head(9, 1)),
        HeadError::Signed(_)
    ));
}

// Roots

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
        let body = codec::encode(&next);
        let signatures: Vec<_> = feed
            .root_keys
            .iter()
            .map(|key| signature(key, "root", &body))
            .collect();
        let signed = SignedRoot::from_bytes(&envelope(&body, &signatures)).expect("well formed");
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

// State on disk

fn resume(feed: &Feed, later: &[SignedRoot], counters: &[u8]) -> Result<Trust, RootError> {
    let roots = [std::slice::from_ref(&feed.first), later].concat();
    Ok(Trust::resume(&feed.id(), roots, Some(counters))?.expect("there are roots"))
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
