//! Chunk lists.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::{
    id::ListId,
    list::{List, ListError},
};

fuzz_target!(|bytes: &[u8]| {
    let id = ListId::of(bytes);
    let size = match List::decode(bytes, id, 0) {
        Ok(_) => 0,
        Err(ListError::WrongTotal { got, .. }) => got,
        Err(_) => return,
    };
    let list = List::decode(bytes, id, size).unwrap();
    assert_eq!(list.encode(), bytes);
    let end = list
        .with_offsets()
        .last()
        .map_or(0, |(at, entry)| at + u64::from(entry.len));
    assert_eq!(end, list.total_bytes());
});
