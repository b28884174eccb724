//! See [`tidecast_fuzz::deflate::again`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::deflate::again(bytes));
