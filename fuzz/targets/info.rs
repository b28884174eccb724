//! The `.info` member of a database.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::database::{Info, PublicKey};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(info) = Info::parse(bytes) {
        let _ = info.dsig_line();
        assert!(info.verify(&PublicKey::INFO).is_err() || bytes.len() > 256);
    }
});
