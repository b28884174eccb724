//! See [`tidecast_fuzz::database::cvd`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::database::cvd(bytes));
