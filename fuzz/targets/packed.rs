//! See [`tidecast_fuzz::bundle::packed`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::bundle::packed(bytes));
