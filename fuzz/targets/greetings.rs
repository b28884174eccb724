//! See [`tidecast_fuzz::wire::greetings`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidecast_fuzz::wire::greetings(bytes));
