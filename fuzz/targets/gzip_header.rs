//! See [`tidecast_fuzz::deflate::gzip_header`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::deflate::gzip_header(bytes));
