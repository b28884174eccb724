//! See [`tidecast_fuzz::store::release_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::store::release_file(bytes));
