//! Signed objects against everything a network or a thief can do to their bytes. SPEC §3.
mod support;

use support::{
    Feed, NOW, database, envelope, file, key, keys, publics, sign, sign_unchecked, signature,
};
use tidecast_proto::{
    codec::{self, CodecError},
    extension::Extension,
    head::SignedHead,
    id::{Epoch, FeedId, ListId, ObjectId, ReleaseNumber},
    key::{PublicKey, SecretKey},
    limits,
    manifest::{Flags, ManifestBody, ManifestError, SignedManifest},
    receipt::{ReceiptError, SignedReceipt},
    root::{RootBody, RootError, SignedRoot},
    signed::{Body, Signed, SignedError},
};

/// Reads an object as its receiver does and says whose content was accepted.
type Accept<'a> = &'a dyn Fn(&[u8]) -> Option<ObjectId>;

/// The four objects, each with as many signatures as needed, and the way each is accepted.
fn with_each_object(test: impl Fn(&str, &[u8], Accept<'_>)) {
    let feed = Feed::new();
    let root_2 = sign(&feed.next_root(), &feed.root_keys[..2]);
    let manifest = feed.manifest(1);
    let trust = feed.trust();
    let mut pointing = feed.trust();
    let head = pointing.accept_head(feed.head(1, 1), NOW).expect("good");

    test("root 1", &feed.first.to_bytes(), &|bytes| {
        let root = SignedRoot::from_bytes(bytes).ok()?;
        Some(root.verify_first(&feed.id()).ok()?.id())
    });
    test("root 2", &root_2.to_bytes(), &|bytes| {
        let mut trust = trust.clone();
        trust
            .accept_root(SignedRoot::from_bytes(bytes).ok()?)
            .ok()?;
        Some(trust.root().id())
    });
    test("manifest", &manifest.to_bytes(), &|bytes| {
        let manifest = SignedManifest::from_bytes(bytes).ok()?;
        let by_signature = manifest.clone().verify_stored(trust.root(), &feed.id());
        let by_head = trust.verify_manifest(manifest, head.head());
        assert_eq!(by_head.is_ok(), by_signature.is_ok());
        Some(by_head.ok()?.whole().ok()?.id())
    });
    test("head", &feed.head(1, 1).to_bytes(), &|bytes| {
        let mut trust = trust.clone();
        let verdict = trust.accept_head(SignedHead::from_bytes(bytes).ok()?, NOW);
        Some(verdict.ok()?.head().id())
    });
    test("receipt", &feed.receipt().to_bytes(), &|bytes| {
        let receipt = SignedReceipt::from_bytes(bytes).ok()?;
        let receipt = receipt.verify(&feed.node.public(), &feed.id());
        Some(receipt.ok()?.id())
    });
}

#[test]
fn an_object_as_it_was_signed_is_accepted() {
    with_each_object(|what, bytes, accept| assert!(accept(bytes).is_some(), "{what}"));
}

#[test]
fn an_object_with_any_bit_flipped_is_refused() {
    with_each_object(|what, bytes, accept| {
        let mut bytes = bytes.to_vec();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(accept(&bytes), None, "{what}, bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    });
}

#[test]
fn an_object_cut_short_anywhere_or_with_a_byte_too_many_is_refused() {
    with_each_object(|what, bytes, accept| {
        for len in 0..bytes.len() {
            assert_eq!(accept(&bytes[..len]), None, "{what}, {len} bytes");
        }
        for extra in [0, 1, 0xff] {
            let longer = [bytes, &[extra]].concat();
            assert_eq!(accept(&longer), None, "{what}, then {extra}");
        }
    });
}

#[test]
fn a_flip_in_a_spare_signature_never_lets_other_content_in() {
    let feed = Feed::new();
    let whole = sign(&feed.next_root(), &feed.root_keys);
    let mut bytes = whole.to_bytes();
    let joined = feed.trust();
    let mut accepted = 0;
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mut trust = joined.clone();
        if SignedRoot::from_bytes(&bytes).is_ok_and(|root| trust.accept_root(root).is_ok()) {
            assert_eq!(trust.root().id(), whole.id(), "bit {bit}");
            accepted += 1;
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    // Two of three signatures are enough, so a broken third does no harm.
    assert!(accepted >= 64 * 8, "{accepted}");
}

fn too_few(error: &SignedError) -> Option<(usize, usize, usize)> {
    match error {
        SignedError::TooFewSignatures {
            good,
            needed,
            present,
            ..
        } => Some((*good, *needed, *present)),
        _ => None,
    }
}

#[test]
fn fewer_signatures_than_the_threshold_are_counted_and_refused() {
    let feed = Feed::new();
    let root = feed.trust().root().clone();
    let one = sign(&feed.manifest_body(1), &feed.release_keys[..1]);
    let Err(ManifestError::Signed(error)) = one.verify_stored(&root, &feed.id()) else {
        panic!("accepted")
    };
    assert_eq!(too_few(&error), Some((1, 2, 1)));
    assert!(
        error.to_string().contains("1 of 2 needed signatures"),
        "{error}"
    );

    let none: Signed<ManifestBody> = sign(&feed.manifest_body(1), &[]);
    assert!(none.verify_stored(&root, &feed.id()).is_err());

    let body = codec::encode(&feed.next_root());
    let unsigned = SignedRoot::from_bytes(&envelope(&body, &[])).expect("well formed");
    assert!(feed.trust().accept_root(unsigned).is_err());
}

#[test]
fn the_first_root_must_carry_its_own_signatures_even_when_the_fingerprint_fits() {
    let feed = Feed::new();
    let first = feed.trust().root().clone();
    let one = sign(&*first, &feed.root_keys[..1]);
    assert_eq!(FeedId(one.id().0), feed.id());
    let Err(RootError::Signed(error)) = one.verify_first(&feed.id()) else {
        panic!("accepted")
    };
    assert_eq!(too_few(&error), Some((1, 2, 1)));
}

#[test]
fn one_key_twice_in_an_envelope_is_refused() {
    let feed = Feed::new();
    let body = codec::encode(&feed.manifest_body(1));
    let good = signature(&feed.release_keys[0], "manifest", &body);
    let twice = envelope(&body, &[good.clone(), good.clone()]);
    assert_eq!(
        SignedManifest::from_bytes(&twice).unwrap_err(),
        CodecError::NotAscending {
            field: "signatures",
            index: 1
        }
    );
    let other = signature(&feed.release_keys[1], "manifest", &body);
    let backwards = envelope(&body, &[other.clone(), good.clone()]);
    assert!(SignedManifest::from_bytes(&backwards).is_err());
    assert!(SignedManifest::from_bytes(&envelope(&body, &[good, other])).is_ok());
}

#[test]
fn one_key_twice_in_a_list_of_keys_is_refused() {
    let feed = Feed::new();
    type Role = fn(&mut RootBody) -> &mut Vec<PublicKey>;
    let roles: [Role; 3] = [
        |root| &mut root.root_keys,
        |root| &mut root.release_keys,
        |root| &mut root.head_keys,
    ];
    for role in roles {
        let mut root = feed.next_root();
        let first = role(&mut root)[0];
        role(&mut root)[1] = first;
        assert!(matches!(
            root.check(),
            Err(CodecError::NotAscending { index: 1, .. })
        ));
        // Signed all the same by somebody who does not use our code.
        let signed = sign_unchecked(&root, &feed.root_keys);
        assert!(feed.trust().accept_root(signed).is_err());
    }
}

#[test]
fn a_threshold_of_none_or_of_more_than_there_are_keys_is_refused() {
    let feed = Feed::new();
    for threshold in [0, 4, u16::MAX] {
        let mut root = feed.next_root();
        root.root_threshold = threshold;
        assert!(root.check().is_err(), "{threshold}");
        let mut root = feed.next_root();
        root.release_threshold = threshold;
        assert!(root.check().is_err(), "{threshold}");
    }
    let mut root = feed.next_root();
    root.head_keys.clear();
    assert!(root.check().is_err(), "no head key");
}

#[test]
fn weak_keys_get_in_nowhere() {
    // Small order: for these, signatures exist that fit any message.
    let mut one = [0; 32];
    one[0] = 1;
    let feed = Feed::new();
    let good = feed.next_root();
    let known = *good.root_keys[0].as_bytes();
    let bytes = codec::encode(&good);
    let at = bytes
        .windows(32)
        .position(|window| window == known)
        .expect("the key is in the root");
    for weak in [[0; 32], one] {
        let mut body = bytes.clone();
        body[at..at + 32].copy_from_slice(&weak);
        assert!(codec::decode_exact::<RootBody>("root", &body, limits::ROOT_BYTES).is_err());
        // As a signer, too: R = the weak point and s = 0 verify under lax rules.
        let mut forged = envelope(&bytes, &[signature(&key(1), "root", &bytes)]);
        let signer = forged.len() - 96;
        forged[signer..signer + 32].copy_from_slice(&weak);
        assert!(SignedRoot::from_bytes(&forged).is_err());
    }
}

#[test]
fn a_signature_over_one_kind_of_object_is_worth_nothing_for_another() {
    let feed = Feed::new();
    let root = feed.trust().root().clone();
    let body = codec::encode(&feed.manifest_body(1));
    for (name, good) in [("manifest", true), ("head", false), ("root", false)] {
        let signatures: Vec<_> = feed
            .release_keys
            .iter()
            .map(|key| signature(key, name, &body))
            .collect();
        let manifest =
            SignedManifest::from_bytes(&envelope(&body, &signatures)).expect("well formed");
        let verified = manifest.verify_stored(&root, &feed.id());
        assert_eq!(verified.is_ok(), good, "{name}");
    }

    // A head's own body and signature, offered as a receipt of the same key.
    let head = feed.head(1, 1).to_bytes();
    if let Ok(receipt) = SignedReceipt::from_bytes(&head) {
        assert!(
            receipt
                .verify(&feed.head_keys[0].public(), &feed.id())
                .is_err()
        );
    }
}

#[test]
fn a_key_of_one_role_does_not_sign_for_another() {
    let feed = Feed::new();
    let root = feed.trust().root().clone();
    let by_head_keys = sign(&feed.manifest_body(1), &feed.head_keys);
    assert!(by_head_keys.verify_stored(&root, &feed.id()).is_err());
    let by_root_keys = sign(&feed.manifest_body(1), &feed.root_keys);
    assert!(by_root_keys.verify_stored(&root, &feed.id()).is_err());
    let by_release_keys = sign(&feed.next_root(), &feed.release_keys);
    assert!(feed.trust().accept_root(by_release_keys).is_err());
}

#[test]
fn a_manifest_is_only_the_one_the_head_names() {
    let feed = Feed::new();
    let mut trust = feed.trust();
    let verdict = trust.accept_head(feed.head(1, 1), NOW).expect("good");
    let other = trust.verify_manifest(feed.manifest(2), verdict.head());
    assert!(matches!(other, Err(ManifestError::NotTheHeads { .. })));

    // The right hash beside a wrong length, and a number that differs from the manifest's.
    let wrong_length = feed.head_with(2, 1, |head| head.manifest_bytes += 1);
    let verdict = trust.accept_head(wrong_length, NOW).expect("a good head");
    let refused = trust.verify_manifest(feed.manifest(1), verdict.head());
    assert!(matches!(refused, Err(ManifestError::NotTheHeads { .. })));

    let wrong_number = feed.head_with(3, 1, |head| head.release = ReleaseNumber(7));
    let verdict = trust.accept_head(wrong_number, NOW).expect("a good head");
    let refused = trust.verify_manifest(feed.manifest(1), verdict.head());
    assert_eq!(
        refused.unwrap_err(),
        ManifestError::WrongRelease {
            got: ReleaseNumber(1),
            expected: ReleaseNumber(7)
        }
    );
}

#[test]
fn a_manifest_of_another_feed_epoch_floor_or_list_of_the_revoked_is_refused() {
    let feed = Feed::new();
    let root = feed.trust().root().clone();
    let other = FeedId::of(b"another feed");

    let mut body = feed.manifest_body(1);
    body.feed = other;
    let refused = sign(&body, &feed.release_keys).verify_stored(&root, &feed.id());
    assert!(matches!(refused, Err(ManifestError::WrongFeed { got, .. }) if got == other));

    let mut body = feed.manifest_body(1);
    body.epoch_min = Epoch(1);
    let refused = sign(&body, &feed.release_keys).verify_stored(&root, &feed.id());
    assert!(matches!(refused, Err(ManifestError::Epoch { .. })));

    let revoked = feed.manifest(1).id();
    let mut next = feed.next_root();
    next.revoked_manifests = vec![revoked];
    let trust = feed.trust_after(&next);
    let refused = feed.manifest(1).verify_stored(trust.root(), &feed.id());
    assert_eq!(refused.unwrap_err(), ManifestError::Revoked(revoked));

    let mut next = feed.next_root();
    next.release_min = ReleaseNumber(2);
    let trust = feed.trust_after(&next);
    let refused = feed.manifest(1).verify_stored(trust.root(), &feed.id());
    assert!(matches!(refused, Err(ManifestError::BelowFloor { .. })));
}

#[test]
fn a_stored_manifest_reopens_by_its_id_alone() {
    let feed = Feed::new();
    let manifest = feed.manifest(1);
    let id = manifest.id();
    assert!(manifest.clone().reopen(&id).is_ok());
    assert!(manifest.reopen(&ObjectId::of(b"another")).is_err());
}

#[test]
fn a_manifest_whose_files_contradict_each_other_is_refused() {
    let feed = Feed::new();
    let with = |files| ManifestBody {
        files,
        ..feed.manifest_body(1)
    };
    assert!(with(vec![file("a/b", b""), file("c", b"")]).check().is_ok());
    for (why, files) in [
        ("twice", vec![file("a", b""), file("a", b"")]),
        ("unsorted", vec![file("b", b""), file("a", b"")]),
        ("file and folder", vec![file("a", b""), file("a/b", b"")]),
        (
            "file and folder, apart in the order",
            vec![file("a", b""), file("a-b", b""), file("a/b/c", b"")],
        ),
    ] {
        assert!(with(files).check().is_err(), "{why}");
    }
    let mut long = file("long", b"");
    long.size = limits::CHUNK_BYTES as u64 + 1;
    assert!(with(vec![long.clone()]).check().is_err(), "no list");
    long.list = Some(ListId::of(b"list"));
    assert!(with(vec![long]).check().is_ok());
    let mut body = feed.manifest_body(1);
    body.release = ReleaseNumber(0);
    assert!(body.check().is_err());
    let mut opened = file("a", b"");
    opened.recipe = Some(tidecast_proto::id::RecipeId::of(b"recipe"));
    assert!(with(vec![opened]).check().is_ok());
}

#[test]
fn a_database_goes_back_only_with_the_signed_flag() {
    let feed = Feed::new();
    let with = |files, allow_database_rollback| ManifestBody {
        files,
        flags: Flags {
            allow_database_rollback,
            ..Flags::default()
        },
        ..feed.manifest_body(1)
    };
    let old = with(vec![database("daily.cvd", 10)], false);
    for (path, version, good) in [
        ("daily.cvd", 11, true),
        ("daily.cvd", 10, true),
        ("daily.cvd", 9, false),
        // The same database in its other form.
        ("daily.cld", 9, false),
        ("daily.cld", 11, true),
        ("main.cvd", 1, true),
    ] {
        for allow in [false, true] {
            // A file that stays, so that nothing shrinks here.
            let mut old = old.clone();
            old.files.push(file("readme.txt", b""));
            let files = vec![database(path, version), file("readme.txt", b"")];
            let checked = with(files, allow).check_successor_of(&old);
            assert_eq!(checked.is_ok(), good || allow, "{path} {version} {allow}");
        }
    }
    let error = with(vec![database("daily.cvd", 9)], false)
        .check_successor_of(&old)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("daily.cvd") && error.contains("from 10 to 9"),
        "{error}"
    );
}

#[test]
fn more_than_half_of_the_files_go_only_with_the_signed_flag() {
    let feed = Feed::new();
    let with = |names: &[&str], allow_shrink| ManifestBody {
        files: names.iter().map(|name| file(name, b"")).collect(),
        flags: Flags {
            allow_shrink,
            ..Flags::default()
        },
        ..feed.manifest_body(1)
    };
    let old = with(&["a", "b", "c", "d"], false);
    assert!(with(&["a", "b"], false).check_successor_of(&old).is_ok());
    assert_eq!(
        with(&["a", "x", "y", "z"], false).check_successor_of(&old),
        Err(ManifestError::Shrinks { dropped: 3, had: 4 })
    );
    assert!(with(&[], true).check_successor_of(&old).is_ok());
}

#[test]
fn a_mirror_that_missed_a_release_is_not_stuck_on_what_that_one_was_allowed() {
    let feed = Feed::new();
    let root = feed.trust().root().clone();
    let verified = |release: u64, previous, version, flags| {
        let body = ManifestBody {
            previous,
            anchor: None,
            flags,
            files: vec![database("daily.cvd", version)],
            ..feed.manifest_body(release)
        };
        sign(&body, &feed.release_keys)
            .verify_stored(&root, &feed.id())
            .expect("good")
    };
    let strict = Flags::default();
    let back = Flags {
        allow_database_rollback: true,
        ..strict
    };
    let first = verified(1, None, 10, strict);
    let second = verified(2, Some(first.id()), 9, back);
    let third = verified(3, Some(second.id()), 9, strict);
    assert!(second.check_replaces(&first).is_ok());
    assert!(third.check_replaces(&second).is_ok());
    assert!(third.check_replaces(&first).is_ok(), "it skipped release 2");
    // What claims to follow the live release, or none at all, keeps the rule.
    for previous in [Some(first.id()), None] {
        let sloppy = verified(2, previous, 9, strict);
        assert!(sloppy.check_replaces(&first).is_err());
    }
}

fn extension(tag: u16, critical: bool) -> Extension {
    Extension {
        tag,
        critical,
        bytes: b"from the future".to_vec(),
    }
}

#[test]
fn an_unknown_critical_extension_says_upgrade_and_others_are_carried_unchanged() {
    let feed = Feed::new();
    let root = feed.trust().root().clone();
    let mut body = feed.manifest_body(1);
    body.extensions = vec![extension(7, false), extension(9, true)];
    let error = sign(&body, &feed.release_keys)
        .verify_stored(&root, &feed.id())
        .unwrap_err();
    assert!(matches!(
        error,
        ManifestError::Signed(SignedError::Critical { .. })
    ));
    let text = error.to_string();
    assert!(text.contains('9') && text.contains("upgrade"), "{text}");

    body.extensions[1].critical = false;
    let bytes = sign(&body, &feed.release_keys).to_bytes();
    let manifest = SignedManifest::from_bytes(&bytes)
        .expect("well formed")
        .verify_stored(&root, &feed.id())
        .expect("nothing critical");
    assert_eq!(manifest.to_bytes(), bytes);
    assert_eq!(codec::encode(&*manifest), codec::encode(&body));

    for critical in [false, true] {
        let mut next = feed.next_root();
        next.extensions = vec![extension(1, critical)];
        let signed = sign(&next, &feed.root_keys);
        assert_eq!(feed.trust().accept_root(signed).is_err(), critical);
        let head = feed.head_with(1, 1, |head| head.extensions = vec![extension(1, critical)]);
        assert_eq!(feed.trust().accept_head(head, NOW).is_err(), critical);
        let mut receipt = feed.receipt_body();
        receipt.extensions = vec![extension(1, critical)];
        let signed = sign(&receipt, std::slice::from_ref(&feed.node));
        let verified = signed.verify(&feed.node.public(), &feed.id());
        assert_eq!(verified.is_err(), critical);
    }
}

#[test]
fn extensions_are_sorted_and_bounded() {
    let feed = Feed::new();
    let release_keys: Vec<&SecretKey> = feed.release_keys.iter().collect();
    let refused = |extensions| {
        let mut body = feed.manifest_body(1);
        body.extensions = extensions;
        Signed::sign(&body, &release_keys).is_err()
    };
    assert!(!refused((0..32).map(|tag| extension(tag, false)).collect()));
    assert!(refused((0..33).map(|tag| extension(tag, false)).collect()));
    assert!(refused(vec![extension(2, false), extension(1, false)]));
    assert!(refused(vec![extension(1, false), extension(1, false)]));
}

#[test]
fn an_object_over_its_limit_is_neither_made_nor_read() {
    let feed = Feed::new();
    let mut head = feed.head_body(1, &feed.manifest(1), 1);
    head.extensions = vec![Extension {
        tag: 1,
        critical: false,
        bytes: vec![0; limits::SMALL_OBJECT_BYTES],
    }];
    assert!(Signed::sign(&head, &[&feed.head_keys[0]]).is_err());
    let body = codec::encode(&head);
    let bytes = envelope(&body, &[signature(&feed.head_keys[0], "head", &body)]);
    assert!(matches!(
        SignedHead::from_bytes(&bytes),
        Err(CodecError::TooLong { limit: 1024, .. })
    ));
    let many: Vec<u8> = (100..133).collect();
    let signers = keys(&many);
    let mut root = feed.next_root();
    root.root_keys = publics(&signers);
    assert!(matches!(
        root.check(),
        Err(CodecError::TooMany {
            got: 33,
            limit: 32,
            ..
        })
    ));
}

#[test]
fn a_receipt_counts_only_from_the_node_it_came_from_and_for_the_feed() {
    let feed = Feed::new();
    let stranger = feed.receipt().verify(&key(99).public(), &feed.id());
    assert!(matches!(stranger, Err(ReceiptError::Signed(_))));
    let other = FeedId::of(b"another feed");
    let refused = feed.receipt().verify(&feed.node.public(), &other);
    assert_eq!(refused.unwrap_err(), ReceiptError::WrongFeed(feed.id()));
}

#[test]
fn collecting_another_signature_changes_no_id() {
    let feed = Feed::new();
    let mut manifest = sign(&feed.manifest_body(1), &feed.release_keys[..1]);
    let id = manifest.id();
    manifest.add_signature(&feed.release_keys[1]);
    assert_eq!(manifest.id(), id);
    manifest.add_signature(&feed.release_keys[1]);
    assert_eq!(manifest.to_bytes(), feed.manifest(1).to_bytes());
}
