//! See [`tidecast_fuzz::state::chain_log`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::state::chain_log(bytes));
