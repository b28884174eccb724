//! Signed objects and the counters that remember them.

use tidecast_proto::addition::Vouched;
use tidecast_proto::ceremony::{changes_between, concerns};
use tidecast_proto::codec;
use tidecast_proto::head::{HeadBody, SignedHead};
use tidecast_proto::id::{FeedId, Timestamp};
use tidecast_proto::key::SecretKey;
use tidecast_proto::limits;
use tidecast_proto::manifest::{File, Flags, ManifestBody, SignedManifest};
use tidecast_proto::receipt::{ReceiptBody, SignedReceipt};
use tidecast_proto::root::{RootBody, SignedRoot};
use tidecast_proto::signed::{Body, Signed};
use tidecast_proto::trust::{Trust, Verdict};

const ROOT: &[u8] = include_bytes!("../seeds/objects/root");
const HEAD: &[u8] = include_bytes!("../seeds/objects/head");
const MANIFEST: &[u8] = include_bytes!("../seeds/objects/manifest");

fn body<T: Body>(bytes: &[u8]) -> Option<T> {
    let body: T = codec::decode_exact(T::NAME, bytes, T::BYTES_MAX).ok()?;
    assert_eq!(codec::encode(&body), bytes);
    body.check().ok()?;
    Some(body)
}

/// Bodies of signed objects, without the signatures that would keep the fuzzer out. What passes has one spelling and
/// obeys the limits.
pub fn bodies(bytes: &[u8]) {
    if let Some(root) = body::<RootBody>(bytes) {
        assert!((1..=root.root_keys.len()).contains(&usize::from(root.root_threshold)));
        assert!((1..=root.release_keys.len()).contains(&usize::from(root.release_threshold)));
    }
    body::<HeadBody>(bytes);
    body::<ReceiptBody>(bytes);
    if let Some(manifest) = body::<ManifestBody>(bytes) {
        for file in &manifest.files {
            assert_eq!(manifest.file(file.path.as_str()), Some(file));
        }
        assert!(manifest.check_successor_of(&manifest).is_ok());
        if let Ok(added) = manifest.additions_to(&manifest) {
            assert!(added.is_empty());
        }
        let anchor = SignedManifest::from_bytes(MANIFEST).expect("the vector");
        let anchor: ManifestBody =
            codec::decode_exact("manifest", anchor.body(), MANIFEST.len()).expect("the vector");
        if let Ok(added) = manifest.additions_to(&anchor) {
            assert_eq!(manifest.flags, Flags::default());
            let paths = |file: &File| manifest.file(file.path.as_str()).is_some();
            assert!(anchor.files.iter().all(paths) && added.len() <= manifest.files.len());
        }
    }
}

fn envelope<T: Body>(bytes: &[u8]) -> Option<Signed<T>> {
    let signed = Signed::<T>::from_bytes(bytes).ok()?;
    assert_eq!(signed.to_bytes(), bytes);
    assert!(signed.body_len() < bytes.len() && bytes.len() <= T::BYTES_MAX);
    assert!(signed.signers().is_sorted_by(|a, b| a < b));
    assert!(signed.signers().count() <= limits::KEYS_PER_ROLE);
    Some(signed)
}

/// Signed objects as received, not verified: body and signatures have one spelling.
pub fn objects(bytes: &[u8]) {
    envelope::<RootBody>(bytes);
    envelope::<ReceiptBody>(bytes);
    if let Some(head) = envelope::<HeadBody>(bytes)
        && let Some(claims) = head.claims()
    {
        assert_eq!(codec::encode(&claims), head.body());
    }
    if let Some(manifest) = envelope::<ManifestBody>(bytes) {
        let id = manifest.id();
        if let Ok(manifest) = manifest.reopen(&id) {
            assert_eq!(manifest.id(), id);
            assert!(
                manifest.total_bytes() >= manifest.files.iter().map(|f| f.size).max().unwrap_or(0)
            );
        }
    }
}

/// Signed objects against the trust of a mirror of SPEC §11's feed: nothing is accepted but what its keys signed, and
/// what is accepted once is accepted again.
pub fn verify(bytes: &[u8]) {
    let root = SignedRoot::from_bytes(ROOT).expect("the vector");
    let feed = FeedId(root.id().0);
    let mut trust = Trust::begin(&feed, root).expect("the fingerprint fits");
    let head = SignedHead::from_bytes(HEAD).expect("the vector");
    let now = head.claims().expect("the vector").issued;

    if let Ok(root) = SignedRoot::from_bytes(bytes) {
        let same = root.id().0 == feed.0;
        assert_eq!(root.clone().verify_first(&feed).is_ok() && !same, false);
        // Anybody may sign a root of his own, as its first.
        let own = FeedId(root.id().0);
        if let Ok(first) = root.clone().verify_first(&own) {
            assert!(root.clone().verify_first(&own).is_ok());
            assert_eq!(first.to_bytes(), bytes);
        }
        assert!(trust.clone().accept_root(root).is_err());
    }
    if let Ok(signed) = SignedHead::from_bytes(bytes) {
        let before = trust.to_bytes();
        let mut other = trust.clone();
        match other.accept_head(signed.clone(), now) {
            Ok(_) => {
                assert_eq!(signed.id(), head.id());
                assert!(other.accept_head(signed, now).is_ok());
            }
            Err(_) => assert_eq!(other.to_bytes(), before),
        }
        assert_eq!(other.installed(), None);
    }
    if let Ok(signed) = SignedManifest::from_bytes(bytes) {
        let Ok(Verdict::Newer(head)) = trust.accept_head(head, now) else {
            unreachable!("the vector's head is news");
        };
        let vouched = trust.verify_manifest(signed.clone(), &head);
        if let Ok(manifest) = vouched.and_then(Vouched::whole) {
            assert_eq!(manifest.id(), head.manifest);
            assert_eq!(
                manifest.signed().body(),
                &MANIFEST[8..8 + signed.body_len()]
            );
            assert!(trust.verify_manifest(signed, &head).is_ok());
        }
    }
    if let Ok(receipt) = SignedReceipt::from_bytes(bytes) {
        let stranger = SecretKey::from_seed(&[0xee; 32]).public();
        assert!(receipt.verify(&stranger, &feed).is_err());
    }
}

/// A root that is about to be signed, as those see it who sign it, beside the root of the vectors: what a mirror takes has
/// all its signatures, and what is told of the differences begins with none.
pub fn ceremony(bytes: &[u8]) {
    let Ok(root) = SignedRoot::from_bytes(bytes) else {
        return;
    };
    let Ok(draft) = root.draft() else {
        assert!(root.signatures(None).is_err());
        return;
    };
    assert_eq!(codec::encode(&draft), root.body());
    assert!(changes_between(&draft, &draft).is_empty());
    let first = SignedRoot::from_bytes(ROOT).expect("the vector");
    let id = FeedId(first.id().0);
    let first = first.verify_first(&id).expect("the vector");
    let _ = changes_between(&first, &draft);
    for old in [None, Some(&*first)] {
        let _ = concerns(old, &draft, draft.expires);
        let signatures = root.signatures(old).expect("it opened");
        assert!(
            signatures
                .own
                .signed
                .iter()
                .all(|key| draft.root_keys.contains(key))
        );
        let taken = match old {
            None => root.clone().verify_first(&FeedId(root.id().0)).is_ok(),
            Some(_) => root.clone().verify_next(&first).is_ok(),
        };
        assert!(signatures.complete() || !taken);
    }
}

/// The counters in a mirror's state folder, read against the root of the vectors.
pub fn counters(bytes: &[u8]) {
    let root = SignedRoot::from_bytes(ROOT).expect("the vector");
    let feed = FeedId(root.id().0);
    if let Ok(Some(trust)) = Trust::resume(&feed, [root], Some(bytes)) {
        let _ = (trust.newest_head(), trust.is_stale(Timestamp(0)));
        assert!(trust.seqs().len() <= limits::KEYS_PER_ROLE);
        // Not always the bytes read: heads of an older epoch are dropped.
        let root = trust.root().signed().clone();
        let again = Trust::resume(&feed, [root], Some(&trust.to_bytes()));
        let again = again.expect("our own").expect("a root");
        assert_eq!(again.to_bytes(), trust.to_bytes());
    }
}
