//! See [`tidecast_fuzz::database::database_names`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::database::database_names(bytes));
