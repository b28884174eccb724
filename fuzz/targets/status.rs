//! See [`tidecast_fuzz::text::status`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::text::status(bytes));
