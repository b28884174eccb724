//! See [`tidecast_fuzz::objects::bodies`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::objects::bodies(bytes));
