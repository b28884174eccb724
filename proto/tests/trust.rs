//! What a mirror believes: heads and their numbers, honest and otherwise. SPEC §3.7.
mod support;

use support::{Feed, HOUR_MS, NOW, envelope, key, publics, refusal, resume, sign, signature};
use tidecast_proto::{
    codec,
    head::{Head, HeadBody, Phase, SignedHead},
    id::{Epoch, FeedId, ObjectId, ReleaseNumber, RootVersion, Seq, Timestamp},
    limits,
    manifest::ManifestError,
    root::RootBody,
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

#[test]
fn counters_whose_epoch_or_keys_are_not_their_roots_are_damaged() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, 1, 1);
    let whole = trust.to_bytes();
    assert!(resume(&feed, &[], &whole).is_ok());
    // The epoch follows feed and root version; the first head's key the number of heads.
    let mut epoch = whole.clone();
    epoch[40] ^= 1;
    assert!(resume(&feed, &[], &epoch).is_err());
    let mut strange = whole;
    strange[56..88].copy_from_slice(&codec::encode(&key(99).public()));
    assert!(resume(&feed, &[], &strange).is_err());
}

#[test]
fn a_phantom_of_one_key_does_not_hide_the_fresh_head_of_another() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    feed.install(&mut trust, 1, 1);
    // A thief's, about a release that nobody has; over soon.
    let phantom = feed.head_with(2, 1, |head| {
        head.release = ReleaseNumber(1 << 63);
        head.expires = NOW.plus(HOUR_MS / 2);
    });
    trust.accept_head(phantom, NOW).expect("well signed");
    let mut body = feed.head_body(1, &feed.manifest(1), 1);
    body.expires = NOW.plus(2 * HOUR_MS);
    let fresh = sign(&body, &feed.head_keys[1..]);
    trust.accept_head(fresh, NOW).expect("the other master's");
    assert!(!trust.is_stale(NOW.plus(HOUR_MS)));
    assert_eq!(trust.heads_expire(), Some(NOW.plus(2 * HOUR_MS)));
    assert!(trust.is_stale(NOW.plus(2 * HOUR_MS)));
}

#[test]
fn a_newer_root_may_forbid_a_head_that_was_accepted_before() {
    type Change = fn(&mut RootBody, &Head);
    let cases: [(&str, Change, bool); 8] = [
        ("nothing", |_, _| (), true),
        (
            "a key that did not sign",
            |r, _| r.head_keys.truncate(1),
            true,
        ),
        (
            "its key",
            |r, _| r.head_keys = r.head_keys.split_off(1),
            false,
        ),
        ("epoch", |r, _| r.epoch = Epoch(1), false),
        ("floor", |r, _| r.release_min = ReleaseNumber(3), false),
        (
            "revoked",
            |r, h| r.revoked_manifests.push(h.manifest),
            false,
        ),
        ("life", |r, _| r.head_ttl_max_ms = HOUR_MS - 1, false),
        ("expired", |r, _| r.expires = NOW, false),
    ];
    for (what, change, allowed) in cases {
        let feed = Feed::new();
        let mut trust = feed.trust();
        feed.install(&mut trust, 1, 1);
        let head = trust.accept_head(feed.head(2, 2), NOW).expect("good");
        let head = head.head().clone();
        // A later head of the same key is no reason to refuse this one.
        trust.accept_head(feed.head(3, 2), NOW).expect("good");
        let mut next = feed.next_root();
        change(&mut next, &head);
        trust
            .accept_root(sign(&next, &feed.root_keys[..2]))
            .expect("good");
        let before = trust.to_bytes();
        let still = trust.still_allows(&head, NOW);
        assert_eq!(still.is_ok(), allowed, "{what}: {still:?}");
        assert_eq!(trust.to_bytes(), before, "{what}");
    }
}
