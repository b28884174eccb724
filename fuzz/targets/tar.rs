//! The tar inside a database: the same events however it is cut into pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidecast_proto::database::{TarEvent, TarReader};

/// Members with their sizes and the bytes that came, and whether all was well.
fn read(bytes: &[u8], step: usize) -> (Vec<(String, u64, u64)>, bool) {
    let mut members: Vec<(String, u64, u64)> = Vec::new();
    let mut reader = TarReader::new();
    let mut good = true;
    for piece in bytes.chunks(step) {
        let pushed = reader.push(piece, |event| {
            match event {
                TarEvent::Member { name, size } => members.push((name.into(), size, 0)),
                TarEvent::Data(data) => members.last_mut().unwrap().2 += data.len() as u64,
                TarEvent::End => {
                    let (_, size, got) = members.last().unwrap();
                    assert_eq!(size, got);
                }
            }
            Ok(())
        });
        good &= pushed.is_ok();
    }
    good &= reader.finish().is_ok();
    (members, good)
}

fuzz_target!(|bytes: &[u8]| {
    let [step, tar @ ..] = bytes else {
        return;
    };
    assert_eq!(
        read(tar, usize::from(*step) + 1),
        read(tar, tar.len().max(1))
    );
});
