//! The first 512 bytes of a database.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::database::Header;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::parse(bytes) {
        let _ = header.build_time_s();
    }
});
