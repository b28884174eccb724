//! See [`tidecast_fuzz::text::mirror_toml`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::text::mirror_toml(bytes));
