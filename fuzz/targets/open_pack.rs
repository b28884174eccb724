//! See [`tidecast_fuzz::store::open_pack`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::store::open_pack(bytes));
