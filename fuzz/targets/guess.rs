//! See [`tidecast_fuzz::deflate::guess`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::deflate::guess(bytes));
