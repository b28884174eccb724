//! See [`tidecast_fuzz::http::http_headers`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::http::http_headers(bytes));
