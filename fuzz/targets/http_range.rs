//! See [`tidecast_fuzz::http::http_range`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::http::http_range(bytes));
