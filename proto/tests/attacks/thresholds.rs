//! Row "key subsets": every subset of every set of up to six keys, for every threshold, where signatures count.
//! Exactly those that reach the threshold are accepted.

use tidecast_proto::addition::Vouched;
use tidecast_proto::codec;
use tidecast_proto::head::SignedHead;
use tidecast_proto::id::{FeedId, ReleaseNumber, RootVersion};
use tidecast_proto::key::SecretKey;
use tidecast_proto::limits;
use tidecast_proto::manifest::{Anchor, ManifestBody, SignedManifest};
use tidecast_proto::receipt::SignedReceipt;
use tidecast_proto::root::{RootBody, SignedRoot};
use tidecast_proto::signed::KeySignature;
use tidecast_proto::trust::Trust;

use crate::series::long;
use crate::support::{Feed, NOW, database, envelope, keys, newer, publics, sign, signature};

/// The keys of `mask`.
fn subset(keys: &[SecretKey], mask: usize) -> Vec<SecretKey> {
    let picked = keys
        .iter()
        .enumerate()
        .filter(|(at, _)| mask >> at & 1 == 1);
    picked.map(|(_, key)| key.clone()).collect()
}

fn six(first: u8, n: usize) -> Vec<SecretKey> {
    let seeds: Vec<u8> = (first..first + u8::try_from(n).unwrap()).collect();
    keys(&seeds)
}

fn signatures(keys: &[SecretKey], name: &str, body: &[u8]) -> Vec<KeySignature> {
    keys.iter().map(|key| signature(key, name, body)).collect()
}

/// A mirror whose newest root is `change`d from the usual one.
fn trust_with(change: impl FnOnce(&mut RootBody), signers: &[SecretKey]) -> (Trust, FeedId) {
    let mut body = Feed::new().next_root();
    body.version = RootVersion(1);
    change(&mut body);
    let bytes = codec::encode(&body);
    let signed = SignedRoot::from_bytes(&envelope(&bytes, &signatures(signers, "root", &bytes)));
    let id = FeedId(signed.as_ref().unwrap().id().0);
    (Trust::begin(&id, signed.unwrap()).unwrap(), id)
}

#[test]
fn the_first_root_takes_as_many_of_its_own_keys_as_it_says() {
    let mut tried = 0;
    for n in 1..=6 {
        let set = six(60, n);
        for threshold in 1..=n {
            let mut body = Feed::new().next_root();
            body.version = RootVersion(1);
            body.root_keys = publics(&set);
            body.root_threshold = u16::try_from(threshold).unwrap();
            let bytes = codec::encode(&body);
            let all = signatures(&set, "root", &bytes);
            for mask in 0..1_usize << n {
                let some: Vec<_> = (0..n)
                    .filter(|at| mask >> at & 1 == 1)
                    .map(|at| all[at].clone())
                    .collect();
                let signed = SignedRoot::from_bytes(&envelope(&bytes, &some)).unwrap();
                let id = FeedId(signed.id().0);
                let enough = some.len() >= threshold;
                assert_eq!(
                    Trust::begin(&id, signed).is_ok(),
                    enough,
                    "{n} {threshold} {mask:b}"
                );
                tried += 1;
            }
        }
    }
    println!("first root: {tried} subsets, accepted exactly those that reach the threshold");
}

/// Offers the next root signed by `old` of the old set and `new` of the new one, which share `shared` keys.
fn next_root_case(
    n: usize,
    shared: usize,
    thresholds: (usize, usize),
    pairs: &dyn Fn(usize, usize) -> bool,
) -> u64 {
    let old = six(60, n);
    let mut new: Vec<SecretKey> = old[..shared].to_vec();
    new.extend(six(80, n - shared));
    new.sort_by_key(SecretKey::public);
    let (trust, _) = trust_with(
        |root| {
            root.root_keys = publics(&old);
            root.root_threshold = u16::try_from(thresholds.0).unwrap();
        },
        &old,
    );
    let mut body: RootBody = (**trust.root()).clone();
    body.version = RootVersion(2);
    body.root_keys = publics(&new);
    body.root_threshold = u16::try_from(thresholds.1).unwrap();
    let bytes = codec::encode(&body);
    let (by_old, by_new) = (
        signatures(&old, "root", &bytes),
        signatures(&new, "root", &bytes),
    );
    let mut tried = 0;
    for a in 0..1_usize << n {
        for b in 0..1_usize << n {
            if !pairs(a, b) {
                continue;
            }
            let mut all: Vec<KeySignature> = Vec::new();
            all.extend(
                (0..n)
                    .filter(|at| a >> at & 1 == 1)
                    .map(|at| by_old[at].clone()),
            );
            all.extend(
                (0..n)
                    .filter(|at| b >> at & 1 == 1)
                    .map(|at| by_new[at].clone()),
            );
            all.sort_by_key(|s| s.key);
            all.dedup_by_key(|s| s.key);
            let of =
                |set: &[SecretKey]| all.iter().filter(|s| publics(set).contains(&s.key)).count();
            let enough = of(&old) >= thresholds.0 && of(&new) >= thresholds.1;
            let signed = SignedRoot::from_bytes(&envelope(&bytes, &all)).unwrap();
            let accepted = trust.clone().accept_root(signed).is_ok();
            assert_eq!(
                accepted, enough,
                "n {n}, shared {shared}, {thresholds:?}: {a:b} {b:b}"
            );
            tried += 1;
        }
    }
    tried
}

#[test]
fn the_next_root_takes_enough_of_the_old_set_and_enough_of_its_own() {
    let mut tried = 0;
    for n in 1..=if long() { 6 } else { 4_usize } {
        let full = (1 << n) - 1;
        for old in 1..=n {
            for new in 1..=n {
                for shared in [0, n / 2, n] {
                    // Every pair for small sets; for large ones every subset of one beside all and none of the other.
                    let every =
                        n <= 2 || (long() && n <= 4) || (n == 6 && long() && old == 4 && new == 3);
                    tried += next_root_case(n, shared, (old, new), &|a, b| {
                        every || [0, full].contains(&a) || [0, full].contains(&b)
                    });
                }
            }
        }
    }
    println!(
        "next root: {tried} pairs of subsets, accepted exactly those that reach both thresholds"
    );
}

#[test]
fn a_release_takes_the_whole_threshold_and_an_addition_its_own() {
    let mut tried = 0;
    for n in 1..=6 {
        let set = six(60, n);
        for whole in 1..=n {
            for added in 1..=whole {
                tried += release_case(&set, whole, added);
            }
        }
    }
    println!(
        "releases and additions: {tried} subsets, accepted exactly those that reach the threshold"
    );
}

fn release_case(set: &[SecretKey], whole: usize, added: usize) -> u64 {
    let feed = Feed::new();
    let (mut trust, id) = trust_with(
        |root| {
            root.release_keys = publics(set);
            root.release_threshold = u16::try_from(whole).unwrap();
            root.added_threshold = u16::try_from(added).unwrap();
        },
        &feed.root_keys[..2],
    );
    let base = ManifestBody {
        feed: id,
        files: vec![database("daily.cvd", 1)],
        ..feed.manifest_body(1)
    };
    let anchor = sign(&base, set);
    let anchored = Anchor {
        release: ReleaseNumber(1),
        manifest: anchor.id(),
    };
    let bodies = [None, Some(anchored)].map(|anchor| ManifestBody {
        feed: id,
        anchor,
        files: vec![database("daily.cvd", 2)],
        ..feed.manifest_body(2)
    });
    let mut tried = 0;
    for (seq, body) in (1..).zip(bodies) {
        let mut head = feed.head_body(seq, &sign(&body, set), 2);
        head.feed = id;
        let head = newer(&mut trust, sign(&head, &feed.head_keys[..1]));
        let bytes = codec::encode(&body);
        let all = signatures(set, "manifest", &bytes);
        for mask in 0..1_usize << set.len() {
            let some: Vec<_> = (0..set.len())
                .filter(|at| mask >> at & 1 == 1)
                .map(|at| all[at].clone())
                .collect();
            let signed = SignedManifest::from_bytes(&envelope(&bytes, &some)).unwrap();
            let installed = match trust.verify_manifest(signed, &head) {
                Ok(Vouched::Whole(_)) => {
                    assert!(some.len() >= whole);
                    true
                }
                Ok(Vouched::Addition(addition)) => {
                    assert!(some.len() >= added && body.anchor.is_some());
                    // An anchor that fewer than the whole threshold signed is none.
                    if whole > 1 {
                        let weak = sign(&base, &set[..whole - 1]);
                        assert!(trust.verify_addition(addition.clone(), weak).is_err());
                    }
                    trust.verify_addition(addition, anchor.clone()).is_ok()
                }
                Err(_) => false,
            };
            let needed = if body.anchor.is_some() { added } else { whole };
            assert_eq!(installed, some.len() >= needed, "{whole} {added} {mask:b}");
            tried += 1;
        }
    }
    tried
}

#[test]
fn a_head_takes_one_of_its_keys_and_a_receipt_the_nodes() {
    let feed = Feed::new();
    let mut tried = 0;
    for n in 1..=6 {
        let (set, strangers) = (six(60, n), six(80, n));
        let (trust, id) = trust_with(|root| root.head_keys = publics(&set), &feed.root_keys[..2]);
        let mut body = feed.head_body(1, &feed.manifest(1), 1);
        body.feed = id;
        for mask in 0..1_usize << (2 * n) {
            let low = mask & ((1 << n) - 1);
            let mut signers = subset(&set, low);
            signers.extend(subset(&strangers, mask >> n));
            if !long() && n > 3 && mask % 17 != 0 {
                continue;
            }
            signers.sort_by_key(SecretKey::public);
            let bytes = codec::encode(&body);
            let head = envelope(&bytes, &signatures(&signers, "head", &bytes));
            // Six keys of each do not fit in a head; they are refused for their length.
            let fits = head.len() <= limits::SMALL_OBJECT_BYTES;
            let accepted = SignedHead::from_bytes(&head)
                .is_ok_and(|head| trust.clone().accept_head(head, NOW).is_ok());
            assert_eq!(accepted, fits && low != 0, "{n} {mask:b}");
            let mut receipt = feed.receipt_body();
            receipt.feed = id;
            let bytes = codec::encode(&receipt);
            let receipt = envelope(&bytes, &signatures(&signers, "receipt", &bytes));
            let fits = receipt.len() <= limits::SMALL_OBJECT_BYTES;
            let accepted = SignedReceipt::from_bytes(&receipt)
                .is_ok_and(|receipt| receipt.verify(&set[0].public(), &id).is_ok());
            assert_eq!(accepted, fits && low & 1 == 1, "{n} {mask:b}");
            tried += 2;
        }
    }
    println!("heads and receipts: {tried} subsets of keys and strangers");
}

#[test]
fn one_key_never_counts_twice() {
    let feed = Feed::new();
    let body = feed.manifest_body(1);
    let bytes = codec::encode(&body);
    let [one, two] = [0, 1].map(|at| signature(&feed.release_keys[at], "manifest", &bytes));
    let root = feed.trust().root().clone();
    let offer = |signatures: &[KeySignature]| {
        SignedManifest::from_bytes(&envelope(&bytes, signatures))
            .ok()
            .and_then(|signed| signed.verify_stored(&root, &feed.id()).ok())
            .is_some()
    };
    assert!(offer(&[one.clone(), two.clone()]));
    assert!(!offer(&[one.clone(), one.clone()]), "twice the same");
    assert!(!offer(&[two.clone(), one.clone()]), "out of order");
    let named = |key: &KeySignature, by: &KeySignature| KeySignature {
        key: key.key,
        signature: by.signature,
    };
    assert!(!offer(&[one.clone(), named(&two, &one)]), "under two names");
    assert!(
        !offer(&[named(&one, &two), named(&two, &one)]),
        "under each other's names"
    );
    assert!(!offer(&[named(&one, &two), two.clone()]));
    // All other places filled with copies of the one good signature.
    let strangers = (100..130).map(|seed| {
        named(
            &signature(&crate::support::key(seed), "manifest", b""),
            &one,
        )
    });
    let mut many: Vec<KeySignature> = strangers.chain([one.clone()]).collect();
    many.sort_by_key(|s| s.key);
    assert!(!offer(&many));
    many.push(two);
    many.sort_by_key(|s| s.key);
    assert!(offer(&many), "bad ones beside them do no harm");
}

#[test]
fn no_list_of_keys_holds_one_twice_or_a_threshold_it_cannot_reach() {
    let feed = Feed::new();
    let offer = |change: &dyn Fn(&mut RootBody)| {
        let mut body = feed.next_root();
        change(&mut body);
        let bytes = codec::encode(&body);
        let signed = SignedRoot::from_bytes(&envelope(
            &bytes,
            &signatures(&feed.root_keys, "root", &bytes),
        ));
        feed.trust().accept_root(signed.unwrap()).is_ok()
    };
    assert!(offer(&|_| ()));
    let twice: [&dyn Fn(&mut RootBody); 4] = [
        &|root| root.root_keys[1] = root.root_keys[0],
        &|root| root.release_keys[1] = root.release_keys[0],
        &|root| root.head_keys[1] = root.head_keys[0],
        &|root| root.masters.push(root.masters[0].clone()),
    ];
    for change in twice {
        assert!(!offer(change));
    }
    for threshold in [0, 4, u16::MAX] {
        assert!(!offer(&|root| root.root_threshold = threshold));
        assert!(!offer(&|root| root.release_threshold = threshold));
        assert!(!offer(&|root| root.added_threshold = threshold));
    }
    assert!(!offer(&|root| (
        root.release_threshold,
        root.added_threshold
    ) = (1, 2)));
    assert!(!offer(&|root| root.root_keys.clear()));
    assert!(!offer(&|root| root.release_keys.clear()));
    assert!(!offer(&|root| root.head_keys.clear()));
    assert!(!offer(&|root| root.root_keys.reverse()));
}
