//! See [`tidecast_fuzz::state::index`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::state::index(bytes));
