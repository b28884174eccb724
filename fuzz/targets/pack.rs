//! See [`tidecast_fuzz::store::pack`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::store::pack(bytes));
