//! See [`tidecast_fuzz::store::stat_cache`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::store::stat_cache(bytes));
