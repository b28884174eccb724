//! See [`tidecast_fuzz::database::dsig`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::database::dsig(bytes));
