//! See [`tidecast_fuzz::database::tar`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::database::tar(bytes));
