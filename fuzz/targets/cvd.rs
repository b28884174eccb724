//! A whole database as its publisher reads it: policy, header, body in pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::database::{CvdCheck, HEADER_BYTES, VerifyPolicy};

fuzz_target!(|bytes: &[u8]| {
    let [choice, step, file @ ..] = bytes else {
        return;
    };
    let policy = match choice % 3 {
        0 => VerifyPolicy::Genuine,
        1 => VerifyPolicy::Header,
        _ => VerifyPolicy::None,
    };
    // A name that needs no signature, so that the inside is reached.
    let path = ["own.cvd", "own.cld", "own.cud", "daily.cvd"][usize::from(choice / 3 % 4)];
    let Ok(mut check) = CvdCheck::new(policy, path, file) else {
        return;
    };
    let body = file.get(HEADER_BYTES..).unwrap_or_default();
    for piece in body.chunks(usize::from(*step) + 1) {
        check.packed(piece);
        if check.opened(piece).is_err() {
            break;
        }
    }
    let _ = check.finish();
});
