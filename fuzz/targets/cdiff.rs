//! See [`tidecast_fuzz::database::cdiff`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::database::cdiff(bytes));
