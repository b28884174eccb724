//! See [`tidecast_fuzz::text::nodes`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::text::nodes(bytes));
