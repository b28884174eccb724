//! Signed objects as received: whatever reads has one spelling, and nothing verifies by accident.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::{
    head::SignedHead, id::FeedId, key::SecretKey, manifest::SignedManifest, receipt::SignedReceipt,
    root::SignedRoot,
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(root) = SignedRoot::from_bytes(bytes) {
        assert_eq!(root.to_bytes(), bytes);
        let fingerprint = FeedId(root.id().0);
        if let Ok(first) = root.clone().verify_first(&fingerprint) {
            let _ = root.verify_next(&first);
        }
    }
    if let Ok(manifest) = SignedManifest::from_bytes(bytes) {
        assert_eq!(manifest.to_bytes(), bytes);
        let id = manifest.id();
        if let Ok(manifest) = manifest.reopen(&id) {
            let _ = manifest.total_bytes();
            assert!(manifest.check_successor_of(&manifest).is_ok());
        }
    }
    if let Ok(head) = SignedHead::from_bytes(bytes) {
        assert_eq!(head.to_bytes(), bytes);
    }
    if let Ok(receipt) = SignedReceipt::from_bytes(bytes) {
        assert_eq!(receipt.to_bytes(), bytes);
        let stranger = SecretKey::from_seed(&[0xee; 32]).public();
        assert!(receipt.verify(&stranger, &FeedId([0; 32])).is_err());
    }
});
