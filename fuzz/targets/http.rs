//! What HTTP clients send: request targets and Range headers. The first byte is the file's size, as a power of two.
#![no_main]

// They stand alone, and the engine around them would not make the fuzzer any wiser.
#[allow(dead_code, reason = "only the readers are called")]
#[path = "../../engine/src/http/path.rs"]
mod path;
#[allow(dead_code, reason = "only the readers are called")]
#[path = "../../engine/src/http/range.rs"]
mod range;

use libfuzzer_sys::fuzz_target;
use path::RequestPath;
use range::Selected;

fuzz_target!(|bytes: &[u8]| {
    let [size, text @ ..] = bytes else {
        return;
    };
    let Ok(text) = core::str::from_utf8(text) else {
        return;
    };
    if let Some(RequestPath::Name(name)) = path::decode(text) {
        let name = name.as_str();
        assert!(!name.starts_with('/') && !name.contains(['\0', '\\']));
        assert!(
            name.split('/')
                .all(|part| !part.is_empty() && !part.starts_with('.'))
        );
    }
    let size = 1_u64.checked_shl(u32::from(*size)).unwrap_or(0);
    if let Selected::Part(part) = range::select(text, size) {
        assert!(part.first <= part.last && part.last < size);
        assert!((1..=size).contains(&part.length()));
    }
});
