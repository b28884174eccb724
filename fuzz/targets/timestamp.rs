//! See [`tidecast_fuzz::state::timestamp`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::state::timestamp(bytes));
