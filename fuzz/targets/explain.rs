//! See [`tidecast_fuzz::text::explain`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::text::explain(bytes));
