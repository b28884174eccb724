//! See [`tidecast_fuzz::text::master_toml`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::text::master_toml(bytes));
