//! See [`tidecast_fuzz::http::http_target`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::http::http_target(bytes));
