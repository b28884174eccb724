//! See [`tidecast_fuzz::bundle::list`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::bundle::list(bytes));
