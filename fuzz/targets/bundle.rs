//! See [`tidecast_fuzz::bundle::bundle`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::bundle::bundle(bytes));
