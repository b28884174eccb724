//! See [`tidecast_fuzz::bundle::recipe`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::bundle::recipe(bytes));
