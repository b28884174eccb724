//! A cdiff's outer form, and the script in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::database::{Cdiff, ScriptCheck, VerifyPolicy};

fuzz_target!(|bytes: &[u8]| {
    for policy in [
        VerifyPolicy::Genuine,
        VerifyPolicy::Header,
        VerifyPolicy::None,
    ] {
        for path in ["own-2.cdiff", "daily-2.cdiff"] {
            let _ = Cdiff::check(policy, path, bytes);
        }
    }
    let script = |step| {
        let mut check = ScriptCheck::new();
        for piece in bytes.chunks(step) {
            check.opened(piece).ok()?;
        }
        check.finish().ok()
    };
    assert_eq!(script(7), script(bytes.len().max(1)));
});
