//! The counters in a mirror's state folder, read against the root of the vectors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::{
    id::{FeedId, Timestamp},
    root::SignedRoot,
    trust::Trust,
};

const ROOT: &[u8] = include_bytes!("../seeds/objects/root");

fuzz_target!(|bytes: &[u8]| {
    let root = SignedRoot::from_bytes(ROOT).unwrap();
    let feed = FeedId(root.id().0);
    if let Ok(Some(trust)) = Trust::resume(&feed, [root], Some(bytes)) {
        let _ = (
            trust.newest_head(),
            trust.is_stale(Timestamp(0)),
            trust.seqs(),
        );
        // Not always the bytes read: heads of an older epoch are dropped.
        let root = trust.root().signed().clone();
        let again = Trust::resume(&feed, [root], Some(&trust.to_bytes()));
        assert_eq!(again.unwrap().unwrap().to_bytes(), trust.to_bytes());
    }
});
