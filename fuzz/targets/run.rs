//! See [`tidecast_fuzz::bundle::run`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::bundle::run(bytes));
