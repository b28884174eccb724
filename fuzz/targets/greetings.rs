//! Hello, Welcome and Refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::wire::{Hello, Refused, Welcome};

fuzz_target!(|bytes: &[u8]| {
    match Hello::decode(bytes) {
        Ok(hello) => assert_eq!(&hello.to_frame().unwrap()[5..], bytes),
        Err(refused) => {
            let told = Refused::decode(&refused.to_frame()[5..]).unwrap();
            assert_eq!(told, refused);
        }
    }
    if let Ok(welcome) = Welcome::decode(bytes) {
        assert_eq!(&welcome.to_frame()[5..], bytes);
    }
    if let Ok(refused) = Refused::decode(bytes) {
        assert!(!refused.text.chars().any(char::is_control));
        let _ = refused.to_frame();
    }
});
